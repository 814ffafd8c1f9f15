//! The engine on made-up events and totals.

use super::snapshot::{CountedBy, Counts, FollowState, ProcessSnapshot, RuntimeSnapshot};
use super::*;
use crate::source::CodeFrame;
use crate::source::books::{Listing, SiteCount, SiteWaits, Wait};
use crate::types::Vaddr;
use leak_agent_common::key::site;
use leak_agent_common::totals::SiteTotals;

mod still;

const THREAD: Runtime = Runtime {
    wire: 1,
    label: "thread",
};
const TASKS: Runtime = Runtime {
    wire: 2,
    label: "tasks",
};
const P: ProcessKey = ProcessKey {
    start_boottime: 1_000,
    tgid: 7,
    pad: 0,
};
const CHILD: ProcessKey = ProcessKey {
    start_boottime: 5_000,
    tgid: 8,
    pad: 0,
};
const PLAN: PlanId = PlanId(3);

fn info(id: &str, system: bool) -> SiteInfo {
    SiteInfo {
        id: id.to_owned(),
        name: format!("name of {id}"),
        location: None,
        kind: "test",
        system,
        ambiguous: false,
        created_by: None,
        note: None,
    }
}

fn engine() -> Engine {
    let reserved = |number: u64| info(&format!("reserved {number}"), false);
    Engine::new(
        KernelRuntime {
            runtime: THREAD,
            evidence: "test",
            reserved,
            maker: |_| Maker::Other,
        },
        10,
    )
}

fn thread(process: ProcessKey, site: u64) -> SiteKey {
    SiteKey {
        process,
        site,
        plan: 0,
        exec_id: 0,
        runtime: THREAD.wire,
        caller: 0,
    }
}

fn task(process: ProcessKey, exec_id: u32, site: u64) -> SiteKey {
    SiteKey {
        process,
        site,
        plan: PLAN.0,
        exec_id,
        runtime: TASKS.wire,
        caller: 0,
    }
}

fn counts(spawned: u64, finished: u64) -> SiteTotals {
    SiteTotals {
        spawned,
        finished,
        baseline: 0,
    }
}

fn facts(armed_at: u64) -> PlanFacts {
    PlanFacts {
        runtime: TASKS,
        version: Some("1.0.0".to_owned()),
        evidence: "structure".into(),
        points: (4, 4),
        gaps: Vec::new(),
        sites: HashMap::from([
            (0x1000, Arc::new(info("a", false))),
            (0x2000, Arc::new(info("b", true))),
        ]),
        open: false,
        armed_at: BootTime(armed_at),
        probes: Probes::Attached(None),
        unlisted: 0,
        holds: BTreeMap::new(),
    }
}

fn wait(reason: &'static str, tasks: u64) -> Wait {
    Wait { reason, tasks }
}

fn exec(engine: &mut Engine, process: ProcessKey, exec: u32, at: u64) {
    engine.apply(&Event::Execed {
        process,
        exec: ExecId(exec),
        comm: "app".to_owned(),
        at: BootTime(at),
    });
}

fn process(engine: &mut Engine, key: ProcessKey) -> ProcessSnapshot {
    engine.describe(key, "app", None);
    let snapshot = engine.snapshot(BootTime(0));
    let mut processes = snapshot.processes.into_iter();
    Arc::unwrap_or_clone(processes.find(|process| process.key == key).unwrap())
}

/// A reading of all rows.
fn totals(engine: &mut Engine, rows: &[(SiteKey, SiteTotals)], lost_counts: u64, at: u64) {
    engine.take(Input::Totals(Totals {
        rows: rows.to_vec(),
        lost_counts,
        at: BootTime(at),
    }));
}

fn garbage(engine: &mut Engine, now: BootTime) -> Garbage {
    engine.take(Input::Sweep { at: now });
    engine.take_garbage()
}

/// A process that began after the points were armed is exact, and its system sites are left out of its total.
#[test]
fn process_after_arming_is_exact_without_system_sites() {
    let mut engine = engine();
    engine.plan_armed(PLAN, facts(100));
    exec(&mut engine, P, 4, 200);
    engine.follow(P, PLAN);
    let rows = [
        (task(P, 4, 0x1000), counts(9, 2)),
        (task(P, 4, 0x2000), counts(5, 0)),
    ];
    totals(&mut engine, &rows, 0, 300);
    let tasks = &process(&mut engine, P).runtimes[1];
    assert!(tasks.exact, "{:?}", tasks.reason);
    assert_eq!((tasks.state, tasks.counts.live()), (FollowState::Followed, 7));
    assert_eq!(tasks.sites.len(), 2);
}

