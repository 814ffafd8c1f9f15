//! Reports for the tests of outputs.

use super::{AgentFacts, HopFacts, MapFacts, PriceFacts, Readiness, ReceiverFacts, Report};
use crate::config::policy::{Labels, Priority};
use crate::detect::{
    self, Finding, FindingState, Judgement, Moment, Opinion, Resource, Severity, SiteKey, Verdict,
};
use crate::engine::Readings;
use crate::engine::snapshot::{
    BooksSnapshot, CountedBy, Counts, FollowState, ProbesSnapshot, ProcessSnapshot, RepairSnapshot,
    RuntimeSnapshot, SchedulerSnapshot, SiteSnapshot, Snapshot, WatchSnapshot,
};
use crate::source::{Evidence, SiteInfo, thread, tokio};
use crate::types::{BootTime, ProcessKey, Runtime};
use leak_agent_common::counter::Counter;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Strings that try to break out of a label, a line or a terminal.
pub(crate) const HOSTILE: [&str; 5] = [
    "\u{1b}]0;owned\u{7}\u{1b}[2J",
    "a\"} 9e99\nleak_agent_tasks_live{pid=\"1\"",
    "\u{202e}gnp.exe\u{200b}\r\n\\",
    "日本語のスレッド名がとても長い",
    "",
];

/// A site with so many live tasks.
pub(crate) fn site(number: usize, name: &str, baseline: u64, spawned: u64, finished: u64) -> SiteSnapshot {
    let info = SiteInfo {
        id: format!("abcd0123:{number:#x}"),
        name: name.to_owned(),
        location: Some(format!("src/app.rs:{number}")),
        kind: "async",
        system: false,
        ambiguous: false,
        created_by: None,
        note: None,
    };
    let counts = Counts {
        baseline,
        spawned,
        finished,
    };
    let mut site = SiteSnapshot::new(info, counts);
    site.more_mut().retained = Some(0);
    site
}

/// A followed runtime with these sites.
pub(crate) fn runtime(runtime: Runtime, sites: Vec<SiteSnapshot>) -> RuntimeSnapshot {
    let mut counts = Counts::default();
    for site in sites.iter().filter(|site| !site.info.system) {
        counts.baseline += site.counts.baseline;
        counts.spawned += site.counts.spawned;
        counts.finished += site.counts.finished;
    }
    let tasks = runtime == tokio::RUNTIME;
    RuntimeSnapshot {
        runtime,
        state: FollowState::Followed,
        reason: None,
        version: None,
        evidence: Some(Evidence {
            points: "structure".to_owned(),
            names: tasks.then(|| "symbols".to_owned()),
            books: tasks.then(|| "layout of tokio 1.39 and later, by its version".to_owned()),
        }),
        points: 4,
        points_emulated: 3,
        counts,
        exact: true,
        books: Some(BooksSnapshot {
            agreed_at: Some(BootTime(1_000_000_000_000)),
            drift: Some(-1),
            checks: 3,
            repairs: 1,
            repair: Some(RepairSnapshot {
                at: BootTime(1_001_000_000_000),
                drift: 2,
                missed: Some((1, 3)),
                sites: vec![("abcd0123:0x2".to_owned(), -2)],
            }),
            missed_spawns: Some(1),
            missed_finishes: Some(3),
            trouble: None,
            readings: Readings {
                counters: 200,
                lists: 9,
                searches: 3,
            },
            retained: Some(2),
            retained_join_handles: Some(1),
            retained_at: Some(BootTime(1_000_000_000_000)),
        }),
        counted_by: Some(CountedBy::Probes),
        watch: None,
        listed_at: None,
        probes: Some(ProbesSnapshot {
            since: BootTime(5),
            reason: None,
        }),
        sites,
    }
}

