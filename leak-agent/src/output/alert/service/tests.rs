use super::*;
use crate::config::notify::{CommandTarget, HttpTarget, QueueLimits, UrlSource};
use crate::output::alert::fixture::{finding, pace, wants};
use crate::output::alert::notification::Status;
use crate::report::{Finding, FindingState, ReceiverFacts, Suppressed, fixture};
use crate::source::thread;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

/// A folder of its own for a test, gone at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("leak-agent-alert-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A receiver of other people: answers with a status that the test sets, and keeps what it accepted. 0 = it hangs.
struct Site {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    attempts: Arc<Mutex<u32>>,
    accepted: Arc<Mutex<Vec<Notification>>>,
}

impl Site {
    fn answering(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let site = Self {
            address: listener.local_addr().unwrap(),
            status: Arc::new(AtomicU16::new(status)),
            attempts: Arc::default(),
            accepted: Arc::default(),
        };
        let (status, attempts, accepted) = (
            Arc::clone(&site.status),
            Arc::clone(&site.attempts),
            Arc::clone(&site.accepted),
        );
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut text = Vec::new();
                let mut buffer = [0; 4096];
                let body = loop {
                    let Ok(read @ 1..) = stream.read(&mut buffer) else {
                        break None;
                    };
                    text.extend(&buffer[..read]);
                    let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") else {
                        continue;
                    };
                    if let Ok(notification) = serde_json::from_slice::<Notification>(&text[end + 4..]) {
                        break Some(notification);
                    }
                };
                let Some(notification) = body else { continue };
                *attempts.lock().unwrap() += 1;
                let status = status.load(Ordering::SeqCst);
                if status == 0 {
                    // Kept open until the other side has had enough.
                    std::thread::spawn(move || stream.read(&mut buffer));
                    continue;
                }
                if status < 300 {
                    accepted.lock().unwrap().push(notification);
                }
                let _ =
                    stream.write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").as_bytes());
            }
        });
        site
    }

    fn attempts(&self) -> u32 {
        *self.attempts.lock().unwrap()
    }

    fn accepted(&self) -> Vec<Notification> {
        self.accepted.lock().unwrap().clone()
    }

    fn fingerprints(&self) -> Vec<String> {
        let accepted = self.accepted();
        accepted
            .iter()
            .map(|notification| notification.alerts[0].fingerprint.clone())
            .collect()
    }
}

fn webhook(name: &str, site: &Site) -> ReceiverConfig {
    let mut pace = pace();
    pace.group_wait = Duration::ZERO;
    ReceiverConfig {
        name: name.to_owned(),
        target: Target::Webhook(HttpTarget {
            url: UrlSource::Plain(format!("http://{}/", site.address)),
            secret_file: None,
            authorization_file: None,
            ca_file: None,
            connect_timeout: Duration::from_secs(30),
            timeout: Duration::from_secs(60),
        }),
        wants: wants(),
        pace,
        queue: QueueLimits::default(),
        runbook_base_url: Some("https://wiki.example/runbooks/".to_owned()),
        dry_run: false,
    }
}

/// The alert thread with its reports.
struct Running {
    reports: watch::Sender<Arc<Report>>,
    books: AlertBooks,
    handle: Option<AlertHandle>,
}

impl Running {
    fn start(state_dir: Option<&Path>, receivers: Vec<ReceiverConfig>) -> Self {
        let config = NotifyConfig {
            state_dir: state_dir.map(Path::to_owned),
            node: Some("node-1".to_owned()),
            log: false,
            receivers,
        };
        let alerts = Alerts::prepare(&config).unwrap();
        let (reports, receiver) = watch::channel(Arc::new(report(&[])));
        let books = alerts.books();
        let handle = alerts.start(receiver).unwrap();
        Self {
            reports,
            books,
            handle,
        }
    }

    /// A report with these findings, seen before this returns.
    fn report(&self, findings: &[Finding]) {
        self.reports.send_replace(Arc::new(report(findings)));
    }

    fn facts(&self, receiver: usize) -> ReceiverFacts {
        self.books.facts()[receiver].clone()
    }

