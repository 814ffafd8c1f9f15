//! A node with 500 processes of 20 executables, one of them large, when the agent starts; then one more process of
//! an executable that is known.

use crate::process::{Program, cpu_ns};
use crate::service::Service;
use crate::verdict;
use leak_agent_tests::programs::{self, Profile, TokioProbe};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PROCESSES: usize = 500;
const EXECUTABLES: usize = 20;
/// Processes of a known executable whose cost is averaged.
const MORE: usize = 200;

pub(crate) fn run() {
    let large = programs::large_executable();
    let mib = large.metadata().unwrap().len() >> 20;
    println!("   the large executable: {mib} MiB, with full debug information");
    let _large = Idle::start(&large);
    let small = small_executables();
    let mut processes: Vec<Program> = (0..PROCESSES - 1)
        .map(|number| Program::start(&small[number % small.len()]))
        .collect();
    let stop = AtomicBool::new(false);
    let service = std::thread::scope(|scope| {
        // Something that happens all the time, so that a stop does not pass unnoticed.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                Command::new("/bin/true").status().unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let begin = Instant::now();
        let service = Service::start(&[]);
        println!("   ready after {:.1} s", begin.elapsed().as_secs_f64());
        std::thread::sleep(Duration::from_secs(3));
        stop.store(true, Ordering::Relaxed);
        service
    });
    let report = service.report();
    let followed = report
        .processes
        .iter()
        .filter(|process| process.runtimes.iter().any(|runtime| runtime.runtime == "tokio"))
        .count();
    let ms = |name: &str| service.counter(name) as f64 / 1e6;
    println!(
        "   followed: {followed} processes with tokio, {} inspections, {} events, resident {} MiB",
        service.counter("inspections"),
        service.counter("events"),
        report.agent.resident_bytes >> 20
    );
    verdict(
        "the event line's longest stop",
        ms("event_line_longest_ns"),
        50.0,
        " ms",
    );
    verdict(
        "the longest way of an event from the kernel to the engine",
        ms("event_delay_longest_ns"),
        50.0,
        " ms",
    );

    let idle = service.usage(Duration::from_secs(5)).cores;
    let inspections = service.counter("inspections");
    let (cpu, begin) = (cpu_ns(service.pid()), Instant::now());
    processes.extend((0..MORE).map(|number| Program::start(&small[number % small.len()])));
    std::thread::sleep(Duration::from_secs(2));
    let used = (cpu_ns(service.pid()) - cpu) as f64 - idle * begin.elapsed().as_nanos() as f64;
    println!(
        "   inspections for {MORE} processes more of known executables: {}",
        service.counter("inspections") - inspections
    );
    verdict(
        "the agent's CPU time per such process",
        used / MORE as f64 / 1e6,
        1.0,
        " ms",
    );
}

/// Executables that share neither a file nor a place in a cache, with three versions of tokio.
fn small_executables() -> Vec<PathBuf> {
    let folder = programs::scratch("bench-scan");
    let built = ["154", "147", "138"].map(|tokio| {
        let probe = TokioProbe {
            tokio,
            profile: Profile::Release,
            stripped: false,
        };
        probe.path()
    });
    (1..EXECUTABLES)
        .map(|number| {
            let copy = folder.join(format!("program-{number}"));
            std::fs::copy(&built[number % built.len()], &copy).unwrap();
            copy
        })
        .collect()
}

/// The agent's own binary, built with full debug information, that does next to nothing.
struct Idle(Child);

impl Idle {
    fn start(path: &std::path::Path) -> Self {
        let child = Command::new(path)
            .args(["--no-bpf", "run", "--listen", "off"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
