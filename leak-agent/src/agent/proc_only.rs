//! The agent without BPF: how many threads each process has, as `/proc` says it at each tick. What is born and
//! dies between two ticks is not seen, and no thread has a spawn site.

use super::handle::{AgentHandle, StartError};
use super::self_usage::SelfUsage;
use crate::config::AgentConfig;
use crate::engine::snapshot::{
    Counts, FollowState, ProcessSnapshot, RuntimeSnapshot, SiteSnapshot, Snapshot,
};
use crate::report::{AgentFacts, MapFacts, Mode, Readiness, Report};
use crate::source::{SiteInfo, thread};
use crate::sys::clock;
use crate::types::{BootTime, ProcessKey};
use procfs::ProcError;
use procfs::process::{Process, Stat};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The kernel's `PF_KTHREAD`: the task belongs to the kernel (stable since 2.6.27).
const KERNEL_THREAD: u32 = 0x0020_0000;

/// Starts it.
///
/// # Errors
///
/// `/proc` cannot be read, or no thread can be started.
pub(super) fn start(config: AgentConfig, reason: String) -> Result<AgentHandle, StartError> {
    procfs::process::all_processes().map_err(|error| StartError::Proc {
        reason: error.to_string(),
    })?;
    let mut producer = ProcOnly {
        started: clock::now(),
        config,
        reason,
        known: BTreeMap::new(),
        counters: BTreeMap::new(),
        missed: BTreeMap::new(),
    };
    let first = Report::build(
        &Snapshot {
            at: producer.started,
            ..Snapshot::default()
        },
        &producer.facts(Readiness::default()),
    );
    AgentHandle::spawn(first, move |reports, stop| {
        loop {
            let before = clock::now();
            let snapshot = producer.snapshot();
            let report = Report::build(&snapshot, &producer.facts(Readiness::Ready));
            reports.send_replace(Arc::new(report));
            let took = clock::now().since(before);
            let rest = producer.config.interval.saturating_sub(took);
            // However slow /proc is, leave the node a breath between two scans.
            if stop.wait(rest.max(Duration::from_millis(10))) {
                return;
            }
        }
    })
}

/// One process of the last tick.
struct Known {
    comm: String,
    exe: Option<String>,
    threads: u64,
}

struct ProcOnly {
    config: AgentConfig,
    reason: String,
    started: BootTime,
    /// Bounded by `config.max_processes`; rebuilt at each tick.
    known: BTreeMap<ProcessKey, Known>,
    counters: BTreeMap<&'static str, u64>,
    missed: BTreeMap<&'static str, u64>,
}

/// Why a process has no row.
enum Absent {
    /// It vanished while it was read, or is a zombie.
    Gone,
    /// Nobody asked for it.
    NotWanted,
    /// It could not be read.
    Failed(&'static str),
}

impl ProcOnly {
    fn snapshot(&mut self) -> Snapshot {
        let mut now = BTreeMap::new();
        let processes = match procfs::process::all_processes() {
            Ok(processes) => processes,
            Err(error) => {
                tracing::warn!(%error, "cannot list processes");
                *self.counters.entry("scan_failed").or_default() += 1;
                return Snapshot {
                    at: clock::now(),
                    ..Snapshot::default()
                };
            }
        };
        // Counted anew at each tick: how many are missing now.
        self.missed.clear();
        for process in processes.flatten() {
            match self.read(&process) {
                Ok((key, known)) => {
                    if now.len() < self.config.max_processes as usize {
                        now.insert(key, known);
                    } else {
                        *self.missed.entry("too_many_processes").or_default() += 1;
                    }
                }
                Err(Absent::Failed(reason)) => *self.missed.entry(reason).or_default() += 1,
                Err(Absent::Gone | Absent::NotWanted) => {}
            }
        }
        *self.counters.entry("scans").or_default() += 1;
        let ended: Vec<(ProcessKey, Known)> = std::mem::take(&mut self.known)
            .into_iter()
            .filter(|(key, _)| !now.contains_key(key))
            .collect();
        let mut rows: Vec<ProcessSnapshot> = now.iter().map(|(key, known)| row(*key, known, true)).collect();
        rows.extend(ended.iter().map(|(key, known)| row(*key, known, false)));
        rows.sort_by_key(|row| (row.key.tgid, row.key.start_boottime));
        self.known = now;
        Snapshot {
            at: clock::now(),
            processes: rows,
            counters: BTreeMap::new(),
        }
    }

