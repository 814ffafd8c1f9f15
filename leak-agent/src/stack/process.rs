//! The files of a process under `/proc`: its mappings, the files behind them, its memory.

use super::maps::{Mapping, Mappings};
use leak_agent_common::key::ProcessKey;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

/// At most so many threads are tried when the leader has exited.
const MAX_THREADS_TRIED: usize = 64;

/// The way to a process's files: its directory in `/proc`, or that of a thread of it.
///
/// After the leader has exited, `/proc/TGID/maps` is empty and `/proc/TGID/map_files` cannot be opened,
/// while the directory of any other thread works as before (kernel 6.18).
#[derive(Clone, Debug)]
pub struct ProcessFiles {
    key: ProcessKey,
    proc: PathBuf,
    /// The thread whose directory is used: the leader, as long as it works.
    tid: u32,
}

impl ProcessFiles {
    /// The files of the process `key`, under `/proc`. Opens nothing.
    #[must_use]
    pub fn new(key: ProcessKey) -> Self {
        Self {
            key,
            proc: PathBuf::from("/proc"),
            tid: key.tgid,
        }
    }

    fn of_thread(&self, name: &str) -> PathBuf {
        self.proc.join(self.tid.to_string()).join(name)
    }

    /// Whether the pid still belongs to this process.
    fn is_same_process(&self) -> bool {
        let path = self.proc.join(self.key.tgid.to_string()).join("stat");
        fs::read_to_string(path).is_ok_and(|stat| {
            // A tick is 10 ms: compared is what the kernel rounds to.
            start_ticks(&stat) == Some(self.key.start_boottime / nanoseconds_per_tick())
        })
    }

    /// The executable mappings now; `None` = the process is gone.
    ///
    /// # Errors
    ///
    /// What opening or reading says, if the process still exists: usually a missing right.
    pub fn mappings(&mut self) -> io::Result<Option<Mappings>> {
        match self.read_mappings() {
            Ok(mappings) if mappings.any => {
                return Ok(self.is_same_process().then_some(mappings));
            }
            Err(error) if !is_gone(&error) => return Err(error),
            _ => {}
        }
        let task = self.proc.join(self.key.tgid.to_string()).join("task");
        let Ok(threads) = fs::read_dir(task) else {
            return Ok(None);
        };
        for thread in threads.flatten().take(MAX_THREADS_TRIED) {
            let Some(tid) = thread.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            self.tid = tid;
            if let Ok(mappings) = self.read_mappings()
                && mappings.any
            {
                return Ok(self.is_same_process().then_some(mappings));
            }
        }
        self.tid = self.key.tgid;
        Ok(None)
    }

    fn read_mappings(&self) -> io::Result<Mappings> {
        Mappings::parse(BufReader::with_capacity(
            64 << 10,
            File::open(self.of_thread("maps"))?,
        ))
    }

    /// Opens the file behind a mapping, whatever became of its path: deleted, replaced, or in another mount
    /// namespace. `None` = the process or the mapping is gone.
    ///
    /// Without the right to use `map_files` (`CAP_SYS_ADMIN` or `CAP_CHECKPOINT_RESTORE`) the path is opened
    /// inside the process's root, and taken only if it is the same inode.
    ///
    /// # Errors
    ///
    /// What opening says, if it is not that something is gone.
    pub fn open_mapping(&self, mapping: &Mapping) -> io::Result<Option<File>> {
        let name = format!("map_files/{:x}-{:x}", mapping.start, mapping.end);
        match File::open(self.of_thread(&name)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => self.open_in_root(mapping),
            Err(error) => Err(error),
        }
    }

