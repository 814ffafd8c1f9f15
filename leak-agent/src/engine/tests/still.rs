//! Rows and processes that stand still: nothing is done for them, and nothing is missed by that.

use super::*;

/// Rows that stood still for several readings are passed over, and yet known for garbage when their image is gone.
#[test]
fn rows_that_stood_still_are_garbage_after_an_exec() {
    let mut engine = engine();
    engine.plan_armed(PLAN, facts(100));
    exec(&mut engine, P, 4, 200);
    let old = (task(P, 4, 0x1000), counts(5, 0));
    for at in 300..304 {
        totals(&mut engine, &[old], 0, at);
    }
    exec(&mut engine, P, 5, 400);
    engine.follow(P, PLAN);
    totals(&mut engine, &[old, (task(P, 5, 0x1000), counts(2, 1))], 0, 500);
    assert_eq!(garbage(&mut engine, BootTime(500)).rows, [task(P, 4, 0x1000)]);
    assert_eq!(process(&mut engine, P).runtimes[1].counts.live(), 1);
    // An exec of which only the rows tell.
    for at in 501..504 {
        totals(&mut engine, &[(task(P, 5, 0x1000), counts(2, 1))], 0, at);
    }
    let new = (task(P, 6, 0x1000), counts(3, 0));
    for at in 504..506 {
        totals(&mut engine, &[(task(P, 5, 0x1000), counts(2, 1)), new], 0, at);
    }
    assert_eq!(garbage(&mut engine, BootTime(506)).rows, [task(P, 5, 0x1000)]);
}

/// Sites that were counted before their plan was known are asked for as soon as it is.
#[test]
fn sites_seen_before_their_plan_are_named_later() {
    let mut engine = engine();
    exec(&mut engine, P, 4, 200);
    let rows = [(task(P, 4, 0x7000), counts(5, 0))];
    for at in 300..304 {
        totals(&mut engine, &rows, 0, at);
    }
    assert!(engine.take_unnamed().is_empty());
    let open = PlanFacts {
        open: true,
        ..facts(100)
    };
    engine.plan_armed(PLAN, open);
    totals(&mut engine, &rows, 0, 304);
    assert_eq!(engine.take_unnamed(), BTreeSet::from([(PLAN, 0x7000)]));
}

/// A process for which there was no room is taken up when there is, though its rows stood still.
#[test]
fn process_over_the_limit_is_taken_up_when_there_is_room() {
    let mut engine = engine();
    for tgid in 100..110 {
        exec(&mut engine, ProcessKey { tgid, ..P }, 1, 1);
    }
    let rows = [(thread(P, site::MAIN), counts(1, 0))];
    for at in 2..6 {
        totals(&mut engine, &rows, 0, at);
    }
    assert!(engine.take_unknown().is_empty());
    let process = ProcessKey { tgid: 100, ..P };
    engine.apply(&Event::Exited {
        process,
        at: BootTime(6),
    });
    let _ = garbage(&mut engine, BootTime(9_000_000_000));
    totals(&mut engine, &rows, 0, 9_000_000_001);
    assert_eq!(engine.take_unknown(), [P]);
}

/// Of a process of which nothing was heard, a snapshot has what the one before has; whatever is heard makes another.
#[test]
fn snapshot_of_a_process_at_rest_is_shared() {
    let mut engine = engine();
    engine.plan_armed(PLAN, facts(100));
    exec(&mut engine, P, 4, 200);
    engine.describe(P, "app", None);
    engine.follow(P, PLAN);
    let mut rows = vec![
        (thread(P, site::MAIN), counts(1, 0)),
        (task(P, 4, 0x1000), counts(5, 0)),
    ];
    let shown = |engine: &mut Engine, rows: &[(SiteKey, SiteTotals)]| {
        totals(engine, rows, 0, 300);
        Arc::clone(&engine.snapshot(BootTime(300)).processes[0])
    };
    let (_, second) = (shown(&mut engine, &rows), shown(&mut engine, &rows));
    let third = shown(&mut engine, &rows);
    assert!(Arc::ptr_eq(&second, &third));
    rows[1].1 = counts(6, 0);
    let fourth = shown(&mut engine, &rows);
    assert_eq!(fourth.runtimes[1].counts.live(), 6);
    let before = shown(&mut engine, &rows);
    engine.named(PLAN, vec![(0x1000, info("z", false))]);
    let named = shown(&mut engine, &rows);
    assert!(!Arc::ptr_eq(&before, &named) && named.runtimes[1].sites[0].info.id == "z");
    totals(&mut engine, &rows, 7, 301);
    assert!(!engine.snapshot(BootTime(301)).processes[0].runtimes[0].exact);
}
