//! A folder with one file per entry. A file is whole or not there: it is written under another name, flushed, and renamed.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Ends the name of an entry.
const ENTRY: &str = ".entry";
/// Ends the name of an entry that could not be read.
const DAMAGED: &str = ".damaged";
/// Ends the name of a file that is being written.
const UNFINISHED: &str = ".new";
/// Entries that could not be read are kept for a person to look at: so many.
const DAMAGED_MAX: usize = 16;
/// A file is never longer: what is, is none of ours.
const FILE_BYTES_MAX: u64 = 32 << 20;
/// Name of the file that is no entry: whom the receiver was told of.
const MEMORY: &str = "told";
/// Files in the folder that are looked at.
const FILES_MAX: usize = 200_000;
/// The first line of a file: name, version, checksum, length.
const MAGIC: &str = "leak-agent-queue 1";

/// Why the disk did not do what was wanted of it, or gave back something else.
#[derive(Debug, thiserror::Error)]
pub(in crate::output::alert) enum QueueError {
    /// A file operation failed.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The folder belongs to another agent that runs.
    #[error("{} is in use by another agent", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// An entry is not what was written.
    #[error("the entry is damaged: {what}")]
    Damaged {
        /// What is wrong with it.
        what: &'static str,
    },
    /// An entry's body is no notification.
    #[error("the entry is no notification")]
    Json(#[source] serde_json::Error),
    /// An entry is from a newer agent.
    #[error("the entry is of version {version}, from a newer agent")]
    Newer {
        /// Its version.
        version: u32,
    },
}

impl QueueError {
    /// Whether the same may work later.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() != io::ErrorKind::NotFound)
    }
}

/// An open folder; no other agent has it open.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl Folder {
    /// Opens it, and makes it if need be; and the entries found in it, oldest first, as number and bytes.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<(u64, u64)>), QueueError> {
        let io = |what, path: &Path| {
            let path = path.to_owned();
            move |source| QueueError::Io { what, path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(io("create", path))?;
        let name = path.join("lock");
        let lock =
            own_file(OpenOptions::new().create(true).truncate(false), &name).map_err(io("open", &name))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(QueueError::InUse {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(io("lock", &name)(source)),
        }
        let mut found = Vec::new();
        let mut damaged = Vec::new();
        for file in fs::read_dir(path).map_err(io("list", path))?.take(FILES_MAX) {
            let file = file.map_err(io("list", path))?;
            let name = file.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(number) = name.strip_suffix(ENTRY).and_then(|number| number.parse().ok()) {
                let bytes = file.metadata().map_or(0, |meta| meta.len());
                found.push((number, bytes));
            } else if name.ends_with(DAMAGED) {
                damaged.push(file.path());
            } else if name.ends_with(UNFINISHED) {
                // Its writer was killed.
                let _ = fs::remove_file(file.path());
            }
        }
        found.sort_unstable();
        damaged.sort_unstable();
        let too_many = damaged.len().saturating_sub(DAMAGED_MAX);
        for path in damaged.iter().take(too_many) {
            let _ = fs::remove_file(path);
        }
        let folder = Self {
            path: path.to_owned(),
            _lock: lock,
        };
        Ok((folder, found))
    }

    /// Writes an entry. It survives whatever comes when this returns.
    pub(super) fn write(&self, number: u64, body: &[u8]) -> Result<(), QueueError> {
        write_whole(&self.entry(number, ENTRY), body)
    }

    /// The body of an entry, if it is what was written.
    pub(super) fn read(&self, number: u64) -> Result<Vec<u8>, QueueError> {
        read_whole(self.entry(number, ENTRY))
    }

    /// Writes the one file that is no entry.
    pub(super) fn write_memory(&self, body: &[u8]) -> Result<(), QueueError> {
        write_whole(&self.path.join(MEMORY), body)
    }

    /// Its body; `None` = there is none.
    pub(super) fn read_memory(&self) -> Result<Option<Vec<u8>>, QueueError> {
        let path = self.path.join(MEMORY);
        if !path.exists() {
            return Ok(None);
        }
        read_whole(path).map(Some)
    }

    /// Removes an entry. Not flushed: if the machine loses power now, it comes back, and is sent again.
    pub(super) fn remove(&self, number: u64) -> Result<(), QueueError> {
        let path = self.entry(number, ENTRY);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(|source| QueueError::Io {
                what: "remove",
                path,
                source,
            }),
        }
    }

    /// Renames an entry, so that it is not read again; a person may.
    pub(super) fn set_aside(&self, number: u64) {
        if fs::rename(self.entry(number, ENTRY), self.entry(number, DAMAGED)).is_err() {
            let _ = fs::remove_file(self.entry(number, ENTRY));
        }
    }

    fn entry(&self, number: u64, end: &str) -> PathBuf {
        self.path.join(format!("{number:020}{end}"))
    }
}

/// Opens a file for writing that only we may read: it holds names of processes and sites.
fn own_file(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.write(true).mode(0o600).open(path)
}

/// The body of a file, if it is what was written.
fn read_whole(path: PathBuf) -> Result<Vec<u8>, QueueError> {
    let mut text = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut text));
    read.map_err(|source| QueueError::Io {
        what: "read",
        path,
        source,
    })?;
    let damaged = |what| QueueError::Damaged { what };
    let end = text.iter().position(|byte| *byte == b'\n');
    let (head, body) = text.split_at(end.ok_or_else(|| damaged("no first line"))?);
    let body = body.get(1..).unwrap_or_default();
    let head = std::str::from_utf8(head).map_err(|_| damaged("its first line is no text"))?;
    let head = head
        .strip_prefix(MAGIC)
        .ok_or_else(|| damaged("its first line is another"))?;
    let mut words = head.split_ascii_whitespace();
    let sum = words.next().and_then(|word| u32::from_str_radix(word, 16).ok());
    let length = words.next().and_then(|word| word.parse::<usize>().ok());
    if length != Some(body.len()) {
        return Err(damaged("it is cut"));
    }
    if sum != Some(crc32fast::hash(body)) {
        return Err(damaged("its checksum is another"));
    }
    Ok(body.to_vec())
}

/// Puts a file in the place of another, or of none, so that at any moment either is whole.
fn write_whole(path: &Path, body: &[u8]) -> Result<(), QueueError> {
    let head = format!("{MAGIC} {:08x} {}\n", crc32fast::hash(body), body.len());
    let unfinished = path.with_extension(UNFINISHED.trim_start_matches('.'));
    let written = (|| {
        let mut file = own_file(OpenOptions::new().create(true).truncate(true), &unfinished)?;
        file.write_all(head.as_bytes())?;
        file.write_all(body)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        // The name, too.
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    })();
    written.map_err(|source| {
        let _ = fs::remove_file(&unfinished);
        QueueError::Io {
            what: "write",
            path: path.to_owned(),
            source,
        }
    })
}
