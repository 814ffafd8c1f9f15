//! Two books of the same tasks, read one after the other while tasks come and go: what was alive when the probes began?
//!
//! For every site `live = baseline + spawned − finished`, and the baseline is a constant. A walk through the
//! runtime's lists lies between two readings of our totals. It sees no task that was not spawned before it ended, and
//! what it sees had not finished when it began. So, whatever happens meanwhile,
//!
//! ```text
//! baseline ≥ walked − spawned (after) + finished (before)
//! ```
//!
//! and the two sides are equal if nothing happened meanwhile and nothing was half-way between a probe and a list. The
//! largest value of many walks is the best bound. What the runtime counts bounds the sum of all sites from both
//! sides: tasks ever added, and tasks ever removed, each follow our totals and never run ahead of them. Once the
//! bounds of the sites add up to that sum, each of them is the truth.

mod ledger;
mod unlisted;

pub use super::bound::AGREEMENTS;
pub use ledger::Ledger;

use super::bound::Bound;
use crate::source::books::{Counters, GroupKind, Listing};
use leak_agent_common::totals::SiteTotals;
use ledger::Ledgers;
use std::collections::{BTreeMap, HashMap, HashSet};
use unlisted::Unlisted;

/// Totals of the sites of one plan in one process, by site number.
pub type SiteCounts = HashMap<u64, SiteTotals>;

/// What a runtime knows of the tasks of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// They are in lists.
    Lists,
    /// They are in no list.
    Nothing,
    /// They are its own: nobody asks how many were alive before.
    Itself,
}

/// What all readings so far say.
#[derive(Clone, Debug, Default)]
pub struct Merge {
    /// A task may be counted as finished and seen alive after that.
    finish_is_early: bool,
    sites: BTreeMap<u64, Bound>,
    /// Sites at which nothing happened during some walk that was whole.
    quiet: HashSet<u64>,
    /// What the runtimes count.
    ledgers: Ledgers,
    /// Some lists are nobody's that counts or that is known.
    unproven: bool,
    /// Some lists are not those of a runtime that counts.
    unbound: bool,
    walks: u32,
    refused: Option<String>,
    unlisted: Unlisted,
}

/// What the books say of every site: `live = offset + spawned − finished`. As long as every task was seen to begin and to end,
/// the offset is what was alive when the probes began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// The offsets of sites whose tasks are in lists, but for those that are zero: exact, or lower bounds. Less than zero: more
    /// tasks ended than were seen to end.
    pub sites: BTreeMap<u64, i64>,
    /// What is to be added to these, and it is not known at which of the sites.
    pub elsewhere: i64,
    /// Some lists had nothing but their own links to prove them: with a doubt, not even lower bounds are certain.
    pub unproven: bool,
    /// Why the numbers are no more than lower bounds; `None` = they are exact, but for `elsewhere`.
    pub doubt: Option<String>,
    /// What the runtimes themselves count, with the doubts that go with it.
    pub ledger: Option<Ledger>,
    /// The same as `sites` for sites whose tasks are in no list, alive when the probes began: exact, or lower bounds.
    pub unlisted: BTreeMap<u64, u64>,
    /// Why the numbers in `unlisted` are no more than lower bounds.
    pub unlisted_doubt: Option<String>,
}

impl Finding {
    /// Whether both readings have the same numbers of listed sites, as far as both know them.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let by_site = self.elsewhere != 0 || other.elsewhere != 0 || self.sites == other.sites;
        let ledgers = self.ledger.as_ref().zip(other.ledger.as_ref());
        by_site
            && self.sum() == other.sum()
            && ledgers.is_none_or(|(a, b)| !a.can_be_compared(Some(b)) || a.says_the_same(b))
    }

    /// Every number of a listed site is the truth.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.doubt.is_none() && self.elsewhere == 0
    }

    /// The offset of all listed sites together.
    #[must_use]
    pub fn sum(&self) -> i64 {
        self.sites
            .values()
            .fold(self.elsewhere, |sum, site| sum.saturating_add(*site))
    }
}