/// A process that began before the points were armed is not exact, says so, and never shows less than nothing.
#[test]
fn process_before_arming_has_a_lower_bound() {
    let mut engine = engine();
    engine.plan_armed(PLAN, facts(900_000_000));
    exec(&mut engine, P, 4, 200);
    engine.follow(P, PLAN);
    for at in [1, 2] {
        totals(&mut engine, &[(task(P, 4, 0x1000), counts(1, 4))], 0, at);
    }
    let tasks = &process(&mut engine, P).runtimes[1];
    assert!(!tasks.exact);
    assert!(
        tasks.reason.as_ref().unwrap().contains("started 899 ms before"),
        "{:?}",
        tasks.reason
    );
    assert_eq!((tasks.counts.baseline, tasks.counts.live()), (3, 0));
}

/// Ends whose beginnings should have been seen and were not: the process is not called exact any more.
#[test]
fn process_with_more_ends_than_beginnings_is_not_exact() {
    let mut engine = engine();
    engine.plan_armed(PLAN, facts(100));
    exec(&mut engine, P, 4, 200);
    engine.follow(P, PLAN);
    for at in [300, 400] {
        totals(&mut engine, &[(task(P, 4, 0x1000), counts(1, 4))], 0, at);
    }
    let tasks = &process(&mut engine, P).runtimes[1];
    assert!(!tasks.exact);
    assert!(
        tasks.reason.as_ref().unwrap().contains("not every spawn"),
        "{:?}",
        tasks.reason
    );
    assert_eq!((tasks.counts.finished, tasks.counts.live()), (4, 0));
}

/// Rows of callers say whose the creations of a site were: they are in no sum, their names are asked for, and they go with their
/// image.
#[test]
fn callers_of_a_site_are_told_and_not_added() {
    let by = |caller, spawned| {
        let key = SiteKey {
            caller,
            ..task(P, 4, 0x1000)
        };
        (key, counts(spawned, 0))
    };
    let mut engine = engine();
    engine.plan_armed(
        PLAN,
        PlanFacts {
            open: true,
            ..facts(100)
        },
    );
    exec(&mut engine, P, 4, 200);
    engine.follow(P, PLAN);
    let rows = [by(0x700, 2), by(0x600, 7), (task(P, 4, 0x1000), counts(9, 4))];
    totals(&mut engine, &rows, 0, 300);
    assert_eq!(
        engine.take_unnamed(),
        BTreeSet::from([(PLAN, 0x600), (PLAN, 0x700)])
    );
    let named = vec![(0x600, info("six", false)), (0x700, info("seven", false))];
    engine.named(PLAN, named);
    let tasks = process(&mut engine, P).runtimes.remove(1);
    assert!(tasks.exact, "{:?}", tasks.reason);
    assert_eq!(
        (tasks.counts.spawned, tasks.counts.live(), tasks.sites.len()),
        (9, 5, 1)
    );
    let told: Vec<_> = tasks.sites[0]
        .more()
        .callers
        .iter()
        .map(|caller| (caller.info.id.as_str(), caller.spawned))
        .collect();
    assert_eq!(told, [("six", 7), ("seven", 2)]);

    exec(&mut engine, P, 5, 400);
    totals(&mut engine, &rows, 0, 500);
    let mut cleared: Vec<_> = garbage(&mut engine, BootTime(500))
        .rows
        .iter()
        .map(|key| key.caller)
        .collect();
    cleared.sort_unstable();
    assert_eq!(cleared, [0, 0x600, 0x700]);
}

/// A child that shares an image without tasks is exact; one whose parent had tasks is not.
#[test]
fn forked_child_is_exact_only_without_inherited_tasks() {
    let mut engine = engine();
    engine.plan_armed(PLAN, facts(100));
    exec(&mut engine, P, 4, 200);
    let fork = |process| Event::Forked {
        process,
        parent: P,
        exec: ExecId(4),
        comm: "app".to_owned(),
        at: BootTime(250),
    };
    engine.apply(&fork(CHILD));
    engine.follow(CHILD, PLAN);
    assert!(process(&mut engine, CHILD).runtimes[1].exact);
    totals(&mut engine, &[(task(P, 4, 0x1000), counts(1, 0))], 0, 300);
    let later = ProcessKey { tgid: 9, ..CHILD };
    engine.apply(&fork(later));
    engine.follow(later, PLAN);
    assert!(!process(&mut engine, later).runtimes[1].exact);
}

