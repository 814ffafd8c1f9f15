//! Tapes that are whole, cut, damaged, of another version, or in several files.

use super::*;
use crate::agent::Replay;
use crate::config::RecordConfig;
use crate::detect::{Detectors, Facts, Observation};
use crate::engine::{Engine, Input, KernelRuntime, Totals};
use crate::event::Event;
use crate::report::{AgentFacts, Report};
use crate::source::SiteInfo;
use crate::types::{BootTime, ExecId, ProcessKey, Runtime};
use leak_agent_common::counter::Counter;
use leak_agent_common::key::SiteKey;
use leak_agent_common::totals::SiteTotals;
use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const P: ProcessKey = ProcessKey {
    start_boottime: 1_000,
    tgid: 7,
    pad: 0,
};
const TICKS: u64 = 40;

fn engine() -> Engine {
    let kernel = KernelRuntime {
        runtime: Runtime {
            wire: 1,
            label: "thread",
        },
        evidence: "kernel tracepoints",
        reserved: crate::source::thread::reserved,
        maker: crate::source::thread::maker,
    };
    Engine::new(kernel, 10)
}

fn header() -> Header {
    Header {
        agent: "1.2.3".to_owned(),
        evidence: "kernel tracepoints".to_owned(),
        max_processes: 10,
    }
}

fn row(site: u64, spawned: u64) -> (SiteKey, SiteTotals) {
    let key = SiteKey {
        process: P,
        site,
        plan: 0,
        exec_id: 0,
        runtime: 1,
        caller: 0,
    };
    let totals = SiteTotals {
        spawned,
        finished: spawned / 2,
        baseline: 0,
    };
    (key, totals)
}

/// What happens at a tick: a process begins at the first, and its threads come and go.
fn inputs(tick: u64) -> Vec<Input> {
    let mut inputs = Vec::new();
    if tick == 0 {
        inputs.push(Input::Event(Event::Execed {
            process: P,
            exec: ExecId(3),
            comm: "app".to_owned(),
            at: BootTime(2_000),
        }));
        inputs.push(Input::Describe {
            process: P,
            comm: "app".to_owned(),
            exe: Some("/usr/bin/app".to_owned()),
        });
    }
    let number = (1 << 62) | tick;
    inputs.push(Input::Resolve {
        process: P,
        exec: ExecId(3),
        number,
        site: Arc::new(SiteInfo {
            id: format!("site {}", tick % 5),
            name: format!("app::run::{tick}"),
            location: None,
            kind: "pthread",
            system: false,
            ambiguous: false,
            created_by: None,
            note: None,
        }),
    });
    let rows = (0..=tick).map(|site| row((1 << 62) | site, tick * 3 + site));
    inputs.push(Input::Totals(Totals {
        rows: rows.collect(),
        lost_counts: 0,
        at: BootTime(10_000 + tick),
    }));
    inputs
}

fn facts(tick: u64) -> AgentFacts {
    AgentFacts {
        pid: 5,
        kernel: BTreeMap::from([(Counter::RingRecords, tick)]),
        counters: BTreeMap::from([("pool_substitutes", 2 * tick)]),
        ..AgentFacts::default()
    }
}

