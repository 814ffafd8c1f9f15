//! The boundary to a runtime's own books: what a running process writes down about its tasks, read from its memory
//! while it runs, without stopping it.
//!
//! A number is given only when the books proved themselves: every list was walked once and had as many entries as the
//! runtime itself counts, every entry was a task of a type that the executable has. What does not prove itself is
//! refused with the reason.

use super::stacks::TaskStacks;
use crate::elf::Elf;
use crate::sys::memory::{Memory, MemoryError};
use crate::types::Vaddr;
use crate::types::label::{self, Label};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;

/// How the books of one executable are read. Cheap to keep; made with the plan.
pub trait Books: Send + Sync + fmt::Debug {
    /// For one process. `bias`: run-time minus file address of this ELF file there.
    fn open(&self, bias: u64) -> Box<dyn ProcessBooks>;

    /// Whether there may be tasks that no probe of the plan sees: then [`ProcessBooks::unprobed`] is to be asked.
    fn has_unprobed(&self) -> bool {
        false
    }
}

/// The books of one executable in one process: what was found in it so far.
pub trait ProcessBooks: Send {
    /// Whether [`Self::find`] looks through memory: then it is to be given ranges.
    fn searches(&self) -> bool {
        true
    }

    /// Looks for the books, in addition to those found before: behind `hints` (addresses of task headers that probes have
    /// seen; may be empty), and by reading `ranges` once from beginning to end (the process's present private
    /// memory; may be empty, then only the hints are followed). Costs about 1 ms per MiB of ranges. New books with many
    /// tasks are only begun to be walked: [`Self::list`] does the rest.
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    fn find(
        &mut self,
        memory: &dyn Memory,
        ranges: &[Range<u64>],
        hints: &[u64],
        budget: &Budget,
    ) -> Result<Found, BooksError>;

    /// What the books found so far count, each with one read. Books that count nothing are left out ([`Self::list`] walks
    /// them), and so are those of a runtime that is gone, and those that turn out wrong. Costs some microseconds;
    /// for books that were never walked to their end, a walk, once.
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    fn counters(&mut self, memory: &dyn Memory) -> Result<Vec<Counters>, BooksError>;

    /// Walks through all books found so far. At most `limit` tasks are given one by one; the sums per site
    /// have all. Costs about 0.5 µs per task.
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    fn list(&mut self, memory: &dyn Memory, limit: usize) -> Result<Listing, BooksError>;

    /// What the threads of the runtime's scheduler do now; `None` = the runtime does not write it down, or not in a way that
    /// is known, or the books did not hold still. Costs about 1 µs per thread.
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    fn threads(&mut self, _memory: &dyn Memory) -> Result<Option<ThreadsAtWork>, BooksError> {
        Ok(None)
    }

    /// What else is known of these tasks of a listing, each read anew, in their order; `None` = it has ended since, or nothing
    /// is. Costs some reads per task.
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    fn details(
        &mut self,
        memory: &dyn Memory,
        tasks: &[LiveTask],
    ) -> Result<Vec<Option<TaskDetail>>, BooksError> {
        let _ = memory;
        Ok(vec![None; tasks.len()])
    }

    /// The stacks of at most `limit` live tasks, unwound and named by the file of the plan; `None` = its tasks have none of their
    /// own. Books that were not found yet are looked for; what is wrong with them is among [`TaskStacks::refused`]. Nothing is stopped: a task that ran meanwhile is read again some times, and then
    /// has no stack. Costs some 3 µs per task.
    ///
    /// # Errors
    ///
    /// See [`BooksError`]; none once some tasks were read: that the process ended is among [`TaskStacks::refused`].
    fn stacks(
        &mut self,
        memory: &dyn Memory,
        elf: &Elf<'_>,
        limit: usize,
    ) -> Result<Option<TaskStacks>, BooksError> {
        let _ = (memory, elf, limit);
        Ok(None)
    }

