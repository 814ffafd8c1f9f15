//! The agent without BPF: how many threads each process has, as `/proc` says it at each tick. What is born and
//! dies between two ticks is not seen, and no thread has a spawn site. Tasks of other runtimes are counted from memory, as
//! far as that may be read.

mod tasks;

use super::handle::{AgentHandle, StartError};
use super::judge::{self, Judge};
use super::line::Line;
use super::self_usage::SelfUsage;
use crate::config::AgentConfig;
use crate::detect::Judgement;
use crate::engine::{Input, Scanned, Snapshot};
use crate::output::alert::AlertBooks;
use crate::report::{AgentFacts, MapFacts, Mode, Readiness, Report};
use crate::sys::clock;
use crate::sys::proc::{self, ProcDir, ProcError};
use crate::types::{BootTime, ProcessKey};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tasks::{Seen, Tasks};

/// However slow `/proc` is, the node gets a breath between two scans.
const LEAST_PAUSE: Duration = Duration::from_millis(10);

/// How soon the loop notices that it is to stop.
const PATIENCE: Duration = Duration::from_millis(50);
/// Scans follow each other this fast until all that was there at the start is read.
const SOON: Duration = Duration::from_millis(200);
/// The first reading of all memories counts as done after this time at the latest.
const SETTLES_WITHIN: Duration = Duration::from_secs(15);

/// Starts it.
///
/// # Errors
///
/// `/proc` cannot be listed, or no thread can be started.
pub(super) fn start(
    config: AgentConfig,
    reason: String,
    alerts: AlertBooks,
) -> Result<AgentHandle, StartError> {
    proc::process_ids().map_err(StartError::Proc)?;
    let tasks = Tasks::start(&config).map_err(StartError::Thread)?;
    let reconciler = tasks.reconciler();
    let mut judge = Judge::start(&config.policy).map_err(StartError::Thread)?;
    let line = Line::start(super::BY_PROC, &config)?;
    let mut producer = ProcOnly {
        started: clock::now(),
        line,
        config,
        reason,
        alerts,
        known: BTreeMap::new(),
        counters: BTreeMap::new(),
        missed: BTreeMap::new(),
        missing: BTreeMap::new(),
        settled: false,
        tasks: Some(tasks),
    };
    let nothing = Snapshot {
        at: producer.started,
        ..Snapshot::default()
    };
    let first = Report::build(
        &nothing,
        &Judgement::default(),
        &producer.facts(Readiness::default()),
    );
    let handle = AgentHandle::spawn(first, move |reports, stop| {
        loop {
            let before = clock::now();
            if let Some(snapshot) = producer.scan() {
                let ready = producer.readiness();
                let facts = producer.facts(ready);
                let told = judge.facts(&producer.line, snapshot.at, 0);
                let judgement = producer.line.judge(&snapshot, told, &facts);
                judge::log(&judgement);
                let report = producer.line.report(&snapshot, &judgement, &facts);
                reports.send_replace(Arc::new(report));
            }
            let until = later(before, producer.interval()).max(later(clock::now(), LEAST_PAUSE));
            loop {
                if stop.wait(Duration::ZERO) {
                    return;
                }
                let left = until.since(clock::now());
                if left.is_zero() {
                    break;
                }
                producer.serve(left.min(PATIENCE));
            }
        }
    })?;
    Ok(handle.with_reconciler(reconciler))
}

/// `now` and a while.
fn later(now: BootTime, wait: Duration) -> BootTime {
    BootTime(
        now.0
            .saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)),
    )
}

/// One process of the last tick.
struct Known {
    comm: String,
    exe: Option<String>,
    threads: u64,
    forked: bool,
}

struct ProcOnly {
    config: AgentConfig,
    reason: String,
    /// What became of the notifications.
    alerts: AlertBooks,
    started: BootTime,
    /// Bounded by `config.max_processes`; rebuilt at each tick.
    known: BTreeMap<ProcessKey, Known>,
    counters: BTreeMap<&'static str, u64>,
    missed: BTreeMap<&'static str, u64>,
    /// How many were missed in the last scan: only an increase is news.
    missing: BTreeMap<&'static str, u64>,
    /// All that was there at the start was read.
    settled: bool,
    line: Line,
    /// `None` = only threads are counted: in tests.
    tasks: Option<Tasks>,
}

