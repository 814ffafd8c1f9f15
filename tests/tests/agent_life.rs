//! How the agent begins and ends: signals, restarts, ports, wrong flags, missing privileges.

use leak_agent_tests::compare::until_equal_since;
use leak_agent_tests::ending::Mode;
use leak_agent_tests::probed::altered_bytes;
use leak_agent_tests::programs::TokioProbe;
use leak_agent_tests::{Agent, Target, agent, http, privilege, programs, wait};
use rustix::process::Signal;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// After SIGKILL the kernel takes every probe out of the target, and a new agent begins afresh.
#[test]
fn agent_killed_leaves_no_probe_and_can_be_restarted() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::tokio_probe();
    let mut target = Target::start(&path);
    target.command("multi 5");
    for round in 0..3 {
        let begin = target.command("truth");
        let mut first = Agent::on(&[&path]);
        wait::until_true("there are probes", || altered_bytes(target.pid(), &path) > 0);
        let now = target.command("multi 20");
        until_equal_since(&first, target.pid(), "tokio", &begin, &now);
        if round == 1 {
            target.tell("storm 100000");
        }
        first.signal(Signal::KILL);
        first.ended();
        wait::until_true("no probe is left", || altered_bytes(target.pid(), &path) == 0);
        if round == 1 {
            target.answer();
        }
        target.command("all 3");
        target.command("release");
        target.command("runtimes-drop");
        target.command("local-drop");
    }
}

/// SIGINT and SIGTERM end the agent as soon as promised, in good order, with nothing left behind: in the middle of a
/// storm of tasks, with several files attached, and with clients that hang.
#[test]
fn agent_told_to_stop_detaches_and_ends_in_time() {
    if !privilege::privileged() {
        return;
    }
    let paths: Vec<PathBuf> = TokioProbe::all().into_iter().map(TokioProbe::path).collect();
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let mut targets: Vec<Target> = paths.iter().map(|path| Target::start(path)).collect();
    for signal in [Signal::INT, Signal::TERM] {
        let mut agent = Agent::on(&paths);
        for (target, path) in targets.iter().zip(&paths) {
            wait::until_true("there are probes", || altered_bytes(target.pid(), path) > 0);
        }
        let connect = |request: &str| {
            let mut stream = TcpStream::connect(agent.address()).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            stream
        };
        let hanging = [
            connect(""),
            connect("GET /metrics HTTP/1.1\r\nHost"),
            // More answers than the sockets hold, and nobody reads them.
            connect(&"GET /report HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000)),
        ];
        targets[0].tell("storm 50000");
        let status = agent.end_in_time(signal);
        assert!(status.success(), "{signal:?}: {status}");
        drop(hanging);
        for (target, path) in targets.iter().zip(&paths) {
            // Another test's agent may follow the same file for a while.
            wait::until_true("no probe is left", || altered_bytes(target.pid(), path) == 0);
        }
        targets[0].answer();
    }
}

/// The other modes end as soon, each with what it has: a report, or the tables that were printed.
#[test]
fn report_and_top_told_to_stop_end_in_time() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::tokio_probe();
    let mut target = Target::start(&path);
    target.command("multi 5");
    let pid = target.pid().to_string();
    for mode in [
        vec!["report", "--for", "1h", "--pid", &pid],
        vec!["top", "--batch", "100000", "--pid", &pid],
        vec!["top", "--pid", &pid],
    ] {
        for signal in [Signal::INT, Signal::TERM] {
            let mut agent = Mode::start(&mode);
            wait::until_true("there are probes", || altered_bytes(target.pid(), &path) > 0);
            // Told before it is ready, a report is none, which is a failure.
            std::thread::sleep(Duration::from_secs(2));
            let status = agent.end_in_time(signal);
            assert!(status.success(), "{mode:?}, {signal:?}: {status}");
            wait::until_true("no probe is left", || altered_bytes(target.pid(), &path) == 0);
        }
    }
}

/// Told to stop while it starts, with everything still to be attached, it ends as soon, too.
#[test]
fn agent_told_to_stop_while_it_starts_ends_in_time() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::tokio_probe();
    let target = Target::start(&path);
    for mode in [
        vec!["run", "--listen", "off"],
        vec!["report", "--for", "1h"],
        vec!["top"],
    ] {
        for delay in [50, 200, 600] {
            let mut agent = Mode::start(&mode);
            std::thread::sleep(Duration::from_millis(delay));
            let status = agent.end_in_time(Signal::TERM);
            assert_ne!(status.code(), Some(101), "{mode:?} panicked");
            wait::until_true("no probe is left", || altered_bytes(target.pid(), &path) == 0);
        }
    }
}

