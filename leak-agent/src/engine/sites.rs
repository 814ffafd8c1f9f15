//! The sites of one runtime of a process, while what is known of them comes together.

use super::snapshot::{Counts, SiteSnapshot};
use super::threads::sum;
use crate::source::SiteInfo;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The sites. There are many, and most are told nothing but counts: what finds them again is made when it is first needed.
#[derive(Default)]
pub(super) struct Sites {
    all: Vec<SiteSnapshot>,
    /// Places of the first `placed` of them, by the address of what they are called.
    places: HashMap<*const SiteInfo, usize>,
    placed: usize,
}

impl Sites {
    /// Adds a site. It must not have come before, unless from another plan.
    pub(super) fn push(&mut self, info: &Arc<SiteInfo>, counts: Counts) {
        self.all.push(SiteSnapshot::shared(info, counts));
    }

    /// Adds counts at a site that may have come before.
    pub(super) fn add(&mut self, info: &Arc<SiteInfo>, counts: Counts) -> &mut SiteSnapshot {
        let index = match self.place(info) {
            Some(index) => index,
            None => {
                self.push(info, Counts::default());
                self.all.len() - 1
            }
        };
        let site = &mut self.all[index];
        site.counts = sum(site.counts, counts);
        site
    }

    /// A site that has come.
    pub(super) fn get_mut(&mut self, info: &Arc<SiteInfo>) -> Option<&mut SiteSnapshot> {
        self.place(info).map(|index| &mut self.all[index])
    }

    fn place(&mut self, info: &Arc<SiteInfo>) -> Option<usize> {
        for (index, site) in self.all.iter().enumerate().skip(self.placed) {
            self.places.entry(Arc::as_ptr(&site.info)).or_insert(index);
        }
        self.placed = self.all.len();
        self.places.get(&Arc::as_ptr(info)).copied()
    }

    /// All of them, the largest first. `plans`: how many plans they are of; those of several may have the same site.
    pub(super) fn finish(self, plans: usize) -> Vec<SiteSnapshot> {
        let mut all = if plans > 1 { merged(self.all) } else { self.all };
        // Those with as many tasks stay in the order of their numbers, in which they mostly come.
        all.sort_by_key(|site| std::cmp::Reverse(site.counts.live()));
        all
    }
}

/// One site of all that have the same id.
fn merged(all: Vec<SiteSnapshot>) -> Vec<SiteSnapshot> {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut merged: Vec<SiteSnapshot> = Vec::with_capacity(all.len());
    for site in all {
        match places.get(&site.info.id) {
            Some(index) => merged[*index].join(site),
            None => {
                places.insert(site.info.id.clone(), merged.len());
                merged.push(site);
            }
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::site;

    fn info(number: usize) -> Arc<SiteInfo> {
        site(number, "a", 0, 0, 0).info
    }

    fn spawned(spawned: u64) -> Counts {
        Counts {
            spawned,
            ..Counts::default()
        }
    }

    /// Counts come together at the site they are of, also after it was looked for, and the largest site comes first.
    #[test]
    fn counts_of_a_site_come_together() {
        let (one, two, three) = (info(1), info(2), info(3));
        let mut sites = Sites::default();
        sites.push(&one, spawned(1));
        assert!(sites.get_mut(&two).is_none());
        sites.push(&two, spawned(5));
        sites.add(&one, spawned(2));
        sites.add(&three, spawned(9));
        sites.add(&two, spawned(1));
        let told: Vec<_> = sites.finish(1).iter().map(|site| site.counts.spawned).collect();
        assert_eq!(told, [9, 6, 3]);
    }

    /// The same site of two plans is one, with what both tell of it.
    #[test]
    fn site_of_two_plans_is_one() {
        let mut sites = Sites::default();
        sites.push(&info(1), spawned(4));
        sites.push(&info(2), spawned(1));
        sites.push(&info(1), spawned(3));
        let last = sites.all.len() - 1;
        sites.all[last].more_mut().retained = Some(2);
        let all = sites.finish(2);
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].counts.spawned, all[0].more().retained), (7, Some(2)));
    }
}
