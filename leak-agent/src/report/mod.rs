//! The report: the one immutable document that every output renders.
//!
//! Its JSON form is an interface (docs/report.schema.json): a field may be added, none changes its meaning or
//! goes away without a new [`VERSION`]. It carries no inner type of the engine.
//!
//! In every report, for every site, and for every runtime over its sites that are not `system`:
//! `live = baseline + spawned − finished`.

mod build;
mod facts;
mod findings;
#[cfg(test)]
pub(crate) mod fixture;
mod judged;
mod self_facts;

pub use facts::{AgentFacts, HopFacts, MapFacts, Mode, PriceFacts, Readiness, ReceiverFacts};
pub use findings::{
    Evidence, Exhaustion, Finding, FindingState, Growth, Labels, NeverEnds, Priority, Rules, Severity,
    Suppressed, Verdict,
};
pub use self_facts::{Agent, Build, Hop, MapFill, ModeName, ProbePrice, Receiver};

use crate::types::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of the document.
pub const VERSION: u32 = 1;

/// What is alive on this node at one moment, and how far that can be trusted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Version of this document: 1.
    pub version: u32,
    /// When the counts were read: Unix time, seconds.
    pub taken_at: f64,
    /// The agent itself: mode, health, losses, cost.
    pub agent: Agent,
    /// The processes, by pid.
    pub processes: Vec<Process>,
    /// What grows as a leak does, or may: the worst first, those that are resolved last. They stay for a while after that.
    pub findings: Vec<Finding>,
}

/// One process (thread group). Its identity is (`pid`, `start_boottime`): pids are reused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// When it started: Unix time, seconds, converted from the kernel's boot-time clock, so it moves with
    /// corrections of the wall clock.
    pub start_time: f64,
    /// The same on the kernel's boot-time clock, which is never corrected: nanoseconds since the boot. Without BPF
    /// as coarse as /proc tells it (10 ms).
    pub start_boottime: u64,
    /// Name of the main thread as the kernel keeps it: at most 15 bytes, invalid UTF-8 replaced. Not
    /// sanitised: it can hold control characters.
    pub comm: String,
    /// Path of the executable as the process itself sees it; null = could not be read. Not sanitised.
    pub exe: Option<String>,
    /// false = it has ended, and is shown for one last time.
    pub alive: bool,
    /// Its runtimes, threads first.
    pub runtimes: Vec<Runtime>,
    /// Limits that come nearer as its tasks grow.
    pub exhaustion: Vec<Exhaustion>,
    /// What the schedulers of its runtimes do with its threads, as far as that is known.
    pub schedulers: Vec<Scheduler>,
}

/// What the scheduler of one runtime does with threads of the process. These threads are among those of the runtime
/// "thread" as well: there by the code that made them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scheduler {
    /// Whose: "go" or "tokio"; more may come.
    pub runtime: String,
    /// Its threads; null = not known, and those without a task are missing in `activities`.
    pub threads: Option<u64>,
    /// How many threads do what, each in one entry.
    pub activities: Vec<Activity>,
    /// Threads that run one task and no other (`runtime.LockOSThread`), whatever they do; null = not known.
    pub bound: Option<u64>,
    /// When that was so, as the process's memory said: Unix time, seconds; null = at the moment of this report.
    pub as_of: Option<f64>,
}

/// Threads that do the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Activity {
    /// What. Go: "running" (a goroutine), "syscall" (a goroutine is in a system call), "cgo" (one is in C), "locked_idle" (it waits for
    /// the goroutine it is locked to), "searching" (for a goroutine to run), "idle" (parked, or in the network poller), "service" (one of
    /// the runtime's own loops). tokio: "worker", "blocking" (a closure of the blocking pool), "idle".
    pub activity: String,
    /// How many.
    pub threads: u64,
}

