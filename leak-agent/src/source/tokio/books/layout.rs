//! Where tokio keeps what, by version: offsets in bytes, checked against its source from 1.10 to 1.54.
//!
//! A layout is a claim. What is read by it is believed only when the lists prove it.

use super::super::version::Version;
use std::collections::BTreeSet;

/// The newest change of a layout that is known: what a file without a version is taken for, first.
pub(super) const NEWEST: Version = Version::new(1, 39);

/// A task's header, and the links of the list it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeaderLayout {
    /// The vtable's address.
    pub(super) vtable: usize,
    /// Id of the list it was put into; 0 = none.
    pub(super) owner: usize,
    /// The list links: the previous (younger) task, then the next (older) one.
    pub(super) links: Links,
    /// Every header's address is a multiple of it.
    pub(super) align: u64,
}

/// Where a task's list links are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Links {
    /// So far behind the header's first byte.
    Header(u64),
    /// At the beginning of the trailer, whose offset the vtable states.
    Trailer,
}

impl HeaderLayout {
    pub(super) fn of(version: Version) -> Self {
        let short = version >= Version::SHORT_HEADER;
        Self {
            vtable: if short { 0x10 } else { 0x20 },
            owner: if short { 0x18 } else { 0x28 },
            links: if short { Links::Trailer } else { Links::Header(8) },
            align: if version >= Version::new(1, 29) { 128 } else { 8 },
        }
    }

    /// Bytes of a header that are looked at, the task's links not among them.
    pub(super) fn size(self) -> usize {
        self.owner + 8
    }
}

/// `OwnedTasks` since tokio 1.35: an array of lists, each behind its own lock, and counters beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sharded {
    /// The array's address.
    pub(super) lists: usize,
    /// How many lists: a power of two.
    pub(super) shards: usize,
    /// Tasks ever put there (tokio 1.39 and later).
    pub(super) added: Option<usize>,
    /// Tasks that are there.
    pub(super) count: usize,
    /// `shards` − 1.
    pub(super) mask: usize,
    /// The owner id.
    pub(super) id: usize,
    /// One byte: the runtime is shut down.
    pub(super) closed: usize,
}

/// One list of the array: a lock's byte, then the first and the last task.
pub(super) mod shard {
    /// Bytes per list.
    pub(in super::super) const SIZE: usize = 24;
    /// The youngest task.
    pub(in super::super) const HEAD: usize = 8;
    /// The oldest task.
    pub(in super::super) const TAIL: usize = 16;
}

impl Sharded {
    /// The form of a version; `None` before tokio 1.35.
    pub(super) fn of(version: Version) -> Option<Self> {
        let added = version >= Version::new(1, 39);
        let behind = if added { 8 } else { 0 };
        (version >= Version::new(1, 35)).then_some(Self {
            lists: 0,
            shards: 8,
            added: added.then_some(16),
            count: 16 + behind,
            mask: 24 + behind,
            id: 32 + behind,
            closed: 40 + behind,
        })
    }

    /// Bytes of it that are looked at.
    pub(super) fn size(&self) -> usize {
        self.closed + 8
    }
}

/// Tells how the layout is known: by the versions that the file names, or assumed.
pub(super) fn known_by(versions: &[Version]) -> String {
    let families: BTreeSet<&str> = versions.iter().map(|version| family(*version)).collect();
    if families.is_empty() {
        return format!("layout of {}, assumed: the file names no version", family(NEWEST));
    }
    let families: Vec<&str> = families.into_iter().collect();
    format!("layout of {}, by its version", families.join(" and of "))
}

/// Versions that keep their books alike.
fn family(version: Version) -> &'static str {
    match version {
        version if version >= NEWEST => "tokio 1.39 and later",
        version if version >= Version::new(1, 35) => "tokio 1.35 to 1.38",
        version if version >= Version::new(1, 29) => "tokio 1.29 to 1.34",
        version if version >= Version::SHORT_HEADER => "tokio 1.21 to 1.28",
        _ => "tokio 1.10 to 1.20",
    }
}
