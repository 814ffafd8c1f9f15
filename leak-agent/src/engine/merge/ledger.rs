//! What the runtimes count: tasks ever added to their lists, and tasks ever removed, each against our own totals.
//!
//! Each of the two differences is a constant as long as no probe is lost. When one of them grows, so many spawns (or ends)
//! were not seen.

use super::signed;
use crate::engine::bound::{Interval, Standstills};
use crate::source::books::{Counters, Group, GroupKind};
use leak_agent_common::totals::SiteTotals;
use std::collections::BTreeSet;

/// The runtimes' counters against ours, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Tasks that the runtimes added to their lists, less those that we saw spawned.
    pub added: i64,
    /// Tasks that they removed, less those that we saw finish.
    pub removed: i64,
    /// Whose counters these are.
    pub groups: BTreeSet<Group>,
}

impl Ledger {
    /// Whether the counters are those of the same runtimes: one that is gone takes its part of both with it. A ledger without
    /// runtimes is one of a process in which none had begun.
    #[must_use]
    pub fn can_be_compared(&self, now: Option<&Self>) -> bool {
        now.is_some_and(|now| self.groups.is_empty() || self.groups == now.groups)
    }

    /// Whether both counted the same.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        (self.added, self.removed) == (other.added, other.removed)
    }
}

/// Both differences while they are narrowed down: of all runtimes, and of those that had a task of this file.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledgers {
    all: Differences,
    /// Without those that were never seen but empty: they may be another copy's, whose counters our totals do not follow.
    confirmed: Differences,
    groups: BTreeSet<Group>,
    /// Some runtime does not count.
    uncounted: bool,
}

#[derive(Clone, Debug, Default)]
struct Differences {
    added: Interval,
    removed: Interval,
    added_at_rest: Standstills,
    removed_at_rest: Standstills,
}

impl Differences {
    fn take(&mut self, (added, live): (i64, i64), earlier: SiteTotals, later: SiteTotals, round: u32) {
        let removed = added.saturating_sub(live);
        self.added.between(
            added.saturating_sub(signed(later.spawned)),
            added.saturating_sub(signed(earlier.spawned)),
        );
        self.removed.between(
            removed.saturating_sub(signed(later.finished)),
            removed.saturating_sub(signed(earlier.finished)),
        );
        if earlier.spawned == later.spawned {
            let value = added.saturating_sub(signed(later.spawned));
            self.added_at_rest.take(value, later.spawned, round);
        }
        if earlier.finished == later.finished {
            let value = removed.saturating_sub(signed(later.finished));
            self.removed_at_rest.take(value, later.finished, round);
        }
    }

    fn values(&self) -> Option<(i64, i64)> {
        Some((self.added.value()?, self.removed.value()?))
    }

    fn proven(&self) -> Option<(i64, i64)> {
        Some((self.added_at_rest.value()?, self.removed_at_rest.value()?))
    }
}

impl Ledgers {
    /// Takes what they count, read between two readings of our totals of all listed sites.
    /// `round`: how often all lists were read before.
    pub(super) fn take(&mut self, earlier: SiteTotals, counters: &[Counters], later: SiteTotals, round: u32) {
        let owned = || counters.iter().filter(|each| each.group.kind == GroupKind::Owned);
        if owned().any(|each| each.added.is_none()) {
            self.uncounted = true;
            return;
        }
        let sum = |of: &mut dyn Iterator<Item = &Counters>| {
            of.fold((0_i64, 0_i64), |(added, live), each| {
                (
                    added.saturating_add(signed(each.added.unwrap_or(0))),
                    live.saturating_add(signed(each.live)),
                )
            })
        };
        let groups: BTreeSet<Group> = owned()
            .filter(|each| each.confirmed)
            .map(|each| each.group)
            .collect();
        if groups != self.groups {
            self.confirmed = Differences::default();
            self.groups = groups;
        }
        self.all.take(sum(&mut owned()), earlier, later, round);
        let confirmed = sum(&mut owned().filter(|each| each.confirmed));
        self.confirmed.take(confirmed, earlier, later, round);
    }

    /// Tasks added, less removed, less what our totals say of both, for certain. A runtime without a task adds to both alike.
    pub(super) fn proven(&self) -> Option<i64> {
        if self.uncounted {
            return None;
        }
        let (added, removed) = self.confirmed.proven().or_else(|| self.all.proven())?;
        Some(added.saturating_sub(removed))
    }

    /// The same, as few readings have it: good enough to agree with what is known, and for nothing else.
    pub(super) fn sum(&self) -> Option<i64> {
        if self.uncounted {
            return None;
        }
        let (added, removed) = self.confirmed.values().or_else(|| self.all.values())?;
        Some(added.saturating_sub(removed))
    }

    /// The differences of the runtimes that had a task of this file, for certain or as few readings have them; `None` also if
    /// there is no such runtime.
    pub(super) fn ledger(&self, certain: bool) -> Option<Ledger> {
        if self.uncounted || self.groups.is_empty() {
            return None;
        }
        let (added, removed) = if certain {
            self.confirmed.proven()?
        } else {
            self.confirmed.values()?
        };
        Some(Ledger {
            added,
            removed,
            groups: self.groups.clone(),
        })
    }
}