    /// Live tasks that no probe of the plan sees, by site, as they are now: the runtime makes them in a way of its own. They are
    /// in no group of [`Self::list`] and in no number of [`Self::counters`]. Costs some microseconds. A site without any is
    /// named once it has had one.
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    fn unprobed(&mut self, memory: &dyn Memory) -> Result<Vec<SiteCount>, BooksError> {
        let _ = memory;
        Ok(Vec::new())
    }
}

/// What the threads of a runtime's scheduler do at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadsAtWork {
    /// How many do what, each thread in one entry; always all that the source knows.
    pub activities: Vec<Activity>,
    /// Of all: those that run one task and no other.
    pub bound: u64,
}

/// Threads that do the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// What: a fixed word of the source.
    #[serde(with = "label")]
    pub name: Label,
    /// How many.
    pub threads: u64,
}

/// Why books could not be read at all. Books that are wrong are no error: they are refused one by one.
#[derive(Debug, thiserror::Error)]
pub enum BooksError {
    /// The memory could not be read: the process is gone, the kernel refuses, or else.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// How far a search may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes that are read from beginning to end.
    pub bytes: u64,
    /// Tasks in new books: those that count more are refused.
    pub tasks: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            bytes: 4 << 30,
            tasks: 16 << 20,
        }
    }
}

/// What a search came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// All books known now, from earlier searches too.
    pub groups: Vec<Group>,
    /// Bytes that were read from beginning to end.
    pub scanned: u64,
    /// The ranges were read to their end. `false` = the budget ended first.
    pub complete: bool,
    /// Books in use of whose tasks none is of a type of this file: those of another copy of the runtime in the process
    /// or, if nothing else was found, in a form that is not known.
    pub foreign: u64,
    /// What looked like books and was not believed, as half sentences.
    pub refused: Vec<String>,
    /// Tasks that ended and whose memory is still held, as this search saw them.
    pub retained: Candidates,
}

/// The tasks that one list (or one set of lists) of a runtime holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group {
    /// The runtime's own id of it: unique in the process for tasks of one ELF file, and written into each of them.
    pub owner: u64,
    /// What keeps the list.
    pub kind: GroupKind,
}

/// What keeps a list of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GroupKind {
    /// A runtime: its tasks may run on any of its threads.
    Owned,
    /// Something bound to one thread.
    Local,
    /// One of the two: what is known of its books does not tell.
    Unknown,
}

/// What the runtime itself counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Whose tasks.
    pub group: Group,
    /// Tasks in its lists.
    pub live: u64,
    /// Tasks ever put there, read at the same moment as `live`; `None` = this version does not count them. Tasks
    /// spawned after the runtime's shutdown are never put there.
    pub added: Option<u64>,
    /// A task of this file was seen in it. `false` = it has the shape and was always seen empty.
    pub confirmed: bool,
}

/// A task, as its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveTask {
    /// Run-time address of its header.
    pub header: u64,
    /// Number of its site: the same as in the plan.
    pub site: Vaddr,
    /// The runtime's id of it; `None` = this version has none, or it could not be read.
    pub id: Option<u64>,
    /// Id of its group; 0 = in no list.
    pub owner: u64,
    /// What it does.
    pub state: TaskState,
    /// References to it: handles, wakers, queues, lists.
    pub refs: u64,
    /// Somebody holds a handle to wait for its result.
    pub join_handle: bool,
    /// What it waits for, in the runtime's own words; `None` = it does not wait, or the runtime does not say.
    pub waits_for: Option<&'static str>,
    /// Since when it waits, as far as the runtime noticed: nanoseconds of `CLOCK_MONOTONIC`; `None` = not known.
    pub waits_since: Option<u64>,
    /// The runtime's id of the task that created it; `None` = not known.
    pub creator: Option<u64>,
    /// It runs on one thread only.
    pub pinned: bool,
    /// Its own stack, and where it goes on; `None` = it has none, or runs.
    pub stack: Option<SavedStack>,
}

