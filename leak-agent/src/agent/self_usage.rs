//! What the agent itself uses: CPU time and memory.

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
    /// Reads it from `/proc/self/stat`; zeros if that cannot be read.
    #[must_use]
    pub fn read() -> Self {
        let Ok(stat) = procfs::process::Process::myself().and_then(|me| me.stat()) else {
            return Self::default();
        };
        let ticks = stat.utime.saturating_add(stat.stime);
        let per_second = procfs::ticks_per_second().max(1);
        let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(per_second);
        Self {
            cpu: Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)),
            resident_bytes: stat.rss.saturating_mul(procfs::page_size()),
        }
    }
}
