//! What the agent costs: `cargo xtask bench`, as root. All numbers are ratios within one run, or set against a
//! limit; docs/OVERHEAD.md says how to read them.
#![expect(clippy::print_stdout, reason = "this program talks to a person")]
#![allow(clippy::unwrap_used, clippy::expect_used)] // a measurement that cannot be made fails with the reason

mod books;
mod engine;
mod goroutines;
mod process;
mod scan;
mod service;
mod slices;
mod steady;
mod storm;
mod tapes;
mod task;
mod thread;
mod watch;
mod web;

/// A measurement.
struct Bench {
    name: &'static str,
    what: &'static str,
    run: fn(),
}

const ALL: &[Bench] = &[
    Bench {
        name: "task",
        what: "what a probe adds to a spawn and finish of a tokio task",
        run: task::run,
    },
    Bench {
        name: "probe",
        what: "the same without the alternatives",
        run: task::probe,
    },
    Bench {
        name: "goroutine",
        what: "what a probe adds to a goroutine that begins and ends",
        run: task::goroutine,
    },
    Bench {
        name: "web",
        what: "requests per second of Go's net/http with the agent and without",
        run: web::run,
    },
    Bench {
        name: "goroutines",
        what: "the baseline of 100,000 goroutines, next to the program's own profiles",
        run: goroutines::run,
    },
    Bench {
        name: "storm",
        what: "2,000,000 spawns through a ring that nobody reads",
        run: storm::run,
    },
    Bench {
        name: "steady",
        what: "the agent itself: 200,000 live tasks, 50,000 more per second",
        run: steady::run,
    },
    Bench {
        name: "scan",
        what: "a node with 500 processes: how long the event line stops",
        run: scan::run,
    },
    Bench {
        name: "thread",
        what: "what the agent adds to the creation and join of a thread",
        run: thread::run,
    },
    Bench {
        name: "books",
        what: "listing the tasks of a running program from its memory, next to gdb",
        run: books::run,
    },
    Bench {
        name: "engine",
        what: "engine, detectors and report by replay: 10,000 processes with 100 sites each, a tick per second",
        run: engine::run,
    },
    Bench {
        name: "watch",
        what: "the agent itself without probes: 100 processes of 1,000 tasks, every 5 s",
        run: watch::run,
    },
];

fn main() -> std::process::ExitCode {
    if engine::is_child() {
        return std::process::ExitCode::SUCCESS;
    }
    if let Some(done) = tapes::asked() {
        return done;
    }
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted
        .iter()
        .find(|name| ALL.iter().all(|bench| bench.name != *name))
    {
        println!("error: no measurement is called {unknown}");
        return std::process::ExitCode::from(2);
    }
    for bench in ALL {
        let part_of_another = bench.name == "probe";
        if (wanted.is_empty() && !part_of_another) || wanted.iter().any(|name| name == bench.name) {
            println!("== {}: {}", bench.name, bench.what);
            println!("   load of the machine before: {}", process::load());
            (bench.run)();
            println!("   load of the machine after: {}", process::load());
        }
    }
    std::process::ExitCode::SUCCESS
}

/// A number against its limit.
fn verdict(what: &str, value: f64, limit: f64, unit: &str) {
    let verdict = if value <= limit { "ok" } else { "MISSED" };
    println!("   {what}: {value:.3}{unit} (at most {limit}{unit}): {verdict}");
}