/// The same without probes: all that lives is in the baseline.
pub(crate) fn watched(of: Runtime, sites: Vec<SiteSnapshot>) -> RuntimeSnapshot {
    let runtime = runtime(of, sites);
    assert_eq!((runtime.counts.spawned, runtime.counts.finished), (0, 0));
    RuntimeSnapshot {
        points: 0,
        points_emulated: 0,
        books: None,
        counted_by: Some(CountedBy::Memory),
        watch: Some(WatchSnapshot {
            as_of: Some(BootTime(1_055_000_000_000)),
            searched_at: Some(BootTime(1_030_000_000_000)),
            agreed: true,
            counted: Some(runtime.counts.live()),
            counted_at: Some(BootTime(1_055_000_000_000)),
            added: Some(1_000),
            retained: Some(3),
            readings: 12,
            walks: 4,
            searches: 1,
        }),
        probes: None,
        ..runtime
    }
}

/// A living process.
pub(crate) fn process(pid: u32, comm: &str, exe: &str, runtimes: Vec<RuntimeSnapshot>) -> ProcessSnapshot {
    ProcessSnapshot {
        key: ProcessKey {
            start_boottime: u64::from(pid) * 1_000_000_000,
            tgid: pid,
            pad: 0,
        },
        comm: comm.to_owned(),
        exe: Some(exe.to_owned()),
        alive: true,
        runtimes,
        schedulers: Vec::new(),
    }
}

/// What a scheduler does with twelve threads.
pub(crate) fn scheduler(runtime: Runtime) -> SchedulerSnapshot {
    SchedulerSnapshot {
        runtime,
        threads: Some(12),
        activities: vec![("running", 1), ("syscall", 4), ("cgo", 0), ("idle", 7)],
        bound: Some(5),
        as_of: Some(BootTime(1_055_000_000_000)),
    }
}

/// The report of these processes, `seconds` after the agent's start.
pub(crate) fn report(seconds: u64, processes: Vec<ProcessSnapshot>) -> Report {
    judged(seconds, processes, &Judgement::default())
}

/// The same, judged.
pub(crate) fn judged(seconds: u64, processes: Vec<ProcessSnapshot>, judgement: &Judgement) -> Report {
    let snapshot = Snapshot {
        at: BootTime((1_000 + seconds) * 1_000_000_000),
        processes: processes.into_iter().map(Arc::new).collect(),
        counters: BTreeMap::from([("records", 40)]),
    };
    Report::build(&snapshot, judgement, &facts())
}

/// A leak at the site with this number of a process, as the detectors tell it.
pub(crate) fn finding(process: &ProcessSnapshot, runtime: Runtime, number: usize, name: &str) -> Finding {
    let at = |seconds: u64| Moment {
        boot: BootTime(seconds * 1_000_000_000),
        unix: 1_700_000_000.0 + seconds as f64,
    };
    let site = format!("abcd0123:{number:#x}");
    Finding {
        fingerprint: detect::fingerprint(runtime.label, &site, process.exe.as_deref()),
        key: SiteKey {
            process: process.key,
            runtime: runtime.wire,
            site,
        },
        runtime: runtime.label,
        comm: process.comm.clone(),
        exe: process.exe.clone(),
        site: name.to_owned(),
        location: Some(format!("src/app.rs:{number}")),
        verdict: Verdict::Leak,
        state: FindingState::Confirmed,
        severity: Severity::Red,
        priority: Priority::P0,
        confidence: 0.94,
        opened: at(1_010),
        leak: Some(at(1_040)),
        resolved: None,
        resolution: None,
        reopened: 0,
        started: Some(at(1_005)),
        per_minute: 60.5,
        surplus: 38,
        evidence: detect::Evidence::default(),
        labels: Arc::new(Labels {
            environment: "production".to_owned(),
            team: "shop".to_owned(),
            service: name.to_owned(),
            tier: "critical".to_owned(),
        }),
        suppressed: None,
        sentence: format!("38 tasks of {name} have been spawned since 14:02 UTC and never ended: +60/min"),
    }
}

