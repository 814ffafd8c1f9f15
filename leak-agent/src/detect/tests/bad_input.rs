//! Clocks that jump, counters that run backwards, sites and processes that vanish, counts that are wrong.

use super::life::Hand;
use super::simulator::{info, runtime};
use crate::detect::{Judgement, Verdict};
use crate::engine::snapshot::{BooksSnapshot, CountedBy, Counts, FollowState};

fn verdict(judgement: &Judgement) -> Verdict {
    let runtime = judgement.runtimes.values().next().unwrap();
    runtime.opinion.verdict
}

fn reason(judgement: &Judgement) -> String {
    let runtime = judgement.runtimes.values().next().unwrap();
    runtime.opinion.reason.clone().unwrap_or_default()
}

/// A machine that slept for hours has not leaked meanwhile, and goes on being judged.
#[test]
fn suspended_machine_is_no_leak_and_hides_none() {
    let mut hand = Hand::new("");
    hand.counts.spawned = 50;
    hand.run(600, 20, 20);
    hand.at += 8 * 3600;
    let judgement = hand.run(600, 20, 20);
    assert_eq!(verdict(&judgement), Verdict::Healthy);
    hand.run(60, 20, 19);
    hand.at += 8 * 3600;
    // On top of what was added before, this might be tasks that take longer: that needs more time.
    let judgement = hand.run(700, 20, 19);
    assert_eq!(verdict(&judgement), Verdict::Leak);
}

/// A clock that runs backwards, or stands still, makes no verdict and no panic; afterwards all begins anew.
#[test]
fn clock_that_jumps_begins_anew() {
    let (mut hand, _) = Hand::leaking("");
    hand.at -= 500;
    let judgement = hand.run(30, 20, 20);
    assert!(judgement.counters["detect_counters_backwards"] > 0);
    for _ in 0..10 {
        hand.counts.spawned += 5;
        hand.observe(vec![hand.process()]);
    }
    hand.at = u64::MAX / 1_000_000_000 - 10;
    hand.run(5, 20, 20);
    hand.at = 0;
    hand.run(5, 20, 20);
    assert!(hand.news.len() <= 3, "{:?}", hand.news);
}

/// Counters that run backwards are taken as a new beginning, not as an end of tasks.
#[test]
fn counters_that_run_backwards_are_no_leak() {
    let mut hand = Hand::new("");
    hand.counts.spawned = 50;
    for round in 0..50_u64 {
        hand.run(30, 20, 20);
        let before = hand.counts;
        hand.counts = Counts {
            baseline: before.live() + round,
            spawned: before.spawned / 3,
            finished: before.spawned / 3,
        };
    }
    let judgement = hand.run(5, 20, 20);
    assert!(
        hand.news
            .iter()
            .all(|(change, _)| *change != crate::detect::Change::Confirmed)
    );
    assert!(judgement.counters["detect_counters_backwards"] >= 49);
}

/// A site that disappears takes nothing with it: its finding is resolved when it has not grown for long enough.
#[test]
fn site_that_disappears_resolves_its_finding() {
    let (mut hand, _) = Hand::leaking("");
    let mut last = Judgement::default();
    for _ in 0..1_000 {
        let mut process = hand.process();
        process.runtimes = vec![runtime(CountedBy::Probes, vec![])];
        last = hand.tick(vec![process]);
    }
    assert!(!last.findings[0].is_open());
    assert_eq!(verdict(&last), Verdict::Healthy);
}

/// Extreme counts break nothing.
#[test]
fn extreme_counts_are_judged_without_a_panic() {
    let mut hand = Hand::new("");
    for (baseline, spawned, finished) in [
        (0, 0, 0),
        (u64::MAX / 2, 0, 0),
        (0, u64::MAX / 2, 0),
        (0, u64::MAX / 2, u64::MAX),
        (5, u64::MAX / 2, u64::MAX),
        (0, 1, 1),
    ] {
        for _ in 0..20 {
            hand.counts = Counts {
                baseline,
                spawned,
                finished,
            };
            hand.tick(vec![hand.process()]);
        }
    }
}

