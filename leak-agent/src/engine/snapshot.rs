//! What is alive at one moment: the engine's only output.
//!
//! For every site, and for every runtime over its sites that are not system:
//! `live = baseline + spawned − finished`.

use super::books::Readings;
use super::threads::sum;
use crate::source::books::Wait;
use crate::source::{Creation, Evidence, SiteInfo};
use crate::types::{BootTime, ProcessKey, Runtime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The state of all processes at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When.
    pub at: BootTime,
    /// Processes by tgid, then start time.
    pub processes: Vec<Arc<ProcessSnapshot>>,
    /// What the engine took in and dropped, by reason; names are those of the metrics.
    pub counters: BTreeMap<&'static str, u64>,
}

/// One process.
#[derive(Clone, Debug)]
pub struct ProcessSnapshot {
    /// Its key.
    pub key: ProcessKey,
    /// The main thread's name, as the kernel cuts it (15 bytes, lossy UTF-8).
    pub comm: String,
    /// Path of the executable as the process sees it; `None` = could not be read (vanished, no right).
    pub exe: Option<String>,
    /// `false` once the process has ended (it is shown for one last time).
    pub alive: bool,
    /// Its runtimes, threads first.
    pub runtimes: Vec<RuntimeSnapshot>,
    /// What the schedulers of its runtimes do with its threads, as far as that is known.
    pub schedulers: Vec<SchedulerSnapshot>,
}

/// What the scheduler of one runtime does with threads of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulerSnapshot {
    /// Whose.
    pub runtime: Runtime,
    /// Its threads; `None` = not known.
    pub threads: Option<u64>,
    /// How many do what: each thread in one entry, and of all activities of which something is known one.
    pub activities: Vec<(&'static str, u64)>,
    /// Threads that run one task and no other; `None` = not known.
    pub bound: Option<u64>,
    /// When that was so; `None` = now.
    pub as_of: Option<BootTime>,
}

/// One runtime in one process.
#[derive(Clone, Debug)]
pub struct RuntimeSnapshot {
    /// Which.
    pub runtime: Runtime,
    /// How far it is followed.
    pub state: FollowState,
    /// Why it is not followed wholly, or not exact.
    pub reason: Option<String>,
    /// Version of the runtime, if known; several ("1.38.0, 1.47.1") when several copies are in the process.
    pub version: Option<String>,
    /// How all this is known; `None` = nothing is.
    pub evidence: Option<Evidence>,
    /// Attach points in this process's files, and how many of them the kernel emulates.
    pub points: u32,
    /// See `points`.
    pub points_emulated: u32,
    /// Sum over the sites that are not system.
    pub counts: Counts,
    /// Whether `counts.live` is exact. If not, `counts.baseline` is a lower bound.
    pub exact: bool,
    /// What the runtime's own books said; `None` = they were not read.
    pub books: Option<BooksSnapshot>,
    /// How its tasks are counted; `None` = they are not. Of several ways the one that tells least.
    pub counted_by: Option<CountedBy>,
    /// How the counts without probes came to be; `None` = there are none.
    pub watch: Option<WatchSnapshot>,
    /// When its tasks were last listed, for what they wait for; `None` = they were not, or it is not told.
    pub listed_at: Option<BootTime>,
    /// Since when and why its probes are attached; `None` = it has none.
    pub probes: Option<ProbesSnapshot>,
    /// Its sites, by live count, largest first.
    pub sites: Vec<SiteSnapshot>,
}

/// How tasks are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CountedBy {
    /// By tracepoints of the kernel.
    Kernel,
    /// By probes in the executables.
    Probes,
    /// By reading the runtime's own books in the process's memory: live tasks at one moment. `spawned` and `finished` are 0
    /// and mean nothing.
    Memory,
    /// By reading `/proc`: live tasks at one moment; as with `Memory`.
    Proc,
}

/// A reading of a runtime's own books in a process without probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchSnapshot {
    /// When the tasks were alive; `None` = not read yet.
    pub as_of: Option<BootTime>,
    /// When the memory was last searched for runtimes.
    pub searched_at: Option<BootTime>,
    /// The lists did not change while they were walked through, and had as many tasks as the runtime counts.
    pub agreed: bool,
    /// What the runtimes themselves count as alive; `None` = not all of them count.
    pub counted: Option<u64>,
    /// When they did.
    pub counted_at: Option<BootTime>,
    /// Tasks ever put into the lists of the present runtimes; `None` = not all of them count that.
    pub added: Option<u64>,
    /// Tasks that ended and whose memory is still held, at most; `None` = not known.
    pub retained: Option<u64>,
    /// Readings of counters or lists.
    pub readings: u64,
    /// Walks through the lists.
    pub walks: u64,
    /// Searches of the memory.
    pub searches: u64,
}

/// Why probes are attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbesSnapshot {
    /// Since when they count.
    pub since: BootTime,
    /// Why, as half a sentence; `None` = so the operator wants it.
    pub reason: Option<String>,
}

