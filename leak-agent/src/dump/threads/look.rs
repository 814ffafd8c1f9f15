//! Looking at the threads of a process: what each does, and the registers from which its stack goes on.

use crate::bpf::ThreadWalk;
use crate::sys::proc::{ProcDir, ProcError};

/// Threads that are looked at.
pub(super) const THREADS_MAX: usize = 1 << 17;
/// `PF_IO_WORKER` and `PF_USER_WORKER`: a thread that the kernel runs in the process. It has no program.
const KERNEL_WORKER: u32 = 0x10 | 0x4000;

/// A thread at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) tid: u32,
    pub(super) state: State,
    /// How often it gave up its CPU, and how often that was taken from it: unchanged = it did not run.
    pub(super) switches: (u64, u64),
    pub(super) ip: u64,
    pub(super) sp: u64,
    /// `None` = not known.
    pub(super) bp: Option<u64>,
    /// Number of its system call.
    pub(super) call: Option<u32>,
    /// Its age is that of a moment on this clock: nanoseconds of `CLOCK_BOOTTIME`; `None` = not known.
    pub(super) began: Option<u64>,
    pub(super) name: String,
    /// The kernel's own work.
    pub(super) worker: bool,
}

/// What a thread does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Running,
    Sleeping,
    Uninterruptible,
    Stopped,
    Ending,
}

impl State {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Sleeping => "sleeping",
            Self::Uninterruptible => "uninterruptible",
            Self::Stopped => "stopped",
            Self::Ending => "ending",
        }
    }

    /// Of `task_struct.__state`.
    const fn of_bits(bits: u32) -> Self {
        match bits {
            0 => Self::Running,
            _ if bits & 0x1 != 0 => Self::Sleeping,
            _ if bits & (0x4 | 0x8) != 0 => Self::Stopped,
            _ if bits & (0x80 | 0x10 | 0x20) != 0 => Self::Ending,
            _ => Self::Uninterruptible,
        }
    }

    /// Of the letter in `/proc`.
    const fn of_letter(letter: u8) -> Self {
        match letter {
            b'S' | b'I' => Self::Sleeping,
            b'D' => Self::Uninterruptible,
            b'T' | b't' => Self::Stopped,
            b'Z' | b'X' => Self::Ending,
            _ => Self::Running,
        }
    }
}

/// By which means threads are looked at.
pub(super) enum Means {
    /// By a walk in the kernel.
    Walk(Box<ThreadWalk>),
    /// By `/proc`, which does not tell the frame pointer.
    Proc(ProcDir),
}

impl Means {
    /// All threads, at most [`THREADS_MAX`].
    pub(super) fn look(&mut self) -> Result<Vec<Seen>, String> {
        match self {
            Self::Walk(walk) => {
                let threads = walk.read().map_err(|error| error.to_string())?;
                Ok(threads
                    .iter()
                    .take(THREADS_MAX)
                    .map(|thread| {
                        let name = thread.comm.split(|byte| *byte == 0).next().unwrap_or_default();
                        Seen {
                            tid: thread.tid,
                            state: State::of_bits(thread.state),
                            switches: (thread.voluntary, thread.involuntary),
                            ip: thread.ip,
                            sp: thread.sp,
                            bp: Some(thread.bp),
                            call: u32::try_from(thread.call).ok(),
                            began: Some(thread.start_boottime),
                            name: String::from_utf8_lossy(name).into_owned(),
                            worker: thread.flags & KERNEL_WORKER != 0,
                        }
                    })
                    .collect())
            }
            Self::Proc(directory) => by_proc(directory).map_err(|error| error.to_string()),
        }
    }
}

fn by_proc(directory: &ProcDir) -> Result<Vec<Seen>, ProcError> {
    let mut all = Vec::new();
    for tid in directory.thread_ids(THREADS_MAX)? {
        let Some(status) = directory.thread_status(tid)? else {
            continue;
        };
        let blocked = directory.blocked(tid)?;
        let state = match blocked {
            Some(_) => State::of_letter(status.state),
            None if status.state == b'Z' => State::Ending,
            None => State::Running,
        };
        all.push(Seen {
            tid,
            state,
            switches: status.switches,
            ip: blocked.map_or(0, |blocked| blocked.ip),
            sp: blocked.map_or(0, |blocked| blocked.sp),
            bp: None,
            call: blocked.and_then(|blocked| blocked.call),
            began: None,
            name: status.name,
            worker: false,
        });
    }
    Ok(all)
}