    fn balanced(&self) {
        for facts in self.books.facts() {
            let dropped: u64 = facts.dropped.values().sum();
            assert_eq!(
                facts.taken,
                facts.delivered + dropped + facts.waiting,
                "{facts:?}"
            );
        }
    }

    fn end(mut self) {
        drop(self.handle.take());
    }
}

/// A report with these findings and their processes.
fn report(findings: &[Finding]) -> Report {
    let process = |pid| {
        fixture::process(
            pid,
            "svc",
            "/srv/app",
            vec![fixture::runtime(thread::RUNTIME, vec![])],
        )
    };
    let mut report = fixture::report(60, (1..=20).map(process).collect());
    report.findings = findings.to_vec();
    report
}

fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..3_000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{what}: still not so after a minute");
}

fn leak(number: u32) -> Finding {
    finding(&format!("f{number}"), number, &format!("/srv/app-{number}"))
}

fn resolved(mut finding: Finding) -> Finding {
    finding.state = FindingState::Resolved;
    finding.resolved_at = Some(finding.opened_at + 600.0);
    finding.resolution = Some("it has given its tasks back".to_owned());
    finding
}

/// A leak reaches the receiver with what the report says of it, once, and so does its end.
#[test]
fn leak_and_its_end_reach_the_receiver_once() {
    let site = Site::answering(200);
    let running = Running::start(None, vec![webhook("ops", &site)]);
    for _ in 0..3 {
        running.report(&[leak(1)]);
        until("it is told", || site.accepted().len() == 1);
    }
    running.report(&[resolved(leak(1))]);
    until("its end is told", || site.accepted().len() == 2);
    let accepted = site.accepted();
    let (first, last) = (&accepted[0], &accepted[1]);
    assert_eq!(
        (first.receiver.as_str(), first.node.as_str(), first.version),
        ("ops", "node-1", 1)
    );
    assert_eq!((first.status, last.status), (Status::Firing, Status::Resolved));
    let alert = &first.alerts[0];
    assert_eq!((alert.pid, alert.start_boottime), (1, 1_000_000_000));
    assert!((alert.start_time - 1_700_000_001.0).abs() < 1e-3);
    assert_eq!(alert.evidence["growth"]["climbs"], 3);
    assert_eq!(alert.labels["team"], "payments");
    assert_eq!(
        alert.runbook_url.as_deref(),
        Some("https://wiki.example/runbooks/LeakAgentTaskLeak.md")
    );
    assert_eq!(
        last.alerts[0].resolution.as_deref(),
        Some("it has given its tasks back")
    );
    assert_eq!(site.attempts(), 2);
    running.balanced();
    running.end();
}

/// A suppressed finding is not told.
#[test]
fn suppressed_leak_is_not_told() {
    let site = Site::answering(200);
    let running = Running::start(None, vec![webhook("ops", &site)]);
    let mut quiet = leak(1);
    quiet.suppressed = Some(Suppressed {
        reason: "known".to_owned(),
        until: 9e9,
    });
    running.report(&[quiet, leak(2)]);
    until("the other is told", || !site.accepted().is_empty());
    assert_eq!(site.fingerprints(), ["f2"]);
    running.end();
}

/// A receiver that answers 500 for a while, or hangs, gets everything afterwards, in order, once each; another one is told
/// meanwhile.
#[test]
fn outage_of_a_receiver_loses_nothing_and_delays_nobody_else() {
    for outage in [500, 0] {
        let scratch = Scratch::new(&format!("outage-{outage}"));
        let (down, up) = (Site::answering(outage), Site::answering(200));
        let mut impatient = webhook("down", &down);
        if let Target::Webhook(target) = &mut impatient.target
            && outage == 0
        {
            target.timeout = Duration::from_secs(2);
            target.connect_timeout = Duration::from_secs(2);
        }
        let running = Running::start(Some(&scratch.0), vec![impatient, webhook("up", &up)]);
        for number in 1..=5 {
            running.report(&(1..=number).map(leak).collect::<Vec<_>>());
            until("the other receiver is told", || {
                up.accepted().len() == number as usize
            });
        }
        until("it was tried", || {
            running.facts(0).failed_attempts >= 1 || outage == 0
        });
        assert_eq!((running.facts(0).waiting, running.facts(0).on_disk), (5, true));
        running.balanced();
        down.status.store(200, Ordering::SeqCst);
        until("all are told", || down.accepted().len() == 5);
        until("nothing waits", || running.facts(0).waiting == 0);
        assert_eq!(down.fingerprints(), ["f1", "f2", "f3", "f4", "f5"]);
        assert_eq!(running.facts(0).trouble, None);
        running.balanced();
        running.end();
    }
}

