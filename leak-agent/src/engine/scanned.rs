//! Processes as scans of `/proc` see them, when there is no BPF: how many threads each has, at one moment.

use super::KernelRuntime;
use super::snapshot::{CountedBy, Counts, FollowState, ProcessSnapshot, RuntimeSnapshot, SiteSnapshot};
use crate::source::SiteInfo;
use crate::types::ProcessKey;
use serde::{Deserialize, Serialize};

/// Said of all threads.
const FROM_PROC: &str = "counted from /proc: no BPF";
/// Said, in addition, of a process of which nothing else can be read.
const CLOSED: &str = "; its executable and memory cannot be read (that takes root or CAP_SYS_PTRACE): tasks of other runtimes \
                      are not seen";

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Scanned {
    /// Its key, with a start time as coarse as `/proc` tells it.
    pub process: ProcessKey,
    /// Name of its main thread.
    pub comm: String,
    /// Path of its executable; `None` = not permitted.
    pub exe: Option<String>,
    /// How many threads it has, or had in the scan before.
    pub threads: u64,
    /// `false` = it has ended since the scan before.
    pub alive: bool,
}

impl Scanned {
    /// The process, with what else is known of it.
    pub(super) fn snapshot(
        &self,
        kernel: &KernelRuntime,
        others: Option<ProcessSnapshot>,
    ) -> ProcessSnapshot {
        let counts = Counts {
            baseline: self.threads,
            spawned: 0,
            finished: if self.alive { 0 } else { self.threads },
        };
        let threads = from_proc(
            kernel,
            counts,
            FromProc {
                reason: match self.exe {
                    Some(_) => FROM_PROC.to_owned(),
                    None => format!("{FROM_PROC}{CLOSED}"),
                },
                evidence: kernel.evidence,
                exact: true,
                note: "without BPF nothing tells where a thread was created",
            },
        );
        let (mut others, schedulers) =
            others.map_or_else(Default::default, |others| (others.runtimes, others.schedulers));
        others.retain(|runtime| runtime.counted_by != Some(CountedBy::Kernel));
        ProcessSnapshot {
            key: self.process,
            comm: self.comm.clone(),
            exe: self.exe.clone(),
            alive: self.alive,
            runtimes: std::iter::once(threads).chain(others).collect(),
            schedulers,
        }
    }
}

/// What is said of threads that `/proc` shows.
pub(super) struct FromProc {
    /// Why they are not followed wholly.
    pub(super) reason: String,
    /// How they are known.
    pub(super) evidence: &'static str,
    /// Whether their number is exact.
    pub(super) exact: bool,
    /// Of their one site.
    pub(super) note: &'static str,
}

/// All threads of a process as one site: `/proc` tells how many they are, and not who made them.
pub(super) fn from_proc(kernel: &KernelRuntime, counts: Counts, said: FromProc) -> RuntimeSnapshot {
    RuntimeSnapshot {
        runtime: kernel.runtime,
        state: FollowState::Partial,
        reason: Some(said.reason),
        version: None,
        evidence: Some(said.evidence.into()),
        points: 0,
        points_emulated: 0,
        counts,
        exact: said.exact,
        books: None,
        counted_by: Some(CountedBy::Proc),
        watch: None,
        listed_at: None,
        probes: None,
        sites: vec![SiteSnapshot::new(
            SiteInfo {
                id: "proc".to_owned(),
                name: "all threads".to_owned(),
                location: None,
                kind: "any",
                system: false,
                ambiguous: false,
                created_by: None,
                note: Some(said.note.to_owned()),
            },
            counts,
        )],
    }
}
