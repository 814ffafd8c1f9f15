//! Counting without probes: 100 processes of 1,000 tasks each, read from memory every 5 s.

use crate::process::{Program, cpu_ns_by_thread};
use crate::service::Service;
use crate::verdict;
use leak_agent_tests::programs;
use leak_agent_tests::wait::until;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const PROCESSES: usize = 100;
const TASKS: u64 = 1_000;
/// Spawns and ends per second and process, in the second part.
const RATE: u64 = 10;
/// Twelve readings of each process, and a minute for what is done once per minute.
const WHILE: Duration = Duration::from_secs(60);

pub(crate) fn run() {
    let path = programs::tokio_probe();
    let mut all: Vec<Program> = (0..PROCESSES).map(|_| Program::start(&path)).collect();
    for program in &mut all {
        program.ask(&format!("park {TASKS}"));
    }
    let begin = Instant::now();
    let service = Service::start(&["--mode", "watch", "--exe", &path.to_string_lossy()]);
    println!(
        "   {PROCESSES} processes with {TASKS} tasks each; started and ready after {:.2} s",
        begin.elapsed().as_secs_f64()
    );
    until("every process is read", || {
        let counted = agreed(&service);
        let right = counted.len() == PROCESSES && counted.iter().all(|live| *live == TASKS);
        right.then_some(()).ok_or_else(|| format!("{counted:?}"))
    });
    println!("   each of them counted with {TASKS} live tasks");
    std::thread::sleep(Duration::from_secs(10));
    measure("   at rest", &service);
    for program in &mut all {
        program.ask(&format!("hold {RATE}"));
    }
    std::thread::sleep(Duration::from_secs(10));
    measure(
        &format!("   with {RATE} spawns and ends per second in each"),
        &service,
    );
}

/// Live tasks of each process whose lists agreed with what its runtimes count.
fn agreed(service: &Service) -> Vec<u64> {
    let report = service.report();
    let runtimes = report.processes.iter().flat_map(|process| &process.runtimes);
    runtimes
        .filter(|runtime| runtime.watch.as_ref().is_some_and(|watch| watch.agreed))
        .map(|runtime| runtime.live)
        .collect()
}

/// Walks through lists, and searches of memories, so far.
fn work(service: &Service) -> (u64, u64) {
    let report = service.report();
    let runtimes = report.processes.iter().flat_map(|process| &process.runtimes);
    runtimes
        .filter_map(|runtime| runtime.watch.as_ref())
        .fold((0, 0), |(walks, searches), watch| {
            (walks + watch.walks, searches + watch.searches)
        })
}

fn measure(what: &str, service: &Service) {
    println!("{what}, over {} s:", WHILE.as_secs());
    let (before, worked) = (cpu_ns_by_thread(service.pid()), work(service));
    let usage = service.usage(WHILE);
    let (after, did) = (cpu_ns_by_thread(service.pid()), work(service));
    let mut threads: BTreeMap<&str, u64> = BTreeMap::new();
    for (tid, (name, cpu)) in &after {
        let spent = cpu - before.get(tid).map_or(0, |(_, cpu)| *cpu);
        *threads.entry(name).or_default() += spent;
    }
    for (name, cpu) in threads {
        println!(
            "     thread {name}: {:.3} % of a core",
            cpu as f64 / WHILE.as_nanos() as f64 * 100.0
        );
    }
    println!(
        "     {} walks through lists, {} searches of memory; {:.2} ms per tick, {:.1} MiB resident",
        did.0 - worked.0,
        did.1 - worked.1,
        usage.tick_ms,
        usage.resident_mib
    );
    verdict("the whole agent", usage.cores * 100.0, 1.0, " % of a core");
}
