//! The baseline and a dump of 100,000 goroutines read from outside, next to the profiles that the same program makes of itself.

use crate::books::{Used, timed};
use crate::process::{Program, cpu_ns_of_all_threads};
use crate::slices::Samples;
use crate::verdict;
use leak_agent::source::go;
use leak_agent_tests::books::{Reader, plan_of};
use leak_agent_tests::dumping;
use leak_agent_tests::golang::{Flavour, GoProbe};

const LIVE: u64 = 100_000;
const ROUNDS: usize = 5;

/// What one way to list all goroutines took, of each round.
#[derive(Default)]
struct Row {
    wall: Samples,
    cpu: Samples,
    stopped: Samples,
}

pub(crate) fn run() {
    let newest = GoProbe {
        version: "1.27.3",
        flavour: Flavour::Default,
    };
    let path = newest.path();
    let plan = plan_of(&path, go::RUNTIME);
    let mut program = Program::start(&path);
    program.ask(&format!("park {LIVE}"));
    program.ask("tick");
    let names = [
        "nothing, for a second",
        "the agent: baseline (open, check each, count by site)",
        "the agent: one more walk",
        "the agent: a dump (open, check, unwind, name, group)",
        "pprof debug=1 of the program itself",
        "pprof debug=2 of the program itself",
    ];
    let mut rows: [Row; 6] = Default::default();
    for _ in 0..ROUNDS {
        let mut reader = None;
        for (row, _) in rows
            .iter_mut()
            .zip(names)
            .enumerate()
            .map(|(index, (row, name))| ((index, row), name))
        {
            let (index, row) = row;
            program.ask("stopped");
            let its_own = cpu_ns_of_all_threads(program.pid());
            let used = match index {
                0 => timed(|| std::thread::sleep(std::time::Duration::from_secs(1))).1,
                1 => {
                    let (opened, used) = timed(|| {
                        let mut reader = Reader::open(program.pid(), &path, &plan);
                        let found = reader
                            .books
                            .find(&reader.memory, &[], &[], &Default::default())
                            .unwrap();
                        assert_eq!(found.refused, [] as [String; 0]);
                        listed(&mut reader);
                        reader
                    });
                    reader = Some(opened);
                    used
                }
                2 => timed(|| listed(reader.as_mut().unwrap())).1,
                3 => timed(|| dumped(program.pid())).1,
                detail => {
                    let answer = program.ask(&format!("timed-profile {}", detail - 3));
                    assert_eq!(answer["failed"], false);
                    let cpu = cpu_ns_of_all_threads(program.pid()) - its_own;
                    Used {
                        wall: answer["ns"].as_f64().unwrap() / 1e9,
                        cpu: cpu as f64 / 1e9,
                    }
                }
            };
            row.wall.push(used.wall);
            row.cpu.push(used.cpu);
            row.stopped
                .push(program.ask("stopped")["ns"].as_f64().unwrap() / 1e6);
        }
    }
    println!(
        "   {LIVE} goroutines, medians of {ROUNDS} rounds; the longest time in which a goroutine that sleeps for a"
    );
    println!("   millisecond again and again could not run is that of the machine, too: see the first line");
    println!(
        "   {:<56} {:>10} {:>10} {:>12}",
        "", "wall, s", "CPU, s", "longest, ms"
    );
    for (row, name) in rows.iter().zip(names) {
        let (wall, cpu, stopped) = (row.wall.median(), row.cpu.median(), row.stopped.median());
        println!("   {name:<56} {wall:>10.3} {cpu:>10.3} {stopped:>12.1}");
    }
    verdict("a baseline", rows[1].wall.median(), 0.5, " s");
    verdict("a dump, wall", rows[3].wall.median(), 1.0, " s");
    verdict("a dump, CPU", rows[3].cpu.median(), 0.3, " s");
}

/// Takes a dump; all of them are in one group of it.
fn dumped(pid: u32) {
    let dump = dumping::take_of(pid, &[go::RUNTIME.label]).unwrap();
    let largest = dump.groups.first().map_or(0, |group| group.count);
    assert_eq!(largest, LIVE, "{:?}", dump.notes);
}

/// Counts them all; each of them is there.
fn listed(reader: &mut Reader) {
    let listing = reader.list(0);
    assert_eq!(listing.refused, [] as [String; 0]);
    let walked: u64 = listing.groups.iter().map(|group| group.walked).sum();
    assert!(walked >= LIVE, "{walked} of {LIVE}");
}
