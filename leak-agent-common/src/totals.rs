//! What the kernel counts.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Totals of one site, per CPU; the sum over all CPUs is exact.
///
/// Each CPU's share may exceed what one CPU's tasks did or be "negative" (wrapped): only the wrapping sum
/// has a meaning.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SiteTotals {
    /// Tasks whose creation was seen.
    pub spawned: u64,
    /// Tasks whose end was seen.
    pub finished: u64,
    /// Tasks found alive by the walk at start (threads only; the other runtimes' baseline is computed
    /// in user space).
    pub baseline: u64,
}

impl SiteTotals {
    /// Adds one CPU's share.
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        Self {
            spawned: self.spawned.wrapping_add(other.spawned),
            finished: self.finished.wrapping_add(other.finished),
            baseline: self.baseline.wrapping_add(other.baseline),
        }
    }
}

const _: () = assert!(size_of::<SiteTotals>() == 24);