/// What could not be told before the agent ended is told by the next one, with the same ids, and nothing twice.
#[test]
fn next_agent_tells_what_was_left() {
    let scratch = Scratch::new("next");
    let site = Site::answering(503);
    let running = Running::start(Some(&scratch.0), vec![webhook("ops", &site)]);
    running.report(&[leak(1), leak(2)]);
    until("both wait", || running.facts(0).waiting == 2);
    running.end();
    site.status.store(200, Ordering::SeqCst);
    assert!(site.accepted().is_empty());

    let running = Running::start(Some(&scratch.0), vec![webhook("ops", &site)]);
    until("both are told", || site.accepted().len() == 2);
    // The next agent sees one of the leaks again, and that the other has gone.
    running.report(&[leak(1), resolved(leak(2))]);
    until("the end is told", || site.accepted().len() == 3);
    let accepted = site.accepted();
    assert_eq!(accepted[2].status, Status::Resolved);
    let ids: std::collections::BTreeSet<&str> = accepted
        .iter()
        .map(|notification| notification.id.as_str())
        .collect();
    assert_eq!(ids.len(), 3);
    until("all are counted", || running.facts(0).delivered == 3);
    assert_eq!(running.facts(0).taken, 3);
    running.end();
}

/// At the end news that still waits for more of it is told at once.
#[test]
fn end_of_the_agent_tells_what_waits_for_its_group() {
    let site = Site::answering(200);
    let mut patient = webhook("ops", &site);
    patient.pace.group_wait = Duration::from_secs(1_000);
    let running = Running::start(None, vec![patient]);
    running.report(&[leak(1)]);
    let books = running.books.clone();
    running.end();
    // Within less than a second; on a slow machine it may be left, but is counted.
    let facts = &books.facts()[0];
    assert_eq!((facts.taken, facts.delivered + facts.waiting), (1, 1));
}

/// What a receiver does not want is given up and counted; the next is told.
#[test]
fn refused_notification_is_given_up_and_counted() {
    let site = Site::answering(400);
    let running = Running::start(None, vec![webhook("ops", &site)]);
    running.report(&[leak(1)]);
    until("it is given up", || {
        running.facts(0).dropped.get("refused") == Some(&1)
    });
    site.status.store(200, Ordering::SeqCst);
    running.report(&[leak(1), leak(2)]);
    until("the next is told", || site.fingerprints() == ["f2"]);
    running.balanced();
    running.end();
}

/// Given up after so many attempts, or when it is too old, and counted by reason.
#[test]
fn notification_is_given_up_after_attempts_or_age() {
    let site = Site::answering(500);
    let mut few = webhook("few", &site);
    few.pace.max_attempts = Some(3);
    let mut young = webhook("young", &site);
    young.pace.max_age = Duration::from_millis(300);
    let running = Running::start(None, vec![few, young]);
    running.report(&[leak(1)]);
    until("it is given up", || {
        running.facts(0).dropped.get("attempts_exhausted") == Some(&1)
    });
    assert_eq!(running.facts(0).failed_attempts, 3);
    until("it is given up", || {
        running.facts(1).dropped.get("too_old") == Some(&1)
    });
    running.balanced();
    running.end();
}

/// A dry run sends nothing, and counts what it would have sent.
#[test]
fn dry_run_sends_nothing() {
    let site = Site::answering(200);
    let mut dry = webhook("dry", &site);
    dry.dry_run = true;
    let mut hook = webhook("hook", &site);
    hook.dry_run = true;
    hook.target = Target::Command(CommandTarget {
        argv: vec!["/bin/false".to_owned()],
        timeout: Duration::from_secs(1),
    });
    let running = Running::start(None, vec![dry, hook, webhook("wet", &site)]);
    running.report(&[leak(1)]);
    until("the other is told", || site.accepted().len() == 1);
    until("they are counted", || {
        running.facts(0).delivered == 1 && running.facts(1).delivered == 1
    });
    assert_eq!(site.accepted()[0].receiver, "wet");
    assert!(running.facts(1).dry_run && running.facts(1).failed_attempts == 0);
    running.end();
}

