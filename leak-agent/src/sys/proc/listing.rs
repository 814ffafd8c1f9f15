//! Which processes there are, and what a number names.

use super::{ProcDir, ProcError, ProcessId, numbered, present};
use rustix::fs::{Mode, OFlags};

/// The most processes that a listing gives: more pids than any kernel hands out by default.
pub const PROCESSES_MAX: usize = 1 << 20;

/// What a number names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Named {
    /// A process that lives.
    Process(ProcessId),
    /// A thread of this process, and not its first.
    ThreadOf(u32),
    /// A kernel thread.
    KernelThread,
    /// A process that has ended and that its parent has not waited for.
    Zombie,
    /// Nothing, at the moment.
    Nobody,
}

/// What this number names. About 20 µs.
///
/// # Errors
///
/// It names something that nothing can be read of.
pub fn named(pid: u32) -> Result<Named, ProcError> {
    let Some(dir) = ProcDir::open(pid)? else {
        return Ok(Named::Nobody);
    };
    let (Some(stat), Some(tgid)) = (dir.stat()?, dir.tgid()?) else {
        return Ok(Named::Nobody);
    };
    // A main thread that ended before the others is a zombie until they have ended, too.
    let ended = matches!(stat.state, b'Z' | b'X') && stat.threads <= 1;
    Ok(match () {
        () if stat.kernel => Named::KernelThread,
        () if tgid != pid => Named::ThreadOf(tgid),
        () if ended => Named::Zombie,
        () => Named::Process(ProcessId {
            tgid: pid,
            start: stat.start,
        }),
    })
}

/// Processes that a scan found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// All that live, without kernel threads.
    pub processes: Vec<ProcessId>,
    /// How many there are that nothing can be read of.
    pub unreadable: u64,
}

/// Those of these numbers that name processes. About 20 µs each.
pub fn found(pids: impl IntoIterator<Item = u32>) -> Found {
    let mut found = Found::default();
    for pid in pids {
        match named(pid) {
            Ok(Named::Process(id)) => found.processes.push(id),
            Ok(_) => {}
            Err(_) => found.unreadable += 1,
        }
    }
    found
}

/// Pids of all processes, at most [`PROCESSES_MAX`], in no order.
///
/// # Errors
///
/// `/proc` itself cannot be listed.
pub fn process_ids() -> Result<Vec<u32>, ProcError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open("/proc", flags, Mode::empty());
    let Some(fd) = present(fd, "listing", 0)? else {
        return Ok(Vec::new());
    };
    numbered(&fd, PROCESSES_MAX, "listing", 0)
}

#[cfg(test)]
mod tests {
    use super::super::id_of;
    use super::*;

    /// We are in the listing, with our own start time, and numbers are told apart.
    #[test]
    fn numbers_name_this_process_its_threads_and_others() {
        let me = std::process::id();
        let id = id_of(me).unwrap().unwrap();
        assert!(found(process_ids().unwrap()).processes.contains(&id));
        let (tx, rx) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            tell.send(rustix::thread::gettid().as_raw_nonzero().get())
                .unwrap();
            rx.recv()
        });
        let tid = u32::try_from(told.recv().unwrap()).unwrap();
        assert_eq!(named(tid).unwrap(), Named::ThreadOf(me));
        drop(tx);
        assert!(thread.join().unwrap().is_err());
        assert_eq!(named(me).unwrap(), Named::Process(id));
        assert_eq!(named(2).unwrap(), Named::KernelThread);
        assert_eq!(named(u32::MAX).unwrap(), Named::Nobody);
    }
}
