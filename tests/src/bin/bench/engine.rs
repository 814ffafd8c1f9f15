//! The engine and what stands behind it, by replay: a made-up node of 10,000 processes with 100 sites each, one tick per
//! second.

use crate::verdict;
use leak_agent::agent::Replay;
use leak_agent::config::RecordConfig;
use leak_agent::detect::{Detectors, Facts, Observation};
use leak_agent::engine::{Engine, Input, KernelRuntime, PlanFacts, Probes, Totals};
use leak_agent::event::Event;
use leak_agent::report::{AgentFacts, Report};
use leak_agent::source::{self, SiteInfo};
use leak_agent::tape::{Entry, Header, Reader, Recorder};
use leak_agent::types::{BootTime, ExecId, PlanId, ProcessKey};
use leak_agent_common::key::SiteKey;
use leak_agent_common::totals::SiteTotals;
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How a child is called.
const CHILD: &str = "--engine-child";
const PROCESSES: u32 = 10_000;
const SITES: u64 = 100;
/// Ticks that are measured, after the first ones in which everything is new.
const TICKS: u64 = 20;
const WARM: u64 = 3;
/// As a step: not one of so many sites changes, but all sites of one in a hundred processes.
const BUSY_PROCESSES: u64 = 0;
const PLAN: PlanId = PlanId(1);
const SECOND: u64 = 1_000_000_000;

/// Does the work of a child, if this process is one: its memory is nobody else's.
pub(crate) fn is_child() -> bool {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [child, step, stage] = arguments.as_slice() else {
        return false;
    };
    if child != CHILD {
        return false;
    }
    measure(step.parse().expect("a step"), stage);
    true
}

