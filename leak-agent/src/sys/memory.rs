//! The memory of another process, read while it runs: a snapshot of nothing, each word as it is at that moment.
//!
//! A process is named by pid and start time. Its `/proc/PID/mem` is held open: that file belongs to one address space
//! for ever, and says after each read whether that address space still lived. So a pid that was reused, and an
//! `exec` in between, are *gone*, and their bytes are never given out.

#![allow(unsafe_code)]

use super::proc::{ProcDir, ProcError, ProcessId};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;

/// No process has memory at or above: five-level page tables end here.
const ADDRESS_END: u64 = 1 << 56;
/// Remote ranges per system call (`UIO_MAXIOV`).
const RANGES_PER_CALL: usize = 1024;

/// Why memory could not be read.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The process has ended, or runs another program by now.
    #[error("process {pid} is gone")]
    Gone {
        /// Which.
        pid: u32,
    },
    /// No readable memory there.
    #[error("process {pid} has no memory at {at:#x}")]
    NotMapped {
        /// Which process.
        pid: u32,
        /// The first address that could not be read.
        at: u64,
    },
    /// The kernel refuses.
    #[error("not permitted to read the memory of process {pid} (needs CAP_SYS_PTRACE)")]
    Denied {
        /// Which process.
        pid: u32,
    },
    /// Memory of this sort of process is not read.
    #[error("the memory of process {pid} is not read: {reason}")]
    Unsupported {
        /// Which process.
        pid: u32,
        /// Why not.
        reason: &'static str,
    },
    /// Anything else.
    #[error("cannot read {what} of process {pid}")]
    Failed {
        /// Memory, or a file about it.
        what: &'static str,
        /// Which process.
        pid: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// The memory of one process.
pub trait Memory {
    /// Reads as many bytes as are there from `at` on, up to the length of `into`; 0 = nothing is mapped at `at`.
    ///
    /// # Errors
    ///
    /// All but [`MemoryError::NotMapped`].
    fn read_some(&self, at: u64, into: &mut [u8]) -> Result<usize, MemoryError>;

    /// Does all reads of a batch, with one system call per 1,024 of them and one more per read that fails.
    ///
    /// # Errors
    ///
    /// All but [`MemoryError::NotMapped`]: a piece that is not there is absent from the batch.
    fn read_many(&self, batch: &mut Batch) -> Result<(), MemoryError>;

    /// Which process it is, for messages.
    fn pid(&self) -> u32;

    /// How many threads the process has; `None` = that cannot be told.
    fn threads(&self) -> Option<u64> {
        None
    }

    /// Fills `into` from `at` on.
    ///
    /// # Errors
    ///
    /// [`MemoryError::NotMapped`] if a byte of it is not there, and the others.
    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        let got = self.read_some(at, into)?;
        if got == into.len() {
            return Ok(());
        }
        Err(MemoryError::NotMapped {
            pid: self.pid(),
            at: at.saturating_add(got as u64),
        })
    }
}

/// Many small reads that are done together. Reusable: [`Self::clear`] keeps its buffers.
#[derive(Debug, Default)]
pub struct Batch {
    pieces: Vec<Piece>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    at: u64,
    len: usize,
    /// Where its bytes are in the buffer.
    start: usize,
    read: bool,
}

impl Batch {
    /// Forgets all reads.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.bytes.clear();
    }

    /// Adds a read; gives its number.
    pub fn push(&mut self, at: u64, len: usize) -> usize {
        let start = self.bytes.len();
        self.bytes.resize(start.saturating_add(len), 0);
        self.pieces.push(Piece {
            at,
            len,
            start,
            read: false,
        });
        self.pieces.len() - 1
    }

    /// How many reads.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// No reads.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The bytes of a read that succeeded; `None` = they are not there.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<&[u8]> {
        let piece = self.pieces.get(number).filter(|piece| piece.read)?;
        self.bytes.get(piece.start..piece.start.checked_add(piece.len)?)
    }

    /// Fills each piece by a function that says whether the bytes are there: what a memory that is no process's does.
    ///
    /// # Errors
    ///
    /// The first of the function's.
    pub fn fill<E>(&mut self, mut read: impl FnMut(u64, &mut [u8]) -> Result<bool, E>) -> Result<(), E> {
        for piece in &mut self.pieces {
            let end = piece.start.saturating_add(piece.len);
            if let Some(into) = self.bytes.get_mut(piece.start..end) {
                piece.read = read(piece.at, into)?;
            }
        }
        Ok(())
    }
}

