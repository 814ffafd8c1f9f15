//! What the agent adds to the creation and join of a thread, in a C program.

use crate::process::{Program, cpu_ns_of_all_threads};
use crate::service::Service;
use crate::slices::Samples;
use leak_agent_tests::programs;
use std::time::Instant;

const ROUNDS: usize = 12;
const THREADS: u32 = 20_000;

pub(crate) fn run() {
    let path = programs::threads();
    let [mut cpu, mut wall] = [(); 2].map(|()| [Samples::default(), Samples::default()]);
    for _ in 0..ROUNDS {
        for with in 0..2 {
            let service = (with == 1).then(|| Service::start(&["--exe", &path.to_string_lossy()]));
            let mut program = Program::start(&path);
            // The creation stacks of the two sites are known after this.
            program.ask("joined 200");
            std::thread::sleep(std::time::Duration::from_millis(500));
            let (before, begin) = (cpu_ns_of_all_threads(program.pid()), Instant::now());
            program.ask(&format!("joined {THREADS}"));
            wall[with].push(begin.elapsed().as_nanos() as f64);
            cpu[with].push((cpu_ns_of_all_threads(program.pid()) - before) as f64);
            drop((program, service));
        }
    }
    println!(
        "   {ROUNDS} rounds of {THREADS} threads, with the agent : without it (first quartile, median, third quartile)"
    );
    for (what, samples) in [("CPU time of the program", &cpu), ("elapsed time", &wall)] {
        let [low, middle, high] = samples[1].times(&samples[0]);
        println!("   {what}: {low:.3} {middle:.3} {high:.3}");
    }
}