/// A folder of its own, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("leak-agent-tape-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn config(&self, bytes_max: u64) -> RecordConfig {
        RecordConfig {
            path: self.0.join("tape"),
            bytes_max,
            files: 4,
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Records all ticks; gives what a living agent would have reported.
fn record(config: RecordConfig, mut pace: impl FnMut(u64, &Recorder)) -> Vec<Report> {
    let mut recorder = Recorder::start(config, &header()).unwrap();
    let mut engine = engine();
    let (mut detectors, told) = (Detectors::new(Arc::default()), Facts::default());
    let mut reports = Vec::new();
    for tick in 0..TICKS {
        for input in inputs(tick) {
            recorder.input(&input);
            engine.take(input);
        }
        let (at, facts) = (BootTime(10_000 + tick), facts(tick));
        let judgement = detectors.observe(&Observation {
            snapshot: &engine.snapshot(at),
            unix: 0.0,
            facts: &told,
        });
        reports.push(Report::build(&engine.snapshot(at), &judgement, &facts));
        recorder.tick(at, &facts, &told, &engine);
        pace(tick, &recorder);
    }
    reports
}

/// What the engine says: the detectors begin anew with the first file that is replayed.
fn numbers(reports: &[Report]) -> Vec<String> {
    let counted = |report: &Report| {
        let processes = report.processes.iter().map(|process| {
            let runtimes = process.runtimes.iter().map(|runtime| {
                let sites = runtime.sites.iter();
                let sites =
                    sites.map(|site| (&site.id, &site.name, site.baseline, site.spawned, site.finished));
                (
                    &runtime.runtime,
                    runtime.live,
                    runtime.exact,
                    sites.collect::<Vec<_>>(),
                )
            });
            (
                process.pid,
                process.alive,
                &process.exe,
                runtimes.collect::<Vec<_>>(),
            )
        });
        format!("{} {:?}", report.taken_at, processes.collect::<Vec<_>>())
    };
    reports.iter().map(counted).collect()
}

/// A whole tape, as bytes, and what was reported.
fn tape(test: &str) -> (Vec<u8>, Vec<Report>) {
    let folder = Folder::new(test);
    let config = folder.config(1 << 30);
    let path = config.path.clone();
    let reports = record(config, |_, _| {});
    (fs::read(path).unwrap(), reports)
}

/// All reports, and how it ended.
fn replay(bytes: &[u8]) -> (Vec<Report>, Result<Option<End>, TapeError>) {
    let mut reports = Vec::new();
    let mut tape = match Reader::new(bytes) {
        Ok(tape) => tape,
        Err(error) => return (reports, Err(error)),
    };
    let played = Replay::new(Arc::default()).play(&mut tape, |_, report| {
        reports.push(report);
        ControlFlow::Continue(())
    });
    (reports, played.map(|()| tape.end()))
}

/// What is replayed is what was reported, tick by tick, and the tape knows that it is whole.
#[test]
fn tape_gives_the_reports_that_were_made() {
    let (bytes, reports) = tape("whole");
    let (replayed, end) = replay(&bytes);
    assert_eq!(end.unwrap(), Some(End::Whole));
    assert_eq!(replayed, reports);
    assert_eq!(reports.len() as u64, TICKS);
    assert!(reports[39].processes[0].runtimes[0].live > 0, "{:?}", reports[39]);
    let size = bytes.len();
    assert!(size < 8_192, "{size} bytes for {TICKS} ticks");
}

/// Wherever a tape is cut, all that came before is there, and it says so.
#[test]
fn tape_that_is_cut_gives_what_came_before() {
    let (bytes, reports) = tape("cut");
    let mut most = 0;
    for length in 0..bytes.len() {
        let (replayed, end) = replay(&bytes[..length]);
        match end {
            Err(TapeError::NotATape) => assert_eq!(length, 0),
            Err(TapeError::NoHeader) => assert_eq!(most, 0),
            Ok(Some(End::Cut { .. } | End::Open)) => {}
            other => panic!("cut to {length}: {other:?}"),
        }
        assert_eq!(replayed, reports[..replayed.len()]);
        assert!(replayed.len() >= most);
        most = replayed.len();
    }
    // All but the end mark is there.
    assert_eq!(most, reports.len());
}

/// A byte that is another is found, and the error says where.
#[test]
fn tape_that_is_damaged_is_an_error_with_its_place() {
    let (bytes, reports) = tape("damaged");
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        let (replayed, end) = replay(&damaged);
        assert_eq!(replayed, reports[..replayed.len()], "at {at}");
        match end {
            Err(TapeError::NotATape) => assert!(at < 8),
            Err(TapeError::Newer { found, known }) => assert!(found > known && (8..12).contains(&at)),
            Err(TapeError::Corrupt { offset, .. }) => assert!(offset <= at as u64, "{offset} for {at}"),
            // A length that is too large looks as if the rest were missing.
            Err(TapeError::NoHeader) => assert!((12..20).contains(&at), "at {at}"),
            Ok(Some(End::Cut { offset })) => assert!((offset..offset + 8).contains(&(at as u64))),
            other => panic!("at {at}: {other:?}"),
        }
    }
}

