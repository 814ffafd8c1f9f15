//! One look at a process: is it still the one we mean, what is it called, and which files does it execute?

use super::filter::Filter;
use super::identity::FileKey;
use crate::sys::file;
use crate::sys::maps::Mapping;
use crate::sys::proc::{ProcDir, ProcError, ProcessId, Stat};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// The most files that one process may execute; a process with more is followed in these, and the rest is counted.
pub const FILES_MAX: usize = 1024;
/// How many files one look opens; the next one opens more.
pub(super) const OPENED_MAX: usize = 32;
/// How many threads are tried when the main thread has ended before the others.
const THREADS_TRIED: usize = 8;
/// The longest path that is kept, bytes.
const PATH_MAX: usize = 4096;

/// Files whose answer is known and for which no descriptor is needed any more. Shared with the jobs, so that a look at the
/// second process of a known executable opens nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Known(Arc<RwLock<HashSet<FileKey>>>);

impl Known {
    pub(super) fn has(&self, key: &FileKey) -> bool {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(key)
    }

    pub(super) fn set(&self, key: FileKey, known: bool) {
        let mut set = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known {
            set.insert(key);
        } else {
            set.remove(&key);
        }
    }
}

#[derive(Debug)]
pub(super) struct Look {
    pub process: ProcessId,
    /// Given back, so that an answer from before an `exec` is recognised.
    pub round: u32,
    pub filter: Arc<Filter>,
    pub known: Known,
    /// The digest of the last look: an equal one makes the answer [`Answer::Unchanged`].
    pub last: Option<u64>,
}

#[derive(Debug)]
pub(super) enum Answer {
    /// There is no such process any more, or its pid belongs to another one.
    Gone,
    /// A kernel thread, or an executable that nobody asked for.
    NotWanted,
    /// It executes what it executed at the last look.
    Unchanged {
        /// See [`Seen::threads`].
        threads: u64,
    },
    /// `/proc` does not tell.
    Failed(ProcError),
    Seen(Seen),
}

#[derive(Debug)]
pub(super) struct Seen {
    pub comm: String,
    /// Path of the executable as the process sees it; `None` = not permitted.
    pub exe: Option<String>,
    /// How many threads it has, as `/proc` says.
    pub threads: u64,
    /// The main executable first, then by path.
    pub files: Vec<SeenFile>,
    pub digest: u64,
    /// Files that are executed but could not be named, by reason.
    pub lost: Lost,
}

/// Executed files that a look could not name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Lost {
    /// No right to open them, or not found under the name that the process knows.
    pub unreachable: u64,
    /// Beyond [`FILES_MAX`] files or [`crate::sys::maps::MAPS_BYTES_MAX`] bytes of mappings.
    pub beyond_cap: u64,
}

#[derive(Debug)]
pub(super) struct SeenFile {
    pub key: FileKey,
    /// As the process sees it.
    pub path: String,
    /// Open for reading, unless the key is among the known ones or the look had opened enough.
    pub file: Option<Arc<File>>,
}

/// An executed file, as the mappings tell it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Executed {
    path: Vec<u8>,
    dev: (u32, u32),
    inode: u64,
}

impl Look {
    pub(super) fn run(&self) -> Answer {
        match self.look() {
            Ok(answer) => answer.unwrap_or(Answer::Gone),
            Err(error) => Answer::Failed(error),
        }
    }

    /// `None` = gone.
    fn look(&self) -> Result<Option<Answer>, ProcError> {
        let Some(dir) = ProcDir::open(self.process.tgid)? else {
            return Ok(None);
        };
        let Some(stat) = dir.stat()?.filter(|stat| stat.start == self.process.start) else {
            return Ok(None);
        };
        if stat.kernel {
            return Ok(Some(Answer::NotWanted));
        }
        let Some(dir) = with_memory(dir, &stat)? else {
            return Ok(None);
        };
        let exe = match dir.exe() {
            Ok(path) => path.map(|path| path.to_string_lossy().into_owned()),
            Err(ProcError::Denied { .. }) => None,
            Err(error) => return Err(error),
        };
        if !self.filter.wants_exe(exe.as_deref()) {
            return Ok(Some(Answer::NotWanted));
        }
        let mut executed = BTreeMap::new();
        let mut lost = Lost::default();
        let collect = |mapping: &Mapping<'_>| collect(mapping, &mut executed, &mut lost);
        match dir.mappings(collect) {
            Ok(Some(read)) => lost.beyond_cap += u64::from(read.cut),
            Ok(None) => return Ok(None),
            Err(ProcError::Denied { .. }) => lost.unreachable += 1, // its threads can be counted all the same
            Err(error) => return Err(error),
        }
        let digest = digest(&stat.comm, exe.as_deref(), &executed);
        if self.last == Some(digest) {
            let threads = stat.threads;
            return Ok(Some(Answer::Unchanged { threads }));
        }
        let mut files = self.files(&dir, &executed, &mut lost);
        files.sort_by_key(|file| exe.as_deref() != Some(file.path.as_str())); // stable: the rest stays by path
        Ok(Some(Answer::Seen(Seen {
            comm: stat.comm,
            exe,
            threads: stat.threads,
            files,
            digest,
            lost,
        })))
    }

