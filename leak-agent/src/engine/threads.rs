//! Sites of the kernel runtime in one process: numbers that the kernel gives, and the sites they lead to.
//!
//! Several numbers lead to one site: learned keys of different call paths, and tickets, each the number of
//! one single task.

use super::KernelRuntime;
use super::baseline::Row;
use super::books::Missed;
use super::snapshot::{Counts, SiteSnapshot};
use crate::source::SiteInfo;
use crate::types::{BootTime, ExecId, shared};
use leak_agent_common::key::site;
use leak_agent_common::totals::SiteTotals;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// After this time a ticket whose stack did not come is known to be lost.
const STACK_OVERDUE: Duration = Duration::from_secs(10);
/// Site names kept per process; beyond, further sites stay unresolved.
const MAX_NAMES: usize = 16_384;

/// Counts of a site.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Folded {
    #[serde(with = "shared")]
    info: Arc<SiteInfo>,
    counts: Counts,
}

impl Folded {
    fn none(info: &Arc<SiteInfo>) -> Self {
        Self {
            info: Arc::clone(info),
            counts: Counts::default(),
        }
    }
}

/// The sites of one process.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Threads {
    rows: BTreeMap<u64, Row>,
    #[serde(with = "shared::values")]
    names: HashMap<u64, Arc<SiteInfo>>,
    /// Tickets whose task has ended before their site was known.
    closed: HashMap<u64, (Counts, BootTime)>,
    /// Tickets that are done with, by site id.
    folded: BTreeMap<String, Folded>,
    /// Tickets that are done with, and whose site will not be known.
    lost: Counts,
}

impl Threads {
    /// Takes a row; `true`: nothing will count in it any more, forget it in the kernel.
    pub(super) fn row(&mut self, number: u64, totals: SiteTotals, at: BootTime) -> bool {
        let row = self.rows.entry(number).or_default();
        row.update(totals);
        if number & site::TICKET == 0 || !row.at_rest() {
            return false;
        }
        let counts = row.counts(None, Missed::default());
        self.rows.remove(&number);
        match self.names.remove(&number) {
            Some(info) => self.fold(&info, counts),
            None => {
                self.closed.insert(number, (counts, at));
            }
        }
        true
    }

    /// A number leads to this site.
    pub(super) fn resolve(&mut self, _exec: ExecId, number: u64, info: &Arc<SiteInfo>) {
        if let Some((counts, _)) = self.closed.remove(&number) {
            self.fold(info, counts);
        } else if self.names.len() < MAX_NAMES {
            self.names.insert(number, Arc::clone(info));
        }
    }

    /// Gives up on stacks that are overdue. `true` = there were some.
    pub(super) fn tick(&mut self, now: BootTime) -> bool {
        let before = self.closed.len();
        let lost = &mut self.lost;
        self.closed.retain(|_, (counts, since)| {
            let keep = now.since(*since) < STACK_OVERDUE;
            if !keep {
                *lost = sum(*lost, *counts);
            }
            keep
        });
        self.closed.len() != before
    }

    fn fold(&mut self, info: &Arc<SiteInfo>, counts: Counts) {
        let entry = self.folded.entry(info.id.clone());
        let entry = entry.or_insert_with(|| Folded::none(info));
        entry.counts = sum(entry.counts, counts);
    }

    /// Whether every task has ended. `false` also while nothing is known.
    pub(super) fn all_ended(&self) -> bool {
        let live: i128 = self
            .rows
            .values()
            .map(|row| i128::from(row.counts(None, Missed::default()).live()))
            .sum();
        !self.rows.is_empty() && live == 0
    }

    /// Numbers of the rows that the kernel has.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.rows.keys().copied()
    }

    /// All sites, largest first.
    pub(super) fn sites(&self, kernel: &KernelRuntime) -> Vec<SiteSnapshot> {
        let mut sites = self.folded.clone();
        let mut add = |info: &Arc<SiteInfo>, counts: Counts| {
            let entry = sites.entry(info.id.clone());
            let entry = entry.or_insert_with(|| Folded::none(info));
            entry.counts = sum(entry.counts, counts);
        };
        let unresolved = Arc::new((kernel.reserved)(site::UNRESOLVED));
        for (number, row) in &self.rows {
            let counts = row.counts(None, Missed::default());
            match self.names.get(number) {
                Some(info) => add(info, counts),
                None if *number < site::RESERVED => add(&Arc::new((kernel.reserved)(*number)), counts),
                None => add(&unresolved, counts),
            }
        }
        let waiting = self
            .closed
            .values()
            .fold(self.lost, |all, (counts, _)| sum(all, *counts));
        if waiting != Counts::default() {
            add(&unresolved, waiting);
        }
        let sites = sites
            .into_values()
            .map(|site| SiteSnapshot::shared(&site.info, site.counts));
        let mut sites: Vec<_> = sites.collect();
        sites.sort_by(|a, b| {
            b.counts
                .live()
                .cmp(&a.counts.live())
                .then_with(|| a.info.id.cmp(&b.info.id))
        });
        sites
    }
}

/// The sum of two counts.
pub(super) fn sum(a: Counts, b: Counts) -> Counts {
    Counts {
        baseline: a.baseline.saturating_add(b.baseline),
        spawned: a.spawned.saturating_add(b.spawned),
        finished: a.finished.saturating_add(b.finished),
    }
}