/// Who creates the tasks of a site is told for the image that did, whichever comes first: the stack, or the news of the image.
#[test]
fn creation_stack_belongs_to_its_image() {
    let mut engine = engine();
    engine.plan_armed(PLAN, facts(100));
    exec(&mut engine, P, 4, 200);
    engine.follow(P, PLAN);
    let created = |engine: &mut Engine, exec, function| {
        let calls = vec![CodeFrame::new(Some(function), None, false, "ab:0x1")];
        engine.created(P, ExecId(exec), PLAN, 0x1000, calls.into());
    };
    created(&mut engine, 4, "old");
    created(&mut engine, 5, "new");
    totals(&mut engine, &[(task(P, 4, 0x1000), counts(1, 0))], 0, 300);
    let told = |engine: &mut Engine| {
        let site = process(engine, P).runtimes[1].sites.first().cloned().unwrap();
        let calls = site.created_by().unwrap().clone();
        calls[0].function.clone().map(String::from)
    };
    assert_eq!(told(&mut engine).as_deref(), Some("old"));
    exec(&mut engine, P, 5, 400);
    engine.follow(P, PLAN);
    totals(&mut engine, &[(task(P, 5, 0x1000), counts(1, 0))], 0, 500);
    assert_eq!(told(&mut engine).as_deref(), Some("new"));
}

/// Rows of an image that an exec replaced are forgotten, and do not count for the new one.
#[test]
fn rows_of_the_image_before_exec_are_garbage() {
    let mut engine = engine();
    engine.plan_armed(PLAN, facts(100));
    exec(&mut engine, P, 4, 200);
    totals(&mut engine, &[(task(P, 4, 0x1000), counts(5, 0))], 0, 300);
    exec(&mut engine, P, 5, 400);
    engine.follow(P, PLAN);
    let rows = [
        (task(P, 4, 0x1000), counts(5, 0)),
        (task(P, 5, 0x1000), counts(2, 1)),
    ];
    totals(&mut engine, &rows, 0, 500);
    assert_eq!(process(&mut engine, P).runtimes[1].counts.live(), 1);
    assert_eq!(garbage(&mut engine, BootTime(500)).rows, [task(P, 4, 0x1000)]);
}

/// A ticket counts at the site its stack leads to, before and after its task has ended, whenever that is learned.
#[test]
fn ticket_counts_at_the_site_it_is_resolved_to() {
    let mut engine = engine();
    let site = Arc::new(info("user", false));
    let (early, late) = (site::TICKET | 1, site::TICKET | 2);
    let main = (thread(P, site::MAIN), counts(1, 0));
    totals(&mut engine, &[main, (thread(P, early), counts(1, 0))], 0, 1);
    engine.resolve(P, ExecId(0), early, &site);
    totals(
        &mut engine,
        &[
            main,
            (thread(P, early), counts(1, 1)),
            (thread(P, late), counts(1, 1)),
        ],
        0,
        2,
    );
    assert_eq!(
        garbage(&mut engine, BootTime(2)).rows,
        [thread(P, early), thread(P, late)]
    );
    engine.resolve(P, ExecId(0), late, &site);
    totals(&mut engine, &[main], 0, 3);
    let threads = &process(&mut engine, P).runtimes[0];
    let user = threads.sites.iter().find(|site| site.info.id == "user").unwrap();
    assert_eq!((user.counts.spawned, user.counts.finished), (2, 2));
    assert_eq!(threads.counts.live(), 1);
}

/// A ticket whose stack never comes stays counted, as unresolved.
#[test]
fn ticket_without_stack_is_unresolved() {
    let mut engine = engine();
    let main = (thread(P, site::MAIN), counts(1, 0));
    totals(
        &mut engine,
        &[main, (thread(P, site::TICKET | 1), counts(1, 1))],
        0,
        1,
    );
    totals(&mut engine, &[main], 0, 60_000_000_000);
    let threads = &process(&mut engine, P).runtimes[0];
    assert_eq!((threads.counts.spawned, threads.counts.finished), (2, 1));
    assert!(
        threads
            .sites
            .iter()
            .any(|site| site.info.id == format!("reserved {}", site::UNRESOLVED))
    );
}

/// A process whose threads are all gone has ended, also if nobody said so, and its rows are cleared.
#[test]
fn process_without_threads_has_ended() {
    let mut engine = engine();
    let rows = [(thread(P, site::MAIN), counts(1, 1))];
    totals(&mut engine, &rows, 0, 1);
    assert!(process(&mut engine, P).alive, "one reading proves nothing");
    totals(&mut engine, &rows, 0, 2);
    assert!(!process(&mut engine, P).alive);
    assert!(garbage(&mut engine, BootTime(3)).processes.is_empty());
    let garbage = garbage(&mut engine, BootTime(3_000_000_000));
    assert_eq!(
        (garbage.processes, garbage.rows),
        (vec![P], vec![thread(P, site::MAIN)])
    );
}

