//! Creation stacks: copied from the memory of whoever creates a task, and sent through the ring.

use crate::{
    atomic,
    count::{budget, bump},
    kernel::UserRegs,
    maps::{RING, SCRATCH, Scratch, TOLD},
    ring, settings,
};
use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::generated::{bpf_probe_read_user as read_user_raw, bpf_ringbuf_output},
};
use leak_agent_common::{
    counter::Counter,
    key::{ProcessKey, SiteKey, site},
    record::{STACK_CUT, StackRecord, kind},
    settings::{STACK_CAP, STACK_PIECE},
};

/// Whose budget a stack is of: threads, whose counts wait for their stacks, have one of their own.
pub(crate) const OF_THREAD: usize = 0;
/// As [`OF_THREAD`], of hooked sites.
pub(crate) const OF_SITE: usize = 1;

/// Sends the stack of whoever created a task of this hooked site, unless one was sent before. If it cannot be sent, the
/// next one that is worth a look tries again.
#[inline(always)]
pub(crate) fn tell(key: &SiteKey, regs: &UserRegs, bias: u64) -> Result<(), Counter> {
    if key.site < site::RESERVED || TOLD.insert(key, &1, BPF_NOEXIST.into()).is_err() {
        return Ok(());
    }
    let sent = if may_send(&key.process, OF_SITE) {
        send(key, key.exec_id, regs, bias)
    } else {
        Err(Counter::StacksRateLimited)
    };
    if sent.is_err() {
        let _ = TOLD.remove(key); // another CPU may have been first
    }
    sent
}

/// Counts one stack of this process; says whether it may be sent. `of`: [`OF_THREAD`] or [`OF_SITE`].
#[inline(always)]
pub(crate) fn may_send(process: &ProcessKey, of: usize) -> bool {
    let Some(budget) = budget(process) else {
        return true;
    };
    let second = ring::now() >> 30;
    // SAFETY: a valid map value. A race between two CPUs lets a few stacks more through, no harm.
    unsafe {
        if (*budget).second != second {
            (*budget).second = second;
            (*budget).stacks = [0; 2];
        }
        atomic::fetch_add(&raw mut (*budget).stacks[of], 1) < settings::stacks_per_sec().into()
    }
}

/// Sends the stack of whoever created a task of this site. `exec_id`: the creator's image; `bias`: load bias of the file
/// that the site's number is of.
#[inline(always)]
pub(crate) fn send(site: &SiteKey, exec_id: u32, regs: &UserRegs, bias: u64) -> Result<(), Counter> {
    let scratch = SCRATCH.get_ptr_mut(0).ok_or(Counter::StackScratchBusy)?;
    // SAFETY: a valid map value of this CPU.
    if (unsafe { atomic::swap(&raw mut (*scratch).busy, 1) }) != 0 {
        return Err(Counter::StackScratchBusy);
    }
    let result = fill_and_send(scratch, site, exec_id, regs, bias);
    // SAFETY: as above.
    unsafe { atomic::swap(&raw mut (*scratch).busy, 0) };
    result
}

#[inline(always)]
fn fill_and_send(
    scratch: *mut Scratch,
    site: &SiteKey,
    exec_id: u32,
    regs: &UserRegs,
    bias: u64,
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
        header: ring::header(kind::STACK, site.process, exec_id),
        site: *site,
        ip: regs.ip,
        sp: regs.sp,
        bp: regs.bp,
        bias,
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
