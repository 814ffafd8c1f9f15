//! 2,000,000 spawns on two workers, each spawn and finish streamed through the smallest ring, which nobody reads.

use crate::process::Program;
use leak_agent::bpf::Hook;
use leak_agent_common::counter::Counter;
use leak_agent_tests::hooked::{Hooked, limits};
use leak_agent_tests::programs;

const TASKS: u64 = 2_000_000;

pub(crate) fn run() {
    let path = programs::tokio_probe();
    let mut hooked = Hooked::load(&path, &limits(4096, 1, Hook::Count));
    hooked.attach();
    let mut program = Program::start(&path);
    let truth = program.ask(&format!("storm {TASKS}"));
    drop(program);
    let counted = hooked.counted();
    let lost = hooked.counter(Counter::LostStreamRecord);
    let lost_counts = hooked.counter(Counter::LostCounts);
    let (_, received) = hooked.drain();
    let hits = counted.spawned + counted.finished;
    println!(
        "   the program says: {} spawned, {} finished",
        truth["spawned"], truth["finished"]
    );
    println!(
        "   counted: {} spawned, {} finished (with tokio's own tasks)",
        counted.spawned, counted.finished
    );
    println!("   counts lost: {lost_counts}");
    println!(
        "   records: {received} received + {lost} lost = {} of {hits} hits",
        received + lost
    );
    assert_eq!(lost_counts, 0, "counts were lost");
    assert_eq!(received + lost, hits, "records are missing");
}
