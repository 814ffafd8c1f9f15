//! `/proc`: the facts of one process.
//!
//! A process is read through one descriptor of its directory ([`ProcDir`]): when the process dies and its pid is
//! given to another, every later read says *gone*, never the other's facts. Reads are small and capped. The
//! procfs crate is not used here: its parsers take whole texts of any size and go by bare pid.

mod listing;
mod threads;

pub use listing::{Found, Named, PROCESSES_MAX, found, named, process_ids};
pub use threads::{Blocked, ThreadStatus};

use super::maps::{self, Mapping, MapsRead};
use crate::types::{BootTime, ProcessKey};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// The most bytes of a small `/proc` file that are read.
const TEXT_MAX: u64 = 4096;
/// `PF_KTHREAD` of the kernel's `task_struct.flags`.
const KERNEL_THREAD: u64 = 0x0020_0000;
/// `PF_FORKNOEXEC`, there, too.
const FORKED_NO_EXEC: u64 = 0x0000_0040;

/// Why `/proc` could not be read. A process that is gone is no error.
#[derive(Debug, thiserror::Error)]
pub enum ProcError {
    /// The kernel refuses: a capability, an LSM or `hidepid` is in the way.
    #[error("not permitted to read {what} of process {pid}")]
    Denied {
        /// Which file.
        what: &'static str,
        /// Whose.
        pid: u32,
    },
    /// Not in the format that `proc(5)` describes.
    #[error("cannot understand {what} of process {pid}")]
    Malformed {
        /// Which file.
        what: &'static str,
        /// Whose.
        pid: u32,
    },
    /// Anything else.
    #[error("cannot read {what} of process {pid}")]
    Io {
        /// Which file.
        what: &'static str,
        /// Whose; 0 = the listing of `/proc` itself.
        pid: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// A start time as `/proc` gives it: `start_boottime` cut to whole clock ticks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct StartTicks(pub u64);

impl StartTicks {
    /// The start time of a key, cut as the kernel cuts it.
    #[must_use]
    pub fn of(key: &ProcessKey) -> Self {
        Self(key.start_boottime / tick_nanos())
    }

    /// The start times of which `/proc` shows this tick.
    #[must_use]
    pub fn nanos(self) -> std::ops::Range<u64> {
        let begin = self.begins().0;
        begin..begin.saturating_add(tick_nanos())
    }

    /// The first moment of the tick.
    #[must_use]
    pub fn begins(self) -> BootTime {
        BootTime(self.0.saturating_mul(tick_nanos()))
    }
}

/// Nanoseconds per clock tick of `/proc` (10 ms on every kernel we know).
fn tick_nanos() -> u64 {
    static NANOS: OnceLock<u64> = OnceLock::new();
    *NANOS.get_or_init(|| 1_000_000_000 / clock_ticks_per_second().clamp(1, 1_000_000_000))
}

#[allow(unsafe_code)]
fn clock_ticks_per_second() -> u64 {
    // SAFETY: sysconf reads a constant of the system.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100)
}

/// A process as `/proc` names it: pid and start time. Not reused within one tick (10 ms).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProcessId {
    /// Thread group id in the pid namespace of this `/proc`.
    pub tgid: u32,
    /// When it began.
    pub start: StartTicks,
}

impl ProcessId {
    /// The same process, as `/proc` names it.
    #[must_use]
    pub fn of(key: &ProcessKey) -> Self {
        Self {
            tgid: key.tgid,
            start: StartTicks::of(key),
        }
    }
}

/// What we need of `/proc/PID/stat`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stat {
    /// Name of the main thread, as the process chose it: at most 15 bytes (kernel threads: 63), lossy UTF-8.
    pub comm: String,
    /// `R`, `S`, `D`, `Z` …
    pub state: u8,
    /// A kernel thread: it has no executable.
    pub kernel: bool,
    /// Forked, and has executed no program since: its memory began as a copy of its parent's.
    pub forked: bool,
    /// How many threads it has; 0 once it is being reaped.
    pub threads: u64,
    /// When it began.
    pub start: StartTicks,
    /// CPU time used by all its threads, dead ones included.
    pub cpu: Duration,
    /// Resident pages, as the kernel's cheap counter has it.
    pub rss_pages: u64,
}

