//! Many processes, many images, several runtimes in one: tokio tasks are counted where they belong.

use leak_agent_tests::compare::{check_identity, counts, describe, until_equal, until_equal_since};
use leak_agent_tests::wait::until;
use leak_agent_tests::{Agent, Target, Truth, privilege, programs};

/// Ten processes of one executable each keep their own numbers.
#[test]
fn ten_processes_of_one_executable_each_have_their_own_counts() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::tokio_probe();
    let agent = Agent::on(&[&path]);
    let mut targets: Vec<_> = (0..10).map(|_| Target::start(&path)).collect();
    for (number, target) in targets.iter_mut().enumerate() {
        target.command(&format!("multi {}", 3 * number + 1));
        target.command(&format!("park {number}"));
    }
    for target in &mut targets {
        let truth = target.command("truth");
        until_equal(&agent, target.pid(), "tokio", truth.counts());
    }
}

/// A child by `fork` alone begins with its own tasks, not with its parent's.
#[test]
fn tokio_tasks_of_a_forked_child_belong_to_the_child() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::tokio_probe();
    let agent = Agent::on(&[&path]);
    let mut target = Target::start(&path);
    target.command("multi 10");
    let parent = target.command("fork 7");
    let child = target.answer_of_child();
    until_equal(&agent, child.pid, "tokio", child.counts());
    until_equal(&agent, target.pid(), "tokio", parent.counts());
}

/// Children by `fork` and `exec` of the same program are followed from their first task on.
#[test]
fn tokio_tasks_of_spawned_children_are_exact() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::tokio_probe();
    let agent = Agent::on(&[&path]);
    let mut target = Target::start(&path);
    let parent = target.command("children 3");
    for _ in 0..3 {
        let child = target.answer_of_child();
        let found = until_equal(&agent, child.pid, "tokio", child.counts());
        assert!(found.exact, "{}", describe(&found));
    }
    assert_eq!(parent.spawned, 0);
}

/// An exec ends every task of the image: the new one begins at zero, in the same process.
#[test]
fn tokio_tasks_after_exec_begin_at_zero() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::tokio_probe();
    let agent = Agent::on(&[&path]);
    let mut target = Target::start(&path);
    for round in 1..=3 {
        let truth = target.command(&format!("park {}", 4 * round));
        until_equal(&agent, target.pid(), "tokio", truth.counts());
        let truth = target.command("exec");
        assert_eq!((truth.phase.as_str(), truth.spawned), ("start", 0));
        let truth = target.command("multi 5");
        until_equal(&agent, target.pid(), "tokio", truth.counts());
    }
}

/// A process that execs again and again while the agent attaches is followed in its last image.
#[test]
fn process_that_execs_during_the_attach_is_followed() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::tokio_probe();
    let mut target = Target::start(&path);
    let agent = Agent::start_unready(&["--pid", &target.pid().to_string()]);
    for _ in 0..30 {
        assert_eq!(target.command("exec").phase, "start");
    }
    until("the agent is ready", || {
        let report = agent.try_report()?;
        if report.agent.ready {
            Ok(())
        } else {
            Err(format!("{:?}", report.agent.waiting_for))
        }
    });
    // Nothing of this image has run before the agent sees it.
    until("the process is in the report", || {
        agent.runtime(target.pid(), "tokio")
    });
    let truth = target.command("multi 9");
    until_equal(&agent, target.pid(), "tokio", truth.counts());
}

/// A program and a library that it loads, each with a tokio of its own version: the process has the sum.
#[test]
fn two_tokios_in_one_process_are_both_counted() {
    if !privilege::privileged() {
        return;
    }
    let (path, library) = (programs::tokio_probe(), programs::tokio_library());
    let mut target = Target::start(&path);
    target.command("multi 4");
    target.command(&format!("load {}", library.display()));
    let of_library = target.command("library park 3");
    let begin = both(&target.command("truth"), &of_library);
    let agent = Agent::start(&["--pid", &target.pid().to_string()]);
    for (host, loaded) in [
        ("multi 6", "library multi 5"),
        ("park 2", "library storm 3000"),
        ("release", "library release"),
    ] {
        let host = target.command(host);
        let now = both(&host, &target.command(loaded));
        let found = until_equal_since(&agent, target.pid(), "tokio", &begin, &now);
        let version = found.version.clone().unwrap_or_default();
        assert!(
            version.contains("1.47.") && version.contains("1.54."),
            "{}",
            describe(&found)
        );
    }
}

