//! From a leaking program to the person who is told: the agent, a real Prometheus with the rules of deploy/prometheus, a real
//! Alertmanager with the routes of the example, and a receiver.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness fails by panicking, with the reason

use leak_agent_tests::alerting::{Alert, Alerting, FASTER};
use leak_agent_tests::wait::until;
use leak_agent_tests::{Agent, Target, http, privilege, programs, rules};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A program that is given the same commands again and again, until it is stopped.
struct Busy {
    pid: u32,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Busy {
    fn start(path: &Path, commands: &'static [&'static str], pause: Duration) -> Self {
        let mut target = Target::start(path);
        let pid = target.pid();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for command in commands {
                    target.command(command);
                    std::thread::sleep(pause);
                }
            }
        });
        Self { pid, stop, thread }
    }

    /// Ends it: a command that has no answer any more is no failure.
    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

/// A configuration in which the agent's minutes are seconds, too.
fn configuration(test: &str) -> PathBuf {
    let path = programs::scratch(test).join("leak-agent.toml");
    let text = format!(
        "detect.time_scale = {FASTER}.0\n[labels]\nenvironment = \"test\"\nteam = \"ours\"\ntier = \"critical\"\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// A program leaks 20 tasks per second, another spawns thousands, has hundreds at a time, and all of them end: who is told is told
/// of the first, with the site, the tier's severity and the page to read, and never of the other; when the first has been ended, they
/// are told so.
#[test]
fn leaking_program_is_told_and_a_busy_one_is_not() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::tokio_probe();
    let configuration = configuration("alerts-agent");
    let agent = Agent::start(&[
        "--exe".as_ref(),
        path.as_os_str(),
        "--config".as_ref(),
        configuration.as_os_str(),
    ]);
    let alerting = Alerting::start("alerts-leak", &[agent.address()]);
    let pause = Duration::from_millis(100);
    let healthy = Busy::start(&path, &["storm 2000", "park 200", "release"], pause);
    let leaking = Busy::start(&path, &["park 2"], pause);
    let told_of = |pid: u32, name: &str, status: &str| {
        let pid = pid.to_string();
        let mine = |alert: &Alert| {
            alert.get("pid") == pid && alert.get("alertname") == name && alert.status == status
        };
        let told = alerting.told();
        let all = || format!("{told:#?}; {}", alerting.words());
        told.iter().find(|alert| mine(alert)).cloned().ok_or_else(all)
    };
    let leak = until("the leak to be told", || {
        told_of(leaking.pid, "LeakAgentTaskLeak", "firing")
    });
    assert_eq!(leak.receiver, "on-call", "{leak:?}");
    for (name, value) in [
        ("severity", "critical"),
        ("priority", "P0"),
        ("growth", "red"),
        ("runtime", "tokio"),
        ("team", "ours"),
        ("tier", "critical"),
        ("verdict", "leak"),
        ("runbook_url", "docs/runbooks/LeakAgentTaskLeak.md"),
    ] {
        assert_eq!(leak.get(name), value, "{name}: {leak:?}");
    }
    assert!(leak.get("site_name").contains("idle"), "{leak:?}");
    let pid = leaking.pid;
    leaking.end();
    until("the end of the leak to be told", || {
        told_of(pid, "LeakAgentTaskLeak", "resolved")
    });
    let busy = healthy.pid.to_string();
    let of_the_busy: Vec<Alert> = alerting
        .told()
        .into_iter()
        .filter(|alert| alert.get("pid") == busy)
        .collect();
    assert!(of_the_busy.is_empty(), "{of_the_busy:#?}");
    let series = format!("leak_agent_tasks_spawned_total{{pid=\"{busy}\"}} > 5000");
    assert_ne!(
        alerting.query(&series).unwrap().len(),
        0,
        "the busy one was not busy, or not seen"
    );
    healthy.end();
}

/// An agent that is killed is told, and of the one that goes on nothing is.
#[test]
fn agent_that_is_gone_is_told() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::threads();
    let (gone, stays) = (Agent::on(&[&path]), Agent::on(&[&path]));
    let (gone_at, stays_at) = (gone.address().to_string(), stays.address().to_string());
    let alerting = Alerting::start("alerts-gone", &[gone.address(), stays.address()]);
    drop(gone);
    let told = until("the missing agent to be told", || {
        let told = alerting.told();
        let down =
            |alert: &&Alert| alert.get("alertname") == "LeakAgentDown" && alert.get("instance") == gone_at;
        let all = || format!("{told:#?}; {}", alerting.words());
        told.iter().find(down).cloned().ok_or_else(all)
    });
    assert_eq!(told.status, "firing", "{told:?}");
    let others: Vec<Alert> = alerting.told();
    assert!(
        others.iter().all(|alert| alert.get("instance") != stays_at),
        "{others:#?}"
    );
}

/// The reasons and events that the rules select are among those that a living agent has.
#[test]
fn reasons_in_the_rules_are_those_of_the_agent() {
    if !privilege::privileged() {
        return;
    }
    let agent = Agent::on(&[&programs::threads()]);
    let (_, metrics) = http::get(agent.address(), "/metrics").unwrap();
    let rules = std::fs::read_to_string(rules::path()).unwrap();
    let lists = ["reason=~\"", "event=~\""].map(|begin| {
        let parts: Vec<&str> = rules
            .split(begin)
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap())
            .collect();
        parts
    });
    let names: Vec<&str> = lists.iter().flatten().flat_map(|list| list.split('|')).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(
            metrics.contains(&format!("=\"{name}\"")),
            "{name} is none of them: {metrics}"
        );
    }
}