impl Stat {
    /// Parses the one line of the file. The name is between the first `(` and the last `)`: it may hold anything.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let open = text.iter().position(|byte| *byte == b'(')?;
        let close = text.iter().rposition(|byte| *byte == b')')?;
        let comm = text.get(open + 1..close)?;
        let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace(); // field 3 of proc(5) first
        let state = *fields.next()?.as_bytes().first()?;
        let mut number = |skip: usize| fields.nth(skip)?.parse::<i64>().ok();
        let flags = number(5)?; // 9
        let ticks = number(4)?.checked_add(number(0)?)?; // 14, 15
        let threads = number(4)?; // 20
        let start = fields.nth(1)?.parse().ok()?; // 22
        let rss = fields.nth(1)?.parse::<i64>().ok()?; // 24
        Some(Self {
            comm: String::from_utf8_lossy(comm).into_owned(),
            state,
            kernel: u64::try_from(flags).ok()? & KERNEL_THREAD != 0,
            forked: u64::try_from(flags).ok()? & FORKED_NO_EXEC != 0,
            threads: u64::try_from(threads).unwrap_or(0),
            start: StartTicks(start),
            cpu: Duration::from_nanos(u64::try_from(ticks).unwrap_or(0).saturating_mul(tick_nanos())),
            rss_pages: u64::try_from(rss).unwrap_or(0),
        })
    }
}

/// The directory of one process, held open: it never turns into that of another process.
#[derive(Debug)]
pub struct ProcDir {
    fd: OwnedFd,
    pid: u32,
}

