//! When are two mapped files one file? What plans, attachments and cached answers are kept by.
//!
//! A uprobe sits on the kernel's inode, so an attachment belongs to one file, and a plan is made of that file's very
//! bytes. Therefore the key is the file itself, not the build id: a stripped twin has the same build id and other
//! bytes. The build id only names the executable to people ([`crate::types::ExecutableId`]).
//!
//! Containers of one image see one real file under different (device, inode) pairs, one per overlay mount. Their
//! probes would all sit on the same inode and each hit would run all of them, so such a file is known by what is
//! behind it.

use crate::sys::file::{FileFacts, overlay_backing};
use std::hash::{BuildHasher, RandomState};
use std::os::fd::AsFd;
use std::sync::OnceLock;

/// One file with one content. A file that is written to in place gets another key as soon as its size or its
/// modification time shows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileKey {
    /// Which inode.
    pub place: Place,
    /// Bytes.
    pub size: u64,
    /// Modification time, nanoseconds since the epoch.
    pub mtime: i64,
}

/// Which inode a file is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Place {
    /// As `stat` gives it.
    Inode {
        /// Device number.
        dev: u64,
        /// Inode number.
        inode: u64,
    },
    /// On overlayfs: a digest of the handle of the real file. Means nothing beyond this run of the agent.
    Backing(u64, u64),
}

impl FileKey {
    /// The key of a file with these facts. One system call for files on devices that are not disks, else none.
    #[must_use]
    pub fn of(file: &impl AsFd, facts: &FileFacts) -> Self {
        // overlayfs has an anonymous device (major 0).
        let backing = (rustix::fs::major(facts.dev) == 0)
            .then(|| overlay_backing(file))
            .flatten();
        let place = match backing {
            Some(handle) => {
                let (first, second) = digest(&handle);
                Place::Backing(first, second)
            }
            None => Place::Inode {
                dev: facts.dev,
                inode: facts.inode,
            },
        };
        Self {
            place,
            size: facts.size,
            mtime: facts.mtime,
        }
    }
}

/// 128 bits under keys that nobody outside this process knows: handles are in the hands of whoever made the file system.
fn digest(bytes: &[u8]) -> (u64, u64) {
    static KEYS: OnceLock<(RandomState, RandomState)> = OnceLock::new();
    let (first, second) = KEYS.get_or_init(|| (RandomState::new(), RandomState::new()));
    (first.hash_one(bytes), second.hash_one(bytes))
}
