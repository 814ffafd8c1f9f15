//! What the schedulers of runtimes do with threads, against what the programs made them do; and all runtimes of one machine side
//! by side.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness fails by panicking, with the reason

use leak_agent::report::{Process, Report, Runtime, Scheduler, Site};
use leak_agent_tests::compare::{describe, sum, until_equal};
use leak_agent_tests::golang::{Flavour, GoProbe};
use leak_agent_tests::programs::{self, TokioProbe, tokio_probe};
use leak_agent_tests::wait::until;
use leak_agent_tests::{Agent, Target, agent, http, privilege};
use std::path::Path;

/// Kind of the threads that the Go scheduler made.
const GO: &str = "go scheduler";

fn go(flavour: Flavour) -> GoProbe {
    GoProbe {
        version: "1.27.3",
        flavour,
    }
}

/// The agent on this file, comparing often.
fn agent_on(path: &Path) -> Agent {
    Agent::start(&["--reconcile", "200ms", "--exe", path.to_str().unwrap()])
}

fn threads_of<'report>(process: &'report Process, runtime: &str) -> Option<&'report Scheduler> {
    process.schedulers.iter().find(|each| each.runtime == runtime)
}

fn doing(scheduler: &Scheduler, activity: &str) -> u64 {
    let mut all = scheduler.activities.iter();
    let found = all.find(|each| each.activity == activity);
    found
        .unwrap_or_else(|| panic!("{activity} is not told: {scheduler:?}"))
        .threads
}

fn runtime<'report>(process: &'report Process, name: &str) -> &'report Runtime {
    let found = process.runtimes.iter().find(|each| each.runtime == name);
    found.unwrap_or_else(|| panic!("no {name} in {process:?}"))
}

/// Waits until the scheduler's threads do just this, and everything else is idle or the runtime's own loop. `bound`: threads
/// locked to a goroutine; `own`: threads that C made for itself.
fn until_go_does(agent: &Agent, pid: u32, want: &[(&str, u64)], bound: u64, own: u64) -> Process {
    until(&format!("threads do {want:?}, {bound} bound"), || {
        let process = agent.process(pid)?;
        let scheduler = threads_of(&process, "go").ok_or("nothing is told of its threads")?;
        let found: Vec<u64> = want.iter().map(|(name, _)| doing(scheduler, name)).collect();
        let busy = doing(scheduler, "running") + doing(scheduler, "searching");
        let sum: u64 = scheduler.activities.iter().map(|each| each.threads).sum();
        // The main thread is the scheduler's, too.
        let all = runtime(&process, "thread").live - own;
        let right = found.iter().eq(want.iter().map(|(_, threads)| threads))
            && busy == 0
            && scheduler.bound == Some(bound)
            && scheduler.threads == Some(sum)
            && sum == all
            && scheduler.as_of.is_some();
        if right {
            Ok(process)
        } else {
            Err(format!("{all} threads, {scheduler:?}"))
        }
    })
}

/// Every thread but the main one is the scheduler's: one site, which has no place in the program and is in the total.
fn has_one_scheduler_site(process: &Process, others: u64) {
    let threads = runtime(process, "thread");
    let mine: Vec<&Site> = threads.sites.iter().filter(|site| site.kind == GO).collect();
    let [site] = mine.as_slice() else {
        panic!("{}", describe(threads))
    };
    assert_eq!(site.name, "Go scheduler thread (M)");
    assert!(!site.system && site.location.is_none(), "{site:?}");
    assert_eq!(site.live + 1 + others, threads.live, "{}", describe(threads));
}

/// Threads that are locked to goroutines, in system calls, and idle, of a program that starts after the agent.
fn go_threads_do_what_the_program_made_them_do(flavour: Flavour) {
    let path = go(flavour).path();
    let agent = agent_on(&path);
    let mut target = Target::start(&path);
    // It reads its commands in a system call, on whatever thread.
    until_go_does(&agent, target.pid(), &[("syscall", 1), ("locked_idle", 0)], 0, 0);
    target.command("bound 5");
    until_go_does(&agent, target.pid(), &[("syscall", 1), ("locked_idle", 5)], 5, 0);
    target.command("read 4");
    let process = until_go_does(&agent, target.pid(), &[("syscall", 5), ("locked_idle", 5)], 5, 0);
    has_one_scheduler_site(&process, 0);
    let scheduler = threads_of(&process, "go").unwrap();
    assert_eq!(doing(scheduler, "cgo"), 0);
    assert!(doing(scheduler, "service") >= 1, "{scheduler:?}");
}

