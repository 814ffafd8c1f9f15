//! What is done off the event loop: everything that reads `/proc` or opens a file. A job is plain data and so is its
//! answer; [`super::Pool`] runs the one and delivers the other.

use super::identity::FileKey;
use super::{inspect, look, pin};
use crate::source::Source;
use crate::sys::proc::{self, Found, ProcError, ProcessId};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Work for the [`super::Pool`]. Opaque: [`super::Discovery`] makes it, and understands the answer.
#[derive(Debug)]
pub struct Job(pub(super) Work);

/// Which queue a job waits in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// Below a millisecond or so, and somebody is waiting: reading `/proc`.
    Prompt,
    /// Up to seconds: reading an executable. Runs at the lowest priority.
    Patient,
}

#[derive(Debug)]
pub(super) enum Work {
    Scan(Scan),
    Look(look::Look),
    Inspect(Box<inspect::Inspect>),
    Pin(pin::Pin),
}

/// Which processes are there?
#[derive(Debug)]
pub(super) struct Scan {
    /// Only these; empty = all.
    pub pids: Vec<u32>,
    /// Given back: processes that came after it are not missed in the answer.
    pub asked: crate::types::BootTime,
}

/// The answer to a [`Job`]; hand it to [`super::Discovery::done`].
#[derive(Debug)]
pub struct Done(pub(super) Answer);

#[derive(Debug)]
pub(super) enum Answer {
    Scanned {
        asked: crate::types::BootTime,
        found: Result<Found, ProcError>,
    },
    Looked {
        process: ProcessId,
        round: u32,
        answer: look::Answer,
    },
    Inspected {
        file: FileKey,
        answer: inspect::Answer,
    },
    Pinned(pin::Answer),
    /// A job panicked outside a source. It names nobody, so that the state must be able to do without its answer.
    Panicked(Asked),
}

/// Who asked for a job.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    Scan,
    Process(ProcessId, u32),
    File(FileKey),
    Pin,
}

impl Job {
    /// Where it should wait.
    #[must_use]
    pub fn lane(&self) -> Lane {
        match self.0 {
            Work::Inspect(_) => Lane::Patient,
            Work::Scan(_) | Work::Look(_) | Work::Pin(_) => Lane::Prompt,
        }
    }

    fn asked(&self) -> Asked {
        match &self.0 {
            Work::Scan(_) => Asked::Scan,
            Work::Look(look) => Asked::Process(look.process, look.round),
            Work::Inspect(inspect) => Asked::File(inspect.key),
            Work::Pin(_) => Asked::Pin,
        }
    }

    /// Does it, on the calling thread: blocks. Never panics; a panic inside is an answer.
    #[must_use]
    pub fn run(self, sources: &[Box<dyn Source>]) -> Done {
        let asked = self.asked();
        let answer = catch_unwind(AssertUnwindSafe(|| match self.0 {
            Work::Scan(scan) => Answer::Scanned {
                asked: scan.asked,
                found: scan.run(),
            },
            Work::Look(look) => Answer::Looked {
                process: look.process,
                round: look.round,
                answer: look.run(),
            },
            Work::Inspect(inspect) => Answer::Inspected {
                file: inspect.key,
                answer: inspect.run(sources),
            },
            Work::Pin(pin) => Answer::Pinned(pin.run()),
        }));
        Done(answer.unwrap_or(Answer::Panicked(asked)))
    }
}

impl Scan {
    fn run(&self) -> Result<Found, ProcError> {
        if self.pids.is_empty() {
            return proc::process_ids().map(proc::found);
        }
        Ok(proc::found(self.pids.iter().copied()))
    }
}
