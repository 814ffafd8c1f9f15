//! Kernel tasks: fields by offsets that the loader took from the kernel's BTF.

use crate::{
    maps::{Birth, TASKS},
    settings,
};
use aya_ebpf::{
    bindings::task_struct,
    helpers::{
        bpf_get_current_task_btf, bpf_probe_read_kernel, generated::bpf_task_pt_regs,
        generated::bpf_task_storage_get,
    },
};
use leak_agent_common::{key::ProcessKey, settings::NO_FIELD};

/// A kernel thread.
pub(crate) const PF_KTHREAD: u32 = 0x0020_0000;
/// A worker that the kernel runs inside a user process: io_uring's, or (6.4) any other.
pub(crate) const PF_WORKER: u32 = 0x10 | 0x4000;

/// A `task_struct` that the verifier trusts: a tracepoint's argument, an iterator's task, or the current one.
#[derive(Clone, Copy)]
pub(crate) struct Task(*const u8);

/// User registers that unwinding needs.
pub(crate) struct UserRegs {
    pub(crate) ip: u64,
    pub(crate) sp: u64,
    pub(crate) bp: u64,
}

impl Task {
    /// The running task.
    #[inline(always)]
    pub(crate) fn current() -> Self {
        // SAFETY: no arguments, never null.
        Self(unsafe { bpf_get_current_task_btf() }.cast())
    }

    /// A tracepoint's or iterator's task.
    #[inline(always)]
    pub(crate) fn trusted(task: *const u8) -> Self {
        Self(task)
    }

    #[inline(always)]
    fn u32_at(self, offset: u32) -> u32 {
        if offset == NO_FIELD {
            return 0;
        }
        // SAFETY: the verifier checks this load against the kernel's BTF; the offset is a constant to it.
        unsafe { core::ptr::read_volatile(self.0.add(offset as usize).cast()) }
    }

    #[inline(always)]
    fn pointer_at(self, offset: u32) -> *const u8 {
        // SAFETY: as above.
        unsafe { core::ptr::read_volatile(self.0.add(offset as usize).cast()) }
    }

    #[inline(always)]
    pub(crate) fn pid(self) -> u32 {
        self.u32_at(settings::o_pid())
    }

    #[inline(always)]
    pub(crate) fn tgid(self) -> u32 {
        self.u32_at(settings::o_tgid())
    }

    #[inline(always)]
    pub(crate) fn flags(self) -> u32 {
        self.u32_at(settings::o_flags())
    }

    /// Low 32 bits of the image's number.
    #[inline(always)]
    pub(crate) fn exec_id(self) -> u32 {
        self.u32_at(settings::o_exec_id())
    }

    #[inline(always)]
    pub(crate) fn comm(self) -> [u8; 16] {
        let at = self
            .0
            .wrapping_add(settings::o_comm() as usize)
            .cast::<[u8; 16]>();
        // SAFETY: reads 16 bytes of kernel memory, faults are an error.
        unsafe { bpf_probe_read_kernel(at) }.unwrap_or_default()
    }

    /// The process it belongs to.
    #[inline(always)]
    pub(crate) fn process(self) -> ProcessKey {
        let leader = Self(self.pointer_at(settings::o_leader()));
        ProcessKey {
            start_boottime: leader.start_boottime(),
            tgid: self.tgid(),
            pad: 0,
        }
    }

    /// What it waits as; 0 = it runs, or may.
    #[inline(always)]
    pub(crate) fn state(self) -> u32 {
        self.u32_at(settings::o_state())
    }

    /// How often it gave up its CPU, and how often that was taken from it.
    #[inline(always)]
    pub(crate) fn switches(self) -> (u64, u64) {
        // SAFETY: the verifier checks these loads against the kernel's BTF.
        let word =
            |offset: u32| unsafe { core::ptr::read_volatile(self.0.add(offset as usize).cast::<u64>()) };
        (word(settings::o_voluntary()), word(settings::o_involuntary()))
    }

    #[inline(always)]
    pub(crate) fn start_boottime(self) -> u64 {
        // SAFETY: the verifier checks this load against the kernel's BTF, also behind a pointer that was loaded
        // itself; a fault reads as 0.
        unsafe { core::ptr::read_volatile(self.0.add(settings::o_start() as usize).cast()) }
    }

    /// Whether no thread of its process is left that has not begun to exit.
    #[inline(always)]
    pub(crate) fn group_dead(self) -> bool {
        let signal = self.pointer_at(settings::o_signal());
        let at = signal
            .wrapping_add(settings::o_signal_live() as usize)
            .cast::<i32>();
        // SAFETY: as above.
        matches!(unsafe { bpf_probe_read_kernel(at) }, Ok(0))
    }

    /// What is known of it; `None` if nothing is, or no memory could be had for it.
    #[inline(always)]
    pub(crate) fn birth(self, create: bool) -> Option<*mut Birth> {
        let map = (&raw const TASKS).cast_mut().cast();
        let task = self.0.cast_mut().cast::<task_struct>().cast();
        // SAFETY: the map is a task storage, the task is one the verifier trusts, no initial value.
        let value = unsafe { bpf_task_storage_get(map, task, core::ptr::null_mut(), u64::from(create)) };
        (!value.is_null()).then_some(value.cast())
    }

    /// The registers with which it entered the kernel.
    #[inline(always)]
    pub(crate) fn user_regs(self) -> UserRegs {
        // SAFETY: the task is one the verifier trusts; the result is a `pt_regs` to it.
        let regs = unsafe { bpf_task_pt_regs(self.0.cast_mut().cast()) } as *const u64;
        // SAFETY: loads inside `struct pt_regs` of x86-64: rbp is word 4, rip 16, rsp 19.
        unsafe {
            UserRegs {
                bp: core::ptr::read_volatile(regs.add(4)),
                ip: core::ptr::read_volatile(regs.add(16)),
                sp: core::ptr::read_volatile(regs.add(19)),
            }
        }
    }

    /// Number of the system call with which it entered the kernel; all ones = it entered otherwise.
    #[inline(always)]
    pub(crate) fn system_call(self) -> u64 {
        // SAFETY: as above.
        let regs = unsafe { bpf_task_pt_regs(self.0.cast_mut().cast()) } as *const u64;
        // SAFETY: a load inside `struct pt_regs` of x86-64: orig_rax is word 15.
        unsafe { core::ptr::read_volatile(regs.add(15)) }
    }
}
