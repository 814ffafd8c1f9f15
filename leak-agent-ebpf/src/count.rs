//! Counting: the one way in which every probe adds to the totals.

use crate::{
    atomic,
    maps::{BUDGETS, Budget, COUNTERS, LIBRARIES, OTHERS, PLANS, SITES, SLOTS},
    settings,
};
use aya_ebpf::{EbpfContext, bindings::BPF_NOEXIST, helpers::generated::bpf_get_smp_processor_id};
use aya_log_ebpf::warn;
use core::mem::offset_of;
use leak_agent_common::{
    counter::Counter,
    key::{Library, LibraryKey, ProcessKey, SiteKey, site},
    settings::CALLERS_PER_PROCESS,
    slot::{self, SLOT_BITS, Slot},
    totals::SiteTotals,
};

/// What is added: two words, so that it travels in registers.
#[derive(Clone, Copy)]
pub(crate) struct Delta {
    /// Where in [`SiteTotals`].
    field: usize,
    by: u64,
}

/// One task was created.
pub(crate) const SPAWNED: Delta = Delta {
    field: offset_of!(SiteTotals, spawned),
    by: 1,
};
/// One task ended.
pub(crate) const FINISHED: Delta = Delta {
    field: offset_of!(SiteTotals, finished),
    by: 1,
};
/// Takes one end back.
pub(crate) const UNFINISHED: Delta = Delta {
    field: offset_of!(SiteTotals, finished),
    by: u64::MAX,
};
/// One task was found alive.
pub(crate) const FOUND: Delta = Delta {
    field: offset_of!(SiteTotals, baseline),
    by: 1,
};

/// Whether a count was the first of its site.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    First,
    Known,
}

const ZERO: SiteTotals = SiteTotals {
    spawned: 0,
    finished: 0,
    baseline: 0,
};

/// Bumps a counter; says whether it was this CPU's first time.
#[inline(always)]
pub(crate) fn bump(counter: Counter) -> bool {
    match COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: a valid map value of this CPU.
        Some(value) => (unsafe { atomic::fetch_add(value, 1) }) == 0,
        None => false,
    }
}

/// Adds; gives what was there before.
#[inline(always)]
fn apply(totals: *mut SiteTotals, delta: Delta) -> u64 {
    // SAFETY: a field of a valid map value of this CPU.
    unsafe { atomic::fetch_add(totals.cast::<u8>().add(delta.field).cast(), delta.by) }
}

/// Whether the one that was counted behind so many others is worth a look: the first, and whenever their number has doubled.
#[inline(always)]
fn is_turn(before: u64) -> bool {
    before & before.wrapping_sub(1) == 0
}

/// What a count in a hooked site calls for, if it is that of a creation.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    /// A look at who creates ([`is_turn`], on this CPU).
    pub(crate) look: bool,
    /// To be told apart by caller.
    pub(crate) by_caller: bool,
}

/// Adds to the totals of a hooked site, in its slot if it has one.
#[inline(always)]
pub(crate) fn add_hooked<C: EbpfContext>(ctx: &C, key: &SiteKey, delta: Delta) -> Result<Wanted, Counter> {
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
    let slot = SLOTS.get_ptr_mut((cpu << SLOT_BITS) | slot::place(key));
    if let Some(slot) = slot {
        // SAFETY: a valid map value.
        if unsafe { is_of(slot, key) } {
            // SAFETY: a field of it.
            let before = unsafe {
                atomic::fetch_add(
                    (&raw mut (*slot).spawned).cast::<u8>().add(delta.field).cast(),
                    delta.by,
                )
            };
            // SAFETY: as above.
            let state = unsafe { core::ptr::read_volatile(&raw const (*slot).state) };
            return Ok(Wanted {
                look: is_turn(before),
                by_caller: state == slot::state::BY_CALLER,
            });
        }
    }
    add_elsewhere(ctx, key, delta, slot)
}

/// Whether the slot is this site's.
#[inline(always)]
unsafe fn is_of(slot: *const Slot, key: &SiteKey) -> bool {
    let slot = slot.cast::<u64>();
    let key = (&raw const *key).cast::<u64>();
    let same = |word: usize| {
        // SAFETY: both are at least five words long and aligned; volatile because user space may free the slot.
        unsafe { core::ptr::read_volatile(slot.add(word)) == core::ptr::read(key.add(word)) }
    };
    same(2) && same(0) && same(1) && same(3) && same(4)
}

/// The cold half of [`add_hooked`]: counts in the site's row, and takes the slot for the next time if it is free.
#[inline(never)]
fn add_elsewhere<C: EbpfContext>(
    ctx: &C,
    key: &SiteKey,
    delta: Delta,
    slot: Option<*mut Slot>,
) -> Result<Wanted, Counter> {
    let by_caller = is_in_library(key);
    let Some(totals) = SITES.get_ptr_mut(key) else {
        let look = add_unknown(ctx, key, delta)? == Sight::First;
        return Ok(Wanted { look, by_caller });
    };
    let before = apply(totals, delta);
    if let Some(slot) = slot {
        let state = if by_caller {
            slot::state::BY_CALLER
        } else {
            slot::state::TAKEN
        };
        // SAFETY: a valid map value; whoever takes it is the only one to write its key.
        unsafe { take(slot, key, state) };
    }
    Ok(Wanted {
        look: is_turn(before),
        by_caller,
    })
}