/// One runtime in one process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Runtime {
    /// "thread", "tokio" or "go"; more may come.
    pub runtime: String,
    /// How far it is followed.
    pub state: State,
    /// Why it is not followed wholly, or not exact; null = nothing to say.
    pub reason: Option<String>,
    /// The worst of its sites: "healthy", "suspect", "leak", or "undecided".
    pub verdict: Verdict,
    /// Why it is undecided, or what grows; null = nothing to say.
    pub verdict_reason: Option<String>,
    /// Version of the runtime; several, separated by ", ", when the process has several copies; null = unknown.
    pub version: Option<String>,
    /// How its hooks were found; null = there are none.
    pub evidence: Option<String>,
    /// What names its sites: symbols, those of a separate debug file, debug information, panic locations in the code, or nothing but
    /// addresses, each with the number of sites where they are several; null = it is not told.
    pub names_by: Option<String>,
    /// How it is known where this runtime keeps its own books; null = they are not known, or it is not told. Whether they proved
    /// themselves, `books` says.
    pub books_by: Option<String>,
    /// Attach points in the files of this process.
    pub points: u32,
    /// How many of `points` sit on an instruction that the kernel emulates; the others cost the process
    /// 30–60 times as much per hit in a virtual machine.
    pub points_emulated: u32,
    /// How its tasks are counted; of several ways the one that tells least; null = they are not counted.
    pub counted_by: Option<CountedBy>,
    /// Alive now; if counted by "memory", at the moment `watch.as_of`.
    pub live: u64,
    /// Created since we began to count. If counted by "memory" or "proc": 0, which means nothing.
    pub spawned: u64,
    /// Ended since we began to count; see `spawned`.
    pub finished: u64,
    /// Alive when we began to count; if counted by "memory" or "proc", all that lives.
    pub baseline: u64,
    /// Whether `live` is exact. If not, `baseline` (and with it `live`) is a lower bound.
    pub exact: bool,
    /// How the counts stand to the runtime's own books in the process's memory; null = they are not compared.
    pub books: Option<Books>,
    /// How the counts from memory came to be; null = there are none.
    pub watch: Option<Watch>,
    /// When its tasks were last listed one by one, which `waiting` and `leaked` of its sites are from: Unix time, seconds. Tasks are
    /// listed when counts are to be compared by site, not regularly. null = they were not, or it does not tell.
    #[serde(default)]
    pub listed_at: Option<f64>,
    /// How many of its tasks, at `listed_at`, could never be woken, as the runtime itself had found out (Go 1.26 and later, in
    /// programs that ask it for a profile of leaked goroutines). They are alive and counted as such. null = it does not tell.
    #[serde(default)]
    pub leaked: Option<u64>,
    /// Since when and why probes are attached for it; null = none are.
    pub probes: Option<Probes>,
    /// Its spawn sites, by live count, largest first.
    pub sites: Vec<Site>,
}

/// What the comparison with a runtime's own books came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Books {
    /// When our counts and the books last agreed: Unix time, seconds; null = they did not yet.
    pub agreed_at: Option<f64>,
    /// Our live count minus that of the books, at the last comparison and before it was corrected; null = they could not
    /// be compared yet.
    pub drift: Option<i64>,
    /// Comparisons that came to a result.
    pub checks: u64,
    /// Comparisons after which our counts were corrected.
    pub repairs: u64,
    /// The last of these; null = there was none.
    pub repair: Option<Repair>,
    /// Spawns that no probe saw, at least, as the runtime's own counters tell; null = they do not (tokio before 1.39, and
    /// processes with a LocalSet).
    pub missed_spawns: Option<u64>,
    /// The same of ends.
    pub missed_finishes: Option<u64>,
    /// Why the last comparison came to no result; null = it came to one.
    pub trouble: Option<String>,
    /// What was read in the process's memory for all this.
    pub readings: Readings,
    /// Completed but retained: tasks that ended but whose memory is still held by somebody, at most. They are in no list and not
    /// among the live ones; they are found by their headers when all memory is searched. null = not known: it was not
    /// searched yet or not to its end, or the runtime holds nothing of tasks that ended.
    pub retained: Option<u64>,
    /// How many of `retained` are held by a JoinHandle or an entry of a JoinSet; the others by wakers or abort handles.
    pub retained_join_handles: Option<u64>,
    /// When `retained` was seen: Unix time, seconds.
    pub retained_at: Option<f64>,
}

/// How tasks are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CountedBy {
    /// By tracepoints of the kernel: each birth and end.
    Kernel,
    /// By probes in the process's executables: each spawn and end.
    Probes,
    /// By reading the runtime's own books in the process's memory: those alive at one moment.
    Memory,
    /// By reading /proc: those alive at one moment.
    Proc,
}

impl CountedBy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Kernel, Self::Probes, Self::Memory, Self::Proc];

    /// Its name in the document and in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Probes => "probes",
            Self::Memory => "memory",
            Self::Proc => "proc",
        }
    }

    /// Births and ends are counted, too; else only what lives at one moment is known.
    #[must_use]
    pub const fn counts_events(self) -> bool {
        matches!(self, Self::Kernel | Self::Probes)
    }
}

/// Tasks counted from a runtime's own books, without probes. Times: Unix time, seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Watch {
    /// The moment at which the tasks were alive; null = nothing was read yet.
    pub as_of: Option<f64>,
    /// When the memory was last searched for runtimes: tasks of one that came later are missing; null = not yet.
    pub searched_at: Option<f64>,
    /// No list changed while it was walked through, and each had as many tasks as its runtime counts.
    pub agreed: bool,
    /// What the runtimes themselves count as alive: newer than the sites, if these are long to read; null = not all of them
    /// count.
    pub counted: Option<u64>,
    /// When they did; null = see `counted`.
    pub counted_at: Option<f64>,
    /// Tasks ever put into the lists of the runtimes that live now, as they count them; null = not all of them do.
    pub added: Option<u64>,
    /// Tasks that ended but whose memory is still held by somebody, at most; null = not known.
    pub retained: Option<u64>,
    /// Readings of counters or lists so far.
    pub readings: u64,
    /// Walks through the lists so far.
    pub walks: u64,
    /// Searches of the memory so far.
    pub searches: u64,
}

/// Why probes are attached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Probes {
    /// When they began to count: Unix time, seconds.
    pub since: f64,
    /// Why, as half a sentence; null = because of `--mode trace`.
    pub reason: Option<String>,
}

