//! A hook plan: all hooks of one source in one executable, as data.

use super::{Books, Creation, CreationStacks};
use crate::elf::Elf;
use crate::types::{FileOffset, Runtime, Vaddr, label};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// What a source says of an executable.
#[derive(Clone, Debug)]
pub enum Inspection {
    /// Nothing of this runtime in it.
    NotMine,
    /// It can be followed, wholly or but for the plan's gaps.
    Plan(Box<HookPlan>),
    /// It is mine, but I cannot follow it.
    Unsupported {
        /// Which runtime it has.
        runtime: Runtime,
        /// Why not, as half a sentence: "tokio 1.8 marks a task complete only when somebody holds its handle".
        reason: String,
    },
}

/// All hooks of one source in one executable.
#[derive(Clone, Debug)]
pub struct HookPlan {
    /// The runtime it follows.
    pub runtime: Runtime,
    /// The runtime's version, if the file says it: "1.47.1".
    pub version: Option<String>,
    /// Attach points, sorted by file offset, no two at the same offset.
    pub points: Vec<PlanPoint>,
    /// The sites that the points count.
    pub sites: Vec<PlannedSite>,
    /// Code that creates tasks on behalf of its callers: the creations at its sites are told apart by caller. No two with the same
    /// statement.
    pub libraries: Vec<LibraryCode>,
    /// What in this file is the runtime's but is not followed. Empty = everything is.
    pub gaps: Vec<Gap>,
    /// How all this is known.
    pub evidence: Evidence,
    /// The finish points lie just before the moment at which the runtime itself takes the task for ended.
    pub finish_is_early: bool,
    /// How to read the runtime's own books in a process with this executable; `None` = it has none that are known.
    pub books: Option<Arc<dyn Books>>,
    /// Names sites that only a running process shows; `None` = all are in `sites`.
    pub names: Option<Arc<dyn SiteNames>>,
    /// Reads creation stacks; `None` = they are those of threads.
    pub stacks: Option<Arc<dyn CreationStacks>>,
}

/// Names the sites of one executable by their numbers, when processes show that they exist. Cheap to keep; made with the
/// plan.
pub trait SiteNames: Send + Sync + fmt::Debug {
    /// What the number itself says: id, kind, and whether it is the runtime's own job; the rest is provisional. Reads no
    /// file. `None` = the executable has no such site.
    fn number_only(&self, number: u64) -> Option<SiteInfo>;

    /// What people are shown of these sites, each with its number; those that the executable does not have are left
    /// out. Bounded and total, as [`super::Source::inspect`]; with the same file.
    fn names(&self, elf: &Elf<'_>, numbers: &[u64]) -> Vec<(u64, SiteInfo)>;
}

/// How what is said of a runtime is known, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// How the points were found: "structure", "structure + 1 symbol".
    pub points: String,
    /// What names the sites: "symbols", "panic locations 3, none 1"; `None` = it is not told.
    pub names: Option<String>,
    /// How it is known where the runtime keeps its books: "layout of tokio 1.39 and later, by its version"; `None` = it has none
    /// that are known, or it is not told.
    pub books: Option<String>,
}

impl From<&str> for Evidence {
    fn from(points: &str) -> Self {
        Self {
            points: points.to_owned(),
            ..Self::default()
        }
    }
}

/// One attach point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanPoint {
    /// Address of the instruction in the file's own numbering.
    pub vaddr: Vaddr,
    /// Where it is in the file.
    pub offset: FileOffset,
    /// What passing it means.
    pub role: Role,
    /// Where the probe finds the site.
    pub site: PointSite,
    /// Whether the kernel emulates the instruction (cheap) or single-steps it (30–60 times the price in a VM).
    pub emulated: bool,
}

/// A place in a library that creates tasks on behalf of its callers. Addresses are distances, as in the numbers of the sites
/// ([`PointSite::Pair`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryCode {
    /// The upper half of its sites' numbers.
    pub statement: u32,
    /// The library's code: the caller is the first call from outside. At most [`leak_agent_common::key::LIBRARY_RANGES`].
    pub code: Vec<Range<u32>>,
}

/// The number under which a [`HookPlan::names`] names a caller of a library: no site has one without an upper half.
#[must_use]
pub fn caller_number(caller: u32) -> u64 {
    caller.into()
}

/// What passing a point means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A task was created.
    Spawn,
    /// A task ended.
    Finish,
}

/// Where the probe finds the number of the site. Register numbers are those of x86-64 machine code
/// (rax 0, rcx 1, rdx 2, rbx 3, rsp 4, rbp 5, rsi 6, rdi 7, r8 … r15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointSite {
    /// Always this one.
    Constant(u64),
    /// A register holds the run-time address; its file address is the number.
    Register(u8),
    /// A register leads to the task's header, a field of which holds the run-time address.
    Header {
        /// The register.
        reg: u8,
        /// 0: the register holds the header's address. 1: the address of a pointer to it.
        derefs: u8,
        /// Offset of the field in the header, bytes.
        field: u32,
    },
    /// Two addresses make the number: where the task was created (upper half) and what it begins with (lower half), each
    /// as a distance from `base`. The runtime's own probe knows where they are.
    Pair {
        /// What both are counted from, in the file's own numbering.
        base: Vaddr,
        /// Offset of the first of them in the task's header, bytes.
        field: u32,
        /// Offsets in the header of the task that creates one, bytes: of its saved stack pointer, behind which its
        /// instruction pointer follows, and of its frame pointer, at most 255 words later.
        saved: (u32, u32),
    },
}

/// A site that a plan counts.
#[derive(Clone, Debug)]
pub struct PlannedSite {
    /// Its number: what the points' [`PointSite`] yields.
    pub number: u64,
    /// What people are shown.
    pub info: SiteInfo,
    /// The runtime keeps its tasks in lists that its books lead to.
    pub listed: bool,
    /// Each of its tasks holds a thread of the runtime's scheduler as long as it lives: what that thread does then, a fixed word
    /// of the source. `None` = threads come and go for them.
    pub holds: Option<&'static str>,
}

/// What people are shown of a spawn site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteInfo {
    /// Stable between restarts of the program, unique in the process and runtime:
    /// `<executable id>:<address>`, never a name.
    pub id: String,
    /// The name a programmer of that runtime knows: "app::conn::serve".
    pub name: String,
    /// "src/conn.rs:88", as the file says it; `None` = the file does not say.
    pub location: Option<String>,
    /// What sort of task: a fixed word of the source ("async", "blocking", "local", "main", "pthread").
    #[serde(with = "label")]
    pub kind: label::Label,
    /// The runtime's own job: shown, but left out of totals.
    pub system: bool,
    /// The name may be that of another site with equal code (folded functions).
    pub ambiguous: bool,
    /// Something to know about this site, or why it has no better name.
    pub note: Option<String>,
    /// Who asks for its tasks, as far as that is known; `None` = it is not.
    #[serde(default)]
    pub created_by: Option<Creation>,
}

/// Who made the threads of a spawn site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// The scheduler of this runtime.
    Scheduler(Runtime),
    /// Somebody else.
    Other,
    /// It is not known.
    Unknown,
}

/// Something of the runtime that this plan does not follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The site's number, if it is about one.
    pub site: Option<u64>,
    /// What and why, as half a sentence.
    pub reason: String,
}
