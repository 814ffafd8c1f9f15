//! The document: what every rendering of a dump shows, and its JSON form.

use crate::types::label::Label;
use serde::Serialize;

/// Version of the form. Fields may be added to it; none is renamed or taken away without another number.
pub const VERSION: u32 = 1;

/// The stacks of the live tasks of one process.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Dump {
    /// [`VERSION`].
    pub version: u32,
    /// Of which process.
    pub pid: u32,
    /// Its executable's path in its own mount namespace; `None` = not known.
    pub executable: Option<String>,
    /// When: seconds since the epoch.
    pub taken_at: f64,
    /// How long it took, seconds.
    pub took_s: f64,
    /// Tasks in all groups together.
    pub tasks: u64,
    /// Every task that was asked for is in it, each with its whole stack.
    pub complete: bool,
    /// What is missing and why, as half sentences.
    pub notes: Vec<String>,
    /// Tasks of one site that do the same at the same place; the largest group first.
    pub groups: Vec<Group>,
}

/// Tasks that cannot be told apart by what they do and where.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    /// What schedules them: "go", "thread".
    pub runtime: Label,
    /// The name of their spawn site.
    pub site: String,
    /// What sort of task: a fixed word of the source.
    pub kind: Label,
    /// What they do: a word of the runtime or of the kernel.
    pub state: String,
    /// What they wait for; `None` = they do not wait, or it is not known.
    pub reason: Option<String>,
    /// How many.
    pub count: u64,
    /// The age of the oldest, seconds: of a thread since it began; of a goroutine since it waits, as far as the runtime noticed.
    /// `None` = not known of any.
    pub oldest_s: Option<u64>,
    /// Their stack, innermost first. Empty = they run, or did not hold still.
    pub frames: Vec<Frame>,
    /// The stack was unwound to its end.
    pub complete: bool,
    /// The id of the spawn site, the same as in reports; `None` = it has none that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site_id: Option<String>,
    /// Where the site is in the source: "src/conn.rs:88".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Who asked for them: calls, the innermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub created_by: Vec<Frame>,
    /// How many of them are bound to a thread.
    #[serde(skip_serializing_if = "is_zero")]
    pub bound: u64,
    /// Of how many of them it was read what they wait on, and what they are labelled with.
    #[serde(skip_serializing_if = "is_zero")]
    pub looked_at: u64,
    /// What those that were looked at wait on, the most frequent first; at most a few.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits_on: Vec<WaitPlace>,
    /// Labels that the program gave to those that were looked at, the most frequent first; at most a few.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<LabelSet>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A call, as the source has it: an inlined function is a frame of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Frame {
    /// The function; `file+0x…` with an address in the file's own numbering where there is no symbol.
    pub function: String,
    /// Its source file, as the executable says it.
    pub file: Option<String>,
    /// The line.
    pub line: Option<u32>,
    /// Its code was put into that of the next frame outwards.
    pub inlined: bool,
}

/// A channel that tasks wait on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaitPlace {
    /// Its address in the process: groups with the same address wait for the same channel.
    pub channel: String,
    /// Values in it.
    pub queued: u64,
    /// Values that it has room for.
    pub capacity: u64,
    /// Nothing more comes.
    pub closed: bool,
    /// It is one case of several that would do.
    pub select: bool,
    /// How many of those looked at wait on it.
    pub tasks: u64,
}

/// Labels that tasks have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LabelSet {
    /// Keys and values.
    pub labels: Vec<(String, String)>,
    /// How many of those looked at have just these.
    pub tasks: u64,
}
