//! Memory-mapped files of other people: readable as one slice, at no cost of memory, even when the owner
//! truncates the file while we read it.
//!
//! Reading a mapped page beyond the new end of a truncated file raises SIGBUS, which would let any container
//! kill the agent. So each mapping is registered in a table that a SIGBUS handler consults: a fault inside a
//! registered mapping puts zeros in the place of the rest of it and marks it [`MappedFile::cut`]; any other fault
//! goes on to whoever handled SIGBUS before.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How many files can be mapped at one time.
pub const MAPPED_FILES_MAX: usize = 1024;

/// A whole file, mapped read-only and private. Derefs to its bytes.
///
/// The bytes are the file's *now*: its owner can change them between two reads. A reader must take
/// each fact from the slice once and check it where it uses it; it must not assume that two reads agree.
#[derive(Debug)]
pub struct MappedFile {
    slot: &'static Slot, // dropped by hand, before the mapping goes
    map: memmap2::Mmap,
}

impl MappedFile {
    /// Maps `file`, which must be a regular file of at least one and at most `max_len` bytes. Costs three system
    /// calls; pages are read when they are touched.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for anything but a regular file and for an empty one, `FileTooLarge` beyond `max_len`,
    /// `ResourceBusy` if [`MAPPED_FILES_MAX`] files are mapped already, and what `fstat` and `mmap` say.
    pub fn map(file: &File, max_len: u64) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let len = usize::try_from(metadata.len()).ok();
        let Some(len) = len.filter(|_| metadata.len() <= max_len) else {
            return Err(io::ErrorKind::FileTooLarge.into());
        };
        install_handler()?;
        let slot = Slot::claim().ok_or(io::ErrorKind::ResourceBusy)?;
        // SAFETY: the mapping is private, read-only and handed out as `&[u8]` only for the lifetime of `Self`.
        // Another process may change the bytes meanwhile; every reader treats them as hostile and parses them
        // through bounds-checked reads, and none keeps a conclusion about bytes it reads again. A truncated
        // file faults into `on_sigbus`, never into undefined memory.
        let map = unsafe { memmap2::MmapOptions::new().len(len).map(file) };
        match map {
            Ok(map) => {
                slot.publish(map.as_ptr() as usize, len);
                Ok(Self { slot, map })
            }
            Err(error) => {
                slot.release();
                Err(error)
            }
        }
    }

    /// Whether some bytes could not be read (the file was truncated, or its disk failed) and zeros were given in
    /// their place. Ask after the last read: what was concluded from the bytes is then void.
    #[must_use]
    pub fn cut(&self) -> bool {
        self.slot.cut.load(Ordering::Acquire)
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        self.slot.release();
    }
}

/// One registered mapping. `start`: 0 = free, 1 = claimed but not mapped yet, else its address.
#[derive(Debug)]
struct Slot {
    start: AtomicUsize,
    len: AtomicUsize,
    cut: AtomicBool,
}

static SLOTS: [Slot; MAPPED_FILES_MAX] = [const {
    Slot {
        start: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        cut: AtomicBool::new(false),
    }
}; MAPPED_FILES_MAX];

impl Slot {
    fn claim() -> Option<&'static Self> {
        SLOTS.iter().find(|slot| {
            let won = slot
                .start
                .compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
            if won {
                slot.len.store(0, Ordering::Relaxed);
                slot.cut.store(false, Ordering::Relaxed);
            }
            won
        })
    }

    fn publish(&self, start: usize, len: usize) {
        self.len.store(len, Ordering::Relaxed);
        self.start.store(start, Ordering::Release);
    }

    fn release(&self) {
        self.len.store(0, Ordering::Relaxed);
        self.start.store(0, Ordering::Release);
    }

    /// The end of this mapping, if `addr` lies in it.
    fn end_if_holds(&self, addr: usize) -> Option<usize> {
        let start = self.start.load(Ordering::Acquire);
        let end = start.saturating_add(self.len.load(Ordering::Relaxed));
        (start > 1 && addr >= start && addr < end).then_some(end)
    }
}