/// The memory of a running process, by `process_vm_readv(2)`. The process is not stopped and does not notice, but
/// that pages it has not touched for long may be read back from swap.
#[derive(Debug)]
pub struct RemoteMemory {
    pid: u32,
    /// As the kernel wants it.
    raw_pid: libc::pid_t,
    directory: ProcDir,
    /// `/proc/PID/mem`: bound to the address space that the process had when this was opened.
    space: OwnedFd,
}

impl RemoteMemory {
    /// The memory of this process.
    ///
    /// # Errors
    ///
    /// *Gone* also if the pid is another process's by now; *unsupported* for a 32-bit process.
    pub fn open(process: &ProcessId) -> Result<Self, MemoryError> {
        let pid = process.tgid;
        let gone = MemoryError::Gone { pid };
        let Some(directory) = ProcDir::open(pid).map_err(refused)? else {
            return Err(gone);
        };
        let Some(stat) = directory.stat().map_err(refused)? else {
            return Err(gone);
        };
        let Ok(raw_pid) = libc::pid_t::try_from(pid) else {
            return Err(gone);
        };
        if stat.start != process.start {
            return Err(gone);
        }
        if stat.kernel {
            return Err(MemoryError::Unsupported {
                pid,
                reason: "it is a kernel thread",
            });
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let space = match rustix::fs::openat(directory.descriptor(), "mem", flags, Mode::empty()) {
            Ok(space) => space,
            Err(errno) => return Err(failed("mem", pid, errno)),
        };
        let memory = Self {
            pid,
            raw_pid,
            directory,
            space,
        };
        memory.refuse_other_than_64_bit()?;
        memory.still_there()?;
        Ok(memory)
    }

    /// The process's directory in `/proc`.
    #[must_use]
    pub fn directory(&self) -> &ProcDir {
        &self.directory
    }

    fn refuse_other_than_64_bit(&self) -> Result<(), MemoryError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let exe = rustix::fs::openat(self.directory.descriptor(), "exe", flags, Mode::empty())
            .map_err(|errno| failed("exe", self.pid, errno))?;
        let mut identification = [0; 5];
        let got =
            rustix::io::pread(exe, &mut identification, 0).map_err(|errno| failed("exe", self.pid, errno))?;
        if got < identification.len() || identification != *b"\x7fELF\x02" {
            return Err(MemoryError::Unsupported {
                pid: self.pid,
                reason: "it is not a 64-bit program",
            });
        }
        Ok(())
    }

    /// Whether the address space that was opened still lives. To be asked after the bytes were read by pid: they
    /// are of that address space then, because the pid cannot be given to another process before it is gone. Costs about
    /// 0.3 µs.
    pub(crate) fn still_there(&self) -> Result<(), MemoryError> {
        let mut byte = [0];
        // Page zero is never mapped, so nothing is looked up. A dead address space has "no bytes left" (fs/proc/base.c,
        // `mem_rw`), a live one has none at that address.
        match rustix::io::pread(&self.space, &mut byte, 0) {
            Ok(0) => Err(MemoryError::Gone { pid: self.pid }),
            Ok(_) | Err(Errno::IO) => Ok(()),
            Err(errno) => Err(failed("mem", self.pid, errno)),
        }
    }