    fn files(
        &self,
        dir: &ProcDir,
        executed: &BTreeMap<Executed, (u64, u64)>,
        lost: &mut Lost,
    ) -> Vec<SeenFile> {
        let mut seen = BTreeSet::new();
        let mut files = Vec::new();
        let mut open = OPENED_MAX;
        for (named, range) in executed {
            match self.file(dir, named, *range, &mut open) {
                Some(Some(file)) => {
                    if seen.insert(file.key) {
                        files.push(file);
                    }
                }
                Some(None) => {} // a device, or unmapped meanwhile
                None => lost.unreachable += 1,
            }
        }
        files
    }

    /// Outer `None`: not permitted. Inner: not a regular file, or no longer mapped.
    fn file(
        &self,
        dir: &ProcDir,
        named: &Executed,
        (start, end): (u64, u64),
        open: &mut usize,
    ) -> Option<Option<SeenFile>> {
        let located = match dir.locate(&format!("map_files/{start:x}-{end:x}")) {
            Ok(Some(located)) => located,
            Ok(None) => return Some(None),
            Err(_) => by_path(dir, &named.path, named.dev, named.inode)?,
        };
        let facts = file::facts(&located).ok()?;
        if !facts.regular {
            return Some(None);
        }
        let key = FileKey::of(&located, &facts);
        let file = if self.known.has(&key) || *open == 0 {
            None
        } else {
            *open -= 1;
            match file::reopen(&located) {
                Ok(file) => Some(Arc::new(file)),
                Err(error) if no_descriptor_left(&error) => None,
                Err(_) => return None,
            }
        };
        let path = String::from_utf8_lossy(&named.path).into_owned();
        Some(Some(SeenFile { key, path, file }))
    }
}

fn no_descriptor_left(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Without the right to use `map_files`: the path within the process's root, if what is there now has the device and inode
/// that the mapping has. On file systems that show other numbers in `maps` than in `stat` (btrfs, older overlayfs) nothing is found.
pub(super) fn by_path(dir: &ProcDir, path: &[u8], dev: (u32, u32), inode: u64) -> Option<OwnedFd> {
    use std::os::unix::ffi::OsStrExt;
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    let located = dir.locate_in_root(path).ok()??;
    let facts = file::facts(&located).ok()?;
    let found = (rustix::fs::major(facts.dev), rustix::fs::minor(facts.dev));
    (found == dev && facts.inode == inode).then_some(located)
}

/// The directory of a thread that still has the process's memory: the main thread may have ended before the others.
fn with_memory(dir: ProcDir, stat: &Stat) -> Result<Option<ProcDir>, ProcError> {
    if stat.state != b'Z' {
        return Ok(Some(dir));
    }
    for tid in dir.thread_ids(THREADS_TRIED)? {
        if tid == dir.pid() {
            continue;
        }
        let Some(thread) = ProcDir::open(tid)? else {
            continue;
        };
        if thread.stat()?.is_some_and(|stat| stat.state != b'Z') {
            return Ok(Some(thread));
        }
    }
    Ok(None)
}

/// Keeps one address range for each executed file.
fn collect(mapping: &Mapping<'_>, executed: &mut BTreeMap<Executed, (u64, u64)>, lost: &mut Lost) {
    let (path, _) = mapping.path_deleted();
    if !mapping.execute || mapping.inode == 0 || !path.starts_with(b"/") {
        return;
    }
    let named = Executed {
        path: path.get(..PATH_MAX).unwrap_or(path).to_vec(),
        dev: mapping.dev,
        inode: mapping.inode,
    };
    if executed.len() < FILES_MAX || executed.contains_key(&named) {
        executed.entry(named).or_insert((mapping.start, mapping.end));
    } else {
        lost.beyond_cap += 1;
    }
}

fn digest(comm: &str, exe: Option<&str>, executed: &BTreeMap<Executed, (u64, u64)>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (comm, exe, executed).hash(&mut hasher);
    hasher.finish()
}
