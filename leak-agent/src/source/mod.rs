//! The boundary of sources: the code that knows one runtime, seen from the rest of the agent.
//!
//! A source returns data (plans, site facts); it attaches, prints and stores nothing. Three life times: the
//! agent ([`Source`]), one executable ([`HookPlan`], plain data, cached; the negative answer too), and one
//! process (comes with the reading of a runtime's own books from memory).

pub mod books;
pub mod go;
pub mod plan;
pub mod thread;
pub mod tokio;

pub use books::{Books, ProcessBooks};
pub use plan::{
    Evidence, Gap, HookPlan, Inspection, PlanPoint, PlannedSite, PointSite, Role, SiteInfo, SiteNames,
};

use crate::elf::Elf;
use crate::types::Runtime;

/// The code that knows one runtime.
pub trait Source: Send + Sync {
    /// The runtime it knows.
    fn runtime(&self) -> Runtime;

    /// What to hook in this executable. Called once per executable; pure, bounded in time and memory, and
    /// total: a crafted file gives [`Inspection::NotMine`] or [`Inspection::Unsupported`].
    fn inspect(&self, elf: &Elf<'_>) -> Inspection;
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