macro_rules! builds {
    ($($name:ident = $flavour:ident;)*) => {$(
        /// See [`go_threads_do_what_the_program_made_them_do`].
        #[test]
        fn $name() {
            if !privilege::privileged() {
                return;
            }
            go_threads_do_what_the_program_made_them_do(Flavour::$flavour);
        }
    )*};
}

builds! {
    threads_of_go_are_told_by_what_they_do = Default;
    threads_of_go_pie_stripped_are_told_by_what_they_do = PieStripped;
}

/// Goroutines in C hold threads of the scheduler; threads that C makes for itself are C's, with and without symbols.
#[test]
fn threads_of_go_with_c_are_told_from_those_of_c() {
    if !privilege::privileged() {
        return;
    }
    let path = go(Flavour::Cgo).path();
    for path in [programs::stripped(&path), path] {
        let agent = agent_on(&path);
        let mut target = Target::start(&path);
        target.command("in-c 3");
        target.command("read 4");
        let doing = [("syscall", 5), ("cgo", 3), ("locked_idle", 0)];
        until_go_does(&agent, target.pid(), &doing, 0, 0);
        target.command("c-threads 6");
        // On threads that C made, the scheduler borrows them: they are none of its own.
        target.command("callback 3");
        let process = until_go_does(&agent, target.pid(), &doing, 0, 6);
        has_one_scheduler_site(&process, 6);
        let threads = runtime(&process, "thread");
        let own = sum(threads, |site| site.kind == "pthread");
        assert_eq!((own.spawned, own.live), (9, 6), "{}", describe(threads));
    }
}

/// A program that ran before the agent came, and one that has no probes: the books tell all the same.
#[test]
fn threads_of_go_are_told_late_and_without_probes() {
    if !privilege::privileged() {
        return;
    }
    let path = go(Flavour::PieStripped).path();
    let mut target = Target::start(&path);
    target.command("bound 5");
    target.command("read 4");
    for mode in ["trace", "watch"] {
        let exe = path.to_str().unwrap();
        let agent = Agent::start(&[
            "--mode",
            mode,
            "--watch-interval",
            "200ms",
            "--reconcile",
            "200ms",
            "--exe",
            exe,
        ]);
        let doing = [("syscall", 5), ("locked_idle", 5), ("cgo", 0)];
        until_go_does(&agent, target.pid(), &doing, 5, 0);
    }
}

/// Waits until tokio's threads do just this: workers, and closures on the blocking pool.
fn until_tokio_does(agent: &Agent, pid: u32, workers: u64, blocking: u64) -> Process {
    until(&format!("{workers} workers, {blocking} blocked"), || {
        let process = agent.process(pid)?;
        let scheduler = threads_of(&process, "tokio").ok_or("nothing is told of its threads")?;
        let right = doing(scheduler, "worker") == workers && doing(scheduler, "blocking") == blocking;
        if right && scheduler.threads.is_some() {
            Ok(process)
        } else {
            Err(format!(
                "{scheduler:?}, {}",
                describe(runtime(&process, "thread"))
            ))
        }
    })
}