/// More processes than allowed are counted, not stored.
#[test]
fn processes_over_the_limit_are_counted() {
    let mut engine = engine();
    for tgid in 0..12 {
        exec(&mut engine, ProcessKey { tgid, ..P }, 1, 1);
    }
    let snapshot = engine.snapshot(BootTime(2));
    assert_eq!(snapshot.counters["processes"], 10);
    assert!(snapshot.processes.is_empty(), "nobody was described");
    assert_eq!(snapshot.counters["processes_over_limit"], 2);
}

/// Lost counts make every number inexact, and the reason is told.
#[test]
fn lost_counts_make_all_inexact() {
    let mut engine = engine();
    totals(&mut engine, &[(thread(P, site::MAIN), counts(1, 0))], 3, 1);
    let threads = &process(&mut engine, P).runtimes[0];
    assert!(!threads.exact);
    assert!(threads.reason.as_ref().unwrap().starts_with("3 counts"));
}

/// A process that the kernel does not count is reported with what `/proc` says, as that, until it is in the books; then its
/// count is not called exact.
#[test]
fn process_that_the_kernel_does_not_count_is_partial() {
    let mut engine = engine();
    let hidden = |exe: Option<&str>| Uncounted {
        process: P,
        comm: "init".to_owned(),
        exe: exe.map(str::to_owned),
        threads: 14,
    };
    engine.uncounted(vec![hidden(None)]);
    let snapshot = engine.snapshot(BootTime(1));
    let [found] = &snapshot.processes[..] else {
        panic!("{snapshot:?}");
    };
    let threads = &found.runtimes[0];
    assert_eq!((threads.state, threads.exact), (FollowState::Partial, false));
    assert_eq!((threads.counts.live(), threads.sites[0].counts.live()), (14, 14));
    assert!(threads.reason.as_ref().unwrap().contains("cannot be read"));
    assert_eq!(snapshot.counters["processes_uncounted"], 1);
    assert_eq!(engine.key(P.tgid, 0..u64::MAX), None);

    engine.uncounted(Vec::new());
    totals(&mut engine, &[(thread(P, 70), counts(2, 0))], 0, 2);
    assert_eq!(engine.key(P.tgid, 1_000..1_001), Some(P));
    assert_eq!(engine.key(P.tgid, 1_001..u64::MAX), None);
    assert_eq!(engine.key(P.tgid + 1, 0..u64::MAX), None);
    engine.unlisted(P);
    let snapshot = process(&mut engine, P);
    let threads = &snapshot.runtimes[0];
    assert_eq!((threads.state, threads.exact), (FollowState::Partial, false));
    assert_eq!(threads.counts.live(), 2);
}

/// A plan without probes, watched in a process, at this reading.
fn watched(unlisted: usize, reading: Option<WatchFacts>) -> RuntimeSnapshot {
    let mut engine = engine();
    let facts = PlanFacts {
        probes: Probes::None,
        unlisted,
        ..facts(100)
    };
    engine.plan_armed(PLAN, facts);
    exec(&mut engine, P, 4, 200);
    engine.follow(P, PLAN);
    if let Some(reading) = reading {
        engine.watched(P, PLAN, reading);
    }
    // What the kernel counts elsewhere, and could not store, is none of its business.
    totals(&mut engine, &[(thread(P, 1), counts(1, 0))], 3, 300);
    process(&mut engine, P).runtimes.remove(1)
}

/// A reading that agreed, with 40 tasks at one site and one of the runtime's own.
fn reading() -> WatchFacts {
    WatchFacts {
        as_of: Some(BootTime(250)),
        sites: BTreeMap::from([(0x1000, 40), (0x2000, 1)]),
        agreed: true,
        ..WatchFacts::default()
    }
}

/// What was read from memory is alive at that moment and nothing else: no spawns, no ends, no points; exact if it agreed.
#[test]
fn watched_process_has_what_was_read_and_its_moment() {
    let tasks = watched(0, Some(reading()));
    assert!(tasks.exact && tasks.reason.is_none(), "{:?}", tasks.reason);
    assert_eq!(tasks.counted_by, Some(CountedBy::Memory));
    let Counts {
        baseline,
        spawned,
        finished,
    } = tasks.counts;
    assert_eq!((baseline, spawned, finished, tasks.points), (40, 0, 0, 0));
    let watch = tasks.watch.unwrap();
    assert_eq!((watch.as_of, watch.agreed), (Some(BootTime(250)), true));
    assert!(tasks.books.is_none() && tasks.probes.is_none());
}

