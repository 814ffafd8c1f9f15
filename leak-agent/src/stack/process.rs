//! The files of a process that unwinding needs: its mappings, the files behind them, its memory.

use super::maps::{Mapping, Mappings};
use crate::sys::file;
use crate::sys::proc::{ProcDir, ProcError, ProcessId};
use leak_agent_common::key::ProcessKey;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// At most so many threads are tried when the leader has exited.
const MAX_THREADS_TRIED: usize = 64;

/// Why a mapped file could not be opened. That it is gone is no error.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It could not be found by its mapping.
    #[error(transparent)]
    Find(#[from] ProcError),
    /// It was found, but could not be opened.
    #[error("open a mapped file")]
    Open(#[from] io::Error),
}

/// The way to a process's files: its directory in `/proc`, or that of a thread of it.
///
/// After the leader has exited, `/proc/TGID/maps` is empty and `/proc/TGID/map_files` cannot be opened,
/// while the directory of any other thread works as before (kernel 6.18). No directory is held open: there
/// may be thousands of these.
#[derive(Clone, Copy, Debug)]
pub struct ProcessFiles {
    id: ProcessId,
    /// The thread whose directory is used: the leader, as long as it works.
    tid: u32,
}

impl ProcessFiles {
    /// The files of the process `key`. Opens nothing.
    #[must_use]
    pub fn new(key: ProcessKey) -> Self {
        Self::of(ProcessId::of(&key))
    }

    /// The same of a process as `/proc` names it.
    #[must_use]
    pub fn of(id: ProcessId) -> Self {
        Self { id, tid: id.tgid }
    }

    /// Whose files they are.
    #[must_use]
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// The directory of the process, if the pid is still its own.
    fn leader(&self) -> Result<Option<ProcDir>, ProcError> {
        let Some(leader) = ProcDir::open(self.id.tgid)? else {
            return Ok(None);
        };
        let start = leader.stat()?.map(|stat| stat.start);
        Ok((start == Some(self.id.start)).then_some(leader))
    }

    /// The directory that works.
    fn directory(&self) -> Result<Option<ProcDir>, ProcError> {
        match self.leader()? {
            Some(_) if self.tid != self.id.tgid => ProcDir::open(self.tid),
            leader => Ok(leader),
        }
    }

    /// The executable mappings now; `None` = the process is gone.
    ///
    /// # Errors
    ///
    /// What opening or reading says, if the process still exists: usually a missing right.
    pub fn mappings(&mut self) -> Result<Option<Mappings>, ProcError> {
        let Some(leader) = self.leader()? else {
            return Ok(None);
        };
        self.tid = self.id.tgid;
        if let Some(mappings) = read(&leader)? {
            return Ok(Some(mappings));
        }
        for tid in leader.thread_ids(MAX_THREADS_TRIED)? {
            let Some(thread) = ProcDir::open(tid)? else {
                continue;
            };
            if let Some(mappings) = read(&thread)? {
                self.tid = tid;
                return Ok(Some(mappings));
            }
        }
        Ok(None)
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
    pub fn open_mapping(&self, mapping: &Mapping) -> Result<Option<File>, OpenError> {
        let Some(directory) = self.directory()? else {
            return Ok(None);
        };
        let name = format!("map_files/{:x}-{:x}", mapping.start, mapping.end);
        match directory.locate(&name) {
            Ok(Some(found)) => Ok(Some(file::reopen(&found)?)),
            Ok(None) => Ok(None),
            Err(ProcError::Denied { .. }) => open_in_root(&directory, mapping),
            Err(error) => Err(error.into()),
        }
    }

    /// Copies memory; `None` = gone or not mapped.
    #[must_use]
    pub fn memory(&self, address: u64, len: usize) -> Option<Vec<u8>> {
        let found = self.directory().ok()??.locate("mem").ok()??;
        let mut bytes = vec![0; len];
        file::reopen(&found)
            .ok()?
            .read_exact_at(&mut bytes, address)
            .ok()?;
        Some(bytes)
    }
}

/// The executable mappings that a directory shows; `None` = no mapping at all.
fn read(directory: &ProcDir) -> Result<Option<Mappings>, ProcError> {
    let mut mappings = Mappings::default();
    directory.mappings(|mapping| mappings.push(mapping))?;
    Ok(mappings.any.then_some(mappings))
}

/// Opens the file that the path of a mapping leads to in the process's root, if it is the mapped one.
fn open_in_root(directory: &ProcDir, mapping: &Mapping) -> Result<Option<File>, OpenError> {
    let path = Path::new(mapping.path.trim_start_matches('/'));
    let Some(found) = directory.locate_in_root(path)? else {
        return Ok(None);
    };
    let facts = file::facts(&found).map_err(io::Error::from)?;
    if facts.inode != mapping.inode {
        return Ok(None);
    }
    Ok(Some(file::reopen(&found)?))
}

/// The key of a living process as `/proc` gives it: the start time is cut to ticks, so the key is good for
/// [`ProcessFiles`] only.
#[cfg(test)]
pub(crate) fn key_of(tgid: u32) -> ProcessKey {
    let stat = ProcDir::open(tgid).unwrap().unwrap().stat().unwrap().unwrap();
    ProcessKey {
        start_boottime: stat.start.begins().0,
        tgid,
        pad: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use std::process::{Command, Stdio};

    /// The own process has mappings, the files behind which can be opened, by either way.
    #[test]
    fn process_files_of_the_own_process_open() {
        let mut files = ProcessFiles::new(key_of(std::process::id()));
        let mappings = files.mappings().unwrap().unwrap();
        let own = &mappings.list[0];
        let file = files.open_mapping(own).unwrap().unwrap();
        assert_eq!(file.metadata().unwrap().ino(), own.inode);
        let directory = files.directory().unwrap().unwrap();
        let by_path = open_in_root(&directory, own).unwrap().unwrap();
        assert_eq!(by_path.metadata().unwrap().ino(), own.inode);
    }

    /// A path that by now leads to another file is not opened.
    #[test]
    fn process_files_of_a_replaced_file_are_not_opened_by_path() {
        let mut files = ProcessFiles::new(key_of(std::process::id()));
        let mut own = files.mappings().unwrap().unwrap().list[0].clone();
        own.inode += 1;
        let directory = files.directory().unwrap().unwrap();
        assert!(open_in_root(&directory, &own).unwrap().is_none());
    }

    /// A pid that now belongs to another process is gone, not that process.
    #[test]
    fn process_files_of_a_reused_pid_are_gone() {
        let mut key = key_of(std::process::id());
        key.start_boottime += 1_000_000_000;
        let mut files = ProcessFiles::new(key);
        assert!(files.mappings().unwrap().is_none());
        assert_eq!(files.memory(0x1000, 8), None);
    }

    /// A process that has vanished is a normal answer.
    #[test]
    fn process_files_of_a_vanished_process_are_gone() {
        let mut child = Command::new("true").spawn().unwrap();
        let key = key_of(child.id());
        child.wait().unwrap();
        assert!(ProcessFiles::new(key).mappings().unwrap().is_none());
        assert_eq!(ProcessFiles::new(key).memory(0x1000, 8), None);
    }

    /// When the leader has exited the files of another thread are used.
    #[test]
    fn process_files_after_the_leader_has_exited_are_those_of_a_thread() {
        // 60 is exit(2): it ends the calling thread only.
        let script = "import ctypes, threading, time\n\
            threading.Thread(target=time.sleep, args=(60,)).start()\n\
            ctypes.CDLL(None).syscall(60, 0)";
        let child = Command::new("python3")
            .args(["-c", script])
            .stdin(Stdio::null())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("skipped: there is no python3 to end its leader");
            return;
        };
        let proc = format!("/proc/{}", child.id());
        let gone = |_: &_| std::fs::read(format!("{proc}/maps")).is_ok_and(|maps| maps.is_empty());
        let exited = (0..1000).find(|round| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            gone(round)
        });
        let mut files = ProcessFiles::new(key_of(child.id()));
        let mappings = files.mappings();
        let opened = mappings.as_ref().ok().and_then(|mappings| {
            let first = mappings.as_ref()?.list.first()?;
            files.open_mapping(first).ok()?
        });
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(exited.is_some(), "the leader does not exit");
        assert!(mappings.unwrap().is_some_and(|mappings| mappings.list.len() > 2));
        assert!(opened.is_some());
        assert_ne!(files.tid, files.id.tgid);
    }
}
