//! Callbacks from C on threads that Go did not make: the runtime keeps a goroutine ready for each such thread. Nobody says `go` for
//! it, so no probe sees it; in memory it is a `g` without a statement and without a function.
//!
//! It lives while the callback runs. From Go 1.21 on it goes on to live, in a system call, until the thread that called
//! ends, for the runtime leaves it to that thread. `runtime.NumGoroutine()` counts it just so.

use super::goroutine::{self, Goroutine};
use super::layout::Layout;
use crate::source::SiteInfo;
use crate::source::books::BooksError;
use crate::sys::memory::{Batch, Memory};

/// The number of their site: no place in code has it, for the distance of a statement is less than the size of the code.
pub(super) const SITE: u64 = u64::MAX;
/// `g`s per batch of reads.
const BATCH: usize = 1024;

/// What people are shown of them. `executable`: its id.
pub(super) fn info(executable: &str) -> SiteInfo {
    SiteInfo {
        id: format!("{executable}:callback"),
        name: "cgo callback".to_owned(),
        location: None,
        kind: "callback",
        system: false,
        ambiguous: false,
        created_by: None,
        note: Some(
            "calls from C on threads that Go did not make; counted from memory, as of the last reading"
                .to_owned(),
        ),
    }
}

/// The `g`s made for callbacks in one process: few, never freed, and never used for anything else.
#[derive(Clone, Debug, Default)]
pub(super) struct Callbacks {
    made: Vec<u64>,
    running: u64,
    /// Some callback was seen to run.
    seen: bool,
    /// Entries of the list of all `g`s that were looked at.
    looked: usize,
}

impl Callbacks {
    /// Takes one that a walk has seen.
    pub(super) fn add(&mut self, at: u64, live: bool) {
        self.made.push(at);
        self.running += u64::from(live);
        self.seen |= live;
    }

    /// The walk has seen so many entries of the list.
    pub(super) fn looked_at(&mut self, entries: usize) {
        self.looked = entries;
    }

    /// Takes what a newer walk has seen of them.
    pub(super) fn replace(&mut self, newer: Self) {
        let seen = self.seen || newer.seen;
        *self = Self { seen, ..newer };
    }

    /// How many `g`s there are, used or not.
    pub(super) fn made(&self) -> u64 {
        self.made.len() as u64
    }

    /// How many live; `None` = there never was one.
    pub(super) fn running(&self) -> Option<u64> {
        self.seen.then_some(self.running)
    }

    /// Looks at them again, and at what is new in the list: one read each.
    pub(super) fn look(
        &mut self,
        memory: &dyn Memory,
        list: &[u64],
        layout: &Layout,
    ) -> Result<(), BooksError> {
        let fresh = list.get(self.looked..).unwrap_or_default();
        let all: Vec<u64> = self.made.iter().chain(fresh).copied().collect();
        let mut newer = Self {
            looked: list.len(),
            ..Self::default()
        };
        let mut batch = Batch::default();
        for part in all.chunks(BATCH) {
            batch.clear();
            for at in part {
                batch.push(*at, goroutine::size(layout));
            }
            memory.read_many(&mut batch)?;
            for (number, at) in part.iter().enumerate() {
                let found = batch.get(number).and_then(|bytes| Goroutine::read(bytes, layout));
                // One that is about to be born has no statement yet: it is dropped the next time.
                if let Some(found) = found.filter(Goroutine::is_for_callbacks) {
                    newer.add(*at, found.is_live());
                }
            }
        }
        self.replace(newer);
        Ok(())
    }
}
