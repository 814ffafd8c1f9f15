//! What goes in and what comes out: notices and actions.

use super::identity::FileKey;
use super::job::Job;
use crate::source::HookPlan;
use crate::types::{ExecutableId, ProcessKey, Runtime};
use std::fs::File;
use std::sync::Arc;

/// Something the kernel told about a process. Notices may come late, twice, out of order or not at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// A process was created.
    Forked {
        /// The new process.
        process: ProcessKey,
        /// Its creator.
        parent: ProcessKey,
    },
    /// A process has a new image.
    Execed {
        /// The process.
        process: ProcessKey,
    },
    /// A process has ended.
    Exited {
        /// The process.
        process: ProcessKey,
    },
    /// This key was seen elsewhere (a row of totals, an iterator) and has not been described yet. It also tells the
    /// exact start time of a process that was found in `/proc`.
    Counted {
        /// The process.
        process: ProcessKey,
    },
}

/// A process that `/proc` shows and the kernel does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Uncounted<'a> {
    /// Its key, with a start time cut to clock ticks.
    pub process: ProcessKey,
    /// Name of its main thread, lossy UTF-8.
    pub comm: &'a str,
    /// Path of its executable, as it sees it; `None` = not permitted.
    pub exe: Option<&'a str>,
    /// How many threads it had at the last look, at most some seconds ago.
    pub threads: u64,
}

/// One plan on one file: what is attached and detached as a whole.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AttachmentKey {
    /// The file.
    pub file: FileKey,
    /// The runtime that the plan follows.
    pub runtime: Runtime,
}

/// What the caller is to do, in this order.
#[derive(Debug)]
pub enum Action {
    /// Give this job to the [`super::Pool`].
    Run(Job),
    /// This process is followed, and this is what it is called. Comes again when it changes. A process that is never
    /// described is not wanted.
    Describe {
        /// The process.
        process: ProcessKey,
        /// Name of its main thread, lossy UTF-8.
        comm: String,
        /// Path of its executable, as it sees it; `None` = not permitted.
        exe: Option<String>,
    },
    /// This process was there before it was counted for the first time: its threads of then are not in the kernel's books.
    Unlisted {
        /// The process.
        process: ProcessKey,
    },
    /// Attach this plan to this file, then call [`super::Discovery::attached`], at once or later. Until then it is
    /// neither detached nor attached again.
    Attach {
        /// Names it from now on.
        attachment: AttachmentKey,
        /// The file, open for reading. `/proc/self/fd/N` is a path to exactly this file.
        file: Arc<File>,
        /// The path under which it was first seen (by a process in a container: its path in there). For people.
        path: String,
        /// Its name among people and in site ids.
        executable: ExecutableId,
        /// What to attach.
        plan: Arc<HookPlan>,
    },
    /// Nobody uses it any more: detach it.
    Detach {
        /// Which.
        attachment: AttachmentKey,
    },
    /// This process executes that file, and it is attached.
    Follow {
        /// The process.
        process: ProcessKey,
        /// What counts in it.
        attachment: AttachmentKey,
    },
    /// It does not execute it any more: a new image, or the library is closed. Not sent for a process that has ended.
    Unfollow {
        /// The process.
        process: ProcessKey,
        /// Which.
        attachment: AttachmentKey,
    },
    /// This runtime in this process is not followed (wholly).
    Unsupported {
        /// The process.
        process: ProcessKey,
        /// Which runtime; `None` = it is not known whether the file has any.
        runtime: Option<Runtime>,
        /// The file, as the process sees it.
        path: String,
        /// Why, as half a sentence.
        reason: String,
    },
    /// We found that this process has ended. Its notice may still come, or never.
    Gone {
        /// The process.
        process: ProcessKey,
    },
}
