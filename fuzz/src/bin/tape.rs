//! A tape from somewhere: whatever it says, it is read to its end, or refused. Half of the inputs are a file as it is; of
//! the others the checksums and the compression are right, so that what is in it is reached.
#![no_main]

use leak_agent::agent::Replay;
use leak_agent::config::RecordConfig;
use leak_agent::detect::Facts;
use leak_agent::engine::{Engine, Input, KernelRuntime, Totals};
use leak_agent::event::Event;
use leak_agent::report::AgentFacts;
use leak_agent::source;
use leak_agent::tape::{Header, Reader, Recorder};
use leak_agent::types::{BootTime, ExecId, ProcessKey};
use leak_agent_common::key::SiteKey;
use leak_agent_common::totals::SiteTotals;
use libfuzzer_sys::fuzz_target;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Ticks that are replayed: few bytes can repeat a large one often.
const TICKS: u32 = 64;

fuzz_target!(
    init: leak_agent_fuzz::write_seeds_if_asked(seeds),
    |bytes: &[u8]| {
        let [how, bytes @ ..] = bytes else { return };
        let made;
        let bytes = if how & 1 == 0 { bytes } else { made = tape_of(bytes); &made };
        let Ok(mut tape) = Reader::new(bytes) else { return };
        let mut ticks = 0;
        let _ = Replay::new(Arc::default()).play(&mut tape, |_, report| {
            ticks += 1;
            assert!(report.processes.is_sorted_by_key(|process| (process.pid, process.start_boottime)));
            if ticks < TICKS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
    }
);

/// A tape with these entries, and a header.
fn tape_of(entries: &[u8]) -> Vec<u8> {
    let mut stream = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("memory");
    stream.write_all(entries).expect("memory");
    stream.flush().expect("memory");
    let mut tape = b"LEAKTAPE\x01\0\0\0".to_vec();
    // {"agent": "", "evidence": "", "max_processes": 4}
    let header = b"\x83\xa5agent\xa0\xa8evidence\xa0\xadmax_processes\x04";
    for payload in [&header[..], stream.get_ref()] {
        tape.extend(u32::try_from(payload.len()).expect("short").to_le_bytes());
        tape.extend(crc32fast::hash(payload).to_le_bytes());
        tape.extend(payload);
    }
    tape
}

/// The entries of a tape.
fn entries_of(tape: &[u8]) -> Vec<u8> {
    let mut stream = zstd::stream::write::Decoder::new(Vec::new()).expect("memory");
    let mut rest = &tape[12..];
    let mut header = true;
    while let Some((head, more)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*head) as usize;
        if length == 0 {
            break;
        }
        let (payload, more) = more[4..].split_at(length);
        if !std::mem::take(&mut header) {
            stream.write_all(payload).expect("what was compressed");
        }
        rest = more;
    }
    stream.flush().expect("memory");
    stream.get_ref().clone()
}

/// A small tape of each kind of thing: as a file, and as entries.
fn seeds() -> Vec<Vec<u8>> {
    let path = std::env::temp_dir().join(format!("leak-agent-fuzz-{}.tape", std::process::id()));
    let config = RecordConfig {
        path: path.clone(),
        bytes_max: 1 << 30,
        files: 1,
    };
    let header = Header {
        agent: "fuzz".to_owned(),
        evidence: "kernel tracepoints".to_owned(),
        max_processes: 4,
    };
    let mut recorder = Recorder::start(config, &header).expect("a tape");
    let kernel = KernelRuntime {
        runtime: source::thread::RUNTIME,
        evidence: "kernel tracepoints",
        reserved: source::thread::reserved,
        maker: source::thread::maker,
    };
    let mut engine = Engine::new(kernel, 4);
    let process = ProcessKey {
        start_boottime: 5,
        tgid: 6,
        pad: 0,
    };
    let row = |site, spawned| {
        let key = SiteKey {
            process,
            site,
            plan: 0,
            exec_id: 0,
            runtime: 1,
            caller: 0,
        };
        (
            key,
            SiteTotals {
                spawned,
                finished: 1,
                baseline: 0,
            },
        )
    };
    let inputs = [
        Input::Event(Event::Execed {
            process,
            exec: ExecId(1),
            comm: "a".to_owned(),
            at: BootTime(7),
        }),
        Input::Describe {
            process,
            comm: "a".to_owned(),
            exe: None,
        },
        Input::Totals(Totals {
            rows: vec![row(1, 1), row(2, 4)],
            lost_counts: 0,
            at: BootTime(8),
        }),
        Input::Totals(Totals {
            rows: vec![row(1, 1), row(9, 4), row(2, 5)],
            lost_counts: 0,
            at: BootTime(9),
        }),
        Input::Sweep { at: BootTime(10) },
    ];
    for input in inputs {
        recorder.input(&input);
        engine.take(input);
        recorder.tick(BootTime(11), &AgentFacts::default(), &Facts::default(), &engine);
    }
    drop(recorder);
    let seed = std::fs::read(&path).expect("the tape");
    let _ = std::fs::remove_file(path);
    let entries = entries_of(&seed);
    assert!(
        Reader::new(tape_of(&entries).as_slice()).is_ok(),
        "what is fuzzed is no tape"
    );
    let with = |how: u8, bytes: &[u8]| [&[how], bytes].concat();
    vec![with(0, &seed), with(1, &entries)]
}
