//! What is rare goes into the ring; a record that does not fit is counted by kind.

use crate::{
    atomic,
    count::bump,
    kernel::Task,
    maps::{RING, SEQUENCES},
    settings,
};
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use leak_agent_common::{
    counter::Counter,
    key::{ProcessKey, SiteKey},
    record::{Header, ProcessRecord, StreamRecord, kind},
};

/// `CLOCK_BOOTTIME` in nanoseconds.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// The head of a record.
#[inline(always)]
pub(crate) fn header(kind: u32, process: ProcessKey, exec_id: u32) -> Header {
    Header {
        kind,
        exec_id,
        at: now(),
        process,
    }
}

/// Tells of a process: `task` is any task of it.
#[inline(always)]
pub(crate) fn process(kind: u32, task: Task, process: ProcessKey, other: ProcessKey) -> Result<(), Counter> {
    let mut entry = RING
        .reserve::<ProcessRecord>(0)
        .ok_or(Counter::LostProcessRecord)?;
    entry.write(ProcessRecord {
        header: header(kind, process, task.exec_id()),
        other,
        comm: task.comm(),
    });
    entry.submit(0);
    bump(Counter::RingRecords);
    Ok(())
}

/// One in N spawns and finishes, if somebody asked for them.
#[inline(always)]
pub(crate) fn stream(key: &SiteKey, role: u8) -> Result<(), Counter> {
    if settings::stream_every() == 0 {
        return Ok(());
    }
    send(key, role)
}

/// The rare half of [`stream`].
#[inline(never)]
fn send(key: &SiteKey, role: u8) -> Result<(), Counter> {
    let Some(sequence) = SEQUENCES.get_ptr_mut(1) else {
        return Ok(());
    };
    // SAFETY: a valid map value of this CPU.
    let number = unsafe { atomic::fetch_add(sequence, 1) };
    if number % u64::from(settings::stream_every()).max(1) != 0 {
        return Ok(());
    }
    let mut entry = RING.reserve::<StreamRecord>(0).ok_or(Counter::LostStreamRecord)?;
    let header = header(kind::STREAM, key.process, key.exec_id);
    entry.write(StreamRecord {
        header,
        site: *key,
        role: role.into(),
        pad: 0,
    });
    entry.submit(0);
    bump(Counter::RingRecords);
    Ok(())
}