pub(crate) fn run() {
    for (step, what) in [
        (
            BUSY_PROCESSES,
            "1 of 100 processes is busy: all of its sites change per tick",
        ),
        (100, "1 of 100 sites changes per tick, in every process"),
        (10, "1 of 10, in every process"),
        (1, "all"),
    ] {
        println!("   {PROCESSES} processes × {SITES} sites, {what}:");
        let tape = make(step);
        let size = std::fs::metadata(&tape).expect("the tape").len();
        println!("   tape: {:.1} MiB for {} ticks", mib(size), TICKS + WARM);
        let (mut before, mut tape_alone) = (0.0, 0.0);
        for stage in ["tape", "engine", "snapshot", "detectors", "report"] {
            let done = std::process::Command::new(std::env::current_exe().expect("itself"))
                .args([CHILD, &step.to_string(), stage])
                .output()
                .expect("itself");
            let said = String::from_utf8_lossy(&done.stdout).into_owned();
            assert!(
                done.status.success(),
                "{said}{}",
                String::from_utf8_lossy(&done.stderr)
            );
            let mut numbers = said
                .split_whitespace()
                .map(|number| number.parse::<f64>().expect("a number"));
            let (share, memory) = (numbers.next().expect("a share"), numbers.next().expect("bytes"));
            println!(
                "   up to the {stage:9}{share:7.2} % of a core (+{:.2}), {memory:6.0} MiB resident",
                share - before
            );
            match stage {
                "tape" => tape_alone = share,
                "detectors" => {
                    verdict("engine and detectors", share - tape_alone, 5.0, "% of a core");
                    verdict(
                        "engine and detectors",
                        memory - decoded(),
                        200.0,
                        "MiB, without the tape's copy of the rows",
                    );
                }
                _ => {}
            }
            before = share;
        }
        std::fs::remove_file(tape).expect("the tape");
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// What the reader of the tape keeps, MiB: all rows, of which the next are changes.
fn decoded() -> f64 {
    mib(u64::from(PROCESSES) * SITES * size_of::<(SiteKey, SiteTotals)>() as u64)
}

fn path(step: u64) -> PathBuf {
    std::env::temp_dir().join(format!("leak-agent-bench-{step}.tape"))
}

fn process(number: u32) -> ProcessKey {
    ProcessKey {
        start_boottime: 1_000 + u64::from(number),
        tgid: 100 + number,
        pad: 0,
    }
}

/// Row `site` of a process at a tick. The kernel's order is that of hashes: any that stays.
fn row(number: u32, site: u64, tick: u64, step: u64) -> (SiteKey, SiteTotals) {
    let threads = site == 0;
    let moves = if step == BUSY_PROCESSES {
        number.is_multiple_of(100)
    } else {
        (site + u64::from(number)).is_multiple_of(step)
    };
    let moved = if moves { tick } else { 0 };
    let key = SiteKey {
        process: process(number),
        site: if threads { 1 } else { 0x1000 * site },
        plan: if threads { 0 } else { PLAN.0 },
        exec_id: if threads { 0 } else { 1 },
        runtime: if threads { 1 } else { 2 },
        caller: 0,
    };
    let totals = SiteTotals {
        spawned: 10 + 3 * moved,
        finished: if threads { 0 } else { 2 * moved },
        baseline: 0,
    };
    (key, totals)
}

fn inputs(tick: u64, step: u64) -> Vec<Input> {
    let mut inputs = Vec::new();
    if tick == 0 {
        let sites = (1..SITES).map(|site| {
            let info = SiteInfo {
                id: format!("0123456789abcdef:{:x}", 0x1000 * site),
                name: format!("service::connection::Connection<S>::handle_request_{site}"),
                location: Some(format!("src/connection/handler.rs:{site}")),
                kind: "async",
                system: false,
                ambiguous: false,
                created_by: None,
                note: None,
            };
            (0x1000 * site, Arc::new(info))
        });
        inputs.push(Input::PlanArmed {
            plan: PLAN,
            facts: Box::new(PlanFacts {
                runtime: source::runtime(2).expect("known"),
                version: Some("1.47.1".to_owned()),
                evidence: "structure".into(),
                points: (200, 200),
                gaps: Vec::new(),
                sites: sites.collect::<HashMap<_, _>>(),
                open: false,
                armed_at: BootTime(1),
                probes: Probes::Attached(None),
                unlisted: 0,
                holds: BTreeMap::new(),
            }),
        });
        for number in 0..PROCESSES {
            let process = process(number);
            inputs.push(Input::Event(Event::Execed {
                process,
                exec: ExecId(1),
                comm: "service".to_owned(),
                at: BootTime(10),
            }));
            inputs.push(Input::Describe {
                process,
                comm: "service".to_owned(),
                exe: Some(format!("/opt/service/bin/service-{number}")),
            });
            inputs.push(Input::Follow { process, plan: PLAN });
        }
    }
    let rows = (0..SITES).flat_map(|site| (0..PROCESSES).map(move |number| row(number, site, tick, step)));
    inputs.push(Input::Totals(Totals {
        rows: rows.collect(),
        lost_counts: 0,
        at: BootTime((tick + 1) * SECOND),
    }));
    inputs.push(Input::Sweep {
        at: BootTime((tick + 1) * SECOND),
    });
    inputs
}

fn engine() -> Engine {
    let kernel = KernelRuntime {
        runtime: source::thread::RUNTIME,
        evidence: "kernel tracepoints",
        reserved: source::thread::reserved,
        maker: source::thread::maker,
    };
    Engine::new(kernel, PROCESSES as usize)
}

fn make(step: u64) -> PathBuf {
    let path = path(step);
    let _ = std::fs::remove_file(&path);
    let config = RecordConfig {
        path: path.clone(),
        bytes_max: u64::MAX,
        files: 1,
    };
    let header = Header {
        agent: "bench".to_owned(),
        evidence: "kernel tracepoints".to_owned(),
        max_processes: PROCESSES.into(),
    };
    let mut recorder = Recorder::start(config, &header).expect("a tape");
    let nobody = engine();
    for tick in 0..WARM + TICKS {
        for input in inputs(tick, step) {
            recorder.input(&input);
        }
        recorder.tick(
            BootTime((tick + 1) * SECOND),
            &AgentFacts::default(),
            &Facts::default(),
            &nobody,
        );
    }
    let lost = recorder
        .counters()
        .into_iter()
        .find(|(name, _)| *name == "tape_entries_lost");
    assert_eq!(lost.map(|(_, lost)| lost), Some(0));
    path
}

/// CPU time of this process so far.
fn cpu() -> Duration {
    leak_agent::agent::SelfUsage::read().cpu
}

/// Replays up to a stage, and prints its share of a core and the memory.
fn measure(step: u64, stage: &str) {
    let mut tape = Reader::open(&path(step)).expect("the tape");
    let mut ticks = 0;
    let mut since = Duration::ZERO;
    let mut tick = || {
        ticks += 1;
        if ticks == WARM {
            since = cpu();
        }
    };
    // What an agent keeps until the next tick.
    let (mut snapshot, mut report) = (None, None::<Arc<Report>>);
    if stage == "report" {
        let played = Replay::new(Arc::default()).play(&mut tape, |_, new| {
            report = Some(Arc::new(new));
            tick();
            ControlFlow::Continue(())
        });
        played.expect("a whole tape");
    } else {
        let mut engine = engine();
        let mut detectors = Detectors::new(Arc::default());
        while let Some(entry) = tape.entry().expect("a whole tape") {
            match entry {
                Entry::Input(input) if stage != "tape" => engine.take(input),
                Entry::Tick { at, .. } => {
                    if stage == "snapshot" {
                        snapshot = Some(engine.snapshot(at));
                    } else if stage == "detectors" {
                        let new = engine.snapshot(at);
                        drop(detectors.observe(&Observation {
                            snapshot: &new,
                            unix: at.0 as f64 / SECOND as f64,
                            facts: &Facts::default(),
                        }));
                        snapshot = Some(new);
                    }
                    drop((
                        engine.take_garbage(),
                        engine.take_unknown(),
                        engine.take_unnamed(),
                    ));
                    tick();
                }
                _ => {}
            }
        }
    }
    let used = cpu().saturating_sub(since);
    let share = 100.0 * used.as_secs_f64() / (ticks - WARM) as f64;
    println!(
        "{share} {}",
        mib(leak_agent::agent::SelfUsage::read().resident_bytes)
    );
    drop((snapshot, report));
}
