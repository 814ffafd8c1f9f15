//! The capabilities that the DaemonSet and the systemd unit give: with exactly these, programs of other users are followed
//! exactly; without any one of them, something is not.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness fails by panicking, with the reason

use leak_agent::report::{ModeName, Report, State};
use leak_agent_tests::compare::{describe, until_equal, until_exact};
use leak_agent_tests::wait::until;
use leak_agent_tests::{Agent, Target, deploy, privilege, programs};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A user who owns nothing else here.
const OTHER: &str = "65534";

/// The capabilities as `setpriv` names them.
fn capabilities() -> Vec<String> {
    deploy::pod_capabilities()
        .iter()
        .map(|name| name.to_lowercase())
        .collect()
}

fn agent_with(capabilities: &[&str], executable: &Path) -> Agent {
    let executable = executable.as_os_str().to_owned();
    let arguments = ["--exe".into(), executable, "--reconcile".into(), "1s".into()];
    Agent::start_with_capabilities(capabilities, &arguments).once_ready()
}

/// A copy of the tokio program that only another user may read, in a folder of theirs.
fn private_copy(test: &str) -> PathBuf {
    let folder = programs::scratch(test);
    let path = folder.join("private-probe");
    programs::copy(&programs::tokio_probe(), &path);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    let status = Command::new("chown")
        .arg(format!("{OTHER}:{OTHER}"))
        .arg(&path)
        .status();
    assert!(status.unwrap().success());
    path
}

/// The program, run by the other user.
fn start(path: &Path) -> Target {
    let user = [
        format!("--reuid={OTHER}"),
        format!("--regid={OTHER}"),
        "--clear-groups".to_owned(),
    ];
    let mut arguments: Vec<_> = user.iter().map(AsRef::as_ref).collect();
    arguments.push(path.as_os_str());
    Target::start_with(Path::new("setpriv"), &arguments)
}

/// DaemonSet and unit give the same ones, and neither gives the one that is as good as all.
#[test]
fn capabilities_of_daemonset_and_unit_are_the_same() {
    let pod = deploy::pod_capabilities();
    assert!(!pod.contains("SYS_ADMIN"), "{pod:?}");
    let unit = deploy::unit_setting("CapabilityBoundingSet");
    let unit: Vec<_> = unit.iter().flat_map(|line| line.split_whitespace()).collect();
    assert_eq!(unit.len(), pod.len(), "{unit:?}");
    for name in unit {
        assert!(pod.contains(name.strip_prefix("CAP_").unwrap()), "{name}");
    }
}

/// With exactly these: a program of another user that ran before the agent, one that starts later, both deleted from the
/// disk in the meantime, are counted to the task, by probes, and compared with their own books; nothing is said to be
/// missing.
#[test]
fn programs_of_another_user_are_exact_with_these_capabilities() {
    if !privilege::privileged() {
        return;
    }
    let path = private_copy("privileges-exact");
    let mut before = start(&path);
    let parked = before.command("park 100");
    let capabilities = capabilities();
    let capabilities: Vec<&str> = capabilities.iter().map(String::as_str).collect();
    let agent = agent_with(&capabilities, &path);
    until_exact(&agent, before.pid(), "tokio", &parked);
    let mut after = start(&path);
    let truth = after.command("all 20");
    let found = until_equal(&agent, after.pid(), "tokio", truth.counts());
    assert!(
        found.exact && found.state == State::Followed,
        "{}",
        describe(&found)
    );
    std::fs::remove_file(&path).unwrap();
    for command in ["storm 20000", "release"] {
        let truth = before.command(command);
        until_exact(&agent, before.pid(), "tokio", &truth);
        let truth = after.command(command);
        let found = until_equal(&agent, after.pid(), "tokio", truth.counts());
        let threads = agent.runtime(after.pid(), "thread").unwrap();
        assert!(threads.exact, "{}", describe(&threads));
        assert!(found.exact, "{}", describe(&found));
    }
    until("the counts to agree with the books", || {
        let found = agent.runtime(after.pid(), "tokio")?;
        match &found.books {
            Some(books) if books.drift == Some(0) => Ok(()),
            books => Err(format!("{books:?}")),
        }
    });
    let report = agent.next_report();
    assert_eq!(report.agent.mode, ModeName::Bpf, "{:?}", report.agent.mode_reason);
    assert_eq!(report.agent.not_followed(), [], "{:?}", report.agent);
    assert!(!agent.log().contains("CAP_"), "{}", agent.log());
}

/// None of them is for nothing: without it, the same program (which ran before and is deleted) is not followed by probes, and
/// the agent says so.
#[test]
fn each_capability_is_needed() {
    if !privilege::privileged() {
        return;
    }
    let path = private_copy("privileges-each");
    let mut target = start(&path);
    let truth = target.command("park 100");
    std::fs::remove_file(&path).unwrap();
    let start = |capabilities: &[&str]| {
        let arguments = ["--pid", &target.pid().to_string(), "--reconcile", "1s"];
        Agent::start_with_capabilities(capabilities, &arguments).once_ready()
    };
    let followed = |report: &Report| {
        let mut found = report.processes.iter().filter(|of| of.pid == target.pid());
        let tokio = found.find_map(|of| of.runtimes.iter().find(|of| of.runtime == "tokio"));
        report.agent.mode == ModeName::Bpf
            && tokio.is_some_and(|tokio| tokio.exact && tokio.live == truth.live)
    };
    let all = capabilities();
    let agent = start(&all.iter().map(String::as_str).collect::<Vec<_>>());
    until("all of them to be enough", || {
        let report = agent.try_report()?;
        if followed(&report) {
            Ok(())
        } else {
            Err("it is not".to_owned())
        }
    });
    drop(agent);
    for missing in &all {
        let rest: Vec<&str> = all
            .iter()
            .map(String::as_str)
            .filter(|name| name != missing)
            .collect();
        let agent = start(&rest);
        until(missing, || {
            let report = agent.try_report()?;
            assert!(!followed(&report), "{missing} is not needed");
            let told = report.agent.mode == ModeName::ProcOnly || !report.agent.not_followed().is_empty();
            if told {
                Ok(())
            } else {
                Err("the agent does not say that something is missing".to_owned())
            }
        });
    }
}
