//! OS threads: birth, death, and the walk over those that were there before us.
//!
//! Exactly once, without a race: exit and birth are attached first, then the walk runs. Each task carries one
//! word, and whoever moves it from UNKNOWN to COUNTED counts the task.

use crate::{
    atomic,
    count::{FINISHED, FOUND, SPAWNED, Sight, add, bump},
    kernel::{PF_KTHREAD, PF_WORKER, Task},
    maps::{SWITCHES, state},
    ring, stack, walk,
};
use aya_ebpf::{EbpfContext, macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::debug;
use core::ffi::c_void;
use leak_agent_common::{
    counter::Counter,
    key::{ProcessKey, SiteKey, runtime, site},
    record::kind,
};

const CLONE_THREAD: u64 = 0x0001_0000;

/// The key of a thread's spawn site.
#[inline(always)]
pub(crate) fn thread_site(process: ProcessKey, site: u64) -> SiteKey {
    SiteKey {
        process,
        site,
        plan: 0,
        exec_id: 0,
        runtime: runtime::THREAD,
        caller: 0,
    }
}

/// Whether the baseline walk is complete: from then on every living thread has its storage.
#[inline(always)]
fn walked() -> bool {
    SWITCHES.get(0).is_some_and(|word| *word == 1)
}

/// `task_newtask(task, clone_flags)`: runs in the creator; the new task cannot fail any more and does not run yet.
#[btf_tracepoint(function = "task_newtask")]
pub(crate) fn task_newtask(ctx: BtfTracePointContext) -> i32 {
    if let Err(counter) = newtask(&ctx) {
        bump(counter);
    }
    0
}

#[inline(always)]
fn newtask(ctx: &BtfTracePointContext) -> Result<(), Counter> {
    let task = Task::trusted(ctx.arg::<*const u8>(0));
    let flags = task.flags();
    if flags & PF_KTHREAD != 0 {
        return Ok(());
    }
    let process = task.process();
    let is_thread = ctx.arg::<u64>(1) & CLONE_THREAD != 0;
    let birth = task.birth(true);
    let Some(birth) = birth else {
        bump(Counter::LostTaskStorage);
        add(ctx, &thread_site(process, site::UNRESOLVED), SPAWNED)?;
        return tell_fork(is_thread, task, process);
    };
    // SAFETY: a valid map value. Losing here means that the walk has counted the task already.
    if unsafe { atomic::replace(&raw mut (*birth).state, state::UNKNOWN, state::COUNTED) } {
        let number = if !is_thread {
            site::MAIN
        } else if flags & PF_WORKER != 0 {
            site::KERNEL_WORKER
        } else {
            0
        };
        if number != 0 {
            // SAFETY: as above; the task does not run yet, so nobody reads it.
            unsafe { atomic::swap(&raw mut (*birth).site, number) };
            add(ctx, &thread_site(process, number), SPAWNED)?;
        } else {
            let creator = Task::current();
            let regs = creator.user_regs();
            let exec_id = creator.exec_id();
            let known = walk::recognise(process, exec_id, &regs);
            let number = known
                .or_else(|| walk::ticket(&process))
                .unwrap_or(site::UNRESOLVED);
            // SAFETY: as above.
            unsafe { atomic::swap(&raw mut (*birth).site, number) };
            let key = thread_site(process, number);
            let sight = add(ctx, &key, SPAWNED)?;
            let ticket = number & site::TICKET != 0;
            let first = known.is_some() && sight == Sight::First;
            if ticket || (first && stack::may_send(&process, stack::OF_THREAD)) {
                stack::send(&key, exec_id, &regs, 0)?;
            }
        }
    }
    tell_fork(is_thread, task, process)
}

#[inline(always)]
fn tell_fork(is_thread: bool, task: Task, process: ProcessKey) -> Result<(), Counter> {
    if is_thread {
        return Ok(());
    }
    ring::process(kind::FORK, task, process, Task::current().process())
}

/// `sched_process_exit(task)`: runs in the task.
#[btf_tracepoint(function = "sched_process_exit")]
pub(crate) fn task_exit(ctx: BtfTracePointContext) -> i32 {
    if let Err(counter) = exit(&ctx) {
        bump(counter);
    }
    0
}

#[inline(always)]
fn exit(ctx: &BtfTracePointContext) -> Result<(), Counter> {
    let task = Task::trusted(ctx.arg::<*const u8>(0));
    if task.flags() & PF_KTHREAD != 0 {
        return Ok(());
    }
    let process = task.process();
    let walked = walked();
    match task.birth(!walked) {
        Some(birth) => {
            // SAFETY: a valid map value.
            let (old, number) =
                unsafe { (atomic::swap(&raw mut (*birth).state, state::GONE), (*birth).site) };
            if old == state::COUNTED {
                add(ctx, &thread_site(process, number), FINISHED)?;
            } else {
                bump(Counter::UnknownThreadExits);
            }
        }
        // Its storage could not be had at its birth: it was counted as unresolved.
        None if walked => {
            add(ctx, &thread_site(process, site::UNRESOLVED), FINISHED)?;
        }
        None => {
            bump(Counter::UnknownThreadExits);
        }
    }
    if task.group_dead() {
        ring::process(kind::EXIT, task, process, process)
    } else {
        Ok(())
    }
}

/// Context of a task iterator.
#[repr(C)]
struct IterContext {
    meta: *mut c_void,
    task: *const u8,
}

/// What the iterator program hands to the logger.
struct Iteration(*mut c_void);

impl EbpfContext for Iteration {
    fn as_ptr(&self) -> *mut c_void {
        self.0
    }
}

/// The walk over all tasks. The kernel may show a task twice: the word makes it count once.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub(crate) fn task_walk(ctx: *mut c_void) -> i32 {
    let iteration = Iteration(ctx);
    // SAFETY: the context of this program type; `task` is null at the end.
    let task = unsafe { (*ctx.cast::<IterContext>()).task };
    if task.is_null() {
        debug!(&iteration, "baseline walk complete");
        return 0;
    }
    if let Err(counter) = found(&iteration, Task::trusted(task)) {
        bump(counter);
    }
    0
}

#[inline(always)]
fn found(ctx: &Iteration, task: Task) -> Result<(), Counter> {
    if task.flags() & PF_KTHREAD != 0 {
        return Ok(());
    }
    let birth = task.birth(true).ok_or(Counter::LostTaskStorage)?;
    let number = if task.pid() == task.tgid() {
        site::MAIN
    } else if task.flags() & PF_WORKER != 0 {
        site::KERNEL_WORKER
    } else {
        site::BASELINE
    };
    // SAFETY: a valid map value. The site is written only while nobody has counted the task, and before the
    // state says that somebody has.
    unsafe {
        if (*birth).state != state::UNKNOWN {
            return Ok(());
        }
        atomic::replace(&raw mut (*birth).site, 0, number);
        if !atomic::replace(&raw mut (*birth).state, state::UNKNOWN, state::COUNTED) {
            return Ok(());
        }
    }
    add(ctx, &thread_site(task.process(), number), FOUND)?;
    Ok(())
}
