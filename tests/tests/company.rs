//! Processes in odd company: stopped by a debugger, in another user namespace, of another word size.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness fails by panicking, with the reason

use leak_agent::report::State;
use leak_agent_tests::compare::{describe, until_exact};
use leak_agent_tests::programs::{self, tokio_probe};
use leak_agent_tests::wait::until;
use leak_agent_tests::{Agent, Target, privilege};
use std::path::Path;
use std::process::{Command, Stdio};

/// A process that a debugger has stopped is read all the same: what lives in it is exact, and goes on to be when it runs again.
#[test]
fn process_stopped_by_a_debugger_is_exact() {
    if !privilege::privileged() {
        return;
    }
    let path = tokio_probe();
    let mut target = Target::start(&path);
    let truth = target.command("park 30");
    let mut gdb = Command::new("gdb")
        .args(["-nx", "-q", "-iex", "set debuginfod enabled off", "-p"])
        .arg(target.pid().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("gdb is needed (cargo xtask setup installs it)");
    until("the debugger has stopped it", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", target.pid())).unwrap();
        stat.contains(") t ").then_some(()).ok_or(stat)
    });
    let agent = Agent::on(&[&path]);
    let found = until_exact(&agent, target.pid(), "tokio", &truth);
    assert_eq!(found.baseline, 30, "{}", describe(&found));
    drop(gdb.stdin.take()); // it detaches and ends
    gdb.wait().unwrap();
    let truth = target.command("multi 10");
    until_exact(&agent, target.pid(), "tokio", &truth);
    let truth = target.command("release");
    until_exact(&agent, target.pid(), "tokio", &truth);
}

/// A process whose user is root only in a namespace of its own is read as any other.
#[test]
fn process_of_another_user_namespace_is_exact() {
    if !privilege::privileged() {
        return;
    }
    let path = tokio_probe();
    let mut target = Target::start_with(Path::new("/usr/bin/unshare"), &["-Ur".as_ref(), path.as_os_str()]);
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    assert_ne!(namespace(&target.pid().to_string()), namespace("self"));
    let truth = target.command("park 30");
    let agent = Agent::on(&[&path]);
    until_exact(&agent, target.pid(), "tokio", &truth);
    let truth = target.command("all 5");
    until_exact(&agent, target.pid(), "tokio", &truth);
}

/// A 32-bit program has its threads counted exactly, and nothing else is claimed of it.
#[test]
fn program_of_32_bits_has_exact_threads_and_no_tasks() {
    if !privilege::privileged() {
        return;
    }
    let folder = programs::scratch("company-32-bits");
    let (source, program) = (folder.join("pause.c"), folder.join("pause"));
    std::fs::write(
        &source,
        "void _start(void) { for (;;) __asm__ volatile(\"int $0x80\" : : \"a\"(29)); }",
    )
    .unwrap();
    let built = Command::new("cc")
        .args(["-m32", "-nostdlib", "-static", "-o"])
        .arg(&program)
        .arg(&source)
        .status()
        .unwrap();
    assert!(built.success(), "{built}");
    let agent = Agent::on(&[&program]);
    let mut child = Command::new(&program).spawn().unwrap();
    let process = until("it is in the report", || agent.process(child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    let [threads] = process.runtimes.as_slice() else {
        panic!("{process:?}")
    };
    assert_eq!(
        (
            threads.runtime.as_str(),
            threads.state,
            threads.exact,
            threads.live
        ),
        ("thread", State::Followed, true, 1)
    );
    assert_eq!(agent.report().agent.attach_failures.values().sum::<u64>(), 0);
}
