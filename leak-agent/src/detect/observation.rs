//! What the detectors are given: a snapshot, the moment, and facts that the caller read.

use crate::engine::Snapshot;
use crate::types::{BootTime, ProcessKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// What is alive, and when that was.
    pub snapshot: &'a Snapshot,
    /// The same moment as Unix time, seconds: only told, never calculated with.
    pub unix: f64,
    /// What else is known.
    pub facts: &'a Facts,
}

/// What the caller read elsewhere.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Facts {
    /// Counts that could not be stored so far, of all processes together.
    pub lost_counts: u64,
    /// Limits of the processes that [`super::Detectors::wants_limits`] named; a reading is taken once.
    pub limits: BTreeMap<ProcessKey, Limits>,
    /// Where the live tasks of a site are, if a dump told.
    pub stacks: BTreeMap<SiteKey, Stacks>,
}

/// A site in a process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SiteKey {
    /// The process.
    pub process: ProcessKey,
    /// Number of the runtime on the wire.
    pub runtime: u32,
    /// Id of the site.
    pub site: String,
}

/// What a dump said of a site's tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stacks {
    /// Tasks whose stacks were taken.
    pub tasks: u64,
    /// Of them, those at the place where most are.
    pub same: u64,
    /// When.
    pub at: BootTime,
}

/// How far a process is from limits; `None` = there is no limit, or it could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Tasks of its cgroup (the tightest one above it): `pids.current`, `pids.max`.
    pub cgroup_pids: Option<Usage>,
    /// Threads of its user: `RLIMIT_NPROC`.
    pub user_threads: Option<Usage>,
    /// Threads of the machine: `kernel.threads-max` or `kernel.pid_max`, the smaller one.
    pub system_threads: Option<Usage>,
    /// Address space of its threads' stacks: threads times the size of a stack, against `RLIMIT_AS`, bytes.
    pub stack_memory: Option<Usage>,
    /// Memory of its cgroup, bytes: `memory.current`, `memory.max`.
    pub cgroup_memory: Option<Usage>,
}

/// How much of how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// In use.
    pub used: u64,
    /// At most.
    pub limit: u64,
}

/// What a limit is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// [`Limits::cgroup_pids`].
    CgroupPids,
    /// [`Limits::user_threads`].
    UserThreads,
    /// [`Limits::system_threads`].
    SystemThreads,
    /// [`Limits::stack_memory`].
    StackMemory,
    /// [`Limits::cgroup_memory`].
    CgroupMemory,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::CgroupPids,
        Self::UserThreads,
        Self::SystemThreads,
        Self::StackMemory,
        Self::CgroupMemory,
    ];

    /// Its name in the document and in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::CgroupPids => "cgroup_pids",
            Self::UserThreads => "user_threads",
            Self::SystemThreads => "system_threads",
            Self::StackMemory => "stack_memory",
            Self::CgroupMemory => "cgroup_memory",
        }
    }
}

impl Limits {
    /// One of them.
    #[must_use]
    pub fn of(&self, resource: Resource) -> Option<Usage> {
        match resource {
            Resource::CgroupPids => self.cgroup_pids,
            Resource::UserThreads => self.user_threads,
            Resource::SystemThreads => self.system_threads,
            Resource::StackMemory => self.stack_memory,
            Resource::CgroupMemory => self.cgroup_memory,
        }
    }
}
