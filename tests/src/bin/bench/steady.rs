//! The agent's own CPU time and memory: many live tasks, then a steady load on top of them.

use crate::process::Program;
use crate::service::Service;
use crate::verdict;
use leak_agent::report::Report;
use leak_agent_tests::programs;
use std::time::Duration;

const RATE: u64 = 50_000;
const WHILE: Duration = Duration::from_secs(10);

pub(crate) fn run() {
    let path = programs::tokio_probe();
    let service = Service::start(&["--exe", &path.to_string_lossy()]);
    let mut program = Program::start(&path);
    println!(
        "   {:>12} {:>12} {:>14} {:>14}",
        "live tasks", "ms per tick", "% of a core", "resident MiB"
    );
    let mut parked = 0;
    for live in [1_000, 20_000, 200_000] {
        program.ask(&format!("park {}", live - parked));
        parked = live;
        std::thread::sleep(Duration::from_secs(2));
        let usage = service.usage(WHILE);
        let seen = counts(&service.report(), program.pid()).0;
        println!(
            "   {seen:>12} {:>12.3} {:>14.2} {:>14.1}",
            usage.tick_ms,
            usage.cores * 100.0,
            usage.resident_mib
        );
    }
    program.ask(&format!("hold {RATE}"));
    std::thread::sleep(Duration::from_secs(2));
    let before = (
        service.report().taken_at,
        counts(&service.report(), program.pid()).1,
    );
    let usage = service.usage(WHILE);
    let after = (
        service.report().taken_at,
        counts(&service.report(), program.pid()).1,
    );
    let truth = program.ask("stop");
    let rate = (after.1 - before.1) as f64 / (after.0 - before.0);
    println!("   with {rate:.0} spawns and finishes per second on top of them:");
    println!("   ms per tick: {:.3}", usage.tick_ms);
    verdict("CPU", usage.cores * 100.0, 5.0, " % of a core");
    verdict("resident", usage.resident_mib, 64.0, " MiB");
    std::thread::sleep(Duration::from_secs(3));
    let (live, spawned) = counts(&service.report(), program.pid());
    println!(
        "   in the end: {live} live of {spawned} spawned; the program says {} of {}",
        truth["live"], truth["spawned"]
    );
    assert_eq!(
        (Some(live), Some(spawned)),
        (truth["live"].as_u64(), truth["spawned"].as_u64()),
        "the counts differ"
    );
}

/// Live and spawned tasks of the process.
fn counts(report: &Report, pid: u32) -> (u64, u64) {
    let process = report
        .processes
        .iter()
        .find(|process| process.pid == pid)
        .unwrap_or_else(|| panic!("process {pid} is not in the report: {:?}", report.agent));
    let tokio = process
        .runtimes
        .iter()
        .find(|runtime| runtime.runtime == "tokio")
        .unwrap();
    (tokio.live, tokio.spawned)
}
