//! The threads of one process, with the registers that unwinding begins from: for dumps. Nothing is counted, nothing is kept.

use crate::{kernel::Task, settings};
use aya_ebpf::{bindings::seq_file, helpers::generated::bpf_seq_write};
use core::ffi::c_void;
use leak_agent_common::thread::ThreadState;

/// `struct bpf_iter_meta`, as far as it is needed.
#[repr(C)]
struct Meta {
    seq: *mut seq_file,
}

/// Context of a task iterator.
#[repr(C)]
struct IterContext {
    meta: *const Meta,
    task: *const u8,
}

/// Tells of each thread of the process of [`settings::only_process`]. A record that does not fit into the reader's buffer is written
/// again.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub(crate) fn task_regs(ctx: *mut c_void) -> i32 {
    let ctx = ctx.cast::<IterContext>();
    // SAFETY: the context of this program type; `task` is null at the end.
    let (meta, task) = unsafe { ((*ctx).meta, (*ctx).task) };
    if task.is_null() {
        return 0;
    }
    let task = Task::trusted(task);
    if task.tgid() != settings::only_process() {
        return 0;
    }
    let regs = task.user_regs();
    let (voluntary, involuntary) = task.switches();
    let told = ThreadState {
        tid: task.pid(),
        state: task.state(),
        flags: task.flags(),
        pad: 0,
        voluntary,
        involuntary,
        start_boottime: task.start_boottime(),
        ip: regs.ip,
        sp: regs.sp,
        bp: regs.bp,
        call: task.system_call(),
        comm: task.comm(),
    };
    // SAFETY: the iterator's own file; the kernel reads the record before this returns.
    unsafe {
        bpf_seq_write(
            (*meta).seq,
            (&raw const told).cast_mut().cast(),
            size_of::<ThreadState>() as u32,
        );
    }
    0
}
