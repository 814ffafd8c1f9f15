//! Readings of made-up books, and what follows from them.

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
    assert!(!merge.finding().is_exact(), "two walks are no proof");
    merge.walk(&totals, &listing(&[(1, 10), (2, 4)]), &totals, all);
    let finding = merge.finding();
    assert!(finding.is_exact(), "{finding:?}");
    assert_eq!(finding.sites, BTreeMap::from([(1, 7), (2, 4)]));
}

/// While one site storms, its part is what the runtime's own sum leaves.
#[test]
fn baseline_of_one_restless_site_is_the_rest_of_the_sum() {
    let mut merge = Merge::default();
    for step in 0..10_u64 {
        let before = counts(&[(1, step * 100, step * 100)]);
        let after = counts(&[(1, step * 100 + 50, step * 100 + 50)]);
        // Of the three old tasks of site 1, the walk sees two, and none of the new ones.
        merge.walk(&before, &listing(&[(1, 2), (2, 4)]), &after, all);
        merge.count(&after, &counters(7, 1000 + step * 100 + 50), &after, all);
    }
    let finding = merge.finding();
    assert!(finding.is_exact(), "{finding:?}");
    assert_eq!(finding.sites, BTreeMap::from([(1, 7 - 4), (2, 4)]));
}

/// With two restless sites the sum is known, but not whose the rest is.
#[test]
fn baseline_of_two_restless_sites_has_tasks_elsewhere() {
    let mut merge = Merge::default();
    for step in 0..10_u64 {
        let before = counts(&[(1, step, step), (2, step, step)]);
        let after = counts(&[(1, step + 1, step + 1), (2, step + 1, step + 1)]);
        merge.walk(&before, &listing(&[(1, 2), (2, 2)]), &after, all);
        merge.count(&after, &counters(6, 1000 + 2 * (step + 1)), &after, all);
    }
    let finding = merge.finding();
    assert_eq!(
        (finding.doubt.as_deref(), finding.elsewhere),
        (None, 4),
        "{finding:?}"
    );
    assert_eq!(finding.sites.values().sum::<i64>() + finding.elsewhere, 6);
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
    let finding = merge.finding();
    assert!(finding.is_exact(), "{finding:?}");
    assert_eq!(finding.sites, BTreeMap::from([(1, 3)]));
}

/// With finish points that lie too early, a walk may see a task that was counted as finished already.
#[test]
fn baseline_with_early_finish_points_is_what_most_walks_say() {
    let mut merge = Merge::new(true, SiteCounts::new());
    let totals = counts(&[(1, 10, 4)]);
    for too_many in [1, 0, 0, 1, 0, 0, 0] {
        merge.walk(&totals, &listing(&[(1, 9 + too_many)]), &totals, all);
    }
    let finding = merge.finding();
    assert!(finding.is_exact(), "{finding:?}");
    assert_eq!(finding.sites, BTreeMap::from([(1, 3)]));
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
    assert_eq!(merge.finding().doubt.as_deref(), Some("the list goes in circles"));
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
    assert!(
        merge
            .finding()
            .unlisted_doubt
            .is_some_and(|doubt| doubt.contains('2'))
    );
    assert_eq!(own.finding().unlisted_doubt, None, "they are the runtime's own");
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

/// Ends that no probe saw: what is listed is less than what we count, at the site where they were missed.
#[test]
fn offset_of_a_site_with_missed_ends_is_less_than_zero() {
    let mut merge = Merge::default();
    let totals = counts(&[(1, 20, 5), (2, 3, 3)]);
    for _ in 0..3 {
        merge.walk(&totals, &listing(&[(1, 11), (2, 0)]), &totals, all);
        merge.count(&totals, &counters(11, 23), &totals, all);
    }
    let finding = merge.finding();
    assert!(finding.is_exact(), "{finding:?}");
    assert_eq!(finding.sites, BTreeMap::from([(1, -4)]));
    let ledger = finding.ledger.unwrap();
    assert_eq!((ledger.added, ledger.removed), (0, 4));
}

/// While several sites storm, the sum tells that ends were missed, and nothing tells where.
#[test]
fn missed_ends_at_restless_sites_are_elsewhere() {
    let mut merge = Merge::default();
    for step in 0..10_u64 {
        let before = counts(&[(1, step, step), (2, step + 6, step), (3, 8, 2)]);
        let after = counts(&[(1, step + 1, step + 1), (2, step + 7, step + 1), (3, 8, 2)]);
        merge.walk(&before, &listing(&[(1, 0), (2, 4), (3, 6)]), &after, all);
        merge.count(&after, &counters(10, 2 * (step + 1) + 14), &after, all);
    }
    let finding = merge.finding();
    assert_eq!(
        (finding.doubt.as_deref(), finding.sum()),
        (None, -2),
        "{finding:?}"
    );
    assert_eq!((finding.elsewhere, finding.sites.get(&3)), (-2, None));
}

/// Counters of a runtime that never had a task of this file are another copy's: they move, and our totals do not.
#[test]
fn counters_of_another_copy_do_not_spoil_the_sum() {
    let mut merge = Merge::default();
    let totals = counts(&[(1, 5, 2)]);
    for step in 0..10_u64 {
        let own = counters(10, 100)[0];
        let other = Counters {
            group: Group { owner: 8, ..GROUP },
            live: 0,
            added: Some(1_000 + step),
            confirmed: false,
        };
        merge.count(&totals, &[own, other], &totals, all);
    }
    assert_eq!(merge.sum(), Some(7));
    let ledger = merge.ledger().unwrap();
    assert_eq!((ledger.added, ledger.removed), (95, 88));
    assert_eq!(ledger.groups.len(), 1);
}