fn signed(count: u64) -> i64 {
    count as i64
}

fn of(counts: &SiteCounts, site: u64) -> SiteTotals {
    counts.get(&site).copied().unwrap_or_default()
}

impl Merge {
    /// Nothing is known yet. `finish_is_early`: the probes count a task as finished before it is marked as ended.
    /// `searched`: our totals from before the memory was last searched.
    #[must_use]
    pub fn new(finish_is_early: bool, searched: SiteCounts) -> Self {
        Self {
            finish_is_early,
            unlisted: Unlisted::after_search(searched),
            ..Self::default()
        }
    }

    /// The memory was searched again; `searched`: our totals from before that.
    pub fn searched(&mut self, searched: SiteCounts) {
        self.unlisted = Unlisted::after_search(searched);
    }

    /// Takes a walk that lies between two readings of the totals.
    pub fn walk(
        &mut self,
        before: &SiteCounts,
        listing: &Listing,
        after: &SiteCounts,
        keeps: impl Fn(u64) -> Keeps,
    ) {
        let listed = |site: u64| keeps(site) == Keeps::Lists;
        self.walks = self.walks.saturating_add(1);
        self.refused = listing.refused.first().cloned();
        let mut walked: BTreeMap<u64, u64> = BTreeMap::new();
        for group in &listing.groups {
            self.unproven |= group.group.kind == GroupKind::Unknown;
            self.unbound |= group.group.kind != GroupKind::Owned;
            for site in &group.sites {
                let sum = walked.entry(site.site.0).or_default();
                *sum = sum.saturating_add(site.live);
            }
        }
        let whole = listing.refused.is_empty();
        let mut sites: HashSet<u64> = walked.keys().copied().collect();
        sites.extend(after.keys().copied().filter(|site| listed(*site)));
        for site in sites {
            let (earlier, later) = (of(before, site), of(after, site));
            let live = signed(walked.get(&site).copied().unwrap_or(0));
            let bound = live
                .saturating_sub(signed(later.spawned))
                .saturating_add(signed(earlier.finished));
            let quiet = whole && earlier.spawned == later.spawned && earlier.finished == later.finished;
            let known = self.sites.entry(site).or_default();
            if !self.finish_is_early {
                known.raise(bound);
            } else if quiet {
                known.vote(bound);
            }
            if quiet {
                self.quiet.insert(site);
            } else if self.sites.get(&site).is_some_and(|bound| bound.seen <= 1) {
                self.quiet.remove(&site); // the larger value is of a walk during which something happened
            }
        }
        self.unlisted.look(before, &listing.blocking, after, |site| {
            keeps(site) == Keeps::Nothing
        });
    }

    /// Takes what the runtimes count, read between two readings of the totals.
    pub fn count(
        &mut self,
        before: &SiteCounts,
        counters: &[Counters],
        after: &SiteCounts,
        keeps: impl Fn(u64) -> Keeps,
    ) {
        let listed = |totals: &SiteCounts| {
            totals
                .iter()
                .filter(|(site, _)| keeps(**site) == Keeps::Lists)
                .fold(SiteTotals::default(), |sum, (_, totals)| sum.merged(*totals))
        };
        self.ledgers
            .take(listed(before), counters, listed(after), self.walks);
    }

    /// The offset of all listed sites together, as the runtimes count it in a few readings: good enough to agree with what is
    /// known. `None` = they do not count, or not yet often enough.
    #[must_use]
    pub fn sum(&self) -> Option<i64> {
        if self.unbound {
            return None;
        }
        self.ledgers.sum()
    }

    /// What the runtimes count; `None` as in [`Self::sum`].
    #[must_use]
    pub fn ledger(&self) -> Option<Ledger> {
        if self.unbound {
            return None;
        }
        self.ledgers.ledger(false)
    }

    /// Some site was at rest during no walk, or not often enough.
    #[must_use]
    pub fn is_restless(&self) -> bool {
        let rests = |site: &u64, bound: &Bound| self.quiet.contains(site) && bound.agreed();
        !self.sites.iter().all(|(site, bound)| rests(site, bound))
    }