/// Counts that were lost, that drift, or that were corrected make everything undecided for a while, with the reason.
#[test]
fn wrong_counts_make_undecided() {
    let mut hand = Hand::new("");
    hand.counts.spawned = 50;
    assert_eq!(verdict(&hand.run(300, 20, 20)), Verdict::Healthy);
    hand.lost_counts = 7;
    let judgement = hand.run(1, 20, 20);
    assert_eq!(verdict(&judgement), Verdict::Undecided);
    assert!(reason(&judgement).contains("lost"), "{}", reason(&judgement));
    assert_eq!(verdict(&hand.run(60, 20, 20)), Verdict::Undecided);
    assert_eq!(verdict(&hand.run(120, 20, 20)), Verdict::Healthy);
    let with_books = |hand: &Hand, drift: i64, repairs: u64| {
        let mut process = hand.process();
        process.runtimes[0].books = Some(BooksSnapshot {
            drift: Some(drift),
            repairs,
            ..BooksSnapshot::default()
        });
        process
    };
    let process = with_books(&hand, 3, 0);
    let judgement = hand.tick(vec![process]);
    assert!(reason(&judgement).contains("+3"), "{}", reason(&judgement));
    hand.run(200, 20, 20);
    let process = with_books(&hand, 0, 1);
    let judgement = hand.tick(vec![process]);
    assert!(reason(&judgement).contains("corrected"), "{}", reason(&judgement));
}

/// A leak that is hidden by counts that are wrong is not called one.
#[test]
fn leak_with_wrong_counts_is_not_called_one() {
    let mut hand = Hand::new("");
    hand.counts.spawned = 6;
    hand.run(600, 20, 20);
    for _ in 0..10 {
        hand.lost_counts += 1;
        hand.run(30, 20, 19);
    }
    assert!(hand.news.is_empty(), "{:?}", hand.news);
}

/// What has just begun to be watched, and what is not followed or not exact yet, is undecided with the reason.
#[test]
fn short_history_and_late_attach_are_undecided() {
    let mut hand = Hand::new("");
    hand.counts.spawned = 50;
    let judgement = hand.run(10, 20, 20);
    assert_eq!(verdict(&judgement), Verdict::Undecided);
    assert!(
        reason(&judgement).contains("watched for 9 s"),
        "{}",
        reason(&judgement)
    );
    let mut last = Judgement::default();
    for _ in 0..100 {
        let mut process = hand.process();
        process.runtimes[0].exact = false;
        process.runtimes[0].reason = Some("ran before its probes were attached".to_owned());
        last = hand.tick(vec![process]);
    }
    assert_eq!(verdict(&last), Verdict::Undecided);
    assert!(reason(&last).contains("ran before"), "{}", reason(&last));
    let mut process = hand.process();
    process.runtimes[0].state = FollowState::Unsupported;
    process.runtimes[0].reason = Some("too old".to_owned());
    let judgement = hand.tick(vec![process]);
    assert_eq!(
        (verdict(&judgement), reason(&judgement)),
        (Verdict::Undecided, "too old".to_owned())
    );
}

/// When probes take over from readings of memory, the counters that begin at zero are no end of tasks and no leak.
#[test]
fn change_of_the_way_of_counting_begins_anew() {
    let mut hand = Hand::new("");
    for second in 0..900_u64 {
        let live = 100 + second % 3;
        let mut process = hand.process();
        let by = if second < 450 {
            CountedBy::Memory
        } else {
            CountedBy::Probes
        };
        let (spawned, finished) = if second < 450 {
            (0, 0)
        } else {
            (10 * (second - 450), 10 * (second - 450))
        };
        let counts = Counts {
            baseline: live,
            spawned,
            finished,
        };
        let mut site = process.runtimes[0].sites.remove(0);
        site.counts = counts;
        process.runtimes = vec![runtime(by, vec![site])];
        hand.tick(vec![process]);
    }
    assert!(hand.news.is_empty(), "{:?}", hand.news);
    assert_eq!(info(0).id, "feed:0x0");
}
