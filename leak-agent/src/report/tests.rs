//! The identity of the counts, and the document as others read it.

use super::*;
use crate::report::schema_json;
use crate::source::{SiteInfo, thread, tokio};
use crate::types::ProcessKey;
use proptest::prelude::*;
use std::sync::Arc;

fn info(id: usize, system: bool) -> SiteInfo {
    SiteInfo {
        id: format!("id:{id}"),
        name: format!("app::task_{id}"),
        location: None,
        kind: "async",
        system,
        ambiguous: false,
        created_by: None,
        note: None,
    }
}

fn snapshot_of(sites: &[(Counts, bool)]) -> Snapshot {
    let mut sum = Counts::default();
    for (counts, _) in sites.iter().filter(|(_, system)| !system) {
        sum.baseline = sum.baseline.wrapping_add(counts.baseline);
        sum.spawned = sum.spawned.wrapping_add(counts.spawned);
        sum.finished = sum.finished.wrapping_add(counts.finished);
    }
    Snapshot {
        at: BootTime(10_000_000_000),
        processes: vec![Arc::new(ProcessSnapshot {
            key: ProcessKey {
                start_boottime: 2_500_000_000,
                tgid: 7,
                pad: 0,
            },
            comm: "svc".to_owned(),
            exe: Some("/bin/svc".to_owned()),
            alive: true,
            runtimes: vec![RuntimeSnapshot {
                runtime: tokio::RUNTIME,
                state: FollowState::Followed,
                reason: None,
                version: Some("1.47.1".to_owned()),
                evidence: None,
                points: 2,
                points_emulated: 2,
                counts: sum,
                exact: true,
                books: None,
                counted_by: Some(snapshot::CountedBy::Probes),
                watch: None,
                listed_at: None,
                probes: None,
                sites: sites
                    .iter()
                    .enumerate()
                    .map(|(id, (counts, system))| SiteSnapshot::new(info(id, *system), *counts))
                    .collect(),
            }],
            schedulers: Vec::new(),
        })],
        counters: BTreeMap::from([("events", 5)]),
    }
}

/// The process in it.
fn shown(snapshot: &mut Snapshot) -> &mut ProcessSnapshot {
    Arc::make_mut(&mut snapshot.processes[0])
}

fn counts(baseline: u64, spawned: u64, finished: u64) -> Counts {
    Counts {
        baseline,
        spawned,
        finished,
    }
}

/// System sites are shown but not summed, sites come by live count, and the identity holds in figures.
#[test]
fn runtime_with_a_system_site_sums_the_others() {
    let sites = [
        (counts(1, 10, 4), false),
        (counts(0, 100, 50), true),
        (counts(2, 20, 0), false),
    ];
    let report = Report::build(
        &snapshot_of(&sites),
        &Judgement::default(),
        &AgentFacts::default(),
    );
    let runtime = &report.processes[0].runtimes[0];
    assert_eq!(
        (runtime.live, runtime.baseline, runtime.spawned, runtime.finished),
        (29, 3, 30, 4)
    );
    assert!(runtime.exact);
    let order: Vec<_> = runtime
        .sites
        .iter()
        .map(|site| (site.live, site.system))
        .collect();
    assert_eq!(order, [(50, true), (22, false), (7, false)]);
}

/// More ends than births raise the baseline, and the runtime says that it is not exact.
#[test]
fn site_with_more_finished_than_known_is_repaired_and_marked() {
    let report = Report::build(
        &snapshot_of(&[(counts(1, 2, 9), false)]),
        &Judgement::default(),
        &AgentFacts::default(),
    );
    let runtime = &report.processes[0].runtimes[0];
    assert_eq!((runtime.live, runtime.baseline, runtime.exact), (0, 7, false));
    assert_eq!(runtime.reason.as_deref(), Some(MORE_ENDED_THAN_KNOWN));
}

/// A runtime total that its sites do not explain is not passed on silently.
#[test]
fn runtime_whose_sites_do_not_add_up_is_marked() {
    let mut snapshot = snapshot_of(&[(counts(0, 5, 1), false)]);
    shown(&mut snapshot).runtimes[0].counts.spawned = 6;
    shown(&mut snapshot).runtimes[0].reason = Some("late".to_owned());
    let report = Report::build(&snapshot, &Judgement::default(), &AgentFacts::default());
    let runtime = &report.processes[0].runtimes[0];
    assert!(!runtime.exact);
    assert_eq!(runtime.reason, Some(format!("late; {SUM_DIFFERS}")));
}

/// Times of the boot clock become Unix seconds by one offset.
#[test]
fn times_are_unix_seconds() {
    let facts = AgentFacts {
        boot_unix: Duration::from_secs(1_000),
        started: BootTime(4_000_000_000),
        ..AgentFacts::default()
    };
    let report = Report::build(&snapshot_of(&[]), &Judgement::default(), &facts);
    assert_eq!(report.taken_at, 1010.0);
    assert_eq!(report.processes[0].start_time, 1002.5);
    assert_eq!((report.agent.start_time, report.agent.uptime), (1004.0, 6.0));
}

