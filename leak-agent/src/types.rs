//! Ids, addresses and time as newtypes, so that a file offset is never taken for an address, nor a pid for
//! a process.

use serde::{Deserialize, Serialize};
use std::fmt;

pub mod label;
pub mod shared;
mod text;

pub use leak_agent_common::key::ProcessKey;
pub use text::Text;

/// Nanoseconds of `CLOCK_BOOTTIME`: the one clock that the kernel's start times, the ring records and the
/// agent share. Time is an argument everywhere; `sys::clock` is the only place that reads it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct BootTime(pub u64);

impl BootTime {
    /// Time since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The image within a process: low 32 bits of the kernel's `self_exec_id`. It changes with every `exec`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct ExecId(pub u32);

/// A virtual address as the ELF file states it (before the load bias).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Vaddr(pub u64);

/// A byte offset in a file: what a uprobe is attached to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileOffset(pub u64);

/// An address in a living process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RuntimeAddr(pub u64);

macro_rules! hex_debug {
    ($($name:ident)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    )*};
}
hex_debug!(Vaddr FileOffset RuntimeAddr);

/// Number of a plan in the kernel's map of plans. 0 means the kernel hooks (threads).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct PlanId(pub u32);

/// What schedules a task. An opaque label outside `source/`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Runtime {
    /// Its number on the wire.
    pub wire: u32,
    /// Its name in metrics, reports and on the command line.
    #[serde(with = "label")]
    pub label: label::Label,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label)
    }
}

/// The identity of an executable or library: what is cached, and what a site's id is built on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ExecutableId {
    /// The linker's build id, whole.
    BuildId(Vec<u8>),
    /// No build id: the file itself. Changes when the file is replaced.
    File {
        /// Device number as `stat` gives it.
        dev: u64,
        /// Inode number.
        inode: u64,
        /// Bytes.
        size: u64,
        /// Modification time, nanoseconds since the epoch.
        mtime: i64,
    },
}

impl fmt::Display for ExecutableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuildId(id) => id.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::File {
                dev,
                inode,
                size,
                mtime,
            } => write!(f, "{dev:x}.{inode:x}.{size:x}.{mtime:x}"),
        }
    }
}