/// Workers as many as are configured, and a blocked thread per blocked closure; threads that nothing holds are idle. With
/// symbols, sites tell what the threads were made for; without, that they are tokio's.
#[test]
fn threads_of_tokio_are_workers_blocked_or_idle() {
    if !privilege::privileged() {
        return;
    }
    for stripped in [false, true] {
        let path = TokioProbe {
            tokio: "154",
            profile: programs::Profile::Release,
            stripped,
        }
        .path();
        let agent = agent_on(&path);
        let mut target = Target::start(&path);
        target.command("multi 5");
        until_tokio_does(&agent, target.pid(), 2, 0);
        target.command("blocking-park 7");
        let process = until_tokio_does(&agent, target.pid(), 2, 7);
        let threads = runtime(&process, "thread");
        let scheduler = threads_of(&process, "tokio").unwrap();
        let idle = doing(scheduler, "idle");
        assert_eq!(scheduler.threads, Some(2 + 7 + idle), "{scheduler:?}");
        assert_eq!(threads.live, 1 + 2 + 7 + idle, "{}", describe(threads));
        let kind = |kind: &str| sum(threads, |site| site.kind == kind).live;
        if stripped {
            assert_eq!(kind("tokio pool"), 9 + idle, "{}", describe(threads));
        } else {
            assert_eq!(kind("tokio worker"), 2, "{}", describe(threads));
            assert_eq!(kind("tokio blocking"), 7 + idle, "{}", describe(threads));
        }
        target.command("release");
        // Every second one has a worker of its own.
        target.command("runtimes 4 3");
        until_tokio_does(&agent, target.pid(), 2 + 2, 0);
    }
}

/// One machine with threads of C, tokio and Go: the report, the metrics and `top` show all three side by side.
#[test]
fn threads_tokio_and_go_are_shown_side_by_side() {
    if !privilege::privileged() {
        return;
    }
    let paths = [
        programs::threads(),
        tokio_probe(),
        go(Flavour::PieStripped).path(),
    ];
    let paths: Vec<&Path> = paths.iter().map(AsRef::as_ref).collect();
    let agent = Agent::on(&paths);
    let mut targets: Vec<Target> = paths.iter().map(|path| Target::start(path)).collect();
    let [c, tokio, go] = targets.as_mut_slice() else {
        panic!("three programs")
    };
    c.command("park 12");
    let tasks = tokio.command("park 30");
    let goroutines = go.command("park 300");
    until_equal(&agent, tokio.pid(), "tokio", tasks.counts());
    until_equal(&agent, go.pid(), "go", goroutines.counts());
    let wanted = [
        (c.pid(), "thread", 13),
        (tokio.pid(), "tokio", tasks.live),
        (go.pid(), "go", goroutines.live),
    ];

    let (status, metrics) = http::get(agent.address(), "/metrics").unwrap();
    assert_eq!(status, 200);
    for (pid, runtime, live) in wanted {
        let series = format!("leak_agent_tasks_live{{pid=\"{pid}\",");
        let line = metrics.lines().find(|line| {
            line.starts_with(&series) && line.contains(&format!("runtime=\"{runtime}\"}} {live}"))
        });
        assert!(
            line.is_some(),
            "{runtime} of {pid} is not in the metrics:\n{metrics}"
        );
    }

    let pids: Vec<String> = wanted.iter().map(|(pid, _, _)| pid.to_string()).collect();
    let chosen: Vec<&str> = pids.iter().flat_map(|pid| ["--pid", pid]).collect();
    let output = agent::run(&[&["report", "--format", "json"], chosen.as_slice()].concat());
    assert!(output.status.success(), "{output:?}");
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    for (pid, name, live) in wanted {
        let process = report.processes.iter().find(|process| process.pid == pid);
        let process = process.unwrap_or_else(|| panic!("{pid} is not in {report:?}"));
        assert_eq!(runtime(process, name).live, live, "{process:?}");
        assert!(runtime(process, "thread").live >= 1);
    }
    let tokio = report.processes.iter().find(|process| process.pid == tokio.pid());
    assert!(runtime(tokio.unwrap(), "thread").live > 1);

    let output = agent::run(&[&["top", "--once"], chosen.as_slice()].concat());
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for (pid, runtime, live) in wanted {
        let row = text.lines().find(|line| {
            let mut cells = line.split_whitespace();
            cells.next() == Some(&pid.to_string()) && line.contains(&format!(" {runtime} "))
        });
        let row = row.unwrap_or_else(|| panic!("{runtime} of {pid} is not in:\n{text}"));
        assert!(
            row.split_whitespace().any(|cell| cell == live.to_string()),
            "{row}"
        );
    }
}
