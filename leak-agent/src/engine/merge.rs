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

use crate::source::books::{Counters, GroupKind, Listing};
use leak_agent_common::totals::SiteTotals;
use std::collections::{BTreeMap, HashMap, HashSet};

/// How often a largest value must have been seen before it is taken for the truth without a sum that proves it.
const AGREEMENTS: u32 = 3;

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

/// A lower bound, and how often it was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bound {
    value: i64,
    /// Readings that gave this very value.
    seen: u32,
}

impl Bound {
    fn raise(&mut self, value: i64) {
        if self.seen == 0 || value > self.value {
            *self = Self { value, seen: 1 };
        } else if value == self.value {
            self.seen = self.seen.saturating_add(1);
        }
    }

    /// For values that may be too large now and then: what most of them say.
    fn vote(&mut self, value: i64) {
        if value == self.value {
            self.seen = self.seen.saturating_add(1);
        } else if self.seen == 0 {
            *self = Self { value, seen: 1 };
        } else {
            self.seen -= 1;
        }
    }

    fn agreed(self) -> bool {
        self.seen >= AGREEMENTS
    }
}

/// A constant between two bounds, and how often each of them was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Interval {
    /// Never too large, but for what a runtime had half-written when it was read.
    low: Bound,
    /// Never too small, but for tasks between their probe and the runtime's counter: its negative.
    high: Bound,
}

impl Interval {
    fn between(&mut self, low: i64, high: i64) {
        self.low.raise(low);
        self.high.raise(high.saturating_neg());
        if self.low.value > self.high.value.saturating_neg() {
            *self = Self::default(); // one of the exceptions
        }
    }

    /// The constant, once both bounds have met and were seen several times.
    fn value(&self) -> Option<i64> {
        let met = self.low.value == self.high.value.saturating_neg();
        (met && self.low.agreed() && self.high.agreed()).then_some(self.low.value)
    }
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
            elsewhere,
            doubt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::books::{Candidates, Group, GroupListing, SiteCount};
    use crate::types::Vaddr;

    const GROUP: Group = Group {
        owner: 7,
        kind: GroupKind::Owned,
    };

    fn counts(sites: &[(u64, u64, u64)]) -> SiteCounts {
        let totals = |&(site, spawned, finished): &(u64, u64, u64)| {
            let totals = SiteTotals {
                spawned,
                finished,
                baseline: 0,
            };
            (site, totals)
        };
        sites.iter().map(totals).collect()
    }

    fn listing(sites: &[(u64, u64)]) -> Listing {
        let count = |&(site, live): &(u64, u64)| SiteCount {
            site: Vaddr(site),
            live,
        };
        Listing {
            groups: vec![GroupListing {
                group: GROUP,
                before: None,
                after: None,
                walked: sites.iter().map(|(_, live)| live).sum(),
                ending: 0,
                complete: true,
                sites: sites.iter().map(count).collect(),
            }],
            blocking: Candidates {
                complete: true,
                ..Candidates::default()
            },
            ..Listing::default()
        }
    }

    fn counters(live: u64, added: u64) -> [Counters; 1] {
        [Counters {
            group: GROUP,
            live,
            added: Some(added),
            confirmed: true,
        }]
    }

    fn all(_: u64) -> Keeps {
        Keeps::Lists
    }

    fn none(_: u64) -> Keeps {
        Keeps::Nothing
    }

    /// In a process at rest, three equal walks are proof enough, also without a runtime that counts.
    #[test]
    fn baseline_of_a_process_at_rest_is_what_its_lists_have() {
        let mut merge = Merge::default();
        let totals = counts(&[(1, 5, 2)]);
        for _ in 0..2 {
            merge.walk(&totals, &listing(&[(1, 10), (2, 4)]), &totals, all);
        }
        assert!(!merge.baseline().is_exact(), "two walks are no proof");
        merge.walk(&totals, &listing(&[(1, 10), (2, 4)]), &totals, all);
        let baseline = merge.baseline();
        assert!(baseline.is_exact(), "{baseline:?}");
        assert_eq!(baseline.sites, BTreeMap::from([(1, 7), (2, 4)]));
    }

    /// While one site storms, its part is what the runtime's own sum leaves.
    #[test]
    fn baseline_of_one_restless_site_is_the_rest_of_the_sum() {
        let mut merge = Merge::default();
        for step in 0..5_u64 {
            let before = counts(&[(1, step * 100, step * 100)]);
            let after = counts(&[(1, step * 100 + 50, step * 100 + 50)]);
            // Of the three old tasks of site 1, the walk sees two, and none of the new ones.
            merge.walk(&before, &listing(&[(1, 2), (2, 4)]), &after, all);
            merge.count(&after, &counters(7, 1000 + step * 100 + 50), &after, all);
        }
        let baseline = merge.baseline();
        assert!(baseline.is_exact(), "{baseline:?}");
        assert_eq!(baseline.sites, BTreeMap::from([(1, 7 - 4), (2, 4)]));
    }

