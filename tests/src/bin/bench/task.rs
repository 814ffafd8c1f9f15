//! What is added to a spawn and finish of a tokio task, or to a goroutine from its `go` statement to its end: by a probe that
//! does nothing, by ours, by bpftrace, and by instrumentation that is built in.

use crate::process::{Program, cpu_ns};
use crate::slices::Samples;
use crate::verdict;
use leak_agent::bpf::Hook;
use leak_agent::source::{go, tokio};
use leak_agent::types::Runtime;
use leak_agent_tests::golang::{Flavour, GoProbe};
use leak_agent_tests::hooked::{Hooked, limits};
use leak_agent_tests::{probed, programs};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// How often the variants take turns, per scheduler.
const ROUNDS: usize = 12;
const NAMES: [&str; 5] = [
    "no probes",
    "empty program",
    "leak-agent",
    "bpftrace",
    "console-subscriber",
];
const NONE: usize = 0;
const EMPTY: usize = 1;
const OURS: usize = 2;
const TRACED: usize = 3;
const CONSOLE: usize = 4;

/// Whose tasks.
struct Subject {
    runtime: Runtime,
    path: PathBuf,
    /// Built with `console-subscriber`.
    console: Option<PathBuf>,
    /// What a user would type who knows the runtime: one function per spawn, one per finish. Both exist as symbols in an
    /// ordinary build.
    bpftrace: [&'static str; 2],
    /// Arguments of the program's measurement, and what they stand for.
    modes: [(u32, &'static str); 2],
}

/// All of them.
pub(crate) fn run() {
    tokio_task(&[NONE, EMPTY, OURS, TRACED, CONSOLE]);
}

/// Ours and the empty program only: a minute, for who works on the probe.
pub(crate) fn probe() {
    tokio_task(&[NONE, EMPTY, OURS]);
}

/// The same of a goroutine.
pub(crate) fn goroutine() {
    let newest = GoProbe {
        version: "1.27.3",
        flavour: Flavour::Default,
    };
    let subject = Subject {
        runtime: go::RUNTIME,
        path: newest.path(),
        console: None,
        bpftrace: ["\"runtime.newproc1\"", "\"runtime.gdestroy\""],
        modes: [(1, "GOMAXPROCS=1"), (2, "GOMAXPROCS=2")],
    };
    compare(&subject, &[NONE, EMPTY, OURS, TRACED]);
}

fn tokio_task(variants: &[usize]) {
    let subject = Subject {
        runtime: tokio::RUNTIME,
        path: programs::tokio_probe(),
        console: variants.contains(&CONSOLE).then(programs::tokio_console),
        bpftrace: ["*OwnedTasks*bind_inner*", "*State*transition_to_terminal*"],
        modes: [(1, "current_thread"), (2, "multi_thread")],
    };
    compare(&subject, variants);
}

fn compare(subject: &Subject, variants: &[usize]) {
    let path = &subject.path;
    let load = |hook| Hooked::load_for(path, subject.runtime, &limits(1 << 20, 0, hook));
    let (mut empty, mut ours) = (load(Hook::Empty), load(Hook::Count));
    let emulated = ours.plan.points.iter().filter(|point| point.emulated).count();
    println!(
        "   attach points on instructions that the kernel emulates: {emulated} of {}",
        ours.plan.points.len()
    );
    for (mode, name) in subject.modes {
        let mut program = Program::start(path);
        let mut console = subject.console.as_deref().map(Program::start);
        let [mut cpu, mut wall] = [(); 2].map(|()| NAMES.map(|_| Samples::default()));
        for _ in 0..ROUNDS {
            for &variant in variants {
                let target = match &mut console {
                    Some(console) if variant == CONSOLE => console,
                    _ => &mut program,
                };
                let pid = target.pid();
                let before = ours.counted();
                let mut traced = None;
                match variant {
                    EMPTY => empty.attach(),
                    OURS => ours.attach(),
                    TRACED => traced = Bpftrace::start(path, subject.bpftrace),
                    _ => {}
                }
                // What sits at the hooks is there, and nothing else is.
                let altered = variant != CONSOLE && probed::altered_bytes(pid, path) > 0;
                let slice = slice(target, mode);
                match variant {
                    EMPTY => empty.detach(),
                    OURS => ours.detach(),
                    _ => {}
                }
                match variant {
                    NONE | CONSOLE => assert!(!altered, "somebody else has probes in the target"),
                    TRACED if traced.is_none() => continue,
                    _ => assert!(altered, "no probes in the target: {}", NAMES[variant]),
                }
                let hits = traced.map(Bpftrace::finish);
                if variant == TRACED {
                    let hits = hits.unwrap();
                    assert!(
                        hits as f64 >= 2.0 * slice.tasks,
                        "bpftrace saw {hits} hits of {} tasks",
                        slice.tasks
                    );
                }
                if variant == OURS {
                    let counted = ours.counted();
                    assert!((counted.spawned - before.spawned) as f64 >= slice.tasks);
                    assert!((counted.finished - before.finished) as f64 >= slice.tasks);
                }
                cpu[variant].push(slice.cpu_ns);
                wall[variant].push(slice.wall_ns);
            }
        }
        table(name, &cpu, &wall);
    }
}

struct Slice {
    tasks: f64,
    /// CPU time of the whole program per task, nanoseconds.
    cpu_ns: f64,
    /// Median over batches of the time per task, nanoseconds.
    wall_ns: f64,
}

/// One second of spawns.
fn slice(target: &mut Program, mode: u32) -> Slice {
    let before = cpu_ns(target.pid());
    let answer = target.ask(&format!("bench {mode} 1"));
    let cpu = cpu_ns(target.pid()) - before;
    let number = |field: &str| answer[field].as_f64().unwrap();
    let tasks = number("tasks");
    Slice {
        tasks,
        cpu_ns: cpu as f64 / tasks,
        wall_ns: number("ns_median"),
    }
}

fn table(scheduler: &str, cpu: &[Samples; 5], wall: &[Samples; 5]) {
    println!(
        "   {scheduler}, {ROUNDS} rounds: cost of a task, and what is added to it relative to the empty program"
    );
    println!(
        "   {:<20} {:>12} {:>12} {:>15} {:>18}",
        "CPU time", "x no probes", "x empty", "quartiles", "x empty, elapsed"
    );
    for (index, name) in NAMES.iter().enumerate() {
        if cpu[index].median().is_nan() {
            println!("   {name:<20} not measured");
            continue;
        }
        let whole = cpu[index].times(&cpu[NONE])[1];
        if index == NONE {
            println!("   {name:<20} {whole:>12.2} {:>12}", "0");
            continue;
        }
        let [low, middle, high] = cpu[index].added_to(&cpu[EMPTY], &cpu[NONE]);
        let wall = wall[index].added_to(&wall[EMPTY], &wall[NONE])[1];
        let quartiles = format!("{low:.3}–{high:.3}");
        println!("   {name:<20} {whole:>12.2} {middle:>12.3} {quartiles:>15} {wall:>18.3}");
    }
    let above = cpu[OURS].above(&cpu[NONE]) / cpu[EMPTY].above(&cpu[NONE]);
    println!("   leak-agent : empty by medians of differences: {above:.3}");
    verdict(
        "added by leak-agent, of what the empty program adds",
        cpu[OURS].added_to(&cpu[EMPTY], &cpu[NONE])[1],
        1.15,
        "",
    );
}

/// bpftrace with its probes in place.
struct Bpftrace {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Bpftrace {
    /// Starts it and waits until it counts; `None` = not installed.
    fn start(path: &Path, symbols: [&str; 2]) -> Option<Self> {
        let probes = symbols.map(|symbol| format!("uprobe:{}:{symbol}", path.display()));
        let line = format!(
            "{} {{ @[probe] = count(); }} BEGIN {{ printf(\"ready\\n\"); }}",
            probes.join(",")
        );
        let mut child = Command::new("bpftrace")
            .args(["-e", &line])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut stdout = BufReader::new(child.stdout.take()?);
        let mut text = String::new();
        while !text.contains("ready") {
            assert!(stdout.read_line(&mut text).unwrap() > 0, "bpftrace ended: {text}");
        }
        Some(Self { child, stdout })
    }

    /// Ends it; how often its probes were hit.
    fn finish(mut self) -> u64 {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let mut text = String::new();
        self.stdout.read_to_string(&mut text).unwrap();
        self.child.wait().unwrap();
        text.lines()
            .filter_map(|line| line.rsplit_once(": ")?.1.parse::<u64>().ok())
            .sum()
    }
}