    /// Reads neighbouring pieces of `into` from these ranges; the number of bytes read. 0 = the first range is not there.
    fn transfer(&self, into: &mut [u8], ranges: &[libc::iovec]) -> Result<usize, MemoryError> {
        let local = libc::iovec {
            iov_base: into.as_mut_ptr().cast(),
            iov_len: into.len(),
        };
        // SAFETY: `local` describes `into`, which is exclusively borrowed during the call; the kernel writes at most its
        // length. The remote ranges are addresses in another process, which the kernel checks.
        let got = unsafe {
            libc::process_vm_readv(
                self.raw_pid,
                &raw const local,
                1,
                ranges.as_ptr(),
                ranges.len() as libc::c_ulong,
                0,
            )
        };
        let result = usize::try_from(got).map_err(|_| io::Error::last_os_error());
        // Also after an error: what looks like a hole may be the memory of a process that is dying.
        self.still_there()?;
        match result {
            Ok(got) => Ok(got.min(into.len())),
            Err(error) => match error.raw_os_error() {
                Some(libc::EFAULT) => Ok(0),
                Some(libc::ESRCH) => Err(MemoryError::Gone { pid: self.pid }),
                Some(libc::EPERM) => Err(MemoryError::Denied { pid: self.pid }),
                _ => Err(MemoryError::Failed {
                    what: "memory",
                    pid: self.pid,
                    source: error,
                }),
            },
        }
    }
}

/// A range of another process, as the kernel wants it; `None` = no process has memory there.
fn remote(at: u64, len: usize) -> Option<libc::iovec> {
    let end = at.checked_add(len as u64)?;
    (end <= ADDRESS_END).then_some(libc::iovec {
        iov_base: std::ptr::without_provenance_mut(usize::try_from(at).ok()?),
        iov_len: len,
    })
}

impl Memory for RemoteMemory {
    fn read_some(&self, at: u64, into: &mut [u8]) -> Result<usize, MemoryError> {
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let Some(range) = remote(at.saturating_add(done as u64), rest.len()) else {
                break;
            };
            match self.transfer(rest, &[range])? {
                0 => break,
                got => done += got,
            }
        }
        Ok(done)
    }

    fn read_many(&self, batch: &mut Batch) -> Result<(), MemoryError> {
        let Batch { pieces, bytes } = batch;
        let mut ranges = Vec::with_capacity(pieces.len().min(RANGES_PER_CALL));
        let mut first = 0;
        while let Some(rest) = pieces.get_mut(first..).filter(|rest| !rest.is_empty()) {
            ranges.clear();
            ranges.extend(
                rest.iter()
                    .take(RANGES_PER_CALL)
                    .map_while(|piece| remote(piece.at, piece.len)),
            );
            let Some(piece) = rest.first().filter(|_| !ranges.is_empty()) else {
                first += 1; // no process has memory there
                continue;
            };
            let end = rest
                .get(ranges.len() - 1)
                .map_or(piece.start, |last| last.start.saturating_add(last.len));
            let mut got = match bytes.get_mut(piece.start..end) {
                Some(into) => self.transfer(into, &ranges)?,
                None => 0,
            };
            let mut whole = 0;
            for piece in rest.iter_mut().take(ranges.len()) {
                if piece.len > got {
                    break;
                }
                got -= piece.len;
                piece.read = true;
                whole += 1;
            }
            // The piece that stopped the call is not there.
            first += whole + usize::from(whole < ranges.len());
        }
        Ok(())
    }

    fn pid(&self) -> u32 {
        self.pid
    }

    fn threads(&self) -> Option<u64> {
        self.directory().thread_count().ok().flatten()
    }
}

pub(super) fn refused(error: ProcError) -> MemoryError {
    match error {
        ProcError::Denied { pid, .. } => MemoryError::Denied { pid },
        ProcError::Malformed { what, pid } => MemoryError::Failed {
            what,
            pid,
            source: io::ErrorKind::InvalidData.into(),
        },
        ProcError::Io { what, pid, source } => MemoryError::Failed { what, pid, source },
    }
}

