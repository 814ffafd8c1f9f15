//! Processes: a new image.

use crate::{
    atomic,
    count::{FINISHED, UNFINISHED, add, bump},
    kernel::Task,
    maps::state,
    probes::thread::thread_site,
    ring,
};
use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use leak_agent_common::{counter::Counter, key::site, record::kind};

/// `sched_process_exec(task, old_pid, bprm)`: runs in the task, after all its siblings have passed their exit.
#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn task_exec(ctx: BtfTracePointContext) -> i32 {
    if let Err(counter) = exec(&ctx) {
        bump(counter);
    }
    0
}

#[inline(always)]
fn exec(ctx: &BtfTracePointContext) -> Result<(), Counter> {
    let task = Task::trusted(ctx.arg::<*const u8>(0));
    let process = task.process();
    if let Some(birth) = task.birth(false) {
        // SAFETY: a valid map value; only this task writes to it now.
        let (counted, from) = unsafe { ((*birth).state == state::COUNTED, (*birth).site) };
        // A thread that is not the leader takes the leader's place; the leader was counted as finished. So
        // the thread's own site has lost it, and the main thread goes on.
        if counted && from != site::MAIN {
            // SAFETY: as above.
            unsafe { atomic::swap(&raw mut (*birth).site, site::MAIN) };
            add(ctx, &thread_site(process, from), FINISHED)?;
            add(ctx, &thread_site(process, site::MAIN), UNFINISHED)?;
        }
    }
    ring::process(kind::EXEC, task, process, process)
}