/// Tasks that no probe sees are in the total with their moment, beside those that probes count, and sites tell what their tasks wait
/// for.
#[test]
fn tasks_that_no_probe_sees_are_counted_with_their_moment() {
    let listed = || Listing {
        waits: vec![SiteWaits {
            site: Vaddr(0x1000),
            reasons: vec![wait("channel", 30), wait("lock", 1)],
            leaked: 2,
        }],
        ..Listing::default()
    };
    let mut seen = Seen::default();
    seen.take_unprobed(
        &[SiteCount {
            site: Vaddr(0x3000),
            live: 5,
        }],
        BootTime(260),
    );
    seen.take_listing(&mut listed(), BootTime(250));
    let named = |facts: PlanFacts| {
        let mut sites = facts.sites.clone();
        sites.insert(0x3000, Arc::new(info("c", false)));
        PlanFacts { sites, ..facts }
    };
    let mut engine = engine();
    engine.plan_armed(PLAN, named(facts(100)));
    exec(&mut engine, P, 4, 200);
    engine.follow(P, PLAN);
    totals(&mut engine, &[(task(P, 4, 0x1000), counts(40, 9))], 0, 300);
    let booked = BookFacts {
        seen: seen.clone(),
        ..BookFacts::born()
    };
    engine.booked(P, PLAN, booked);
    let probed = process(&mut engine, P).runtimes.remove(1);
    assert!(probed.exact, "{:?}", probed.reason);
    assert_eq!((probed.counts.live(), probed.counts.spawned), (36, 40));
    assert_eq!(probed.listed_at, Some(BootTime(250)));
    let site = |id: &str| probed.sites.iter().find(|site| site.info.id == id).unwrap();
    let (ours, theirs) = (site("a"), site("c"));
    assert_eq!((ours.more().as_of, ours.more().leaked), (None, Some(2)));
    assert_eq!(ours.more().waiting, [wait("channel", 30), wait("lock", 1)]);
    assert_eq!(
        (theirs.more().as_of, theirs.counts.baseline),
        (Some(BootTime(260)), 5)
    );

    let reading = WatchFacts { seen, ..reading() };
    let watched = watched(0, Some(reading));
    // Its name is not known there yet.
    assert_eq!(watched.counts.live(), 40);
}

/// What is not read yet, was in motion, is doubted or is in no list is not exact, and says why.
#[test]
fn watched_process_is_not_exact_without_a_reason() {
    let moving = WatchFacts {
        agreed: false,
        ..reading()
    };
    let denied = WatchFacts {
        doubt: Some("not permitted".to_owned()),
        ..WatchFacts::default()
    };
    for (unlisted, reading, live, why) in [
        (0, None, 0, "not read yet"),
        (0, Some(moving), 40, "came and went"),
        (0, Some(denied), 0, "not permitted"),
        (2, Some(reading()), 40, "2 blocking spawn sites"),
    ] {
        let tasks = watched(unlisted, reading);
        let reason = tasks.reason.unwrap_or_default();
        assert!(!tasks.exact && reason.contains(why), "{why}: {reason}");
        assert_eq!(tasks.counts.live(), live, "{why}");
    }
}

/// When probes take over, what was read from memory is gone, and the report says since when and why.
#[test]
fn process_that_is_traced_after_it_was_watched_has_its_probes_reason() {
    const TRACED: PlanId = PlanId(9);
    let mut engine = engine();
    let unprobed = PlanFacts {
        probes: Probes::None,
        ..facts(100)
    };
    let probed = PlanFacts {
        probes: Probes::Attached(Some("it grew".to_owned())),
        ..facts(150)
    };
    engine.plan_armed(PLAN, unprobed);
    engine.plan_armed(TRACED, probed);
    exec(&mut engine, P, 4, 120);
    engine.follow(P, PLAN);
    engine.watched(P, PLAN, reading());
    let both = process(&mut engine, P).runtimes.remove(1);
    assert_eq!((both.counted_by, both.probes), (Some(CountedBy::Memory), None));
    engine.follow(P, TRACED);
    engine.unfollow(P, PLAN);
    let traced = process(&mut engine, P).runtimes.remove(1);
    assert_eq!((traced.counted_by, traced.watch), (Some(CountedBy::Probes), None));
    let probes = traced.probes.unwrap();
    assert_eq!(
        (probes.since, probes.reason.as_deref()),
        (BootTime(150), Some("it grew"))
    );
}
