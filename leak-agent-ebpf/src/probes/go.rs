//! Goroutines: one program at the two points of a plan, in the functions of the Go runtime that begin and end one.
//!
//! Both take what is needed here in the same registers in every version of Go that is followed (1.19 to 1.27).

use crate::{
    count::{FINISHED, SPAWNED, add_caller, add_hooked, bump, library},
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
use core::{mem::MaybeUninit, ptr::read_volatile};
use leak_agent_common::{
    counter::Counter,
    key::{SiteKey, site},
    point::{Point, role},
    settings::LIBRARY_FRAMES,
};

/// A goroutine begins or ends.
#[uprobe]
pub(crate) fn go_hook(ctx: ProbeContext) -> u32 {
    if let Err(counter) = hook(&ctx) {
        bump(counter);
    }
    0
}

/// What the runtime's `g` holds in a row, in words: the address behind the `go` statement, one of no interest, and the address
/// of the function that was started.
const ORIGIN: u32 = 24;

#[inline(always)]
fn hook(ctx: &ProbeContext) -> Result<(), Counter> {
    // SAFETY: the context of this program.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let point = POINTS.get(cookie as u32).ok_or(Counter::UnknownPoint)?;
    let plan = PLANS.get(point.plan).ok_or(Counter::UnknownPoint)?;
    if plan.armed == 0 {
        return Err(Counter::UnarmedHits);
    }
    // The key's own memory takes what is read of the process: with a buffer beside it the program would need so much stack that
    // the kernel (6.18) gives it a private one, which every access to memory of the process then pays for.
    let mut key = MaybeUninit::<SiteKey>::uninit();
    let site = match find_site(ctx, point, key.as_mut_ptr().cast()) {
        Some(site) => site,
        None => {
            bump(Counter::UnreadableHeader);
            site::OTHER
        }
    };
    let task = Task::current();
    let key = key.write(SiteKey {
        process: task.process(),
        site,
        plan: point.plan,
        exec_id: task.exec_id(),
        runtime: point.runtime,
        caller: 0,
    });
    let delta = if point.role == role::SPAWN {
        SPAWNED
    } else {
        FINISHED
    };
    let wanted = add_hooked(ctx, key, delta)?;
    if point.role == role::SPAWN {
        if wanted.look
            && let Err(counter) = tell(ctx, key, point)
        {
            bump(counter);
        }
        if wanted.by_caller
            && let Err(counter) = by_caller(ctx, key, point)
        {
            bump(counter);
        }
    }
    ring::stream(key, point.role)
}

/// Tells who created a goroutine: the stack is that of the goroutine that said `go`, not the one that its thread is on.
#[inline(never)]
fn tell(ctx: &ProbeContext, key: &SiteKey, point: &Point) -> Result<(), Counter> {
    let words = ctx.as_ptr().cast::<u64>();
    // SAFETY: words of `struct pt_regs`: rbx, which has the creator's `g`, and the instruction pointer.
    let (creator, ip) = unsafe { (*words.add(5), *words.add(16)) };
    let at = creator.wrapping_add(point.field.into());
    let mut saved = [0; 2];
    let mut bp = 0;
    // SAFETY: write the words; a fault is an error.
    let failed = unsafe {
        bpf_probe_read_user((&raw mut saved).cast(), 16, at as *const _)
            | bpf_probe_read_user((&raw mut bp).cast(), 8, frame_pointer(creator, point) as *const _)
    };
    if failed != 0 {
        return Err(Counter::UnreadableCreator);
    }
    let [sp, pc] = saved;
    let regs = UserRegs { ip: pc, sp, bp };
    stack::tell(key, &regs, ip.wrapping_sub(point.vaddr))
}

/// Frames of the runtime between the saved registers and the statement, at most: of those that begin a goroutine.
const GLUE_FRAMES: usize = 3;

/// Counts a goroutine that a library began for the first caller outside of it: by the frame pointers, which all code of Go has.
#[inline(never)]
fn by_caller(ctx: &ProbeContext, key: &SiteKey, point: &Point) -> Result<(), Counter> {
    let words = ctx.as_ptr().cast::<u64>();
    // SAFETY: words of `struct pt_regs`, as above.
    let (creator, ip) = unsafe { (*words.add(5), *words.add(16)) };
    let text = ip.wrapping_sub(point.vaddr).wrapping_add(point.site);
    let library = library(key).ok_or(Counter::UnreadableCreator)?;
    // What a frame pointer leads to: that of the function outside, and the address to which this one returns.
    let mut frame = [frame_pointer(creator, point), 0];
    // SAFETY: writes a word; a fault is an error.
    if unsafe { bpf_probe_read_user((&raw mut frame).cast(), 8, frame[0] as *const _) } != 0 {
        return Err(Counter::UnreadableCreator);
    }
    let mut in_library = false;
    for depth in 0..GLUE_FRAMES + LIBRARY_FRAMES {
        // SAFETY: writes both words; a fault is an error.
        if unsafe { bpf_probe_read_user((&raw mut frame).cast(), 16, frame[0] as *const _) } != 0 {
            return Err(Counter::UnreadableCreator);
        }
        let caller = frame[1].wrapping_sub(text);
        if caller >> 32 != 0 {
            return Err(Counter::UnreadableCreator);
        }
        if !in_library {
            in_library = caller == key.site >> 32;
            if !in_library && depth + 1 >= GLUE_FRAMES {
                return Err(Counter::UnreadableCreator);
            }
            continue;
        }
        let caller = caller as u32;
        let inside = |[from, to]: [u32; 2]| from <= caller && caller < to;
        let [a, b, c, d] = library.ranges;
        if !(inside(a) || inside(b) || inside(c) || inside(d)) {
            add_caller(key, caller);
            return Ok(());
        }
    }
    Ok(())
}

/// Where the creator's frame pointer was saved.
#[inline(always)]
fn frame_pointer(creator: u64, point: &Point) -> u64 {
    let distance = u64::from(point.field) + 8 * u64::from(point.reg);
    creator.wrapping_add(distance)
}

/// The statement and the function, each as a distance from the text's beginning; `None` if they cannot be read or are not
/// there. `buffer`: at least [`ORIGIN`] bytes, whose contents are lost.
#[inline(always)]
fn find_site(ctx: &ProbeContext, point: &Point, buffer: *mut u64) -> Option<u64> {
    let regs = ctx.as_ptr().cast::<u64>();
    // SAFETY: a word of `struct pt_regs`: rax.
    let rax = unsafe { *regs.add(10) };
    let (statement, function) = if point.role == role::SPAWN {
        // rax is the function value: its first word is the code.
        // SAFETY: writes one word of the buffer; a fault is an error.
        if unsafe { bpf_probe_read_user(buffer.cast(), 8, rax as *const _) } != 0 {
            return None;
        }
        // SAFETY: rcx, and the word that was read. Volatile, or both ways become one load through a changed pointer to the
        // context, which the verifier refuses.
        unsafe { (read_volatile(regs.add(11)), *buffer) }
    } else {
        // rax is the goroutine's `g`.
        let at = rax.wrapping_add(point.field.into());
        // SAFETY: writes three words of the buffer; a fault is an error.
        if unsafe { bpf_probe_read_user(buffer.cast(), ORIGIN, at as *const _) } != 0 {
            return None;
        }
        // SAFETY: two of the words that were read.
        unsafe { (*buffer, *buffer.add(2)) }
    };
    // SAFETY: the instruction pointer, which the kernel has set back to the probed instruction. Registers are looked at when
    // they are needed: kept across a call, they would take stack.
    let ip = unsafe { read_volatile(regs.add(16)) };
    // From the run-time address of the text's beginning.
    let text = ip.wrapping_sub(point.vaddr).wrapping_add(point.site);
    let statement = statement.wrapping_sub(text);
    let function = function.wrapping_sub(text);
    if (statement | function) >> 32 != 0 || statement == 0 {
        return None;
    }
    Some((statement << 32) | function)
}