impl ProcOnly {
    fn readiness(&mut self) -> Readiness {
        let read = self.tasks.as_ref().is_none_or(Tasks::settled);
        self.settled |= read || clock::now().since(self.started) >= SETTLES_WITHIN;
        if self.settled {
            Readiness::Ready
        } else {
            Readiness::Starting {
                waiting_for: "the first reading of all processes' memory".to_owned(),
            }
        }
    }

    /// Whoever waits for the first complete report waits no longer than needed.
    fn interval(&self) -> Duration {
        if self.settled {
            self.config.interval
        } else {
            self.config.interval.min(SOON)
        }
    }

    fn serve(&mut self, time: Duration) {
        match &mut self.tasks {
            Some(tasks) => tasks.serve(time, &mut self.line),
            None => std::thread::sleep(time),
        }
    }

    /// Tells of the processes that have begun, ended, or run another program since the scan before.
    fn tell(&mut self, before: &BTreeMap<ProcessKey, Known>) {
        let Some(tasks) = &mut self.tasks else { return };
        let now = clock::now();
        for process in before.keys().filter(|key| !self.known.contains_key(key)) {
            tasks.ends(*process, now, &mut self.line);
        }
        for (process, known) in &self.known {
            let same = |old: &Known| old.exe == known.exe && old.forked == known.forked;
            if before.get(process).is_none_or(|old| !same(old)) {
                let seen = Seen {
                    process: *process,
                    comm: &known.comm,
                    forked: known.forked,
                };
                tasks.begins(seen, now, &mut self.line);
            }
        }
    }

    /// Reads all processes; `None` = `/proc` could not be listed, which is counted.
    fn scan(&mut self) -> Option<Snapshot> {
        let pids = match proc::process_ids() {
            Ok(pids) => pids,
            Err(error) => {
                let failures = self.counters.entry("scans_failed").or_default();
                *failures += 1;
                if *failures == 1 {
                    tracing::warn!(%error, "cannot list processes");
                }
                return None;
            }
        };
        let mut now = BTreeMap::new();
        let mut missing: BTreeMap<&'static str, u64> = BTreeMap::new();
        for pid in pids {
            match self.read(pid) {
                Ok(None) => {}
                Ok(Some((key, known))) if now.len() < self.config.max_processes as usize => {
                    now.insert(key, known);
                }
                Ok(Some(_)) => *missing.entry("too_many_processes").or_default() += 1,
                Err(error) => *missing.entry(reason(&error)).or_default() += 1,
            }
        }
        for (reason, count) in &missing {
            let before = self.missing.get(reason).copied().unwrap_or(0);
            *self.missed.entry(reason).or_default() += count.saturating_sub(before);
        }
        self.missing = missing;
        *self.counters.entry("scans").or_default() += 1;
        let before = std::mem::replace(&mut self.known, now);
        self.tell(&before);
        let ended = before.iter().filter(|(key, _)| !self.known.contains_key(key));
        let mut processes: Vec<Scanned> = ended.map(|(key, known)| scanned(*key, known, false)).collect();
        processes.extend(self.known.iter().map(|(key, known)| scanned(*key, known, true)));
        let at = clock::now();
        self.line.take(Input::Sweep { at });
        let _rows = self.line.take_garbage(); // there are none
        self.line.take(Input::Scanned(processes));
        Some(self.line.snapshot(at))
    }

    /// One process; `None` = gone, or not wanted.
    fn read(&self, pid: u32) -> Result<Option<(ProcessKey, Known)>, ProcError> {
        let config = &self.config;
        let wanted = config.pids.is_empty() || config.pids.contains(&pid);
        if !wanted || (pid == std::process::id() && !config.follow_self) {
            return Ok(None);
        }
        let Some(dir) = ProcDir::open(pid)? else {
            return Ok(None);
        };
        let Some(stat) = dir.stat()? else {
            return Ok(None);
        };
        // A main thread that ended before the others is a zombie until they have ended, too.
        let ended = matches!(stat.state, b'Z' | b'X') && stat.threads <= 1;
        if stat.kernel || ended {
            return Ok(None);
        }
        // Without the right to read it the process is shown without its path.
        let exe = dir
            .exe()
            .unwrap_or(None)
            .map(|path| path.to_string_lossy().into_owned());
        if !config.exes.wants(exe.as_deref()) {
            return Ok(None);
        }
        let key = ProcessKey {
            start_boottime: stat.start.begins().0,
            tgid: pid,
            pad: 0,
        };
        Ok(Some((
            key,
            Known {
                comm: stat.comm,
                exe,
                threads: stat.threads,
                forked: stat.forked,
            },
        )))
    }

