//! One goroutine as its `g` in memory says it.

use super::layout::Layout;
use crate::source::books::{LiveTask, SavedStack, TaskState};
use crate::types::Vaddr;

/// `g.m`: the thread that runs it.
pub(super) const M: usize = 48;
/// Set in the status while the garbage collector looks at the stack.
const SCANNED: u32 = 0x1000;

/// What a goroutine does: `g.atomicstatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// There is none: the `g` is free, being made, or waits for a callback from C.
    None,
    /// Waits for a processor.
    Runnable,
    /// Runs.
    Running,
    /// In a system call, or in C.
    Syscall,
    /// Waits for something.
    Waiting,
    /// Its stack is being moved.
    CopyStack,
    /// Stopped itself for the garbage collector.
    Preempted,
    /// Waits, and nothing can wake it: the runtime itself found out (1.26 and later, on request).
    Leaked,
}

impl Status {
    /// The runtime's word for it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::None => "idle",
            Self::Runnable => "runnable",
            Self::Running => "running",
            Self::Syscall => "syscall",
            Self::Waiting => "waiting",
            Self::CopyStack => "copystack",
            Self::Preempted => "preempted",
            Self::Leaked => "leaked",
        }
    }

    /// `None` = no status of a Go that is known.
    pub(super) fn of(wire: u32) -> Option<Self> {
        Some(match wire & !SCANNED {
            0 | 6 | 11 => Self::None,
            1 => Self::Runnable,
            2 => Self::Running,
            3 => Self::Syscall,
            4 => Self::Waiting,
            8 => Self::CopyStack,
            9 => Self::Preempted,
            10 => Self::Leaked,
            _ => return None,
        })
    }
}

/// A `g`, as it was at one moment, or torn between two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Goroutine {
    /// `None` = no status that is known.
    pub(super) status: Option<Status>,
    /// Unique among the living of a process.
    pub(super) id: u64,
    /// Behind the `go` statement; 0 = made for callbacks from C.
    pub(super) statement: u64,
    /// The function that was started.
    pub(super) function: u64,
    /// Number of the wait reason.
    pub(super) reason: u8,
    /// Its stack.
    pub(super) stack: (u64, u64),
    /// Where it goes on: stack pointer and address.
    pub(super) resume: (u64, u64),
    /// The same while it is in a system call; 0 = it is in none.
    pub(super) syscall: (u64, u64),
    /// The `g` that its saved state belongs to: itself.
    pub(super) itself: u64,
    /// When it began to wait, as far as the garbage collector noticed: the runtime's monotonic clock, nanoseconds; 0 = not
    /// known.
    pub(super) since: u64,
    /// The thread that runs it: the address of the runtime's `m`; 0 = none does.
    pub(super) thread: u64,
    /// The thread that it is bound to; 0 = none.
    pub(super) bound_to: u64,
    /// The first of what it waits with (`sudog`s); 0 = nothing.
    pub(super) waiting: u64,
    /// When a sleeper is to wake, on the clock of `since`; `None` = this version does not say.
    pub(super) wakes_at: Option<u64>,
    /// Who created it; `None` = this version does not say.
    pub(super) parent: Option<u64>,
}

/// Bytes of a `g` that are read.
pub(super) fn size(layout: &Layout) -> usize {
    let last = [
        layout.gopc as usize + 16,
        layout.waiting,
        layout.labels.unwrap_or(0),
        layout.sleep_when.unwrap_or(0),
    ];
    last.into_iter().max().unwrap_or(0) + 8
}

