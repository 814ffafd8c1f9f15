//! tokio tasks: one program at all points of a plan; the cookie says which.

use crate::{
    count::{FINISHED, SPAWNED, add_hooked, bump},
    kernel::{Task, UserRegs},
    maps::{PLANS, POINTS},
    ring, stack,
};
use aya_ebpf::{
    EbpfContext,
    helpers::generated::{bpf_get_attach_cookie, bpf_probe_read_user},
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

/// With less than 64 bytes of stack, kernel 6.18 runs this on the kernel's own stack, where a read of user
/// memory passes fewer checks: the site is read right into the key, and what is rare is not inlined.
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
    let mut key = SiteKey {
        process: task.process(),
        site: point.site,
        plan: point.plan,
        exec_id: task.exec_id(),
        runtime: point.runtime,
        caller: 0,
    };
    if point.from != from::CONSTANT && !find_site(ctx, point, &mut key.site) {
        bump(Counter::UnreadableHeader);
        key.site = site::OTHER;
    }
    let delta = if point.role == role::SPAWN {
        SPAWNED
    } else {
        FINISHED
    };
    let wanted = add_hooked(ctx, &key, delta)?;
    if wanted.look && point.role == role::SPAWN {
        tell(ctx, &key, point.vaddr);
    }
    ring::stream(&key, point.role)
}

/// Tells who created a task. What keeps it from that is counted, and keeps from nothing else.
#[inline(never)]
fn tell(ctx: &ProbeContext, key: &SiteKey, vaddr: u64) {
    let ip = register::<128>(ctx);
    let regs = UserRegs {
        ip,
        sp: register::<152>(ctx),
        bp: register::<32>(ctx),
    };
    if let Err(counter) = stack::tell(key, &regs, ip.wrapping_sub(vaddr)) {
        bump(counter);
    }
}

/// The site, out of a register or the task's header; `false` if the header cannot be read.
#[inline(always)]
fn find_site(ctx: &ProbeContext, point: &Point, site: &mut u64) -> bool {
    *site = numbered_register(ctx, point.reg);
    if point.from == from::HEADER {
        if point.derefs != 0 && !read_user(site, *site) {
            return false;
        }
        if !read_user(site, site.wrapping_add(point.field.into())) {
            return false;
        }
    }
    // The kernel has set the instruction pointer back to the probed instruction.
    let bias = register::<128>(ctx).wrapping_sub(point.vaddr);
    *site = site.wrapping_sub(bias);
    true
}

/// Reads a word of user memory; `false` if there is none.
#[inline(always)]
fn read_user(word: &mut u64, at: u64) -> bool {
    // SAFETY: writes the word; a fault is an error.
    unsafe { bpf_probe_read_user((&raw mut *word).cast(), 8, at as *const _) == 0 }
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
