//! Files made to break a reader: the agent goes on to follow everybody else.

use leak_agent_tests::compare::{until_equal_since, until_exact};
use leak_agent_tests::golang::{Flavour, GoProbe};
use leak_agent_tests::{Agent, Target, hostile, privilege, programs};
use std::ffi::OsStr;

/// Cut, corrupted and huge files, named on the command line: the agent gets ready and follows a good one.
#[test]
fn hostile_files_named_as_executables_do_not_keep_the_agent_from_others() {
    if !privilege::privileged() {
        return;
    }
    let good = programs::tokio_probe();
    let folder = programs::scratch("hostile-named");
    let mut target = Target::start(&good);
    let mut agent = {
        let files = hostile::files(&good, &folder);
        let mut arguments = vec![OsStr::new("--exe"), good.as_os_str()];
        for file in &files {
            arguments.extend([OsStr::new("--exe"), file.as_os_str()]);
        }
        Agent::start(&arguments)
    };
    follow(&agent, &mut target);
    agent.signal(rustix::process::Signal::TERM);
    assert!(agent.ended().success());
    std::fs::remove_dir_all(folder).unwrap();
}

/// The same files, mapped executable by a running process, as libraries would be.
#[test]
fn hostile_files_mapped_by_a_process_do_not_keep_the_agent_from_others() {
    if !privilege::privileged() {
        return;
    }
    let good = programs::tokio_probe();
    let folder = programs::scratch("hostile-mapped");
    let files = hostile::files(&good, &folder);
    let mapper = Target::start_with(&programs::mapper(), &files);
    let mut target = Target::start(&good);
    let agent = Agent::start(&[] as &[&str]);
    follow(&agent, &mut target);
    let threads = agent.runtime(mapper.pid(), "thread").unwrap();
    assert_eq!(threads.live, 1);
    std::fs::remove_dir_all(folder).unwrap();
}

/// A process that maps a file which then shrinks to nothing under the agent's eyes.
#[test]
fn file_cut_while_it_is_read_does_not_end_the_agent() {
    if !privilege::privileged() {
        return;
    }
    let good = programs::tokio_probe();
    let folder = programs::scratch("hostile-cut");
    for round in 0..5 {
        let copy = folder.join(format!("library-{round}"));
        std::fs::copy(&good, &copy).unwrap();
        let _mapper = Target::start_with(&programs::mapper(), &[&copy]);
        let mut target = Target::start(&good);
        let agent = Agent::start_unready(&[
            OsStr::new("--exe"),
            copy.as_os_str(),
            OsStr::new("--exe"),
            good.as_os_str(),
        ]);
        for len in [900_000, 300_000, 4_096, 0] {
            std::fs::File::options()
                .write(true)
                .open(&copy)
                .unwrap()
                .set_len(len)
                .unwrap();
        }
        leak_agent_tests::wait::until("the agent is ready", || {
            let report = agent.try_report()?;
            report.agent.waiting_for.map_or(Ok(()), Err)
        });
        follow(&agent, &mut target);
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// The same made of a Go program: cut, with lying headers and corrupted tables, and a C program that carries the mark of Go.
#[test]
fn hostile_go_files_do_not_keep_the_agent_from_others() {
    if !privilege::privileged() {
        return;
    }
    let probe = GoProbe {
        version: "1.27.3",
        flavour: Flavour::PieStripped,
    };
    let good = probe.path();
    let folder = programs::scratch("hostile-go");
    let mut files = hostile::files(&good, &folder);
    files.extend(hostile::go_files(&good, &programs::threads(), &folder));
    let _mapper = Target::start_with(&programs::mapper(), &files);
    let mut target = Target::start(&good);
    let parked = target.command("park 10");
    let agent = Agent::start(&[] as &[&str]);
    until_exact(&agent, target.pid(), "go", &parked);
    let truth = target.command("churn 1000 2");
    until_exact(&agent, target.pid(), "go", &truth);
    std::fs::remove_dir_all(folder).unwrap();
}

/// Compares the counts of a good program that was there, without a task, before the agent.
fn follow(agent: &Agent, good: &mut Target) {
    assert_eq!(good.start.spawned, 0);
    let truth = good.command("all 10");
    let start = good.start.clone();
    until_equal_since(agent, good.pid(), "tokio", &start, &truth);
}
