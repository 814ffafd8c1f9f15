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

use super::bound::{Bound, Interval};
use crate::source::books::{Counters, GroupKind, Listing};
use leak_agent_common::totals::SiteTotals;
use std::collections::{BTreeMap, HashMap, HashSet};

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
    /// Tasks added to the lists, less those we saw spawned.
    added: Interval,
    /// Tasks removed from the lists, less those we saw finish.
    removed: Interval,
    /// Some runtime does not count.
    uncounted: bool,
    /// Some lists are nobody's that counts or that is known.
    unproven: bool,
    /// Some lists are not those of a runtime that counts.
    unbound: bool,
    walks: u32,
    refused: Option<String>,
    /// Upper bound of the tasks in no list.
    unlisted: Option<u64>,
}

/// What is known of the time before the probes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    /// Alive when the probes began, by site: exact, or a lower bound.
    pub sites: BTreeMap<u64, u64>,
    /// Some lists had nothing but their own links to prove them: with a doubt, not even lower bounds are certain.
    pub unproven: bool,
    /// Alive when the probes began, too, but it is not known at which of the sites.
    pub elsewhere: u64,
    /// Why the numbers are no more than lower bounds; `None` = they are exact, but for `elsewhere`.
    pub doubt: Option<String>,
}

impl Baseline {
    /// Every number is the truth.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.doubt.is_none() && self.elsewhere == 0
    }

    /// All of them.
    #[must_use]
    pub fn sum(&self) -> i64 {
        let sites = self
            .sites
            .values()
            .fold(self.elsewhere, |sum, site| sum.saturating_add(*site));
        i64::try_from(sites).unwrap_or(i64::MAX)
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
    #[must_use]
    pub fn new(finish_is_early: bool) -> Self {
        Self {
            finish_is_early,
            ..Self::default()
        }
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
                known.raise(bound.max(0));
            } else if quiet {
                known.vote(bound.max(0));
            }
            if quiet {
                self.quiet.insert(site);
            } else if self.sites.get(&site).is_some_and(|bound| bound.seen <= 1) {
                self.quiet.remove(&site); // the larger value is of a walk during which something happened
            }
        }
        self.unlisted = listing.blocking.complete.then(|| {
            let counted = listing.blocking.sites.iter();
            counted
                .filter(|site| keeps(site.site.0) == Keeps::Nothing)
                .fold(0, |sum: u64, site| sum.saturating_add(site.live))
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
        let owned = counters.iter().filter(|each| each.group.kind == GroupKind::Owned);
        let mut added = 0_i64;
        let mut live = 0_i64;
        for each in owned {
            let Some(ever) = each.added else {
                self.uncounted = true;
                return;
            };
            added = added.saturating_add(signed(ever));
            live = live.saturating_add(signed(each.live));
        }
        let listed = |totals: &SiteCounts| {
            totals
                .iter()
                .filter(|(site, _)| keeps(**site) == Keeps::Lists)
                .fold(SiteTotals::default(), |sum, (_, totals)| sum.merged(*totals))
        };
        let (earlier, later) = (listed(before), listed(after));
        let removed = added.saturating_sub(live);
        self.added.between(
            added.saturating_sub(signed(later.spawned)),
            added.saturating_sub(signed(earlier.spawned)),
        );
        self.removed.between(
            removed.saturating_sub(signed(later.finished)),
            removed.saturating_sub(signed(earlier.finished)),
        );
    }

    /// Tasks alive at the beginning, as the runtimes count them; `None` = they do not, or not yet often enough.
    #[must_use]
    pub fn sum(&self) -> Option<i64> {
        if self.uncounted || self.unbound {
            return None;
        }
        Some(self.added.value()?.saturating_sub(self.removed.value()?))
    }

    /// What follows from all that was taken in.
    #[must_use]
    pub fn baseline(&self) -> Baseline {
        let mut sites: BTreeMap<u64, u64> = self
            .sites
            .iter()
            .map(|(site, bound)| (*site, u64::try_from(bound.value).unwrap_or(0)))
            .filter(|(_, alive)| *alive > 0)
            .collect();
        let mut doubt = self.refused.clone();
        let mut elsewhere = 0;
        if self.walks == 0 {
            doubt = Some("the runtime's own books were not read yet".to_owned());
        }
        let bounds = self
            .sites
            .values()
            .fold(0_i64, |sum, bound| sum.saturating_add(bound.value));
        let restless: Vec<u64> = self
            .sites
            .iter()
            .filter(|(site, bound)| !self.quiet.contains(site) || !bound.agreed())
            .map(|(site, _)| *site)
            .collect();
        match (self.sum(), restless.as_slice()) {
            (Some(sum), restless) if sum == bounds && (restless.is_empty() || !self.finish_is_early) => {}
            (Some(sum), [site]) if sum > bounds => {
                let rest = u64::try_from(sum - bounds).unwrap_or(0);
                let value = sites.entry(*site).or_default();
                *value = value.saturating_add(rest);
            }
            (Some(sum), restless) if sum > bounds && !restless.is_empty() => {
                elsewhere = u64::try_from(sum - bounds).unwrap_or(0);
            }
            (Some(sum), _) => {
                doubt.get_or_insert_with(|| {
                    format!("the runtime counts {sum} tasks from before the probes, its lists had {bounds}")
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
        match self.unlisted {
            Some(0) => {}
            Some(count) => {
                doubt.get_or_insert_with(|| {
                    format!("up to {count} blocking tasks from before the probes are in no list")
                });
            }
            None => {
                doubt.get_or_insert_with(|| {
                    "whether blocking tasks ran before the probes is not known".to_owned()
                });
            }
        }
        Baseline {
            sites,
            unproven: self.unproven,
            elsewhere,
            doubt,
        }
    }
}

#[cfg(test)]
mod tests;