/// Whether the site is in a library that creates tasks on behalf of its callers.
#[inline(always)]
fn is_in_library(key: &SiteKey) -> bool {
    PLANS.get(key.plan).is_some_and(|plan| plan.libraries != 0) && library(key).is_some()
}

/// The library that the site is in.
#[inline(always)]
pub(crate) fn library(key: &SiteKey) -> Option<&'static Library> {
    let place = LibraryKey {
        plan: key.plan,
        statement: (key.site >> 32) as u32,
    };
    let library = LIBRARIES.get_ptr(&place)?;
    // SAFETY: a map value; user space removes it only when the plan's points are detached.
    Some(unsafe { &*library })
}

/// Adds one creation of a site to those that this caller asked for, if there is room.
#[inline(always)]
pub(crate) fn add_caller(key: &SiteKey, caller: u32) {
    let key = SiteKey { caller, ..*key };
    if let Some(totals) = SITES.get_ptr_mut(&key) {
        apply(totals, SPAWNED);
        return;
    }
    let may_add = match budget(&key.process) {
        // SAFETY: a valid map value.
        Some(budget) => (unsafe { atomic::fetch_add(&raw mut (*budget).callers, 1) }) < CALLERS_PER_PROCESS,
        None => true,
    };
    if may_add {
        let _ = SITES.insert(&key, &ZERO, BPF_NOEXIST.into()); // another CPU may have been first
        if let Some(totals) = SITES.get_ptr_mut(&key) {
            apply(totals, SPAWNED);
        }
    }
}

#[inline(always)]
unsafe fn take(slot: *mut Slot, key: &SiteKey, state: u64) {
    // SAFETY: fields of a valid map value.
    unsafe {
        if !atomic::replace(&raw mut (*slot).state, slot::state::FREE, state) {
            return;
        }
        let slot = slot.cast::<u64>();
        let key = (&raw const *key).cast::<u64>();
        for word in 0..size_of::<SiteKey>() / 8 {
            core::ptr::write_volatile(slot.add(word), core::ptr::read(key.add(word)));
        }
    }
}

/// Adds to the totals of a site: exactly once, or counted as lost.
///
/// A site without a row gets one, unless its process has an `~other` row already: once folded, always
/// folded, so that a spawn and its finish meet in the same row.
#[inline(always)]
pub(crate) fn add<C: EbpfContext>(ctx: &C, key: &SiteKey, delta: Delta) -> Result<Sight, Counter> {
    if let Some(totals) = SITES.get_ptr_mut(key) {
        apply(totals, delta);
        return Ok(Sight::Known);
    }
    add_unknown(ctx, key, delta)
}

/// The cold half of [`add`].
#[inline(never)]
fn add_unknown<C: EbpfContext>(ctx: &C, key: &SiteKey, delta: Delta) -> Result<Sight, Counter> {
    let other = SiteKey {
        site: site::OTHER,
        plan: 0,
        ..*key
    };
    if let Some(totals) = OTHERS.get_ptr_mut(&other) {
        apply(totals, delta);
        bump(Counter::FoldedSites);
        return Ok(Sight::Known);
    }
    if may_add_row(&key.process) {
        let _ = SITES.insert(key, &ZERO, BPF_NOEXIST.into()); // another CPU may have been first
        if let Some(totals) = SITES.get_ptr_mut(key) {
            apply(totals, delta);
            return Ok(Sight::First);
        }
    }
    let _ = OTHERS.insert(&other, &ZERO, BPF_NOEXIST.into());
    let totals = OTHERS.get_ptr_mut(&other).ok_or(Counter::LostCounts)?;
    apply(totals, delta);
    if bump(Counter::FoldedSites) {
        warn!(
            ctx,
            "no room for more spawn sites: folding those of process {} into ~other", key.process.tgid
        );
    }
    Ok(Sight::Known)
}

/// The budget of a process.
#[inline(always)]
pub(crate) fn budget(process: &ProcessKey) -> Option<*mut Budget> {
    if let Some(budget) = BUDGETS.get_ptr_mut(process) {
        return Some(budget);
    }
    let _ = BUDGETS.insert(
        process,
        &Budget {
            second: 0,
            stacks: [0; 2],
            rows: 0,
            callers: 0,
        },
        BPF_NOEXIST.into(),
    );
    BUDGETS.get_ptr_mut(process)
}

/// One process must not use up the rows of all.
#[inline(always)]
fn may_add_row(process: &ProcessKey) -> bool {
    match budget(process) {
        // SAFETY: a valid map value.
        Some(budget) => {
            (unsafe { atomic::fetch_add(&raw mut (*budget).rows, 1) }) < settings::sites_per_process().into()
        }
        None => true,
    }
}
