//! The target programs themselves: what they say must be true before anything is compared with it.

use leak_agent_tests::programs::{self, Profile, TokioProbe};
use leak_agent_tests::{Target, Truth, wait};

/// After every corner of a task's life, tokio's own count of owned tasks is what the guards say.
#[test]
fn tokio_probe_after_every_corner_agrees_with_tokio() {
    for tokio in ["154", "147"] {
        let path = TokioProbe {
            tokio,
            profile: Profile::Release,
            stripped: false,
        }
        .path();
        let mut target = Target::start(&path);
        for command in [
            "all 20",
            "release",
            "storm 20000",
            "handles-drop",
            "local-drop",
            "park 7",
            "runtimes-drop",
        ] {
            target.tell(command);
            let truth = target.answer();
            wait::until(command, || {
                let truth = target.command("truth");
                if truth.alive == Some(owned(&truth)) {
                    Ok(())
                } else {
                    Err(format!("{truth:?}"))
                }
            });
            assert_eq!(truth.spawned, truth.finished + truth.live);
        }
        assert_eq!(target.command("truth").live, 7);
    }
}

/// Tasks that are on a runtime's list: neither local nor blocking.
fn owned(truth: &Truth) -> u64 {
    truth
        .sites
        .iter()
        .filter(|site| site.kind == "async")
        .map(|site| site.live)
        .sum()
}

/// What the C program says is what the kernel lists, after threads, processes and every kind of exec.
#[test]
fn threads_program_after_every_command_agrees_with_proc() {
    let mut target = Target::start(&programs::threads());
    for command in [
        "joined 10",
        "detached 10",
        "park 6",
        "joined 4",
        "storm 100",
        "fork 4",
        "vfork 4",
        "posix-spawn 4",
        "exec",
        "park 3",
        "exec-thread",
        "park 3",
        "exec-orphan",
        "park 2",
        "leader-exits",
        "joined 4",
        "release",
    ] {
        let truth = target.command(command);
        assert_eq!(truth.spawned, truth.finished + truth.live);
        wait::until(command, || {
            // `settle` in the program saw it already; an ended leader stays listed.
            let listed = std::fs::read_dir(format!("/proc/{}/task", target.pid()))
                .unwrap()
                .count() as u64;
            if listed == truth.live + 1 {
                Ok(())
            } else {
                Err(format!("{listed} threads, {truth:?}"))
            }
        });
    }
}
