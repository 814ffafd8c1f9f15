//! What the agent itself uses: CPU time and memory.

use crate::sys::map::page_size;
use crate::sys::proc::ProcDir;
use std::time::Duration;

/// CPU time and memory of the calling process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelfUsage {
    /// User and system time of all threads since the start.
    pub cpu: Duration,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
}

impl SelfUsage {
    /// Reads it from `/proc`; zeros if that cannot be read.
    #[must_use]
    pub fn read() -> Self {
        let dir = ProcDir::open(std::process::id());
        let stat = dir.ok().flatten().and_then(|dir| dir.stat().ok().flatten());
        stat.map_or_else(Self::default, |stat| Self {
            cpu: stat.cpu,
            resident_bytes: stat.rss_pages.saturating_mul(page_size() as u64),
        })
    }
}