/// How counts were corrected after a comparison with the runtime's own books.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Repair {
    /// When: Unix time, seconds.
    pub at: f64,
    /// Our live count minus that of the books, before.
    pub drift: i64,
    /// What had happened, as far as the books tell.
    pub reason: String,
    /// The sites whose live counts were corrected, those that were corrected most; none = their sums were right, or the
    /// books were too busy to tell.
    pub sites: Vec<RepairedSite>,
}

/// One site of a repair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RepairedSite {
    /// Its id.
    pub id: String,
    /// By how much its live count was changed: more than zero = spawns were missed there, less = ends.
    pub live: i64,
}

/// How often what was read in a process's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Readings {
    /// The runtime's own counters: some bytes.
    pub counters: u64,
    /// All lists of tasks, from one end to the other: a read per task or less.
    pub lists: u64,
    /// All of the process's present private memory, in search of runtimes.
    pub searches: u64,
}

/// One spawn site in one process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Site {
    /// Unique in the process and runtime, stable over restarts of the program.
    pub id: String,
    /// The name that a programmer of the runtime knows: a future type, a function. Not sanitised.
    pub name: String,
    /// "file:line", as the executable says it; null = it does not say. Not sanitised.
    pub location: Option<String>,
    /// What sort of task: "async", "blocking", "main", "pthread", …
    pub kind: String,
    /// The runtime's own job: shown, but left out of the runtime's totals.
    pub system: bool,
    /// The name may be that of another site with equal code.
    pub ambiguous: bool,
    /// Something to know about this site; null = nothing.
    pub note: Option<String>,
    /// Who asks for its tasks: the calls that led to one of them, as seen when the site was first seen, the innermost first;
    /// without what only carries the wish for a task, and at most 24. Further ways may lead to the same site. Of Go the
    /// function that says `go` is known without a stack. null = not seen.
    pub created_by: Option<Vec<Call>>,
    /// "healthy", "suspect", "leak", or "undecided".
    pub verdict: Verdict,
    /// Why it is undecided, or how it grows; null = nothing to say.
    pub verdict_reason: Option<String>,
    /// Alive now.
    pub live: u64,
    /// Created since we began to count.
    pub spawned: u64,
    /// Ended since we began to count.
    pub finished: u64,
    /// Alive when we began to count.
    pub baseline: u64,
    /// Tasks that ended and whose memory is still held, at most: see `books.retained`; null = not known.
    pub retained: Option<u64>,
    /// No probe sees tasks of this site: `live` and `baseline` are those that were read from memory at this moment (Unix time,
    /// seconds), `spawned` and `finished` are 0 and mean nothing. null = counted like the others of its runtime.
    #[serde(default)]
    pub as_of: Option<f64>,
    /// What its tasks waited for at `listed_at` of the runtime, in the runtime's own words, the most frequent first, at most eight.
    /// Empty = not known, or none of them waited.
    #[serde(default)]
    pub waiting: Vec<Waiting>,
    /// How many of its tasks could never be woken: see `leaked` of the runtime; null = it does not tell.
    #[serde(default)]
    pub leaked: Option<u64>,
    /// Who asked for its tasks, if it is a library that creates tasks on behalf of its callers: `spawned` told apart, the most
    /// first, at most 20; what is left of `spawned` is the last entry, without a function. `live` is that of all callers together:
    /// a runtime does not keep who asked. Empty = it is no such site, or nothing was spawned since we began to count.
    #[serde(default)]
    pub callers: Vec<Caller>,
}

/// Who asked a library for tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Caller {
    /// The function that called the library; null = all others together.
    pub function: Option<String>,
    /// "file:line" of the call; null = all others together, or the executable does not say.
    pub location: Option<String>,
    /// Tasks that were created for it since we began to count.
    pub spawned: u64,
}

/// What some tasks wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    /// In the runtime's own words: "chan receive", "select".
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// A call of a creation stack, as the source has it: an inlined function is one of its own. Texts are the executable's, not
/// sanitised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Call {
    /// The function; null = its file has no symbol for it.
    pub function: Option<Text>,
    /// The source file; null = the executable does not say.
    pub file: Option<Text>,
    /// The line of the call; null = the executable does not say.
    pub line: Option<u32>,
    /// Its code was put into that of the next function outwards.
    pub inlined: bool,
    /// `<executable id>:<address>`: the address behind the call in the file's own numbering, stable over restarts of the
    /// program.
    pub address: Text,
}

/// How far a runtime in a process is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Every task.
    Followed,
    /// Not every task, or not all that can be known of it: `reason` says what is missing.
    Partial,
    /// It is there, but not followed: `reason` says why.
    Unsupported,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Followed, Self::Partial, Self::Unsupported];

    /// Its name in the document and in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Followed => "followed",
            Self::Partial => "partial",
            Self::Unsupported => "unsupported",
        }
    }
}

/// The JSON schema of [`Report`], as committed in docs/report.schema.json.
#[must_use]
pub fn schema_json() -> String {
    let schema = schemars::schema_for!(Report);
    let mut text = format!("{:#}", schema.as_value());
    text.push('\n');
    text
}