impl ProcDir {
    /// Opens the directory of a process (or of a thread, by its tid). `None` = there is none.
    ///
    /// # Errors
    ///
    /// `hidepid`, or no descriptor left.
    pub fn open(pid: u32) -> Result<Option<Self>, ProcError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(format!("/proc/{pid}"), flags, Mode::empty());
        Ok(present(fd, "directory", pid)?.map(|fd| Self { fd, pid }))
    }

    /// The id it was opened by.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// `stat`: `None` = gone.
    ///
    /// # Errors
    ///
    /// Not permitted, or a text that is not in the kernel's format.
    pub fn stat(&self) -> Result<Option<Stat>, ProcError> {
        let Some(text) = self.read("stat")? else {
            return Ok(None);
        };
        Stat::parse(&text).map(Some).ok_or(ProcError::Malformed {
            what: "stat",
            pid: self.pid,
        })
    }

    /// The process that this is a thread of; itself, if it is a process. `None` = gone.
    ///
    /// # Errors
    ///
    /// Not permitted, or a text that is not in the kernel's format.
    pub fn tgid(&self) -> Result<Option<u32>, ProcError> {
        let Some(text) = self.read("status")? else {
            return Ok(None);
        };
        let mut lines = text.split(|byte| *byte == b'\n');
        let tgid = lines.find_map(|line| {
            std::str::from_utf8(line.strip_prefix(b"Tgid:")?)
                .ok()?
                .trim()
                .parse()
                .ok()
        });
        tgid.map(Some).ok_or(ProcError::Malformed {
            what: "status",
            pid: self.pid,
        })
    }

    /// Path of the executable as seen from the root of its mount namespace, without the kernel's " (deleted)".
    /// `None` = gone, or a process without memory (zombie, kernel thread).
    ///
    /// # Errors
    ///
    /// Not permitted.
    pub fn exe(&self) -> Result<Option<PathBuf>, ProcError> {
        use std::os::unix::ffi::OsStringExt;
        let link = rustix::fs::readlinkat(&self.fd, "exe", Vec::new());
        let Some(link) = present(link, "exe", self.pid)? else {
            return Ok(None);
        };
        let mut bytes = link.into_bytes();
        if let Some(path) = bytes.strip_suffix(b" (deleted)") {
            bytes.truncate(path.len());
        }
        Ok(Some(PathBuf::from(std::ffi::OsString::from_vec(bytes))))
    }

    /// Visits the mappings: `None` = gone. Takes the process's memory-map lock for reading, as `ps` does; costs about
    /// 1 µs per mapping.
    ///
    /// # Errors
    ///
    /// Not permitted (needs `CAP_SYS_PTRACE` for processes of other users).
    pub fn mappings(&self, visit: impl FnMut(&Mapping<'_>)) -> Result<Option<MapsRead>, ProcError> {
        let Some(file) = self.open_file("maps")? else {
            return Ok(None);
        };
        present(errno(maps::visit(file, visit)), "maps", self.pid)
    }

    /// Names a file below the directory without opening it, links followed: `exe`, `map_files/…`. `None` = gone.
    ///
    /// # Errors
    ///
    /// Not permitted (`map_files` needs `CAP_CHECKPOINT_RESTORE` or `CAP_SYS_ADMIN`).
    pub fn locate(&self, name: &str) -> Result<Option<OwnedFd>, ProcError> {
        present(super::file::locate(&self.fd, name), "mapped file", self.pid)
    }

    /// Names the file that `path` is from the root of this process; no link leads out of that root. `None` = there is
    /// none, or the process is gone.
    ///
    /// # Errors
    ///
    /// Not permitted.
    pub fn locate_in_root(&self, path: &Path) -> Result<Option<OwnedFd>, ProcError> {
        let Some(root) = self.locate("root")? else {
            return Ok(None);
        };
        present(
            super::file::locate_in_root(&root, path),
            "file in the root",
            self.pid,
        )
    }

    /// Ids of its threads, at most `max`; empty = gone.
    ///
    /// # Errors
    ///
    /// Not permitted.
    pub fn thread_ids(&self, max: usize) -> Result<Vec<u32>, ProcError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, "task", flags, Mode::empty());
        let Some(fd) = present(fd, "task", self.pid)? else {
            return Ok(Vec::new());
        };
        numbered(&fd, max, "task", self.pid)
    }

    /// Whether one of its threads may be in the middle of something: it runs, waits for a CPU, a page or a disk, or is stopped.
    /// A thread that sleeps waits for somebody. About 10 µs per thread; of more than `max` threads one is taken to be.
    ///
    /// # Errors
    ///
    /// Not permitted.
    pub fn is_active(&self, max: usize) -> Result<bool, ProcError> {
        let threads = self.thread_ids(max.saturating_add(1))?;
        if threads.len() > max {
            return Ok(true);
        }
        for tid in threads {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&self.fd, format!("task/{tid}/stat"), flags, Mode::empty());
            let Some(file) = present(file, "stat of a thread", self.pid)? else {
                continue;
            };
            let mut text = Vec::with_capacity(512);
            let read = errno(File::from(file).take(TEXT_MAX).read_to_end(&mut text));
            if present(read, "stat of a thread", self.pid)?.is_none() {
                continue;
            }
            let asleep = Stat::parse(&text).is_some_and(|stat| matches!(stat.state, b'S' | b'Z' | b'X'));
            if !asleep {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How many threads it has, as the number of links of its folder of threads tells it (fs/proc/base.c,
    /// `proc_task_getattr`): one system call, however many there are. `None` = gone.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn thread_count(&self) -> Result<Option<u64>, ProcError> {
        let stat = rustix::fs::statat(&self.fd, "task", rustix::fs::AtFlags::empty());
        let stat = present(stat, "task", self.pid)?;
        Ok(stat.map(|stat| stat.st_nlink.saturating_sub(2)))
    }

    /// The directory itself.
    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.fd
    }

    pub(super) fn open_file(&self, name: &'static str) -> Result<Option<File>, ProcError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty());
        Ok(present(fd, name, self.pid)?.map(File::from))
    }

    /// A small text; `None` = gone, not permitted, or no text.
    pub(super) fn text(&self, name: &'static str) -> Option<String> {
        String::from_utf8(self.read(name).ok()??).ok()
    }

    fn read(&self, name: &'static str) -> Result<Option<Vec<u8>>, ProcError> {
        let Some(file) = self.open_file(name)? else {
            return Ok(None);
        };
        let mut text = Vec::with_capacity(512);
        let read = errno(file.take(TEXT_MAX).read_to_end(&mut text));
        Ok(present(read, name, self.pid)?.map(|_| text))
    }
}

/// What `/` is for the machine, as this process sees it: `/proc/1/root` if it lives in another mount namespace than the
/// machine's first process (a container with the host's pids), else `/`.
#[must_use]
pub fn host_root() -> PathBuf {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    match (namespace("1"), namespace("self")) {
        (Some(first), Some(own)) if first != own => PathBuf::from("/proc/1/root"),
        _ => PathBuf::from("/"),
    }
}

/// The process that has this pid now; `None` = no process has.
///
/// # Errors
///
/// Not permitted, or a text that is not in the kernel's format.
pub fn id_of(pid: u32) -> Result<Option<ProcessId>, ProcError> {
    let Some(dir) = ProcDir::open(pid)? else {
        return Ok(None);
    };
    Ok(dir.stat()?.map(|stat| ProcessId {
        tgid: pid,
        start: stat.start,
    }))
}