pub(super) fn failed(what: &'static str, pid: u32, errno: Errno) -> MemoryError {
    match errno {
        Errno::NOENT | Errno::SRCH => MemoryError::Gone { pid },
        Errno::PERM | Errno::ACCESS => MemoryError::Denied { pid },
        errno => MemoryError::Failed {
            what,
            pid,
            source: errno.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::proc;
    use std::process::{Child, Command, Stdio};

    fn own() -> RemoteMemory {
        RemoteMemory::open(&proc::id_of(std::process::id()).unwrap().unwrap()).unwrap()
    }

    /// Stays until its input ends.
    fn other() -> (Child, ProcessId) {
        let child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let id = proc::id_of(child.id()).unwrap().unwrap();
        (child, id)
    }

    /// Check that bytes are read as they are, and a hole ends a read where it begins.
    #[test]
    fn read_of_own_memory_gives_its_bytes_up_to_the_hole() {
        let memory = own();
        let words: Vec<u64> = (0..5000).collect();
        let mut bytes = vec![0; 40_000];
        memory.read(words.as_ptr() as u64, &mut bytes).unwrap();
        let read: Vec<u64> = bytes
            .chunks_exact(8)
            .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
            .collect();
        assert_eq!(read, words);
        assert_eq!(memory.read_some(8, &mut bytes).unwrap(), 0);
        for at in [8, u64::MAX - 7, 1 << 63, ADDRESS_END - 8] {
            let error = memory.read(at, &mut [0; 16]).unwrap_err();
            assert!(matches!(error, MemoryError::NotMapped { .. }), "{error}");
        }
    }

    /// Check that each piece of a batch is there or not by itself, also beyond what one call takes.
    #[test]
    fn batch_with_holes_gives_every_other_piece() {
        let memory = own();
        let words: Vec<u64> = (0..3000).collect();
        let mut batch = Batch::default();
        for (number, word) in words.iter().enumerate() {
            let at = match number % 700 {
                13 => 8,
                14 => u64::MAX - 3,
                _ => std::ptr::from_ref(word) as u64,
            };
            batch.push(at, 8);
        }
        memory.read_many(&mut batch).unwrap();
        for (number, word) in words.iter().enumerate() {
            let expected = (!matches!(number % 700, 13 | 14)).then(|| word.to_le_bytes().to_vec());
            assert_eq!(batch.get(number).map(<[u8]>::to_vec), expected, "{number}");
        }
        batch.clear();
        assert!(batch.is_empty());
        memory.read_many(&mut batch).unwrap();
    }

    /// Check that a process that has ended is gone, not unreadable.
    #[test]
    fn memory_of_an_ended_process_is_gone() {
        let (mut child, id) = other();
        let memory = RemoteMemory::open(&id).unwrap();
        let mut start = 0;
        memory
            .directory()
            .mappings(|mapping| start = if start == 0 { mapping.start } else { start })
            .unwrap();
        memory.read(start, &mut [0; 4]).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let error = memory.read(start, &mut [0; 4]).unwrap_err();
        assert!(matches!(error, MemoryError::Gone { .. }), "{error}");
        let error = RemoteMemory::open(&id).unwrap_err();
        assert!(matches!(error, MemoryError::Gone { .. }), "{error}");
    }

    /// Check that a pid with another start time is another process.
    #[test]
    fn memory_of_a_pid_with_another_start_time_is_gone() {
        let mut id = proc::id_of(std::process::id()).unwrap().unwrap();
        id.start.0 += 1;
        let error = RemoteMemory::open(&id).unwrap_err();
        assert!(matches!(error, MemoryError::Gone { .. }), "{error}");
    }

    /// Check that the memory of the program before an `exec` is gone, although the process lives.
    #[test]
    fn memory_from_before_an_exec_is_gone() {
        let mut child = Command::new("sh")
            .args(["-c", "read line; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let id = proc::id_of(child.id()).unwrap().unwrap();
        let memory = RemoteMemory::open(&id).unwrap();
        memory.still_there().unwrap();
        {
            use std::io::{Read, Write};
            // `cat` gives back what follows the first line: it runs by then.
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(b"\n").unwrap();
            stdin.flush().unwrap();
            while std::fs::read_to_string(format!("/proc/{}/comm", id.tgid)).unwrap() != "cat\n" {
                std::thread::yield_now();
            }
            drop(stdin);
            let mut out = Vec::new();
            let _ = child.stdout.take().unwrap().read_to_end(&mut out);
        }
        let error = memory.read(4096, &mut [0; 4]).unwrap_err();
        assert!(matches!(error, MemoryError::Gone { .. }), "{error}");
        child.wait().unwrap();
    }
}
