//! Slots: totals of hooked sites that are found without the kernel's hash.
//!
//! A table of [`SLOTS`] slots per CPU; a site has one place in it. The first site that is counted at a free place
//! takes it, and keeps it until user space frees it: after the end of everything that could count there. A site
//! whose place is taken is counted in its row of the map of sites, which every site in a slot has too. The sum of
//! the row and the slots is exact.

use crate::key::SiteKey;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// log2 of [`SLOTS`].
pub const SLOT_BITS: u32 = 10;
/// Slots per CPU.
pub const SLOTS: u32 = 1 << SLOT_BITS;

/// One slot: a cache line.
///
/// Written by one CPU's programs, which may preempt one another, and freed by user space. Who changes `state`
/// from [`state::FREE`] owns the slot; it then writes the key, the word with the runtime last, so that a slot with a
/// runtime has a whole key. Freeing goes the other way round: first the runtime, then the rest, `state` last.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Slot {
    /// Whose it is; all zeros in a free slot.
    pub key: SiteKey,
    /// Tasks whose creation was seen.
    pub spawned: u64,
    /// Tasks whose end was seen.
    pub finished: u64,
    /// One of [`state`].
    pub state: u64,
}

/// What a slot is.
pub mod state {
    /// Nobody's.
    pub const FREE: u64 = 0;
    /// Somebody's.
    pub const TAKEN: u64 = 1;
    /// Somebody's, whose creations are told apart by caller, too.
    pub const BY_CALLER: u64 = 2;
}

/// The place of a site in each CPU's table, below [`SLOTS`].
#[must_use]
#[inline(always)]
pub const fn place(key: &SiteKey) -> u32 {
    let mixed = key
        .site
        .wrapping_add(key.process.start_boottime.rotate_left(17))
        .wrapping_add(((key.plan as u64) << 48) | ((key.exec_id as u64) << 32))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (64 - SLOT_BITS)) as u32
}

const _: () = assert!(size_of::<Slot>() == 64);
