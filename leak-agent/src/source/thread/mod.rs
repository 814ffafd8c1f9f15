//! The thread source: what an OS thread is, and which code created it.

mod glue;
pub mod resolver;
pub mod site;

pub use resolver::{Outcome, Resolved, Resolver};

use crate::source::SiteInfo;
use crate::types::Runtime;
use leak_agent_common::key::{runtime, site as number};

/// OS threads.
pub const RUNTIME: Runtime = Runtime {
    wire: runtime::THREAD,
    label: "thread",
};

/// The site behind a reserved number; an unresolved one behind any other.
#[must_use]
pub fn reserved(site: u64) -> SiteInfo {
    let (id, name, kind, system, note) = match site {
        number::MAIN => ("main", "main thread", "main", false, None),
        number::BASELINE => (
            "baseline",
            "before attach",
            "unknown",
            false,
            Some("alive before the agent came: its creation was not seen"),
        ),
        number::OTHER => (
            "other",
            "~other",
            "unknown",
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
            "unknown",
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
    }
}