    fn read(&self, process: &Process) -> Result<(ProcessKey, Known), Absent> {
        let tgid = u32::try_from(process.pid()).map_err(|_| Absent::NotWanted)?;
        let config = &self.config;
        if !config.pids.is_empty() && !config.pids.contains(&tgid) {
            return Err(Absent::NotWanted);
        }
        if tgid == std::process::id() && !config.follow_self {
            return Err(Absent::NotWanted);
        }
        let stat = process.stat().map_err(|error| absent(&error))?;
        if stat.flags & KERNEL_THREAD != 0 {
            return Err(Absent::NotWanted);
        }
        // A leader that has ended stays a zombie until the last of its threads has ended, too.
        if matches!(stat.state, 'Z' | 'X') && stat.num_threads <= 1 {
            return Err(Absent::Gone);
        }
        let exe = match process.exe() {
            Ok(path) => Some(path.to_string_lossy().into_owned()),
            Err(_) => None,
        };
        if !config.exes.wants(exe.as_deref()) {
            return Err(Absent::NotWanted);
        }
        let key = ProcessKey {
            start_boottime: start_boottime(&stat),
            tgid,
            pad: 0,
        };
        let threads = u64::try_from(stat.num_threads).unwrap_or(0);
        Ok((
            key,
            Known {
                comm: stat.comm,
                exe,
                threads,
            },
        ))
    }

    fn facts(&self, ready: Readiness) -> AgentFacts {
        let usage = SelfUsage::read();
        AgentFacts {
            boot_unix: clock::boot_unix(),
            started: self.started,
            pid: std::process::id(),
            mode: Mode::ProcOnly {
                reason: self.reason.clone(),
            },
            ready,
            counters: self.counters.clone(),
            missed_processes: self.missed.clone(),
            maps: vec![MapFacts {
                name: "processes",
                entries: self.known.len() as u64,
                capacity: u64::from(self.config.max_processes),
            }],
            cpu: usage.cpu,
            resident_bytes: usage.resident_bytes,
            ..AgentFacts::default()
        }
    }
}

fn absent(error: &ProcError) -> Absent {
    match error {
        ProcError::NotFound(_) => Absent::Gone,
        ProcError::PermissionDenied(_) => Absent::Failed("permission_denied"),
        // ESRCH: it ended between the open and the read.
        ProcError::Io(error, _) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
            Absent::Gone
        }
        _ => Absent::Failed("unreadable_stat"),
    }
}

/// Start of the process on the boot clock, as coarse as `/proc` tells it (clock ticks, 10 ms).
fn start_boottime(stat: &Stat) -> u64 {
    let per_second = procfs::ticks_per_second().max(1);
    let nanos = u128::from(stat.starttime) * 1_000_000_000 / u128::from(per_second);
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

fn row(key: ProcessKey, known: &Known, alive: bool) -> ProcessSnapshot {
    let counts = Counts {
        baseline: known.threads,
        spawned: 0,
        finished: if alive { 0 } else { known.threads },
    };
    ProcessSnapshot {
        key,
        comm: known.comm.clone(),
        exe: known.exe.clone(),
        alive,
        runtimes: vec![RuntimeSnapshot {
            runtime: thread::RUNTIME,
            state: FollowState::Partial,
            reason: Some("counted from /proc: no BPF".to_owned()),
            version: None,
            evidence: Some("/proc/PID/stat".to_owned()),
            points: 0,
            points_emulated: 0,
            counts,
            exact: true,
            sites: vec![SiteSnapshot {
                info: SiteInfo {
                    id: "proc".to_owned(),
                    name: "all threads".to_owned(),
                    location: None,
                    kind: "any",
                    system: false,
                    ambiguous: false,
                    note: Some("without BPF nothing tells where a thread was created".to_owned()),
                },
                counts,
            }],
        }],
    }
}