/// How our counts stand to the runtime's own books in the process's memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BooksSnapshot {
    /// When they last agreed; `None` = not yet.
    pub agreed_at: Option<BootTime>,
    /// Our live count minus the books', at the last comparison; `None` = not compared yet.
    pub drift: Option<i64>,
    /// Comparisons that came to a result.
    pub checks: u64,
    /// Comparisons after which our counts were corrected.
    pub repairs: u64,
    /// The last of them.
    pub repair: Option<RepairSnapshot>,
    /// Spawns that no probe saw, at least; `None` = the books do not tell.
    pub missed_spawns: Option<u64>,
    /// Ends that no probe saw, at least; `None` = the books do not tell.
    pub missed_finishes: Option<u64>,
    /// Why the last comparison came to no result; `None` = it came to one.
    pub trouble: Option<String>,
    /// What was read for all that.
    pub readings: Readings,
    /// Tasks that ended and whose memory is still held, at most; `None` = not known.
    pub retained: Option<u64>,
    /// Of them: held by a handle to wait for the result.
    pub retained_join_handles: Option<u64>,
    /// When they were seen.
    pub retained_at: Option<BootTime>,
}

/// How counts were corrected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairSnapshot {
    /// When.
    pub at: BootTime,
    /// Our live count minus the books', before.
    pub drift: i64,
    /// Spawns and ends that no probe had seen; `None` = the books do not tell.
    pub missed: Option<(u64, u64)>,
    /// Ids of sites, and by how much their live count was changed; those that were changed most.
    pub sites: Vec<(String, i64)>,
}

/// How far a runtime in a process is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FollowState {
    /// Every task.
    Followed,
    /// Not every task: the reason says which are missing.
    Partial,
    /// It is there, but not followed.
    Unsupported,
}

/// One spawn site in one process. Small, because there are many.
#[derive(Clone, Debug)]
pub struct SiteSnapshot {
    /// What people are shown.
    pub info: Arc<SiteInfo>,
    /// Its counts.
    pub counts: Counts,
    more: Option<Box<SiteMore>>,
}

/// What is known of some sites only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteMore {
    /// Who asks for its tasks in this process; `None` = what its `info` says, if anything.
    pub created_by: Option<Creation>,
    /// Its tasks that ended and whose memory is still held, at most; `None` = not known.
    pub retained: Option<u64>,
    /// No probe sees its tasks: they were read from memory at this moment, and `baseline` is all that lived then; `None` = they
    /// are counted like the others of its runtime.
    pub as_of: Option<BootTime>,
    /// What its tasks waited for when they were last listed, and how many of them; the most frequent first.
    pub waiting: Vec<Wait>,
    /// Of its tasks, as they were last listed: those that can never be woken, as the runtime itself found out; `None` = it does not
    /// tell.
    pub leaked: Option<u64>,
    /// Who asked for its tasks, if it is a library's that creates them for others, the most first. Together at most
    /// `counts.spawned`; more for a moment, because they are read later.
    pub callers: Vec<CallerSnapshot>,
}

/// Who asked a library for tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerSnapshot {
    /// The call: a name and a location.
    pub info: Arc<SiteInfo>,
    /// Tasks that were created for it since we began to count.
    pub spawned: u64,
}

impl SiteSnapshot {
    /// Counts of a site, and nothing else known of it.
    #[must_use]
    pub fn new(info: SiteInfo, counts: Counts) -> Self {
        Self::shared(&Arc::new(info), counts)
    }

    /// As [`Self::new`], of a site that others have, too.
    #[must_use]
    pub fn shared(info: &Arc<SiteInfo>, counts: Counts) -> Self {
        Self {
            info: Arc::clone(info),
            counts,
            more: None,
        }
    }

    /// What is known besides.
    #[must_use]
    pub fn more(&self) -> &SiteMore {
        self.more.as_deref().unwrap_or(&NOTHING_MORE)
    }

    /// The same, to be added to.
    pub fn more_mut(&mut self) -> &mut SiteMore {
        self.more.get_or_insert_default()
    }

    /// Who asks for its tasks, as far as that is known.
    #[must_use]
    pub fn created_by(&self) -> Option<&Creation> {
        self.more().created_by.as_ref().or(self.info.created_by.as_ref())
    }

    /// Adds what is known of the same site from elsewhere.
    pub(super) fn join(&mut self, other: Self) {
        self.counts = sum(self.counts, other.counts);
        let Some(theirs) = other.more else {
            return;
        };
        let ours = self.more_mut();
        let both = |a: Option<u64>, b: Option<u64>| [a, b].into_iter().flatten().reduce(u64::saturating_add);
        ours.created_by = ours.created_by.take().or(theirs.created_by);
        ours.retained = both(ours.retained, theirs.retained);
        ours.as_of = ours.as_of.or(theirs.as_of);
        ours.leaked = both(ours.leaked, theirs.leaked);
        ours.callers.extend(theirs.callers);
        if ours.waiting.is_empty() {
            ours.waiting = theirs.waiting;
        }
    }
}

static NOTHING_MORE: SiteMore = SiteMore {
    created_by: None,
    retained: None,
    as_of: None,
    waiting: Vec::new(),
    leaked: None,
    callers: Vec::new(),
};

/// Counts of one site, or a sum of them. `live() = baseline + spawned − finished`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Alive when we began to count.
    pub baseline: u64,
    /// Created since.
    pub spawned: u64,
    /// Ended since.
    pub finished: u64,
}

impl Counts {
    /// Alive now.
    #[must_use]
    pub fn live(self) -> u64 {
        self.baseline
            .saturating_add(self.spawned)
            .saturating_sub(self.finished)
    }
}