/// Names in a directory that are numbers, at most `max`.
fn numbered(fd: &OwnedFd, max: usize, what: &'static str, pid: u32) -> Result<Vec<u32>, ProcError> {
    let dir = match rustix::fs::Dir::read_from(fd) {
        Ok(dir) => dir,
        Err(error) => return present::<()>(Err(error), what, pid).map(|_| Vec::new()),
    };
    let mut found = Vec::new();
    for entry in dir {
        let Some(entry) = present(entry, what, pid)? else {
            break;
        };
        if found.len() >= max {
            break;
        }
        if let Some(number) = entry.file_name().to_str().ok().and_then(|name| name.parse().ok()) {
            found.push(number);
        }
    }
    Ok(found)
}

fn errno<T>(result: io::Result<T>) -> Result<T, Errno> {
    result.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Sorts the answers: there, gone, not permitted, failed.
pub(crate) fn present<T>(
    result: Result<T, Errno>,
    what: &'static str,
    pid: u32,
) -> Result<Option<T>, ProcError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT | Errno::SRCH) => Ok(None),
        Err(Errno::ACCESS | Errno::PERM) => Err(ProcError::Denied { what, pid }),
        Err(error) => Err(ProcError::Io {
            what,
            pid,
            source: error.into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The name of a process may look like the rest of the line.
    #[test]
    fn stat_of_a_process_named_like_the_line_is_parsed() {
        let text = b"42 (a) R 1 (b) S 1 42 42 0 -1 4194304 1 0 0 0 150 50 0 0 20 0 7 0 123456 999 31 rest 0";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(stat.comm, "a) R 1 (b");
        assert_eq!((stat.state, stat.kernel, stat.threads), (b'S', false, 7));
        assert_eq!((stat.start, stat.rss_pages), (StartTicks(123_456), 31));
        assert_eq!(stat.cpu, Duration::from_nanos(200 * tick_nanos()));
    }

    /// A directory that was opened before the process died says gone, however the pid is used later.
    #[test]
    fn process_that_dies_between_two_reads_is_gone() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let dir = ProcDir::open(child.id()).unwrap().unwrap();
        let stat = dir.stat().unwrap().unwrap();
        assert!(!stat.kernel && stat.threads == 1);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(dir.stat().unwrap(), None);
        assert_eq!(dir.exe().unwrap(), None);
        assert_eq!(dir.mappings(|_| {}).unwrap(), None);
        assert!(dir.thread_ids(9).unwrap().is_empty());
        assert!(ProcDir::open(u32::MAX).unwrap().is_none());
    }

    /// A program that sleeps is not active, one that computes or is stopped is.
    #[test]
    fn program_that_computes_is_active_and_one_that_sleeps_is_not() {
        let settled = |program: &str, argument: &str, want: bool| {
            let mut child = std::process::Command::new(program).arg(argument).spawn().unwrap();
            let dir = ProcDir::open(child.id()).unwrap().unwrap();
            let same = (0..500).any(|_| {
                std::thread::sleep(Duration::from_millis(10));
                dir.is_active(9).unwrap() == want
            });
            assert!(dir.is_active(0).unwrap(), "more threads than are looked at");
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(!dir.is_active(9).unwrap(), "gone");
            same
        };
        assert!(settled("sleep", "100", false));
        assert!(settled("sha1sum", "/dev/zero", true));
    }

    /// The ticks of a key are those that `/proc` shows: cut, not rounded.
    #[test]
    fn start_ticks_of_a_key_are_cut() {
        let key = |nanos| ProcessKey {
            start_boottime: nanos,
            tgid: 1,
            pad: 0,
        };
        let tick = tick_nanos();
        assert_eq!(StartTicks::of(&key(7 * tick)), StartTicks(7));
        assert_eq!(StartTicks::of(&key(8 * tick - 1)), StartTicks(7));
        assert_eq!(StartTicks(7).begins(), BootTime(7 * tick));
    }

    /// The host's root, seen from here, has this machine's `/proc` in it.
    #[test]
    fn host_root_is_a_root() {
        assert!(host_root().join("proc/self").exists());
    }

    proptest! {
        /// No text makes the parser panic.
        #[test]
        fn stat_text_of_any_bytes_does_not_panic(text in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Stat::parse(&text);
        }

        /// Nor does one that is almost right.
        #[test]
        fn stat_text_of_any_numbers_does_not_panic(numbers in proptest::collection::vec(any::<i128>(), 0..60)) {
            let text = numbers.iter().fold("1 (x) S".to_owned(), |text, number| format!("{text} {number}"));
            let _ = Stat::parse(text.as_bytes());
        }
    }
}