/// Who handled SIGBUS before us.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();
/// Bytes in a page; a static, because a signal handler may not ask for it.
static PAGE: AtomicUsize = AtomicUsize::new(4096);

thread_local! {
    /// What [`with_foreign_mappings`] does on this thread. Plain memory, so that the handler may look.
    static FOREIGN: Cell<Foreign> = const { Cell::new(Foreign::No) };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Foreign {
    No,
    Guarded,
    /// Zeros were given in the place of a page.
    Cut,
}

/// Runs `work`, in which a library maps files of other people by itself, so that they are not registered. A page
/// that is gone when this thread reads it is replaced by zeros. Gives what `work` gave, and whether that happened:
/// it is void then.
///
/// # Errors
///
/// The handler could not be installed; `work` was not run.
pub fn with_foreign_mappings<T>(work: impl FnOnce() -> T) -> io::Result<(T, bool)> {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            FOREIGN.set(Foreign::No);
        }
    }
    install_handler()?;
    FOREIGN.set(Foreign::Guarded);
    let _reset = Reset; // also when `work` panics
    let result = work();
    Ok((result, FOREIGN.get() == Foreign::Cut))
}

/// Bytes in a page of memory.
pub(crate) fn page_size() -> usize {
    // SAFETY: sysconf reads a constant of the system.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

fn install_handler() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    let errno = || io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
    INSTALLED
        .get_or_init(|| {
            PAGE.store(page_size(), Ordering::Relaxed);
            // SAFETY: sigaction is plain data, for which zeros are valid.
            let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
            // SAFETY: a null new action only reads the current one into `old`.
            if unsafe { libc::sigaction(libc::SIGBUS, std::ptr::null(), &raw mut old) } != 0 {
                return Err(errno());
            }
            PREVIOUS.get_or_init(|| old); // before ours is in place: the handler may run at once
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
            // SAFETY: as above.
            let mut new: libc::sigaction = unsafe { std::mem::zeroed() };
            new.sa_sigaction = handler as usize;
            new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            // SAFETY: `new` is a whole action whose handler has the signature that SA_SIGINFO asks for and
            // does only what a signal handler may do.
            if unsafe { libc::sigaction(libc::SIGBUS, &raw const new, std::ptr::null_mut()) } != 0 {
                return Err(errno());
            }
            Ok(())
        })
        .map_err(io::Error::from_raw_os_error)
}