    fn open_in_root(&self, mapping: &Mapping) -> io::Result<Option<File>> {
        let root = File::open(self.of_thread("root"))?;
        // Links are resolved inside that root: a container's absolute link must not lead to the host.
        let file = rustix::fs::openat2(
            root,
            mapping.path.trim_start_matches('/'),
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        );
        let file = match file {
            Ok(file) => File::from(file),
            Err(error) if is_gone(&error.into()) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let same = file.metadata()?.ino() == mapping.inode;
        Ok(same.then_some(file))
    }

    /// Copies memory; `None` = gone or not mapped.
    #[must_use]
    pub fn memory(&self, address: u64, len: usize) -> Option<Vec<u8>> {
        let memory = File::open(self.of_thread("mem")).ok()?;
        let mut bytes = vec![0; len];
        memory.read_exact_at(&mut bytes, address).ok()?;
        Some(bytes)
    }

    /// The same, with another directory in the place of `/proc`.
    #[cfg(test)]
    fn under(mut self, proc: &std::path::Path) -> Self {
        self.proc = proc.to_path_buf();
        self
    }
}

/// Field 22 of a `stat` line: when the process started, in ticks since boot. The name in parentheses may hold
/// anything.
fn start_ticks(stat: &str) -> Option<u64> {
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// How long a tick of `/proc/PID/stat` is.
fn nanoseconds_per_tick() -> u64 {
    1_000_000_000 / rustix::param::clock_ticks_per_second().max(1)
}

/// Whether an error means that the process, thread or mapping is no more.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// The key of a living process as `/proc` gives it: the start time is cut to ticks, so the key is good for
/// [`ProcessFiles`] only.
#[cfg(test)]
pub(crate) fn key_of(tgid: u32) -> ProcessKey {
    let stat = fs::read_to_string(format!("/proc/{tgid}/stat")).unwrap();
    ProcessKey {
        start_boottime: start_ticks(&stat).unwrap() * nanoseconds_per_tick(),
        tgid,
        pad: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The own process has mappings, the files behind which can be opened.
    #[test]
    fn process_files_of_the_own_process_open() {
        let mut files = ProcessFiles::new(key_of(std::process::id()));
        let mappings = files.mappings().unwrap().unwrap();
        let own = &mappings.list[0];
        let file = files.open_mapping(own).unwrap().unwrap();
        assert_eq!(file.metadata().unwrap().ino(), own.inode);
        let by_path = files.open_in_root(own).unwrap().unwrap();
        assert_eq!(by_path.metadata().unwrap().ino(), own.inode);
    }

    /// A pid that now belongs to another process is gone, not that process.
    #[test]
    fn process_files_of_a_reused_pid_are_gone() {
        let mut key = key_of(std::process::id());
        key.start_boottime += 1_000_000_000;
        assert!(ProcessFiles::new(key).mappings().unwrap().is_none());
    }

    /// A process that has vanished is a normal answer.
    #[test]
    fn process_files_of_a_vanished_process_are_gone() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let key = key_of(child.id());
        child.wait().unwrap();
        assert!(ProcessFiles::new(key).mappings().unwrap().is_none());
        assert_eq!(ProcessFiles::new(key).memory(0x1000, 8), None);
    }

    /// When the leader's `maps` is empty the files of another thread are used.
    #[test]
    fn process_files_after_the_leader_has_exited_are_those_of_a_thread() {
        let proc = std::env::temp_dir().join(format!("proc-without-leader-{}", std::process::id()));
        for dir in ["7/task/7", "7/task/8", "8"] {
            fs::create_dir_all(proc.join(dir)).unwrap();
        }
        fs::write(
            proc.join("7/stat"),
            "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 100 20",
        )
        .unwrap();
        fs::write(proc.join("7/maps"), "").unwrap();
        fs::write(
            proc.join("8/maps"),
            "1000-2000 r-xp 00000000 00:01 5          /bin/x\n",
        )
        .unwrap();
        let key = ProcessKey {
            start_boottime: 100 * nanoseconds_per_tick() + 5,
            tgid: 7,
            pad: 0,
        };
        let mut files = ProcessFiles::new(key).under(&proc);
        let mappings = files.mappings().unwrap();
        fs::remove_dir_all(&proc).unwrap();
        assert_eq!(mappings.unwrap().list[0].path, "/bin/x");
        assert_eq!(files.tid, 8);
    }
}