/// What the detectors say of these findings.
pub(crate) fn judgement(findings: Vec<Finding>) -> Judgement {
    let mut judgement = Judgement {
        opened: findings.len() as u64,
        ..Judgement::default()
    };
    for finding in &findings {
        let process = finding.key.process;
        let opinion = Opinion {
            verdict: finding.verdict,
            reason: Some(finding.sentence.clone()),
        };
        let runtime = judgement
            .runtimes
            .entry((process, finding.key.runtime))
            .or_default();
        runtime.opinion = opinion.clone();
        runtime.others.verdict = Verdict::Healthy;
        runtime.sites.insert(finding.key.site.clone(), opinion);
        let ahead = detect::Exhaustion {
            resource: Resource::CgroupPids,
            used: 90,
            limit: 100,
            per_minute: 60.0,
            seconds: 10.0,
        };
        judgement.exhaustion.insert(process, vec![ahead]);
    }
    judgement.findings = findings;
    judgement
}

fn facts() -> AgentFacts {
    AgentFacts {
        boot_unix: Duration::from_secs(1_700_000_000),
        started: BootTime(1_000_000_000_000),
        pid: 4242,
        ready: Readiness::Ready,
        kernel: BTreeMap::from([
            (Counter::RingRecords, 40),
            (Counter::LostStackRecord, 2),
            (Counter::UnarmedHits, 1),
        ]),
        hops: vec![HopFacts {
            name: "engine",
            taken: 40,
            passed: 39,
            dropped: BTreeMap::from([("late", 1)]),
        }],
        attach_failures: BTreeMap::from([("permission", 1)]),
        missed_processes: BTreeMap::from([
            ("refused_unsupported", 3),
            ("vanished_before_look", 5),
            ("missed_short_lived", 2),
        ]),
        maps: vec![MapFacts {
            name: "TOTALS",
            entries: 10,
            capacity: 65_536,
        }],
        cpu: Duration::from_millis(1_250),
        resident_bytes: 30 << 20,
        prices: vec![PriceFacts {
            program: "tokio_point".to_owned(),
            runs: 1_000,
            run_time: Duration::from_micros(90),
        }],
        receivers: vec![receiver("ops", "webhook"), receiver("log", "log")],
        ..AgentFacts::default()
    }
}

/// A receiver of notifications with troubles.
fn receiver(name: &str, kind: &'static str) -> ReceiverFacts {
    ReceiverFacts {
        name: name.to_owned(),
        kind,
        dry_run: false,
        taken: 20,
        delivered: 12,
        dropped: BTreeMap::from([("queue_full", 3), ("too_old", 1)]),
        waiting: 4,
        waiting_bytes: 4_000,
        on_disk: true,
        failed_attempts: 9,
        settled: 2,
        over_limit: 1,
        held: 5,
        disk_errors: 6,
        last_delivered: Some(1_700_001_000.0),
        trouble: Some("status 503".to_owned()),
    }
}

/// One friendly service and one process per hostile string.
pub(crate) fn hostile_report() -> Report {
    let mut processes = vec![process(
        100,
        "svc",
        "/opt/svc/bin/svc",
        vec![
            runtime(thread::RUNTIME, vec![site(1, "main", 1, 4, 1)]),
            runtime(
                tokio::RUNTIME,
                vec![
                    site(2, "app::serve", 0, 50, 10),
                    site(3, "app::flush<T>", 0, 9, 2),
                    site(4, "app::poll", 0, 1, 0),
                ],
            ),
        ],
    )];
    for (pid, text) in (200..).zip(HOSTILE) {
        let sites = vec![site(5, text, 2, 1, 0)];
        processes.push(process(pid, text, text, vec![runtime(thread::RUNTIME, sites)]));
    }
    let mut findings = vec![finding(&processes[0], tokio::RUNTIME, 2, "app::serve")];
    for process in &processes[1..] {
        findings.push(finding(process, thread::RUNTIME, 5, &process.comm));
    }
    judged(60, processes, &judgement(findings))
}