/// What is known of a task besides, if somebody asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskDetail {
    /// What it waits for, if it waits for something that other tasks can reach: the cases of a `select` one by one. Empty =
    /// for nothing of that sort, or for what does not exist.
    pub waits_on: Vec<WaitsOn>,
    /// When it will be woken if it only sleeps: nanoseconds of `CLOCK_MONOTONIC`. It is not stuck.
    pub wakes_at: Option<u64>,
    /// What the program labelled it with: keys and values, not sanitised.
    pub labels: Vec<(String, String)>,
}

/// One thing that a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitsOn {
    /// A channel; `None` = a lock, a condition, or the like.
    pub channel: Option<Channel>,
    /// It is one case of several that would do.
    pub select: bool,
}

/// A channel, as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its address in the process: tasks that wait for the same one have the same.
    pub address: u64,
    /// Values in it.
    pub queued: u64,
    /// Values that it has room for.
    pub capacity: u64,
    /// Nothing more comes.
    pub closed: bool,
}

/// The stack of a task that does not run, as it was saved. Addresses at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedStack {
    /// The lowest address of the stack.
    pub low: u64,
    /// The address behind the highest.
    pub high: u64,
    /// The stack pointer.
    pub sp: u64,
    /// The instruction at which it goes on.
    pub pc: u64,
}

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TaskState {
    /// Waits for something.
    Idle,
    /// Woken, waits for a thread.
    Scheduled,
    /// Runs on a thread.
    Running,
    /// Runs, and was woken meanwhile.
    Woken,
    /// Will be dropped as soon as it is seen.
    Cancelled,
    /// Ended; its memory is still held.
    Complete,
}

/// Tasks of one site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteCount {
    /// The site's number.
    pub site: Vaddr,
    /// How many.
    pub live: u64,
}

/// What the live tasks of one site wait for, in the runtime's own words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteWaits {
    /// The site's number.
    pub site: Vaddr,
    /// What some of them wait for, and how many of them; the most frequent first.
    pub reasons: Vec<Wait>,
    /// How many of them can never be woken, as the runtime itself found out. 0 = none, or it was not asked to find out.
    pub leaked: u64,
}

/// Tasks of one site that wait for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// For what: a fixed word of the source.
    #[serde(with = "label")]
    pub reason: Label,
    /// How many.
    pub tasks: u64,
}

/// All tasks, as the books have them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Tasks one by one, at most as many as were asked for; those that no probe sees, too.
    pub tasks: Vec<LiveTask>,
    /// One entry per group, in the order of their ids.
    pub groups: Vec<GroupListing>,
    /// What the tasks of each site do, as far as the runtime tells, sorted by site; those that no probe sees, too.
    pub waits: Vec<SiteWaits>,
    /// Tasks in no list (closures on tokio's blocking pool).
    pub blocking: Candidates,
    /// Tasks that ended and whose memory is still held: by a join handle, a waker or an abort handle.
    pub retained: Candidates,
    /// What could not be listed, as half sentences.
    pub refused: Vec<String>,
}

/// What one walk through a group saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// Whose tasks.
    pub group: Group,
    /// The runtime's own count before the walk; `None` = it has none.
    pub before: Option<u64>,
    /// And after it.
    pub after: Option<u64>,
    /// Live tasks that the walk saw.
    pub walked: u64,
    /// Tasks in the list that had ended and were about to be taken out.
    pub ending: u64,
    /// `walked` is all there was: the list did not change during the walk, and has as many entries as the runtime counts.
    /// `false` = a list in motion (then within some tasks of `before…after`), or one that could not be
    /// walked to its end (then a refusal says so).
    pub complete: bool,
    /// `walked` by site, sorted by site.
    pub sites: Vec<SiteCount>,
}

/// Tasks that no list leads to: found where the last search saw memory that looks like one, looked at again now.
/// An upper bound: copies and remains of tasks look alike. None at all, after a complete search, proves that there
/// were none then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// How many.
    pub count: u64,
    /// The same by site, sorted by site.
    pub sites: Vec<SiteCount>,
    /// One by one, at most as many as were asked for.
    pub tasks: Vec<LiveTask>,
    /// Of all: those of which somebody holds a handle to wait for their result.
    pub join_handles: u64,
    /// The last search read all it was given, and could keep all it saw.
    pub complete: bool,
}