/// A port that is taken is an error that names the port.
#[test]
fn agent_on_a_taken_port_says_so() {
    if !privilege::privileged() {
        return;
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = agent::run(&["run", "--listen", &address]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(said.contains(&address), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

/// Wrong flags and values are usage errors (code 2) that name what is wrong.
#[test]
fn agent_with_wrong_arguments_names_them() {
    for (arguments, named) in [
        (vec!["--no-such-flag"], "--no-such-flag"),
        (vec!["run", "--no-such-flag"], "--no-such-flag"),
        (vec!["no-such-command"], "no-such-command"),
        (vec!["run", "--interval", "soon"], "soon"),
        (vec!["run", "--listen", "nowhere"], "nowhere"),
        (vec!["report", "--pid", "minus-one"], "minus-one"),
        (vec!["report", "--format", "haiku"], "haiku"),
    ] {
        let output = agent::run(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(named), "{arguments:?}: {said}");
    }
}

/// A wrong value in an environment variable is named like a wrong flag.
#[test]
fn agent_with_a_wrong_variable_names_it() {
    let output = Command::new(agent::binary())
        .arg("run")
        .env("LEAK_AGENT_INTERVAL", "soon")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("soon"), "{said}");
}

/// A pid that nobody has is answered clearly.
#[test]
fn report_on_a_pid_that_is_gone_says_so() {
    if !privilege::privileged() {
        return;
    }
    let mut target = Target::start(&programs::threads());
    let pid = target.pid();
    target.kill();
    let output = agent::run(&[
        "report",
        "--for",
        "0s",
        "--pid",
        &pid.to_string(),
        "--format",
        "json",
    ]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(said.contains(&pid.to_string()), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

/// The one-shot report of a running process has its threads and its tokio runtime.
#[test]
fn report_of_a_running_process_is_json_with_its_runtimes() {
    if !privilege::privileged() {
        return;
    }
    let mut target = Target::start(&programs::tokio_probe());
    target.command("park 5");
    let output = agent::run(&[
        "report",
        "--for",
        "0s",
        "--pid",
        &target.pid().to_string(),
        "--format",
        "json",
    ]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let report: leak_agent::report::Report = serde_json::from_slice(&output.stdout).unwrap();
    let process = report
        .processes
        .iter()
        .find(|process| process.pid == target.pid())
        .unwrap();
    let runtime = |name: &str| {
        process
            .runtimes
            .iter()
            .find(|runtime| runtime.runtime == name)
            .unwrap()
    };
    // The main thread and two workers.
    assert_eq!(runtime("thread").live, 3);
    assert!(
        runtime("tokio")
            .version
            .as_deref()
            .is_some_and(|version| version.starts_with("1.54."))
    );
}

/// The batch mode of `top` prints rows for a machine to read, without a terminal.
#[test]
fn top_in_batch_mode_needs_no_terminal() {
    if !privilege::privileged() {
        return;
    }
    let mut target = Target::start(&programs::tokio_probe());
    target.command("park 5");
    let output = agent::run(&[
        "top",
        "--batch",
        "2",
        "--interval",
        "200ms",
        "--pid",
        &target.pid().to_string(),
    ]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let rows = String::from_utf8(output.stdout).unwrap();
    assert!(rows.contains(&target.pid().to_string()), "{rows}");
    assert!(
        !rows.contains('\u{1b}'),
        "escape sequences in batch mode: {rows:?}"
    );
}

/// What a scrape says of a process is what its report says.
#[test]
fn metrics_say_what_the_report_says() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::tokio_probe();
    let agent = Agent::on(&[&path]);
    let mut target = Target::start(&path);
    let truth = target.command("park 23");
    leak_agent_tests::compare::until_equal(&agent, target.pid(), "tokio", truth.counts());
    let (status, text) = http::get(agent.address(), "/metrics").unwrap();
    assert_eq!(status, 200);
    let pid = format!("pid=\"{}\"", target.pid());
    let values: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(&pid) && line.contains("runtime=\"tokio\"") && line.contains("live"))
        .filter_map(|line| line.rsplit(' ').next())
        .collect();
    assert!(values.contains(&"23"), "{values:?} in {text}");
}

/// Without privileges the agent does not die of them: it says what is missing, and counts threads from /proc.
#[test]
fn agent_without_privileges_says_what_is_missing() {
    if !privilege::privileged() {
        return;
    }
    let target = Target::start(&programs::threads());
    let output = Command::new("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"])
        .arg(agent::binary())
        .args([
            "report",
            "--for",
            "0s",
            "--format",
            "json",
            "--pid",
            &target.pid().to_string(),
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("panicked"), "{said}");
    let told = format!("{said}{}", String::from_utf8_lossy(&output.stdout));
    assert!(
        told.contains("CAP_BPF") || told.contains("privilege") || told.contains("root"),
        "{told}"
    );
}