/// A library that is loaded when the agent is already there is found and followed from then on.
#[test]
fn library_loaded_later_is_followed() {
    if !privilege::privileged() {
        return;
    }
    let (path, library) = (programs::tokio_probe(), programs::tokio_library());
    let agent = Agent::on(&[&path]);
    let mut target = Target::start(&path);
    let host = target.command("multi 4");
    until_equal(&agent, target.pid(), "tokio", host.counts());
    let host = target.command(&format!("load {}", library.display()));
    until("the library is followed", || {
        let found = agent.runtime(target.pid(), "tokio")?;
        let version = found.version.clone().unwrap_or_default();
        if version.contains("1.47.") {
            Ok(())
        } else {
            Err(describe(&found))
        }
    });
    let now = both(&host, &target.command("library multi 5"));
    until_equal(&agent, target.pid(), "tokio", now.counts());
}

/// A target that is killed in the middle of a storm leaves the report, and the others are not disturbed.
#[test]
fn target_killed_while_spawning_leaves_the_report() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::tokio_probe();
    let agent = Agent::on(&[&path]);
    let mut other = Target::start(&path);
    let mut target = Target::start(&path);
    target.tell("storm 1000000000");
    until("tasks of the storm are counted", || {
        let found = agent.runtime(target.pid(), "tokio")?;
        if found.spawned > 1_000 {
            Ok(())
        } else {
            Err(describe(&found))
        }
    });
    target.kill();
    until("the process has left the report", || {
        match agent.process(target.pid()) {
            Err(_) => Ok(()),
            Ok(process) => Err(format!("{} is still there", process.pid)),
        }
    });
    let truth = other.command("all 5");
    until_equal(&agent, other.pid(), "tokio", truth.counts());
}

/// In every process of the machine, live = baseline + spawned − finished, for each site and in sum.
#[test]
fn identity_holds_for_every_process_of_the_machine() {
    if !privilege::privileged() {
        return;
    }
    let mut targets = [
        Target::start(&programs::tokio_probe()),
        Target::start(&programs::threads()),
    ];
    targets[0].command("all 8");
    let agent = Agent::start(&[] as &[&str]);
    targets[0].tell("storm 200000");
    targets[1].tell("storm 2000");
    for _ in 0..10 {
        let report = agent.next_report();
        assert!(report.processes.len() >= 2);
        for runtime in report.processes.iter().flat_map(|process| &process.runtimes) {
            check_identity(runtime);
        }
    }
}

/// A stripped copy that was deleted while it runs is followed, or the report says why not.
#[test]
fn executable_deleted_while_running_is_followed_or_explained() {
    if !privilege::privileged() {
        return;
    }
    let folder = programs::scratch("deleted");
    let copy = folder.join("probe");
    programs::copy(&programs::tokio_probe(), &copy);
    let mut target = Target::start(&copy);
    std::fs::remove_file(&copy).unwrap();
    let begin = target.command("park 3");
    let agent = Agent::start(&["--pid", &target.pid().to_string()]);
    let found = until("tokio is in the report", || agent.runtime(target.pid(), "tokio"));
    if found.state == leak_agent::report::State::Unsupported {
        assert!(found.reason.is_some(), "{}", describe(&found));
        return;
    }
    let now = target.command("all 5");
    let found = until_equal_since(&agent, target.pid(), "tokio", &begin, &now);
    assert_ne!(counts(&found).spawned, 0);
}

/// The sum of what two tokios of one process say.
fn both(host: &Truth, library: &Truth) -> Truth {
    Truth {
        spawned: host.spawned + library.spawned,
        finished: host.finished + library.finished,
        live: host.live + library.live,
        ..Truth::default()
    }
}
