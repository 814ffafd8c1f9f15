//! What the kernel tells one by one: the events that came through the ring, decoded and owned.

use crate::types::{BootTime, ExecId, ProcessKey};
use leak_agent_common::key::SiteKey;
use leak_agent_common::point::role;
use leak_agent_common::record::{ProcessRecord, Record, STACK_CUT};
use serde::{Deserialize, Serialize};

/// One event. `at` is when the kernel saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A process was created; it has its parent's image.
    Forked {
        /// The new process.
        process: ProcessKey,
        /// Its creator.
        parent: ProcessKey,
        /// The image it shares with its parent.
        exec: ExecId,
        /// Its name.
        comm: String,
        /// When.
        at: BootTime,
    },
    /// A process has a new image.
    Execed {
        /// The process.
        process: ProcessKey,
        /// The new image.
        exec: ExecId,
        /// Its name.
        comm: String,
        /// When.
        at: BootTime,
    },
    /// A process has ended. May come twice.
    Exited {
        /// The process.
        process: ProcessKey,
        /// When.
        at: BootTime,
    },
    /// The stack of whoever created a task.
    Stack(Box<StackEvent>),
    /// A task was created or ended (stream, on request).
    Task {
        /// Its site.
        site: SiteKey,
        /// `true` = created, `false` = ended.
        spawned: bool,
        /// When.
        at: BootTime,
    },
}

/// A creation stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackEvent {
    /// The process.
    pub process: ProcessKey,
    /// Its image.
    pub exec: ExecId,
    /// The site under which the new task was counted.
    pub site: SiteKey,
    /// Load bias of the file that the site's number is of; 0 for threads.
    pub bias: u64,
    /// Instruction pointer, stack pointer and frame pointer of the creator, run-time addresses.
    pub registers: (u64, u64, u64),
    /// Run-time address of the first byte of `bytes`.
    pub start: u64,
    /// The stack, from the creator's stack pointer (rounded down) upwards.
    pub bytes: Vec<u8>,
    /// There was more stack than was copied.
    pub cut: bool,
}

impl From<Record<'_>> for Event {
    fn from(record: Record<'_>) -> Self {
        match record {
            Record::Fork(record) => Self::Forked {
                process: record.header.process,
                parent: record.other,
                exec: ExecId(record.header.exec_id),
                comm: comm(record),
                at: BootTime(record.header.at),
            },
            Record::Exec(record) => Self::Execed {
                process: record.header.process,
                exec: ExecId(record.header.exec_id),
                comm: comm(record),
                at: BootTime(record.header.at),
            },
            Record::Exit(record) => Self::Exited {
                process: record.header.process,
                at: BootTime(record.header.at),
            },
            Record::Stack(record, bytes) => Self::Stack(Box::new(StackEvent {
                process: record.header.process,
                exec: ExecId(record.header.exec_id),
                site: record.site,
                bias: record.bias,
                registers: (record.ip, record.sp, record.bp),
                start: record.stack_start,
                bytes: bytes.to_vec(),
                cut: record.flags & STACK_CUT != 0,
            })),
            Record::Stream(record) => Self::Task {
                site: record.site,
                spawned: record.role == u32::from(role::SPAWN),
                at: BootTime(record.header.at),
            },
        }
    }
}

fn comm(record: &ProcessRecord) -> String {
    let end = record
        .comm
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(record.comm.len());
    String::from_utf8_lossy(&record.comm[..end]).into_owned()
}
