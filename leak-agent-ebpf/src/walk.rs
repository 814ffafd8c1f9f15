//! The spawn site of a thread: its creator's stack, recognised by learned frame sizes, or copied.

use crate::{
    atomic,
    count::{budget, bump},
    kernel::UserRegs,
    maps::{FRAMES, RING, SCRATCH, SEQUENCES, Scratch},
    ring, settings,
};
use aya_ebpf::helpers::{
    bpf_get_smp_processor_id, bpf_probe_read_user,
    generated::{bpf_probe_read_user as read_user_raw, bpf_ringbuf_output},
};
use leak_agent_common::{
    counter::Counter,
    key::{FRAME_STOP, FrameKey, ProcessKey, WALK_SEED, site, walk_site, walk_step},
    record::{STACK_CUT, StackRecord, kind},
    settings::{STACK_CAP, STACK_PIECE, WALK_FRAMES},
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
    if !may_send_stack(process) {
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

/// Counts one stack of this process; says whether it may be sent.
#[inline(always)]
pub(crate) fn may_send_stack(process: &ProcessKey) -> bool {
    let Some(budget) = budget(process) else {
        return true;
    };
    let second = ring::now() >> 30;
    // SAFETY: a valid map value. A race between two CPUs lets a few stacks more through, no harm.
    unsafe {
        if (*budget).second != second {
            (*budget).second = second;
            (*budget).stacks = 0;
        }
        atomic::fetch_add(&raw mut (*budget).stacks, 1) < settings::stacks_per_sec().into()
    }
}

/// Sends the creator's stack.
#[inline(always)]
pub(crate) fn send_stack(
    process: ProcessKey,
    exec_id: u32,
    site: u64,
    regs: &UserRegs,
) -> Result<(), Counter> {
    let scratch = SCRATCH.get_ptr_mut(0).ok_or(Counter::StackScratchBusy)?;
    // SAFETY: a valid map value of this CPU.
    if (unsafe { atomic::swap(&raw mut (*scratch).busy, 1) }) != 0 {
        return Err(Counter::StackScratchBusy);
    }
    let result = fill_and_send(scratch, process, exec_id, site, regs);
    // SAFETY: as above.
    unsafe { atomic::swap(&raw mut (*scratch).busy, 0) };
    result
}

#[inline(always)]
fn fill_and_send(
    scratch: *mut Scratch,
    process: ProcessKey,
    exec_id: u32,
    site: u64,
    regs: &UserRegs,
) -> Result<(), Counter> {
    let start = regs.sp & !(STACK_PIECE as u64 - 1);
    let limit = settings::stack_bytes() as usize;
    let mut len = 0;
    // SAFETY: `busy` makes the scratch ours.
    let bytes = unsafe { (&raw mut (*scratch).bytes).cast::<u8>() };
    for piece in 0..STACK_CAP / STACK_PIECE {
        let at = piece * STACK_PIECE;
        if at >= limit {
            break;
        }
        // SAFETY: the piece is inside `bytes`; user memory that faults is an error.
        let failed = unsafe {
            read_user_raw(
                bytes.add(at).cast(),
                STACK_PIECE as u32,
                (start + at as u64) as *const core::ffi::c_void,
            )
        };
        if failed != 0 {
            break;
        }
        len = at + STACK_PIECE;
    }
    let record = StackRecord {
        header: ring::header(kind::STACK, process, exec_id),
        site,
        ip: regs.ip,
        sp: regs.sp,
        bp: regs.bp,
        stack_start: start,
        stack_len: len as u32,
        flags: if len >= limit { STACK_CUT } else { 0 },
    };
    // SAFETY: ours; `len` is at most STACK_CAP, which the mask shows to the verifier.
    let failed = unsafe {
        (&raw mut (*scratch).record).write(record);
        let size = size_of::<StackRecord>() + len.min(STACK_CAP);
        bpf_ringbuf_output(
            (&raw const RING).cast_mut().cast(),
            (&raw mut (*scratch).record).cast(),
            size as u64,
            0,
        )
    };
    if failed != 0 {
        return Err(Counter::LostStackRecord);
    }
    bump(Counter::RingRecords);
    Ok(())
}