/// A hook is run once per finding, and what it misses is tried again as often as is configured.
#[test]
fn hook_is_run_per_finding() {
    let scratch = Scratch::new("hook");
    let script = scratch.0.join("hook.sh");
    let text = r#"cd "$1"; cat > /dev/null; echo "$LEAK_AGENT_FINDING_STATUS $LEAK_AGENT_FINDING_PID" >> runs; [ -e fine ]"#;
    std::fs::write(&script, text).unwrap();
    let site = Site::answering(200);
    let mut hook = webhook("hook", &site);
    hook.pace.max_attempts = Some(2);
    hook.target = Target::Command(CommandTarget {
        argv: ["/bin/sh", script.to_str().unwrap(), scratch.0.to_str().unwrap()]
            .map(str::to_owned)
            .into(),
        timeout: Duration::from_secs(60),
    });
    let running = Running::start(None, vec![hook]);
    let mut other_pid = leak(1);
    other_pid.pid = 2;
    other_pid.start_boottime = 2_000_000_000;
    running.report(&[leak(1), other_pid.clone()]);
    until("both are given up", || {
        running.facts(0).dropped.get("attempts_exhausted") == Some(&2)
    });
    std::fs::write(scratch.0.join("fine"), "").unwrap();
    running.report(&[resolved(leak(1)), other_pid]);
    until("the end is told", || running.facts(0).delivered == 1);
    let runs = std::fs::read_to_string(scratch.0.join("runs")).unwrap();
    let runs: Vec<&str> = runs.lines().collect();
    assert_eq!(
        runs,
        ["firing 1", "firing 1", "firing 2", "firing 2", "resolved 1"]
    );
    running.balanced();
    running.end();
}

/// A receiver that can never be told anything is an error at the start that names it; a queue that cannot be opened is not.
#[test]
fn receiver_that_cannot_work_is_named_at_the_start() {
    let site = Site::answering(200);
    let mut broken = webhook("broken", &site);
    broken.target = Target::Command(CommandTarget {
        argv: vec!["/no/such/hook".to_owned()],
        timeout: Duration::from_secs(1),
    });
    let config = NotifyConfig {
        receivers: vec![webhook("fine", &site), broken],
        ..NotifyConfig::nobody()
    };
    let error = Alerts::prepare(&config).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        error.to_string().contains("broken") && source.contains("/no/such/hook"),
        "{error}: {source}"
    );

    let running = Running::start(
        Some(Path::new("/proc/no-folder-here")),
        vec![webhook("ops", &site)],
    );
    running.report(&[leak(1)]);
    until("it is told all the same", || site.accepted().len() == 1);
    assert!(running.facts(0).disk_errors >= 1 && !running.facts(0).on_disk);
    running.end();
}

/// Nobody is to be told: there is no thread. The log is told unless it is switched off or named.
#[test]
fn log_is_told_unless_switched_off() {
    let nobody = Alerts::prepare(&NotifyConfig::nobody()).unwrap();
    assert!(nobody.books().facts().is_empty());
    let (_, receiver) = watch::channel(Arc::new(report(&[])));
    assert!(nobody.start(receiver).unwrap().is_none());
    let config = NotifyConfig {
        log: true,
        ..NotifyConfig::nobody()
    };
    let alerts = Alerts::prepare(&config).unwrap();
    let books = alerts.books();
    assert_eq!(
        (books.facts()[0].name.as_str(), books.facts()[0].kind),
        ("log", "log")
    );
    let (reports, receiver) = watch::channel(Arc::new(report(&[])));
    let handle = alerts.start(receiver).unwrap();
    reports.send_replace(Arc::new(report(&[leak(1)])));
    drop(handle);
    assert_eq!((books.facts()[0].taken, books.facts()[0].delivered), (1, 1));
}
