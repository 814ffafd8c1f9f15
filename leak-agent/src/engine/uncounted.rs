//! Processes that the kernel does not count: how many threads they have is known from elsewhere, at one moment each.

use super::KernelRuntime;
use super::scanned::{FromProc, from_proc};
use super::snapshot::{Counts, ProcessSnapshot};
use crate::types::ProcessKey;
use serde::{Deserialize, Serialize};

/// Said of a process that the kernel's walk over its tasks does not list.
const REASON: &str = "the kernel's task list does not show this process to BPF: its threads are counted from /proc, and what \
                      is born and dies between two readings is not seen";
/// Said, in addition, of one whose executable cannot be read either.
const CLOSED: &str = "; its executable cannot be read either, so that no other runtime is seen";

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Uncounted {
    /// Its key, with a start time as coarse as `/proc` tells it.
    pub process: ProcessKey,
    /// Name of its main thread.
    pub comm: String,
    /// Path of its executable; `None` = not permitted.
    pub exe: Option<String>,
    /// How many threads it has.
    pub threads: u64,
}

impl Uncounted {
    pub(super) fn snapshot(&self, kernel: &KernelRuntime) -> ProcessSnapshot {
        let counts = Counts {
            baseline: self.threads,
            ..Counts::default()
        };
        let closed = if self.exe.is_none() { CLOSED } else { "" };
        let threads = from_proc(
            kernel,
            counts,
            FromProc {
                reason: format!("{REASON}{closed}"),
                evidence: "/proc/PID/stat",
                exact: false,
                note: "/proc does not tell where a thread was created",
            },
        );
        ProcessSnapshot {
            key: self.process,
            comm: self.comm.clone(),
            exe: self.exe.clone(),
            alive: true,
            runtimes: vec![threads],
            schedulers: Vec::new(),
        }
    }
}
