//! tokio tasks: one program at all points of a plan; the cookie says which.

use crate::{
    count::{FINISHED, SPAWNED, add, bump},
    kernel::Task,
    maps::{PLANS, POINTS},
    ring,
};
use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_probe_read_user, generated::bpf_get_attach_cookie},
    macros::uprobe,
    programs::ProbeContext,
};
use core::arch::asm;
use leak_agent_common::{
    counter::Counter,
    key::{SiteKey, site},
    point::{Point, from, role},
};

/// A spawn or a finish.
#[uprobe]
pub(crate) fn tokio_hook(ctx: ProbeContext) -> u32 {
    if let Err(counter) = hook(&ctx) {
        bump(counter);
    }
    0
}

/// Does nothing: the price of a probe itself, for the benchmark.
#[uprobe]
pub(crate) fn empty_hook(_ctx: ProbeContext) -> u32 {
    0
}

#[inline(always)]
fn hook(ctx: &ProbeContext) -> Result<(), Counter> {
    // SAFETY: the context of this program.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let point = POINTS.get(cookie as u32).ok_or(Counter::UnknownPoint)?;
    let plan = PLANS.get(point.plan).ok_or(Counter::UnknownPoint)?;
    if plan.armed == 0 {
        return Err(Counter::UnarmedHits);
    }
    let task = Task::current();
    let number = site_number(ctx, point).unwrap_or_else(|| {
        bump(Counter::UnreadableHeader);
        site::OTHER
    });
    let key = SiteKey {
        process: task.process(),
        site: number,
        plan: point.plan,
        exec_id: task.exec_id(),
        runtime: point.runtime,
        pad: 0,
    };
    add(
        ctx,
        &key,
        if point.role == role::SPAWN {
            SPAWNED
        } else {
            FINISHED
        },
    )?;
    ring::stream(&key, point.role)
}

/// The site, as the point says; `None` if the header cannot be read.
#[inline(always)]
fn site_number(ctx: &ProbeContext, point: &Point) -> Option<u64> {
    if point.from == from::CONSTANT {
        return Some(point.site);
    }
    // The kernel has set the instruction pointer back to the probed instruction.
    let bias = register::<128>(ctx).wrapping_sub(point.vaddr);
    let mut value = numbered_register(ctx, point.reg);
    if point.from == from::HEADER {
        if point.derefs != 0 {
            // SAFETY: a read of user memory, faults are an error.
            value = unsafe { bpf_probe_read_user(value as *const u64) }.ok()?;
        }
        // SAFETY: as above.
        value = unsafe { bpf_probe_read_user(value.wrapping_add(point.field.into()) as *const u64) }.ok()?;
    }
    Some(value.wrapping_sub(bias))
}

/// The word of `struct pt_regs` at this offset. Assembly, because the verifier wants constant offsets into
/// the context and the optimiser would merge the loads of [`numbered_register`] into one at a computed address.
#[inline(always)]
fn register<const OFFSET: usize>(ctx: &ProbeContext) -> u64 {
    let value: u64;
    // SAFETY: a load inside the context.
    unsafe {
        asm!("{value} = *(u64 *)({ctx} + {offset})", value = out(reg) value, ctx = in(reg) ctx.as_ptr(), offset = const OFFSET, options(nostack, readonly, pure));
    }
    value
}

/// A register by its number in x86-64 machine code.
#[inline(always)]
fn numbered_register(ctx: &ProbeContext, number: u8) -> u64 {
    match number {
        0 => register::<80>(ctx),
        1 => register::<88>(ctx),
        2 => register::<96>(ctx),
        3 => register::<40>(ctx),
        4 => register::<152>(ctx),
        5 => register::<32>(ctx),
        6 => register::<104>(ctx),
        7 => register::<112>(ctx),
        8 => register::<72>(ctx),
        9 => register::<64>(ctx),
        10 => register::<56>(ctx),
        11 => register::<48>(ctx),
        12 => register::<24>(ctx),
        13 => register::<16>(ctx),
        14 => register::<8>(ctx),
        _ => register::<0>(ctx),
    }
}