/// The kernel's counters become the ring's hop, whose sum is closed, and named counters.
#[test]
fn kernel_counters_become_a_hop_with_a_closed_sum() {
    let facts = AgentFacts {
        kernel: BTreeMap::from([
            (Counter::RingRecords, 100),
            (Counter::LostStackRecord, 3),
            (Counter::LostProcessRecord, 1),
            (Counter::UnarmedHits, 9),
        ]),
        counters: BTreeMap::from([("events", 2)]),
        ..AgentFacts::default()
    };
    let agent = Report::build(&snapshot_of(&[]), &Judgement::default(), &facts).agent;
    let ring = &agent.hops[0];
    assert_eq!(
        (ring.taken, ring.passed, ring.dropped.values().sum::<u64>()),
        (104, 100, 4)
    );
    assert_eq!(
        agent.kernel_counters,
        BTreeMap::from([("unarmed_hits".to_owned(), 9)])
    );
    assert_eq!(agent.counters["events"], 7);
}

/// Every report is valid under the published schema, and survives a round trip through JSON.
#[test]
fn report_as_json_obeys_its_schema() {
    let schema: serde_json::Value = serde_json::from_str(&schema_json()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut snapshot = snapshot_of(&[(counts(1, 10, 4), false)]);
    shown(&mut snapshot).exe = None;
    shown(&mut snapshot).runtimes[0].runtime = thread::RUNTIME;
    shown(&mut snapshot).runtimes[0].state = FollowState::Partial;
    let facts = AgentFacts {
        mode: Mode::ProcOnly {
            reason: "no privilege".to_owned(),
        },
        ..AgentFacts::default()
    };
    let report = Report::build(&snapshot, &Judgement::default(), &facts);
    let json = serde_json::to_value(&report).unwrap();
    if let Err(error) = validator.validate(&json) {
        panic!("{error} at {}", error.instance_path());
    }
    assert_eq!(json["version"], 1);
    assert_eq!(json["agent"]["mode"], "proc-only");
    assert_eq!(json["processes"][0]["runtimes"][0]["state"], "partial");
    assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    assert!(!validator.is_valid(&serde_json::json!({"version": 1})));
}

fn any_counts() -> impl Strategy<Value = Counts> {
    let any = prop_oneof![0..1000_u64, any::<u64>(), Just(u64::MAX)];
    (any.clone(), any.clone(), any)
        .prop_map(|(baseline, spawned, finished)| counts(baseline, spawned, finished))
}

proptest! {
    /// Whatever the counts are, `live = baseline + spawned − finished` holds in whole numbers, for each site
    /// and for the runtime; and if no sum overflows, the runtime's live is the sum of its sites'.
    #[test]
    fn identity_holds_for_any_counts(sites in prop::collection::vec((any_counts(), any::<bool>()), 0..12)) {
        let report = Report::build(&snapshot_of(&sites), &Judgement::default(), &AgentFacts::default());
        let runtime = &report.processes[0].runtimes[0];
        let wide = u128::from;
        for site in &runtime.sites {
            prop_assert_eq!(wide(site.live) + wide(site.finished), wide(site.baseline) + wide(site.spawned));
        }
        prop_assert_eq!(
            wide(runtime.live) + wide(runtime.finished),
            wide(runtime.baseline) + wide(runtime.spawned)
        );
        let own = || runtime.sites.iter().filter(|site| !site.system);
        let fits = |of: fn(&Site) -> u64| own().map(|site| wide(of(site))).sum::<u128>() < 1 << 62;
        if fits(|site| site.spawned) && fits(|site| site.finished) && fits(|site| site.baseline) {
            prop_assert_eq!(runtime.live, own().map(|site| site.live).sum::<u64>());
            prop_assert_eq!(runtime.spawned, own().map(|site| site.spawned).sum::<u64>());
        }
    }

    /// Counts that can be true are passed on as they are, and stay exact.
    #[test]
    fn true_counts_are_not_touched(
        parts in prop::collection::vec((0..1_000_u64, 0..1_000_u64, 0..1_000_u64, any::<bool>()), 0..12)
    ) {
        let sites: Vec<_> = parts
            .iter()
            .map(|(baseline, spawned, less, system)| {
                (counts(*baseline, *spawned, (baseline + spawned).saturating_sub(*less)), *system)
            })
            .collect();
        let report = Report::build(&snapshot_of(&sites), &Judgement::default(), &AgentFacts::default());
        let runtime = &report.processes[0].runtimes[0];
        prop_assert!(runtime.exact);
        for site in &runtime.sites {
            let index: usize = site.id.trim_start_matches("id:").parse().unwrap();
            prop_assert_eq!(counts(site.baseline, site.spawned, site.finished), sites[index].0);
        }
    }
}
