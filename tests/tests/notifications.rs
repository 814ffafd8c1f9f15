//! Somebody is told: a program leaks, and webhook, Alertmanager and command hear of it, through outages and restarts.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness fails by panicking, with the reason

use leak_agent::output::alert::{News, Notification};
use leak_agent_tests::agent::{free_port, run as agent_run};
use leak_agent_tests::sink::Sink;
use leak_agent_tests::{Agent, Server, Target, http, privilege, programs, tools, wait};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A folder of its own for a test, below target; gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = programs::target().join(format!("notifications-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }

    /// The leaking program under a name of this test's own, so that agents of other tests follow other processes. A link, for a
    /// file that was just written cannot always be run.
    fn program(&self) -> PathBuf {
        let path = self.0.join("leaking");
        std::fs::hard_link(programs::tokio_probe(), &path).unwrap();
        path
    }

    /// A configuration in which everything is judged fast, with these receivers.
    fn config(&self, receivers: &str) -> PathBuf {
        let state = self.0.join("state");
        let text = format!(
            "[detect]\ntime_scale = 30.0\n[labels]\nteam = \"payments\"\n[notify]\nstate_dir = {state:?}\nnode = \"node-1\"\n{receivers}"
        );
        self.file("config.toml", &text)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// A program of which one site leaks tasks, steadily, until this value is dropped.
struct Leaking {
    pid: u32,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Leaking {
    fn start(path: &Path) -> Self {
        let mut target = Target::start(path);
        let pid = target.pid();
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::SeqCst) {
                target.command("park 1");
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Self {
            pid,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Leaking {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn agent(config: &Path, program: &Path) -> Agent {
    Agent::start(&[
        "--config".as_ref(),
        config.as_os_str(),
        "--exe".as_ref(),
        program.as_os_str(),
    ])
}

/// Waits for as long as a verdict may take on a slow machine.
fn until_told<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    for _ in 0..4 {
        let end = std::time::Instant::now() + wait::DEADLINE;
        while std::time::Instant::now() < end {
            if let Some(told) = probe() {
                return told;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    panic!("{what}: still not so after {:?}", 4 * wait::DEADLINE);
}

fn webhook(address: SocketAddr, more: &str) -> String {
    format!(
        "[[receiver]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"http://{address}/hook\"\ngroup_wait = \"0s\"\n\
         retry_first = \"50ms\"\nretry_longest = \"200ms\"\n{more}"
    )
}

/// Whether the signature is that of the body, by Python's own hmac.
fn genuine(key: &str, header: &str, body: &[u8]) -> bool {
    let program = "import sys, hmac, hashlib\n\
        key, header = sys.argv[1].encode(), sys.argv[2]\n\
        parts = dict(part.split('=', 1) for part in header.split(','))\n\
        expected = hmac.new(key, parts['t'].encode() + b'.' + sys.stdin.buffer.read(), hashlib.sha256).hexdigest()\n\
        sys.exit(0 if hmac.compare_digest(expected, parts['v1']) else 1)";
    let mut python = Command::new("python3")
        .args(["-c", program, key, header])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(body).unwrap();
    python.wait().unwrap().success()
}

/// A leak reaches a webhook, signed, and a hook, with what it needs to find the process; nothing else of the node does. When
/// the process has ended, both are told that it is over.
#[test]
fn leak_reaches_webhook_and_hook_and_its_end_does() {
    if !privilege::privileged() {
        return;
    }
    let folder = Folder::new("both");
    let program = folder.program();
    let address = free_port();
    let sink = Sink::listen(address);
    let key = folder.file("key", "s3cret\n");
    let hook = folder.file(
        "hook.sh",
        "cd \"$1\"; cat > \"input-$LEAK_AGENT_FINDING_STATUS\"; env > \"environment-$LEAK_AGENT_FINDING_STATUS\"\n",
    );
    let receivers = format!(
        "{}[[receiver]]\nname = \"heal\"\nkind = \"command\"\ncommand = [\"/bin/sh\", {hook:?}, {:?}]\n\
         runbook_base_url = \"https://wiki.example/runbooks\"\ngroup_wait = \"0s\"\n",
        webhook(address, &format!("secret_file = {key:?}\n")),
        folder.0
    );
    let agent = agent(&folder.config(&receivers), &program);
    let leaking = Leaking::start(&program);
    let pid = leaking.pid;

    let (news, alert) = until_told("the webhook is told", || sink.told_of(pid).first().cloned());
    assert_eq!(news, News::New);
    assert_eq!(
        (alert.rank.verdict.as_str(), alert.labels["team"].as_str()),
        ("leak", "payments")
    );
    assert!(alert.site.contains("idle"), "{alert:?}");
    let process = agent.process(pid).unwrap();
    assert_eq!(alert.start_boottime, process.start_boottime);
    let taken = sink.taken().remove(0);
    assert!(taken.head.starts_with("POST /hook HTTP/1.1"), "{}", taken.head);
    assert_eq!(
        taken.header("x-leak-agent-notification"),
        Some(taken.notification().id.as_str())
    );
    let signature = taken.header("x-leak-agent-signature").unwrap();
    assert!(genuine("s3cret", signature, &taken.body));
    assert!(!genuine("another", signature, &taken.body));

    let environment = until_told("the hook is told", || {
        Some(folder.text("environment-firing")).filter(|text| text.contains("_SENTENCE="))
    });
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    for line in [
        format!("LEAK_AGENT_FINDING_PID={pid}"),
        format!("LEAK_AGENT_FINDING_ID={}", alert.fingerprint),
        format!("LEAK_AGENT_FINDING_START_BOOTTIME={}", alert.start_boottime),
        "LEAK_AGENT_FINDING_VERDICT=leak".to_owned(),
        "LEAK_AGENT_FINDING_RUNBOOK_URL=https://wiki.example/runbooks/LeakAgentTaskLeak.md".to_owned(),
    ] {
        assert!(
            environment.lines().any(|known| known == line),
            "{line} in {environment}"
        );
    }
    // How a hook is told to check that the pid is still that process.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let ticks: u64 = stat
        .rsplit(") ")
        .next()
        .unwrap()
        .split(' ')
        .nth(19)
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(alert.start_boottime / (1_000_000_000 / ticks_per_second), ticks);
    let input: Notification = serde_json::from_str(&folder.text("input-firing")).unwrap();
    assert_eq!((input.alerts.len(), input.alerts[0].pid), (1, pid));

    drop(leaking);
    let over = until_told("the end is told", || {
        sink.told_of(pid)
            .into_iter()
            .find(|(news, _)| *news == News::Resolved)
    });
    assert!(over.1.over.is_some(), "{over:?}");
    until_told("the hook is told of the end", || {
        Some(()).filter(|()| folder.text("environment-resolved").contains("_SENTENCE="))
    });
    let (_, metrics) = http::get(agent.address(), "/metrics").unwrap();
    let delivered =
        "leak_agent_notifications_total{receiver=\"ops\",kind=\"webhook\",outcome=\"delivered\"} ";
    assert!(
        metrics
            .lines()
            .any(|line| line.starts_with(delivered) && !line.ends_with(" 0")),
        "{metrics}"
    );
}

/// A test notification tells whether a receiver works: code 0 if all do, 1 and the reason if not, 2 if the file is wrong.
#[test]
fn test_notification_says_whether_receivers_work() {
    let folder = Folder::new("trial");
    let (there, nobody) = (free_port(), free_port());
    let sink = Sink::listen(there);
    let more = format!(
        "[[receiver]]\nname = \"gone\"\nkind = \"alertmanager\"\nurl = \"http://{nobody}/?token=s3cret\"\n"
    );
    let config = folder.config(&format!("{}{more}", webhook(there, "")));
    let run = |more: &[&str]| {
        let mut arguments = vec!["config", "test-notify", "--config", config.to_str().unwrap()];
        arguments.extend(more);
        let output = agent_run(&arguments);
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        (output.status.code(), said)
    };
    let (code, said) = run(&["ops"]);
    assert_eq!((code, said.as_str()), (Some(0), "ops (webhook): told\n"));
    let told = sink.taken().remove(0).notification();
    assert_eq!((told.alerts[0].news, told.node.as_str()), (News::Test, "node-1"));
    let (code, said) = run(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("ops (webhook): told") && said.contains("gone (alertmanager): no connection"),
        "{said}"
    );
    assert!(!said.contains("s3cret"), "{said}");
    let (code, said) = run(&["nobody"]);
    assert!(code == Some(2) && said.contains("nobody"), "{said}");
    let wrong = folder.file(
        "wrong.toml",
        "[[receiver]]\nname = \"a\"\nkind = \"command\"\nurl = \"http://h/\"\n",
    );
    let output = agent_run(&["config", "check", wrong.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("receiver[0] \"a\".url: is for kind"), "{said}");
}

/// How many notifications wait for the first receiver, all of them on disk.
fn waiting(agent: &Agent) -> u64 {
    let receivers = agent.report().agent.receivers;
    let receiver = &receivers[0];
    let dropped: u64 = receiver.dropped.values().sum();
    assert_eq!(
        receiver.taken,
        receiver.delivered + dropped + receiver.waiting,
        "{receiver:?}"
    );
    assert!(receiver.on_disk, "{receiver:?}");
    receiver.waiting
}

/// The receiver is away, three processes leak, the agent is killed with SIGKILL, and the next one delivers everything once the
/// receiver is back: each leak once, under its first id, though the next agent sees the leaks again.
#[test]
fn outage_with_the_agent_killed_in_between_delivers_each_leak_once() {
    if !privilege::privileged() {
        return;
    }
    let folder = Folder::new("killed");
    let program = folder.program();
    let address = free_port();
    let config = folder.config(&webhook(address, ""));
    let mut first = agent(&config, &program);
    let leaking: Vec<Leaking> = (0..3).map(|_| Leaking::start(&program)).collect();
    let told = |agent: &Agent| -> BTreeSet<u32> {
        let findings = agent.report().findings;
        let leaks = findings.iter().filter(|finding| finding.leak_at.is_some());
        leaks.map(|finding| finding.pid).collect()
    };
    until_told("all three are leaks", || {
        Some(()).filter(|()| told(&first).len() == 3)
    });
    let left = until_told("their notifications wait", || {
        let files = std::fs::read_dir(folder.0.join("state/notify/ops")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let entries = names.filter(|name| name.ends_with(".entry")).count();
        // All three may be in one.
        Some(entries).filter(|entries| *entries > 0 && waiting(&first) == *entries as u64)
    });
    // What is due is written within a report or two.
    std::thread::sleep(Duration::from_secs(1));
    first.signal(Signal::KILL);
    first.ended();

    let second = agent(&config, &program);
    assert!(waiting(&second) >= left as u64);
    until_told("the next agent sees the leaks, too", || {
        Some(()).filter(|()| told(&second).len() == 3)
    });
    let sink = Sink::listen(address);
    until_told("everything is delivered", || {
        Some(()).filter(|()| waiting(&second) == 0)
    });
    std::thread::sleep(Duration::from_secs(1));
    for process in &leaking {
        let told: Vec<News> = sink
            .told_of(process.pid)
            .into_iter()
            .map(|(news, _)| news)
            .collect();
        let new = told.iter().filter(|news| **news == News::New).count();
        assert_eq!(new, 1, "process {}: {told:?}", process.pid);
    }
    let ids: Vec<String> = sink.taken().iter().map(|taken| taken.notification().id).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
}

/// The alerts that an Alertmanager lists of a process.
fn listed(address: SocketAddr, pid: u32) -> Vec<Value> {
    let (status, body) = http::get(address, "/api/v2/alerts").unwrap();
    assert_eq!(status, 200, "{body}");
    let alerts: Vec<Value> = serde_json::from_str(&body).unwrap();
    let pid = pid.to_string();
    let of_process = |alert: &Value| alert["labels"]["pid"] == pid.as_str();
    alerts.into_iter().filter(of_process).collect()
}

/// A real Alertmanager takes the alert as it is, lists it as active with its labels, and no more when it is over.
#[test]
fn leak_is_listed_by_a_real_alertmanager_until_it_is_over() {
    if !privilege::privileged() {
        return;
    }
    let folder = Folder::new("alertmanager");
    let config = folder.file(
        "alertmanager.yml",
        "route:\n  receiver: none\nreceivers:\n  - name: none\n",
    );
    let storage = folder.0.join("storage");
    let alertmanager = Server::run(tools::alertmanager(), |address| {
        vec![
            format!("--config.file={}", config.display()),
            format!("--storage.path={}", storage.display()),
            format!("--web.listen-address={address}"),
            "--cluster.listen-address=".to_owned(),
        ]
    });
    let program = folder.program();
    let receivers = format!(
        "[[receiver]]\nname = \"am\"\nkind = \"alertmanager\"\nurl = \"http://{}\"\nrepeat_interval = \"2s\"\n\
         runbook_base_url = \"https://wiki.example/runbooks\"\n",
        alertmanager.address()
    );
    let agent = agent(&folder.config(&receivers), &program);
    let leaking = Leaking::start(&program);
    let pid = leaking.pid;
    let alert = until_told("it is listed", || {
        listed(alertmanager.address(), pid).into_iter().next()
    });
    assert_eq!(alert["labels"]["alertname"], "LeakAgentFinding");
    assert_eq!(alert["labels"]["instance"], "node-1");
    assert_eq!(alert["labels"]["verdict"], "leak");
    assert_eq!(alert["status"]["state"], "active");
    assert_eq!(
        alert["annotations"]["runbook_url"],
        "https://wiki.example/runbooks/LeakAgentTaskLeak.md"
    );
    // Eight seconds without a repeat would end it.
    std::thread::sleep(Duration::from_secs(12));
    assert_eq!(listed(alertmanager.address(), pid).len(), 1);
    drop(leaking);
    until_told("it is listed no more", || {
        Some(()).filter(|()| listed(alertmanager.address(), pid).is_empty())
    });
    let receiver = agent.report().agent.receivers.remove(0);
    assert_eq!(
        (receiver.failed_attempts, receiver.dropped.len()),
        (0, 0),
        "{receiver:?}"
    );
}