impl Goroutine {
    /// From the first [`size`] bytes of a `g`; `None` = there are fewer.
    pub(super) fn read(bytes: &[u8], layout: &Layout) -> Option<Self> {
        let word = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let status = u32::from_le_bytes(*bytes.get(layout.status..)?.first_chunk()?);
        let gopc = layout.gopc as usize;
        Some(Self {
            status: Status::of(status),
            id: word(layout.goid)?,
            statement: word(gopc)?,
            function: word(gopc + 16)?,
            reason: *bytes.get(layout.waitreason)?,
            stack: (word(0)?, word(8)?),
            resume: (word(layout.sched_g - 16)?, word(layout.sched_g - 8)?),
            syscall: (word(layout.syscallsp)?, word(layout.syscallsp + 8)?),
            itself: word(layout.sched_g)?,
            since: word(layout.waitsince)?,
            thread: word(M)?,
            bound_to: word(layout.lockedm)?,
            waiting: word(layout.waiting)?,
            wakes_at: match layout.sleep_when {
                Some(at) => Some(word(at)?),
                None => None,
            },
            parent: match layout.parent {
                Some(at) => Some(word(at)?),
                None => None,
            },
        })
    }

    /// Made for callbacks from C: nobody said `go`.
    pub(super) fn is_for_callbacks(&self) -> bool {
        self.statement == 0 && self.function == 0
    }

    /// Whether there is a goroutine.
    pub(super) fn is_live(&self) -> bool {
        self.status != Some(Status::None)
    }

    /// Whether it waits for something.
    pub(super) fn waits(&self) -> bool {
        matches!(self.status, Some(Status::Waiting | Status::Leaked))
    }

    /// What is told of a living one.
    pub(super) fn told(&self, at: u64, site: u64, owner: u64, layout: &Layout) -> LiveTask {
        let waits = self.waits();
        let (low, high) = self.stack;
        let (sp, pc) = match self.status {
            Some(Status::Running | Status::CopyStack) => (0, 0),
            _ if self.syscall.0 != 0 => self.syscall,
            _ => self.resume,
        };
        LiveTask {
            header: at,
            site: Vaddr(site),
            id: Some(self.id),
            owner,
            state: match self.status {
                Some(Status::Runnable | Status::Preempted) => TaskState::Scheduled,
                Some(Status::Running | Status::Syscall | Status::CopyStack) => TaskState::Running,
                _ => TaskState::Idle,
            },
            refs: 0,
            join_handle: false,
            waits_for: layout.word(self.reason).filter(|_| waits),
            waits_since: Some(self.since).filter(|since| waits && *since != 0),
            creator: self.parent.filter(|parent| *parent != 0),
            pinned: self.bound_to != 0,
            stack: (low <= sp && sp <= high && sp != 0).then_some(SavedStack { low, high, sp, pc }),
        }
    }

    /// What is wrong with a living one, as half a sentence; `None` = nothing. Whether `function` is a function's entry is
    /// asked elsewhere. `at`: its address; `text`: the Go code, at run time.
    pub(super) fn wrong(
        &self,
        at: u64,
        text: &std::ops::Range<u64>,
        layout: &Layout,
    ) -> Option<&'static str> {
        let Some(status) = self.status else {
            return Some("a status that is not known");
        };
        let (low, high) = self.stack;
        let size = high.wrapping_sub(low);
        let in_stack = |sp: u64| low <= sp && sp <= high;
        let made_for_c = self.is_for_callbacks();
        if self.id == 0 {
            return Some("a goroutine without an id");
        }
        let in_code = text.contains(&self.statement) && text.contains(&self.function);
        if !(made_for_c || in_code) {
            return Some("a goroutine that was started outside the code");
        }
        if self.itself != at {
            return Some("saved registers of another goroutine");
        }
        // That of a callback is the thread's.
        if !made_for_c && (size < 2048 || !size.is_power_of_two()) {
            return Some("a stack of an impossible size");
        }
        match status {
            Status::Waiting | Status::Leaked => {
                let (sp, pc) = self.resume;
                let reason = usize::from(self.reason);
                if !in_stack(sp) || !text.contains(&pc) {
                    return Some("a goroutine that waits outside its stack or the code");
                }
                (reason == 0 || reason >= layout.reasons.len())
                    .then_some("a goroutine that waits for a reason that is not known")
            }
            Status::Syscall if !made_for_c => {
                (!in_stack(self.syscall.0)).then_some("a goroutine in a system call outside its stack")
            }
            _ => None,
        }
    }
}
