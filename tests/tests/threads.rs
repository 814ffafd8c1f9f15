//! OS threads, against programs that count themselves and against /proc.

use leak_agent::report::State;
use leak_agent_tests::compare::{describe, sum, until_equal, until_equal_since};
use leak_agent_tests::truth::Counts;
use leak_agent_tests::wait::until;
use leak_agent_tests::{Agent, Target, privilege, proc, programs};

/// The main thread is a thread, too; the programs leave it out.
const MAIN: Counts = Counts {
    spawned: 1,
    finished: 0,
    live: 1,
};

/// A C program that starts after the agent: exact from its first thread to the last, main thread included.
#[test]
fn threads_of_a_process_born_later_are_exact() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::threads();
    let agent = Agent::on(&[&path]);
    let mut target = Target::start(&path);
    for command in [
        "joined 200",
        "detached 50",
        "park 30",
        "storm 500",
        "fork 10",
        "vfork 10",
        "posix-spawn 10",
        "release",
    ] {
        let truth = target.command(command);
        let found = until_equal(&agent, target.pid(), "thread", truth.counts() + MAIN);
        assert!(found.exact, "{}", describe(&found));
        assert_eq!(found.baseline, 0, "{}", describe(&found));
    }
}

/// A process that was there before the agent: its threads are the baseline, and the sum is exact.
#[test]
fn threads_of_a_running_process_are_exact_by_the_walk() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::threads();
    let mut target = Target::start(&path);
    target.command("joined 20");
    let begin = target.command("park 12");
    let agent = Agent::on(&[&path]);
    for command in ["truth", "joined 50", "park 5", "detached 20", "release", "park 3"] {
        let truth = target.command(command);
        let found = until_equal_since(
            &agent,
            target.pid(),
            "thread",
            &begin,
            // The main thread is in the baseline.
            &leak_agent_tests::Truth {
                live: truth.live + 1,
                ..truth.clone()
            },
        );
        assert!(found.exact, "{}", describe(&found));
        assert_eq!(found.baseline, 13, "{}", describe(&found));
    }
}

/// A leader that ends first leaves a living process: the others are followed on.
#[test]
fn threads_after_the_leader_has_ended_are_still_followed() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::threads();
    let agent = Agent::on(&[&path]);
    let mut target = Target::start(&path);
    target.command("park 4");
    for command in ["leader-exits", "joined 10", "park 2", "release"] {
        let truth = target.command(command);
        let ended = Counts {
            spawned: truth.spawned + 1,
            finished: truth.finished + 1,
            live: truth.live,
        };
        until_equal(&agent, target.pid(), "thread", ended);
    }
}

/// Every kind of exec ends all threads but one, and the process goes on under its key.
#[test]
fn threads_across_exec_by_leader_by_thread_and_by_orphan_are_exact() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::threads();
    let agent = Agent::on(&[&path]);
    let mut target = Target::start(&path);
    for exec in ["exec", "exec-thread", "exec-orphan"] {
        target.command("park 5");
        let truth = target.command(exec);
        assert_eq!(truth.phase, "execed");
        until_equal(&agent, target.pid(), "thread", truth.counts() + MAIN);
        let truth = target.command("joined 10");
        until_equal(&agent, target.pid(), "thread", truth.counts() + MAIN);
    }
}

/// A forked child is a process of its own: its threads are its, and its parent's are not.
#[test]
fn threads_of_a_forked_child_belong_to_the_child() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::threads();
    let agent = Agent::on(&[&path]);
    let mut target = Target::start(&path);
    target.command("park 9");
    let parent = target.command("forked-family 4");
    let child = target.answer_of_child();
    until_equal(&agent, child.pid, "thread", child.counts() + MAIN);
    until_equal(&agent, target.pid(), "thread", parent.counts() + MAIN);
}