    fn facts(&self, ready: Readiness) -> AgentFacts {
        let usage = SelfUsage::read();
        let mut counters = self.counters.clone();
        counters.extend(self.line.tape_counters());
        let mut missed = self.missed.clone();
        for (name, count) in self.tasks.iter().flat_map(Tasks::counters) {
            // Who cannot be read is counted by the scan already.
            let by_scan = name == "refused_unreadable_process";
            if !by_scan
                && ["missed_", "vanished_", "refused_"]
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
            {
                missed.insert(name, count);
            } else {
                *counters.entry(name).or_default() += count;
            }
        }
        AgentFacts {
            boot_unix: clock::boot_unix(),
            started: self.started,
            pid: std::process::id(),
            mode: Mode::ProcOnly {
                reason: self.reason.clone(),
            },
            ready,
            counters,
            missed_processes: missed,
            maps: vec![MapFacts {
                name: "processes",
                entries: self.known.len() as u64,
                capacity: u64::from(self.config.max_processes),
            }],
            cpu: usage.cpu,
            resident_bytes: usage.resident_bytes,
            receivers: self.alerts.facts(),
            ..AgentFacts::default()
        }
    }
}

fn reason(error: &ProcError) -> &'static str {
    match error {
        ProcError::Denied { .. } => "permission_denied",
        ProcError::Malformed { .. } => "malformed_stat",
        ProcError::Io { .. } => "unreadable",
    }
}

fn scanned(process: ProcessKey, known: &Known, alive: bool) -> Scanned {
    Scanned {
        process,
        comm: known.comm.clone(),
        exe: known.exe.clone(),
        threads: known.threads,
        alive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    fn producer(pids: Vec<u32>) -> ProcOnly {
        ProcOnly {
            config: AgentConfig {
                pids,
                follow_self: true,
                ..AgentConfig::default()
            },
            alerts: AlertBooks::default(),
            reason: "a test".to_owned(),
            started: clock::now(),
            known: BTreeMap::new(),
            counters: BTreeMap::new(),
            missed: BTreeMap::new(),
            missing: BTreeMap::new(),
            settled: true,
            line: Line::new(crate::agent::BY_PROC, 8192, &Arc::default()),
            tasks: None,
        }
    }

    fn sleeper() -> Child {
        Command::new("sleep")
            .arg("1000")
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// The live count is the number of threads there are, and follows new ones.
    #[test]
    fn threads_of_this_process_are_counted() {
        let mut producer = producer(vec![std::process::id()]);
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let wait = Arc::clone(&wait);
                std::thread::spawn(move || drop(wait.lock().map(|wait| wait.recv())))
            })
            .collect();
        let snapshot = producer.scan().unwrap();
        let runtime = &snapshot.processes[0].runtimes[0];
        // Other tests run in this process, too.
        assert!(runtime.counts.live() >= 21, "{:?}", runtime.counts);
        assert!(snapshot.processes[0].exe.is_some());
        drop(go);
        for thread in threads {
            thread.join().unwrap();
        }
    }

    /// A process that ends is shown once more, as ended and with nothing alive, and then no more.
    #[test]
    fn ended_process_is_shown_one_last_time() {
        let mut child = sleeper();
        let mut producer = producer(vec![child.id()]);
        let of = |snapshot: Snapshot| -> Vec<_> {
            snapshot
                .processes
                .iter()
                .map(|p| (p.alive, p.runtimes[0].counts.live()))
                .collect()
        };
        assert_eq!(of(producer.scan().unwrap()), [(true, 1)]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(of(producer.scan().unwrap()), [(false, 0)]);
        assert_eq!(of(producer.scan().unwrap()), []);
    }

    /// Processes beyond the limit are counted as missed; kernel threads are not processes.
    #[test]
    fn processes_beyond_the_limit_are_missed() {
        let mut all = producer(vec![]);
        all.config.max_processes = 1;
        let mut child = sleeper();
        let snapshot = all.scan().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(snapshot.processes.len(), 1);
        assert!(all.missed["too_many_processes"] >= 1);
        assert!(snapshot.processes.iter().all(|process| process.key.tgid != 2));
    }
}
