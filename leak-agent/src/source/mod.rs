//! The boundary of sources: the code that knows one runtime, seen from the rest of the agent.
//!
//! A source returns data (plans, site facts); it attaches, prints and stores nothing. Three life times: the
//! agent ([`Source`]), one executable ([`HookPlan`], plain data, cached; the negative answer too), and one
//! process (comes with the reading of a runtime's own books from memory).

pub mod books;
pub mod creation;
pub mod go;
pub mod plan;
mod stack_code;
pub mod stacks;
pub mod thread;
pub mod tokio;

pub use books::{Books, ProcessBooks};
pub use creation::{CodeFrame, Creation, CreationStacks};
pub use plan::{
    Evidence, Gap, HookPlan, Inspection, LibraryCode, Maker, PlanPoint, PlannedSite, PointSite, Role,
    SiteInfo, SiteNames, caller_number,
};
pub use stack_code::StackCode;
pub use stacks::{NamedStack, StackedTask, TaskStacks};

use crate::elf::Elf;
use crate::types::Runtime;

/// The code that knows one runtime.
pub trait Source: Send + Sync {
    /// The runtime it knows.
    fn runtime(&self) -> Runtime;

    /// What to hook in this executable. Called once per executable; pure, bounded in time and memory, and
    /// total: a crafted file gives [`Inspection::NotMine`] or [`Inspection::Unsupported`].
    fn inspect(&self, elf: &Elf<'_>) -> Inspection;

    /// Whether its tasks have stacks of their own, which [`ProcessBooks::stacks`] reads.
    fn has_stacks(&self) -> bool {
        false
    }

    /// How the runtime's code is known on the creation stacks of threads where this executable has no symbols; `None` = it is
    /// not, or there is none. As [`Self::inspect`], but cheap: some 10 ms for 10 MiB.
    fn stack_code(&self, _elf: &Elf<'_>) -> Option<StackCode> {
        None
    }
}

/// Every source of this build.
#[must_use]
pub fn all() -> Vec<Box<dyn Source>> {
    vec![Box::new(tokio::Tokio), Box::new(go::Go)]
}

/// The runtime behind a number on the wire; `None` for one that this build does not know.
#[must_use]
pub fn runtime(wire: u32) -> Option<Runtime> {
    [thread::RUNTIME, tokio::RUNTIME, go::RUNTIME]
        .into_iter()
        .find(|runtime| runtime.wire == wire)
}