/// The two functions that create threads are two sites, and each has its own count. The first threads of a
/// site teach the kernel to recognise it; from then on, no number of threads is too much.
#[test]
fn thread_sites_of_two_functions_are_told_apart() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::threads();
    let agent = Agent::on(&[&path]);
    let mut target = Target::start(&path);
    for command in ["joined 20", "joined 2000", "park 60"] {
        let truth = target.command(command);
        until_equal(&agent, target.pid(), "thread", truth.counts() + MAIN);
        let want = (truth.alpha, truth.beta, truth.live);
        until("each site with its count", || {
            let found = agent.runtime(target.pid(), "thread")?;
            let (alpha, beta) = (
                sum(&found, |site| site.name.contains("spawn_alpha")),
                sum(&found, |site| site.name.contains("spawn_beta")),
            );
            let got = (alpha.spawned, beta.spawned, alpha.live + beta.live);
            if got == want {
                Ok(())
            } else {
                Err(format!("want {want:?}, got {got:?}: {}", describe(&found)))
            }
        });
    }
}

/// Threads of Rust's standard library: the functions that call `spawn` are the sites, not `std` itself.
#[test]
fn thread_sites_of_a_rust_program_bear_the_names_of_its_functions() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::std_threads();
    let agent = Agent::on(&[&path]);
    let mut target = Target::start(&path);
    target.command("pool 20");
    let truth = target.command("leak 25");
    until_equal(&agent, target.pid(), "thread", truth.counts() + MAIN);
    until("each site with its count", || {
        let found = agent.runtime(target.pid(), "thread")?;
        for site in &truth.sites {
            let mine = found.sites.iter().filter(|found| found.name.contains(&site.name));
            let live: u64 = mine.clone().map(|site| site.live).sum();
            let spawned: u64 = mine.map(|site| site.spawned).sum();
            if (spawned, live) != (site.spawned, site.live) {
                return Err(format!("{}: {spawned} {live}: {}", site.name, describe(&found)));
            }
        }
        Ok(())
    });
}

/// Every process of the machine at once: live threads are what /proc lists, for all that stand still.
#[test]
fn threads_of_every_process_of_the_machine_agree_with_proc() {
    if !privilege::privileged() {
        return;
    }
    let _some: Vec<_> = (0..3).map(|_| Target::start(&programs::threads())).collect();
    let agent = Agent::start(&[] as &[&str]);
    until("all processes agree with /proc", || {
        let before = proc::threads_of_all();
        let report = agent.next_report();
        let after = proc::threads_of_all();
        let still: Vec<_> = before.iter().filter(|process| after.contains(process)).collect();
        assert!(still.len() > 3, "hardly a process stands still");
        for (pid, threads) in still {
            if *pid == agent.pid() {
                continue;
            }
            let process = report
                .processes
                .iter()
                .find(|process| process.pid == *pid && process.alive);
            let live =
                process.and_then(|process| process.runtimes.iter().find(|found| found.runtime == "thread"));
            match live {
                Some(found) if found.live == *threads => {}
                other => return Err(format!("process {pid}: /proc lists {threads}, report: {other:?}")),
            }
        }
        Ok(())
    });
}

/// A process that the machine hides, also from BPF (the first process of a virtual machine of a cloud, say), is in the
/// report with what /proc tells, and with the reason why it is no more.
#[test]
fn threads_of_a_hidden_process_are_counted_and_called_partial() {
    if !privilege::privileged() {
        return;
    }
    let Some((pid, _)) = proc::hidden().first().copied() else {
        eprintln!("SKIPPED: this machine hides no process from its administrator");
        return;
    };
    let agent = Agent::start(&["--pid", &pid.to_string()]);
    let found = until("as many threads as /proc lists", || {
        let hidden = proc::hidden();
        let (_, threads) = hidden.iter().find(|found| found.0 == pid).ok_or("it has ended")?;
        let found = agent.runtime(pid, "thread")?;
        if found.live == *threads {
            Ok(found)
        } else {
            Err(format!("/proc lists {threads}: {}", describe(&found)))
        }
    });
    // A machine may hide a process's files and nothing else; then its threads are counted like any other's.
    if !found.exact {
        assert_eq!(found.state, State::Partial, "{}", describe(&found));
        assert!(found.reason.is_some(), "{}", describe(&found));
    }
}