/// Only atomics and system calls: it may interrupt anything.
extern "C" fn on_sigbus(_signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo.
    let info = unsafe { &*info };
    // SAFETY: si_addr is the member that SIGBUS fills.
    let addr = unsafe { info.si_addr() } as usize;
    for slot in &SLOTS {
        let Some(end) = slot.end_if_holds(addr) else {
            continue;
        };
        let page = addr & !(PAGE.load(Ordering::Relaxed) - 1);
        // SAFETY: [page, end) lies in a mapping that is registered, hence alive: the thread that owns it is the
        // one that faulted here or one that reads it with it. Replacing read-only file pages by zeros is what
        // its readers are told to expect. The whole rest is replaced at once, so that a scan faults one time.
        let zeros = unsafe {
            libc::mmap(
                page as *mut libc::c_void,
                end - page,
                libc::PROT_READ,
                libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if zeros != libc::MAP_FAILED {
            slot.cut.store(true, Ordering::Release);
            return;
        }
    }
    if FOREIGN.get() != Foreign::No && info.si_code == libc::BUS_ADRERR {
        let page = addr & !(PAGE.load(Ordering::Relaxed) - 1);
        // SAFETY: only a page of a mapped file behind the file's end raises this code. It is read by the library
        // that mapped it, on this thread, which has asked for zeros in its place; unmapping it later is the same.
        let zeros = unsafe {
            libc::mmap(
                page as *mut libc::c_void,
                PAGE.load(Ordering::Relaxed),
                libc::PROT_READ,
                libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if zeros != libc::MAP_FAILED {
            FOREIGN.set(Foreign::Cut);
            return;
        }
    }
    // Not ours. Put back who was there before: the instruction runs again and meets them.
    let previous = PREVIOUS.get().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `previous` is null (a no-op) or an action that sigaction itself handed out.
    unsafe { libc::sigaction(libc::SIGBUS, previous, std::ptr::null_mut()) };
}

/// Maps a file executable into this process, for tests of what sees such mappings.
#[cfg(test)]
pub(crate) fn map_executable(file: &File, len: usize) -> io::Result<memmap2::Mmap> {
    // SAFETY: the mapping is never read or executed; it only has to be there.
    unsafe { memmap2::MmapOptions::new().len(len).map_exec(file) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn scratch(name: &str, bytes: &[u8]) -> (std::path::PathBuf, File) {
        let path = std::env::temp_dir().join(format!("leak-agent-map-{}-{name}", std::process::id()));
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        file.write_all(bytes).unwrap();
        (path, file)
    }

    /// The slice is the file.
    #[test]
    fn mapped_file_of_known_bytes_reads_them() {
        let (path, file) = scratch("bytes", b"leak");
        let map = MappedFile::map(&file, 4).unwrap();
        assert_eq!(&*map, b"leak");
        assert!(!map.cut());
        std::fs::remove_file(path).unwrap();
    }

    /// An owner who truncates a file that we read gets zeros and a mark, not a dead agent.
    #[test]
    fn mapped_file_truncated_while_read_gives_zeros_and_says_so() {
        let (path, file) = scratch("cut", &vec![7; 64 * 1024]);
        let map = MappedFile::map(&file, 1 << 20).unwrap();
        assert_eq!(
            map.iter().map(|byte| u64::from(*byte)).sum::<u64>(),
            7 * 64 * 1024
        );
        file.set_len(4096).unwrap();
        assert_eq!(map.iter().map(|byte| u64::from(*byte)).sum::<u64>(), 7 * 4096);
        assert!(map.cut());
        drop(map);
        let again = MappedFile::map(&file, 1 << 20).unwrap();
        assert_eq!(again.len(), 4096);
        assert!(!again.cut(), "a reused slot must not remember the earlier file");
        std::fs::remove_file(path).unwrap();
    }

    /// A library that maps a file by itself gets zeros too, when it is run under guard, and the caller is told.
    #[test]
    fn foreign_mapping_truncated_while_read_gives_zeros_and_says_so() {
        let (path, file) = scratch("foreign", &vec![7; 64 * 1024]);
        // Stands for the library: a mapping that is not registered.
        let map = map_executable(&file, 64 * 1024).unwrap();
        let sum = || map.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        assert_eq!(with_foreign_mappings(sum).unwrap(), (7 * 64 * 1024, false));
        file.set_len(4096).unwrap();
        assert_eq!(with_foreign_mappings(sum).unwrap(), (7 * 4096, true));
        std::fs::remove_file(path).unwrap();
    }

    /// A file beyond the limit is refused before anything is mapped; so are empty files, devices and directories.
    #[test]
    fn mapped_file_that_is_too_large_or_no_file_is_refused() {
        use io::ErrorKind::{FileTooLarge, InvalidInput};
        let (path, file) = scratch("refused", b"12345");
        let refused = |file: &File, max| MappedFile::map(file, max).unwrap_err().kind();
        assert_eq!(refused(&file, 4), FileTooLarge);
        file.set_len(0).unwrap();
        assert_eq!(refused(&file, 4), InvalidInput);
        assert_eq!(refused(&File::open("/").unwrap(), 4), InvalidInput);
        assert_eq!(refused(&File::open("/dev/zero").unwrap(), 4), InvalidInput);
        std::fs::remove_file(path).unwrap();
    }
}