    /// What follows from all that was taken in.
    #[must_use]
    pub fn finding(&self) -> Finding {
        let mut doubt = self.refused.clone();
        if self.walks == 0 {
            doubt = Some("the runtime's own books were not read yet".to_owned());
        }
        let (mut sites, elsewhere) = self.listed(&mut doubt);
        sites.retain(|_, offset| *offset != 0);
        let (unlisted, unlisted_doubt) = self.unlisted();
        Finding {
            sites,
            elsewhere,
            unproven: self.unproven,
            doubt,
            ledger: self.ledgers.ledger(true).filter(|_| !self.unbound),
            unlisted,
            unlisted_doubt,
        }
    }

    /// The offsets by site, and what is elsewhere.
    fn listed(&self, doubt: &mut Option<String>) -> (BTreeMap<u64, i64>, i64) {
        let sum = self.ledgers.proven().filter(|_| !self.unbound);
        let restless: Vec<u64> = self
            .sites
            .iter()
            .filter(|(site, bound)| !self.quiet.contains(site) || !bound.agreed())
            .map(|(site, _)| *site)
            .collect();
        let total = |sites: &BTreeMap<u64, i64>| sites.values().fold(0_i64, |a, b| a.saturating_add(*b));
        let bounds: BTreeMap<u64, i64> = self
            .sites
            .iter()
            .map(|(site, bound)| (*site, bound.value))
            .collect();
        // No offset is less than zero unless an end was missed: then the books tell, and only then.
        let mut sites: BTreeMap<u64, i64> = bounds
            .iter()
            .map(|(site, least)| (*site, (*least).max(0)))
            .collect();
        let missed_ends = sum.map_or_else(|| restless.is_empty(), |sum| sum < total(&sites));
        if missed_ends && self.refused.is_none() {
            if restless.len() > 1 {
                sites = bounds;
                sites.retain(|site, _| !restless.contains(site));
                let elsewhere = sum.map_or(0, |sum| sum.saturating_sub(total(&sites)));
                return (sites, elsewhere);
            }
            sites = bounds;
        }
        let known = total(&sites);
        let mut elsewhere = 0;
        match (sum, restless.as_slice()) {
            (Some(sum), restless) if sum == known && (restless.is_empty() || !self.finish_is_early) => {}
            (Some(sum), [site]) if sum > known => {
                let value = sites.entry(*site).or_default();
                *value = value.saturating_add(sum.saturating_sub(known));
            }
            (Some(sum), restless) if sum > known && !restless.is_empty() => {
                elsewhere = sum.saturating_sub(known);
            }
            (Some(sum), _) => {
                doubt.get_or_insert_with(|| {
                    format!("the runtime counts {sum} tasks from before the probes, its lists had {known}")
                });
            }
            (None, []) => {}
            (None, restless) => {
                doubt.get_or_insert_with(|| {
                    format!(
                        "{} spawn sites were never at rest while the runtime's lists were read",
                        restless.len()
                    )
                });
            }
        }
        (sites, elsewhere)
    }

    /// Tasks in no list that were alive when the probes began, and why they may be more.
    fn unlisted(&self) -> (BTreeMap<u64, u64>, Option<String>) {
        let Some(alive) = self.unlisted.alive() else {
            let doubt = "whether blocking tasks ran before the probes is not known".to_owned();
            return (BTreeMap::new(), Some(doubt));
        };
        let more = alive.values().fold(0_u64, |sum, site| {
            sum.saturating_add(site.most.saturating_sub(site.least))
        });
        let doubt = if more > 0 {
            Some(format!(
                "up to {more} blocking tasks from before the probes are in no list"
            ))
        } else if alive.values().any(|site| !site.certain || site.most < site.least) {
            Some("whether blocking tasks ran before the probes is not certain yet".to_owned())
        } else {
            None
        };
        let least = alive.into_iter().map(|(site, alive)| (site, alive.least));
        (least.filter(|(_, alive)| *alive > 0).collect(), doubt)
    }
}

#[cfg(test)]
mod tests;