    /// With two restless sites the sum is known, but not whose the rest is.
    #[test]
    fn baseline_of_two_restless_sites_has_tasks_elsewhere() {
        let mut merge = Merge::default();
        for step in 0..5_u64 {
            let before = counts(&[(1, step, step), (2, step, step)]);
            let after = counts(&[(1, step + 1, step + 1), (2, step + 1, step + 1)]);
            merge.walk(&before, &listing(&[(1, 2), (2, 2)]), &after, all);
            merge.count(&after, &counters(6, 1000 + 2 * (step + 1)), &after, all);
        }
        let baseline = merge.baseline();
        assert_eq!(
            (baseline.doubt.as_deref(), baseline.elsewhere),
            (None, 4),
            "{baseline:?}"
        );
        assert_eq!(baseline.sites.values().sum::<u64>() + baseline.elsewhere, 6);
    }

    /// A task that is between its probe and the runtime's list when it is read spoils that reading only.
    #[test]
    fn baseline_is_not_spoilt_by_a_task_on_its_way() {
        let mut merge = Merge::default();
        for on_its_way in [1, 0, 0, 1, 0, 0, 0] {
            let totals = counts(&[(1, 10, 4)]);
            merge.walk(&totals, &listing(&[(1, 9 - on_its_way)]), &totals, all);
            merge.count(&totals, &counters(9 - on_its_way, 13 - on_its_way), &totals, all);
        }
        let baseline = merge.baseline();
        assert!(baseline.is_exact(), "{baseline:?}");
        assert_eq!(baseline.sites, BTreeMap::from([(1, 3)]));
    }

    /// With finish points that lie too early, a walk may see a task that was counted as finished already.
    #[test]
    fn baseline_with_early_finish_points_is_what_most_walks_say() {
        let mut merge = Merge::new(true);
        let totals = counts(&[(1, 10, 4)]);
        for too_many in [1, 0, 0, 1, 0, 0, 0] {
            merge.walk(&totals, &listing(&[(1, 9 + too_many)]), &totals, all);
        }
        let baseline = merge.baseline();
        assert!(baseline.is_exact(), "{baseline:?}");
        assert_eq!(baseline.sites, BTreeMap::from([(1, 3)]));
    }

    /// In a storm, totals move while counters are read: bounds that did not meet are no number, however often each was seen.
    #[test]
    fn sum_of_a_storm_is_unknown_until_its_bounds_meet() {
        let mut merge = Merge::default();
        let at = |spawned: u64| counts(&[(1, spawned, spawned)]);
        // Of 10 tasks that come between two readings of the totals, 3 are in the counters.
        for step in 0..9_u64 {
            merge.count(
                &at(step * 10),
                &counters(5, 100 + step * 10 + 3),
                &at(step * 10 + 10),
                all,
            );
        }
        assert_eq!(merge.sum(), None);
        for _ in 0..3 {
            merge.count(&at(90), &counters(5, 190), &at(90), all);
        }
        assert_eq!(merge.sum(), Some(5));
    }

    /// Lists that were refused prove nothing.
    #[test]
    fn baseline_of_refused_lists_is_in_doubt() {
        let mut merge = Merge::default();
        let totals = counts(&[]);
        let mut refused = listing(&[(1, 3)]);
        refused.refused.push("the list goes in circles".to_owned());
        for _ in 0..5 {
            merge.walk(&totals, &refused, &totals, all);
        }
        assert_eq!(
            merge.baseline().doubt.as_deref(),
            Some("the list goes in circles")
        );
    }

    /// Blocking tasks are in no list: only their absence is certain.
    #[test]
    fn baseline_with_possible_blocking_tasks_is_in_doubt() {
        let mut merge = Merge::default();
        let totals = counts(&[]);
        let mut found = listing(&[(1, 3)]);
        found.blocking.count = 2;
        found.blocking.sites.push(SiteCount {
            site: Vaddr(9),
            live: 2,
        });
        let mut own = Merge::default();
        for _ in 0..5 {
            merge.walk(&totals, &found, &totals, none);
            own.walk(&totals, &found, &totals, |_| Keeps::Itself);
        }
        assert!(merge.baseline().doubt.is_some_and(|doubt| doubt.contains('2')));
        assert_eq!(own.baseline().doubt, None, "they are the runtime's own");
    }

    /// A spawn that no probe saw is one more task from before the probes: the two sums differ by it.
    #[test]
    fn sum_of_books_with_a_lost_probe_differs_by_it() {
        let at = |live, added, spawned, finished| {
            let mut merge = Merge::default();
            for _ in 0..3 {
                let totals = counts(&[(1, spawned, finished)]);
                merge.count(&totals, &counters(live, added), &totals, all);
            }
            merge.sum()
        };
        assert_eq!(at(10, 100, 5, 2), Some(7));
        assert_eq!(at(30, 150, 55, 32), Some(7));
        assert_eq!(at(30, 150, 54, 32), Some(8));
        assert_eq!(Merge::default().sum(), None);
    }
}
