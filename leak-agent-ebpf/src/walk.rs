//! The spawn site of a thread: its creator's stack, recognised by learned frame sizes.

use crate::{
    atomic,
    count::bump,
    kernel::UserRegs,
    maps::{FRAMES, SEQUENCES},
    stack,
};
use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_probe_read_user};
use leak_agent_common::{
    counter::Counter,
    key::{FRAME_STOP, FrameKey, ProcessKey, WALK_SEED, site, walk_site, walk_step},
    settings::WALK_FRAMES,
};

/// Walks the stack by learned frame sizes. `None`: a frame is not known (yet).
#[inline(always)]
pub(crate) fn recognise(process: ProcessKey, exec_id: u32, regs: &UserRegs) -> Option<u64> {
    let mut frame = FrameKey {
        process,
        pc: regs.ip,
        exec_id,
        pad: 0,
    };
    let mut cfa = regs.sp;
    let mut key = WALK_SEED;
    for _ in 0..WALK_FRAMES {
        // SAFETY: values of this map are only replaced whole.
        let size = *unsafe { FRAMES.get(&frame) }?;
        key = walk_step(key, frame.pc);
        if size == FRAME_STOP {
            break;
        }
        cfa = cfa.wrapping_add(size.into());
        // SAFETY: a read of user memory, faults are an error.
        frame.pc = unsafe { bpf_probe_read_user(cfa.wrapping_sub(8) as *const u64) }.ok()?;
    }
    Some(walk_site(key))
}

/// A number for one thread whose site is not known; `None`: its process has used up its stacks.
#[inline(always)]
pub(crate) fn ticket(process: &ProcessKey) -> Option<u64> {
    if !stack::may_send(process, stack::OF_THREAD) {
        bump(Counter::StacksRateLimited);
        return None;
    }
    let sequence = SEQUENCES.get_ptr_mut(0)?;
    // SAFETY: a valid map value of this CPU.
    let number = unsafe { atomic::fetch_add(sequence, 1) };
    // SAFETY: no arguments.
    let cpu = u64::from(unsafe { bpf_get_smp_processor_id() });
    Some(site::TICKET | cpu << 44 | number & ((1 << 44) - 1))
}
