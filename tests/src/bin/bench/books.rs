//! Reading the tasks of a program out of its memory while it runs, next to a debugger that does the same.

use crate::process::Program;
use crate::verdict;
use leak_agent::sys::memory::Memory as _;
use leak_agent::sys::present::PrivateMemory;
use leak_agent_tests::books::{Reader, bias, plan};
use leak_agent_tests::programs;
use rustix::time::{ClockId, clock_gettime};
use std::process::Command;
use std::time::{Duration, Instant};

pub(crate) fn run() {
    let path = programs::tokio_probe();
    let plan = plan(&path);
    let mut program = Program::start(&path);
    let mut parked = 0;
    for (live, wall_limit) in [(100_000_u64, 0.5), (1_000_000, 3.0)] {
        program.ask(&format!("park {}", live - parked));
        parked = live;
        println!("   {live} parked tasks:");
        let (mut reader, opened) = timed(|| Reader::open(program.pid(), &path, &plan));
        let (private, looked_up) = timed(|| PrivateMemory::of(&reader.memory).unwrap());
        let (found, searched) = timed(|| reader.find());
        assert_eq!(found.refused, [] as [String; 0]);
        let (listing, walked) = timed(|| reader.list(0));
        assert_eq!(listing.groups.iter().map(|group| group.walked).sum::<u64>(), live);
        let (counters, counted) = timed(|| reader.counters());
        assert_eq!(counters.iter().map(|counters| counters.live).sum::<u64>(), live);
        let (each, told) = timed(|| reader.list(usize::MAX));
        assert_eq!(each.tasks.len() as u64, live);
        let print = |what: &str, used: Used| {
            println!(
                "     {what}: {:.2} ms, CPU {:.2} ms",
                used.wall * 1e3,
                used.cpu * 1e3
            );
        };
        let mib = private.bytes >> 20;
        print(
            &format!("opening it, looking up its {mib} MiB of present private memory"),
            opened + looked_up,
        );
        print(
            "searching them and walking through the tasks once to believe them",
            searched,
        );
        print("walking through the tasks once more, sums per site", walked);
        print("the same, each task told", told);
        print("reading the counters", counted);
        verdict("a baseline", (opened + searched + walked).wall, wall_limit, " s");
        if live == 100_000 {
            verdict("the CPU time of it", (opened + searched + walked).cpu, 0.15, " s");
        }
    }
    gdb(&program, &path, parked);
}

/// Wall clock and CPU time of this thread, seconds.
#[derive(Clone, Copy)]
pub(crate) struct Used {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
}

impl std::ops::Add for Used {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            wall: self.wall + other.wall,
            cpu: self.cpu + other.cpu,
        }
    }
}

/// What this work took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Used) {
    let cpu = || {
        Duration::try_from(clock_gettime(ClockId::ThreadCPUTime))
            .unwrap()
            .as_secs_f64()
    };
    let (cpu_before, begin) = (cpu(), Instant::now());
    let result = work();
    let used = Used {
        wall: begin.elapsed().as_secs_f64(),
        cpu: cpu() - cpu_before,
    };
    (result, used)
}

/// gdb, told where the first task and its links are, follows one of the lists. It stops the program for that time.
fn gdb(program: &Program, path: &std::path::Path, live: u64) {
    let plan = plan(path);
    let mut reader = Reader::open(program.pid(), path, &plan);
    let _found = reader.find();
    let listing = reader.list(usize::MAX);
    let first = listing.tasks.first().unwrap();
    let mut trailer = [0; 8];
    let vtable = first.site.0 + bias(program.pid(), path);
    reader.memory.read(vtable + 56, &mut trailer).unwrap();
    let script = format!(
        "set $task = {:#x}\nset $tasks = 0\nwhile $task != 0\nset $state = *(unsigned long *)$task\n\
         set $vtable = *(unsigned long *)($task + 16)\nset $task = *(unsigned long *)($task + {})\n\
         set $tasks = $tasks + 1\nend\nprintf \"tasks %lu\\n\", $tasks\n",
        first.header,
        u64::from_le_bytes(trailer)
    );
    let file = programs::scratch("bench-books").join("walk.gdb");
    std::fs::write(&file, script).unwrap();
    let (out, used) = timed(|| {
        Command::new("gdb")
            .args(["-nx", "-batch", "-p", &program.pid().to_string(), "-x"])
            .arg(&file)
            .output()
    });
    let text = match out {
        Ok(out) => String::from_utf8_lossy(&out.stdout).into_owned(),
        Err(error) => {
            println!("   no comparison with gdb: {error}");
            return;
        }
    };
    let tasks: Option<u64> = text
        .lines()
        .find_map(|line| line.strip_prefix("tasks ")?.trim().parse().ok());
    match tasks {
        Some(tasks) if tasks > 0 => println!(
            "   gdb, program stopped: {:.1} s for {tasks} tasks of one list, or {:.1} s scaled to all {live}",
            used.wall,
            used.wall * live as f64 / tasks as f64
        ),
        _ => println!(
            "   gdb gave no number: {}",
            text.lines().last().unwrap_or_default()
        ),
    }
}
