//! The thread source: what an OS thread is, and which code created it.
//!
//! No thread is "system": who counts threads wants to know how near a process is to the limits on them, and the kernel
//! counts those that a runtime made for itself like any other.

mod code;
mod creation;
mod glue;
mod living;
pub mod resolver;
pub mod site;

pub use living::{call, living};
pub use resolver::{Outcome, Resolved, Resolver};

use crate::source::{Maker, SiteInfo, go, tokio};
use crate::types::Runtime;
use leak_agent_common::key::{runtime, site as number};

/// OS threads.
pub const RUNTIME: Runtime = Runtime {
    wire: runtime::THREAD,
    label: "thread",
};

/// Who made the threads of a site.
#[must_use]
pub fn maker(site: &SiteInfo) -> Maker {
    match site.kind {
        site::GO => Maker::Scheduler(go::RUNTIME),
        site::TOKIO_WORKER | site::TOKIO_BLOCKING | site::TOKIO_POOL => Maker::Scheduler(tokio::RUNTIME),
        site::UNKNOWN => Maker::Unknown,
        _ => Maker::Other,
    }
}

/// The site behind a reserved number; an unresolved one behind any other.
#[must_use]
pub fn reserved(site: u64) -> SiteInfo {
    let (id, name, kind, system, note) = match site {
        number::MAIN => ("main", "main thread", "main", false, None),
        number::BASELINE => (
            "baseline",
            "before attach",
            site::UNKNOWN,
            false,
            Some("alive before the agent came: its creation was not seen"),
        ),
        number::OTHER => (
            "other",
            "~other",
            site::UNKNOWN,
            false,
            Some("no room for more sites in the kernel's map"),
        ),
        number::KERNEL_WORKER => (
            "kernel-worker",
            "kernel worker",
            "io_uring",
            false,
            Some("a thread that the kernel runs in the process, for io_uring or vhost"),
        ),
        _ => (
            "unresolved",
            "unknown creator",
            site::UNKNOWN,
            false,
            Some("its creation stack was not sent or not resolved yet"),
        ),
    };
    SiteInfo {
        id: id.to_owned(),
        name: name.to_owned(),
        location: None,
        kind,
        system,
        ambiguous: false,
        note: note.map(str::to_owned),
        created_by: None,
    }
}
