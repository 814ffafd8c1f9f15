//! Atomic operations on map values. `core::sync::atomic` has no read-modify-write operations on this target.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd, atomic_xchg};

/// Adds and returns the old value; wraps.
///
/// Also for values of per-CPU maps: a uprobe may be preempted between a load and a store, and another task
/// on the same CPU would then lose an increment.
#[inline(always)]
pub(crate) unsafe fn fetch_add(value: *mut u64, by: u64) -> u64 {
    // SAFETY: the caller passes a valid, aligned pointer into a map value.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(value, by) }
}

/// Writes `new` and returns the old value.
#[inline(always)]
pub(crate) unsafe fn swap(value: *mut u64, new: u64) -> u64 {
    // SAFETY: as above.
    unsafe { atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(value, new) }
}

/// Writes `new` if the value is `old`; says whether it did.
#[inline(always)]
pub(crate) unsafe fn replace(value: *mut u64, old: u64, new: u64) -> bool {
    // SAFETY: as above.
    unsafe { atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(value, old, new).1 }
}
