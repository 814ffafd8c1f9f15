//! What the goroutines of one site do, in sum.

use super::goroutine::{Goroutine, Status};
use super::layout::Layout;
use crate::source::books::{SiteWaits, Wait};
use crate::types::Vaddr;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Numbers of goroutines.
#[derive(Clone, Debug, Default)]
pub(super) struct Waits {
    live: u64,
    /// Those that wait, by the number of their wait reason.
    reasons: BTreeMap<u8, u64>,
    leaked: u64,
}

impl Waits {
    /// How many there are.
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    /// Takes a living one.
    pub(super) fn take(&mut self, found: &Goroutine) {
        self.live += 1;
        if found.waits() {
            *self.reasons.entry(found.reason).or_default() += 1;
        }
        self.leaked += u64::from(found.status == Some(Status::Leaked));
    }

    /// In the runtime's words.
    pub(super) fn told(&self, site: u64, layout: &Layout) -> SiteWaits {
        let named = self.reasons.iter().filter_map(|(number, tasks)| {
            Some(Wait {
                reason: layout.word(*number)?,
                tasks: *tasks,
            })
        });
        let mut reasons: Vec<Wait> = named.collect();
        reasons.sort_by_key(|wait| (Reverse(wait.tasks), wait.reason));
        SiteWaits {
            site: Vaddr(site),
            reasons,
            leaked: self.leaked,
        }
    }
}
