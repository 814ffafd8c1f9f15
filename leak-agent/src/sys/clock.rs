//! The only place that reads a clock.

use crate::types::BootTime;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Now, on `CLOCK_BOOTTIME`. Costs some 30 ns.
#[must_use]
pub fn now() -> BootTime {
    BootTime(u64::try_from(read(ClockId::Boottime).as_nanos()).unwrap_or(u64::MAX))
}

/// Nanoseconds of `CLOCK_MONOTONIC`: the clock by which runtimes tell time.
#[must_use]
pub fn monotonic() -> u64 {
    u64::try_from(read(ClockId::Monotonic).as_nanos()).unwrap_or(u64::MAX)
}

/// Unix time of the boot: what to add to a boot time to get a wall-clock time. It moves when the wall clock is
/// corrected.
#[must_use]
pub fn boot_unix() -> Duration {
    read(ClockId::Realtime).saturating_sub(read(ClockId::Boottime))
}

/// Unix time: seconds since the epoch, by the wall clock.
#[must_use]
pub fn unix() -> f64 {
    read(ClockId::Realtime).as_secs_f64()
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    // Neither clock can be before its zero on a running kernel.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos.min(999_999_999))
}
