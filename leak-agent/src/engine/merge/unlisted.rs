//! Tasks in no list: what can be said of those that were alive when the probes began.
//!
//! A search of the memory sees every one of them that lives from its beginning to its end, and perhaps remains of
//! others. So, with the ones that still look alive at some moment after it,
//!
//! ```text
//! baseline ≤ seen − spawned (before the search) + finished (after that moment)
//! baseline ≥ finished (earlier) − spawned (later)
//! ```
//!
//! Where the two meet, several times, the baseline is known: as a rule at zero.

use super::{SiteCounts, of, signed};
use crate::engine::bound::Bound;
use crate::source::books::Candidates;
use std::collections::{BTreeMap, BTreeSet};

/// The bounds of all sites, from the looks after one search.
#[derive(Clone, Debug, Default)]
pub(super) struct Unlisted {
    /// Our totals before the search began.
    searched: SiteCounts,
    low: BTreeMap<u64, Bound>,
    /// The upper bounds' negatives.
    high: BTreeMap<u64, Bound>,
    /// The last look was whole.
    whole: bool,
    looked: bool,
}

/// What is known of one site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alive {
    pub(super) least: u64,
    pub(super) most: u64,
    /// Both were seen several times.
    pub(super) certain: bool,
}

impl Unlisted {
    /// After a search; our totals from before it began.
    pub(super) fn after_search(totals: SiteCounts) -> Self {
        Self {
            searched: totals,
            ..Self::default()
        }
    }

    /// Takes a look at what the search had seen, between two readings of the totals. `mine`: sites whose tasks are in no
    /// list.
    pub(super) fn look(
        &mut self,
        before: &SiteCounts,
        seen: &Candidates,
        after: &SiteCounts,
        mine: impl Fn(u64) -> bool,
    ) {
        self.looked = true;
        self.whole = seen.complete;
        let seen: BTreeMap<u64, u64> = seen.sites.iter().map(|site| (site.site.0, site.live)).collect();
        let known = self.high.keys().chain(seen.keys()).chain(after.keys());
        let sites: BTreeSet<u64> = known.copied().filter(|site| mine(*site)).collect();
        for site in sites {
            let alive = signed(seen.get(&site).copied().unwrap_or(0));
            let later = of(after, site);
            let high = alive
                .saturating_sub(signed(of(&self.searched, site).spawned))
                .saturating_add(signed(later.finished));
            let low = signed(of(before, site).finished).saturating_sub(signed(later.spawned));
            self.high.entry(site).or_default().raise(high.saturating_neg());
            self.low.entry(site).or_default().raise(low);
        }
    }

    /// What the looks say by site; `None` = there was none, or not all memory was searched.
    pub(super) fn alive(&self) -> Option<BTreeMap<u64, Alive>> {
        let number = |value: i64| u64::try_from(value).unwrap_or(0);
        let alive = self.high.iter().map(|(site, high)| {
            let low = self.low.get(site).copied().unwrap_or_default();
            let alive = Alive {
                least: number(low.value),
                most: number(high.value.saturating_neg()),
                certain: high.agreed(),
            };
            (*site, alive)
        });
        (self.looked && self.whole).then(|| alive.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::books::SiteCount;
    use crate::types::Vaddr;
    use leak_agent_common::totals::SiteTotals;

    fn counts(spawned: u64, finished: u64) -> SiteCounts {
        let totals = SiteTotals {
            spawned,
            finished,
            baseline: 0,
        };
        SiteCounts::from([(9, totals)])
    }

    fn seen(live: u64) -> Candidates {
        Candidates {
            count: live,
            sites: vec![SiteCount { site: Vaddr(9), live }],
            complete: true,
            ..Candidates::default()
        }
    }

    fn looks(searched: &SiteCounts, looks: &[(SiteCounts, u64, SiteCounts)]) -> Alive {
        let mut unlisted = Unlisted::after_search(searched.clone());
        for (before, live, after) in looks {
            unlisted.look(before, &seen(*live), after, |_| true);
        }
        unlisted.alive().unwrap()[&9]
    }

    /// Tasks that were seen to begin account for what is alive: there was none before.
    #[test]
    fn tasks_alive_that_were_seen_to_begin_are_not_from_before() {
        let totals = counts(5, 2);
        let look = (totals.clone(), 3, totals.clone());
        let alive = looks(&totals, &[look.clone(), look.clone(), look]);
        assert_eq!((alive.least, alive.most, alive.certain), (0, 0, true));
    }

    /// Tasks that ended before anybody looked at them were there: what began meanwhile does not hide them.
    #[test]
    fn tasks_that_ended_and_were_followed_by_others_are_not_forgotten() {
        // Two from before ended, and two began after the search: none of those that it saw is alive.
        let now = counts(2, 2);
        let look = (now.clone(), 0, now.clone());
        let alive = looks(&counts(0, 0), &[look.clone(), look.clone(), look]);
        assert_eq!((alive.least, alive.most), (0, 2));
    }

    /// Ends without beginnings are exactly as many tasks from before.
    #[test]
    fn tasks_that_ended_alone_are_known_exactly() {
        let now = counts(0, 2);
        let look = (now.clone(), 0, now.clone());
        let alive = looks(&counts(0, 0), &[look.clone(), look.clone(), look]);
        assert_eq!((alive.least, alive.most, alive.certain), (2, 2, true));
    }

    /// A search that did not see all memory says nothing.
    #[test]
    fn look_at_a_part_of_the_memory_says_nothing() {
        let mut unlisted = Unlisted::default();
        assert_eq!(unlisted.alive(), None);
        let part = Candidates {
            complete: false,
            ..seen(0)
        };
        unlisted.look(&counts(0, 0), &part, &counts(0, 0), |_| true);
        assert_eq!(unlisted.alive(), None);
    }
}