/// A newer version is refused with both numbers; what is no tape is called that.
#[test]
fn tape_of_a_newer_version_is_refused_with_both() {
    let (mut bytes, _) = tape("newer");
    bytes[8] = 9;
    let error = replay(&bytes).1.unwrap_err().to_string();
    assert!(
        error.contains("version 9") && error.contains("knows 1"),
        "{error}"
    );
    for foreign in [&b"\x7fELF"[..], b"", b"LEAKTAPF\0\0\0\0", b"{\"version\":1}"] {
        assert!(matches!(replay(foreign).1, Err(TapeError::NotATape)));
    }
}

/// Of a tape in several files each can be replayed alone, from the state that it begins with; and all of them in a row.
#[test]
fn tape_in_several_files_goes_on_in_each() {
    let folder = Folder::new("files");
    let config = folder.config(200);
    // Now and then the thread that writes is waited for, so that it has found the file full before the next tick.
    let reports = record(config, |tick, recorder| {
        let written = || recorder.counters()[1].1;
        let (before, patience) = (written(), Duration::from_secs(60));
        let begin = std::time::Instant::now();
        while tick % 5 == 4 && written() == before && begin.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let files: Vec<PathBuf> = ["tape.3", "tape.2", "tape.1", "tape"]
        .iter()
        .map(|name| folder.0.join(name))
        .collect();
    assert!(!folder.0.join("tape.4").exists(), "more files than were wanted");
    let mut all = Replay::new(Arc::default());
    let mut last = Vec::new();
    for file in &files {
        let bytes = fs::read(file).unwrap();
        let (alone, end) = replay(&bytes);
        assert_eq!(end.unwrap(), Some(End::Whole));
        all.play(&mut Reader::new(bytes.as_slice()).unwrap(), |_, report| {
            last.push(report);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert!(numbers(&last).ends_with(&numbers(&alone)));
    }
    assert!(
        last.len() > 4 && numbers(&reports).ends_with(&numbers(&last)),
        "{} of {}",
        last.len(),
        reports.len()
    );
}

/// A tape that is there already is kept, and nobody else may read the new one.
#[test]
fn tape_that_is_there_is_kept() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new("kept");
    let config = folder.config(1 << 20);
    record(config.clone(), |_, _| {});
    let first = fs::read(&config.path).unwrap();
    record(config.clone(), |_, _| {});
    assert_eq!(fs::read(folder.0.join("tape.1")).unwrap(), first);
    assert_eq!(
        fs::metadata(&config.path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

/// A tape that cannot be begun is an error with its path; one that cannot go on is given up and counted.
#[test]
fn tape_that_cannot_be_written_is_given_up() {
    let folder = Folder::new("missing");
    let config = RecordConfig {
        path: folder.0.join("no folder/tape"),
        ..folder.config(1 << 20)
    };
    let error = Recorder::start(config, &header()).unwrap_err().to_string();
    assert!(error.contains("no folder/tape"), "{error}");

    let config = folder.config(200);
    let mut recorder = Recorder::start(config, &header()).unwrap();
    // The next file cannot be made any more.
    fs::create_dir(folder.0.join("tape.1")).unwrap();
    fs::write(folder.0.join("tape.1/full"), "").unwrap();
    let engine = engine();
    let mut tick = 0;
    let stopped = |recorder: &Recorder| recorder.counters().contains(&("tape_stopped", 1));
    while !stopped(&recorder) {
        for input in inputs(tick % TICKS) {
            recorder.input(&input);
        }
        recorder.tick(BootTime(tick), &facts(tick), &Facts::default(), &engine);
        tick += 1;
    }
    recorder.input(&inputs(1)[0]);
    let lost = recorder
        .counters()
        .into_iter()
        .find(|(name, _)| *name == "tape_entries_lost");
    assert!(lost.is_some_and(|(_, lost)| lost > 0));
}
