//! Goroutines: one program at the two points of a plan, in the functions of the Go runtime that begin and end one.
//!
//! Both take what is needed here in the same registers in every version of Go that is followed (1.19 to 1.27).

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
use leak_agent_common::{
    counter::Counter,
    key::{SiteKey, site},
    point::{Point, role},
};

/// A goroutine begins or ends.
#[uprobe]
pub(crate) fn go_hook(ctx: ProbeContext) -> u32 {
    if let Err(counter) = hook(&ctx) {
        bump(counter);
    }
    0
}

/// What the runtime's `g` holds in a row: the address behind the `go` statement, a word of no interest, and the address of
/// the function that was started.
#[repr(C)]
struct Origin {
    statement: u64,
    ancestors: u64,
    function: u64,
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
    let mut key = SiteKey {
        process: task.process(),
        site: site::OTHER,
        plan: point.plan,
        exec_id: task.exec_id(),
        runtime: point.runtime,
        pad: 0,
    };
    if !find_site(ctx, point, &mut key.site) {
        bump(Counter::UnreadableHeader);
    }
    let delta = if point.role == role::SPAWN {
        SPAWNED
    } else {
        FINISHED
    };
    let is_turn = add_hooked(ctx, &key, delta)?;
    if is_turn
        && point.role == role::SPAWN
        && let Err(counter) = tell(ctx, &key, point)
    {
        bump(counter);
    }
    ring::stream(&key, point.role)
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

/// Where the creator's frame pointer was saved.
#[inline(always)]
fn frame_pointer(creator: u64, point: &Point) -> u64 {
    let distance = u64::from(point.field) + 8 * u64::from(point.reg);
    creator.wrapping_add(distance)
}

/// The statement and the function, each as a distance from the text's beginning; `false` if they cannot be read or are
/// not there.
#[inline(always)]
fn find_site(ctx: &ProbeContext, point: &Point, site: &mut u64) -> bool {
    let regs = ctx.as_ptr().cast::<u64>();
    // SAFETY: words of `struct pt_regs`: rax, rcx and the instruction pointer, which the kernel has set back to the
    // probed instruction.
    let (rax, rcx, ip) = unsafe { (*regs.add(10), *regs.add(11), *regs.add(16)) };
    let mut origin = Origin {
        statement: rcx,
        ancestors: 0,
        function: 0,
    };
    let read = if point.role == role::SPAWN {
        // rax is the function value: its first word is the code.
        // SAFETY: writes one word; a fault is an error.
        unsafe { bpf_probe_read_user((&raw mut origin.function).cast(), 8, rax as *const _) }
    } else {
        // rax is the goroutine's `g`.
        let at = rax.wrapping_add(point.field.into());
        // SAFETY: writes the three words; a fault is an error.
        unsafe { bpf_probe_read_user((&raw mut origin).cast(), 24, at as *const _) }
    };
    if read != 0 {
        return false;
    }
    // From the run-time address of the text's beginning.
    let text = ip.wrapping_sub(point.vaddr).wrapping_add(point.site);
    let statement = origin.statement.wrapping_sub(text);
    let function = origin.function.wrapping_sub(text);
    if (statement | function) >> 32 != 0 || statement == 0 {
        return false;
    }
    *site = (statement << 32) | function;
    true
}
