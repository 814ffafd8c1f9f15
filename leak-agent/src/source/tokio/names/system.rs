//! Which jobs of the blocking pool are tokio's own: the loops of the multi-thread scheduler's worker threads.
//!
//! `Launch::launch` starts one per worker, `block_in_place` another for the worker it takes the place of. With
//! symbols their types tell. Without, their code does: only a worker's loop parks a worker, and that code
//! panics with a text of its own when the parker is gone. No closure of the program's own calls it, as jobs that start
//! a runtime or enter `block_in_place` reach the loop through a vtable alone.

use super::code::{Code, Step};
use crate::source::tokio::vtable::{Class, TaskVtable};
use memchr::memmem;
use std::collections::{HashSet, VecDeque};

/// What parking a worker panics with. Checked against `worker.rs` of tokio 1.8, 1.38, 1.47 and 1.54; nothing
/// else in tokio says it.
const PARK: &[u8] = b"park missing";

/// Calls between a job's `poll` and the code that parks: 3 with fat LTO, 12 when optimised for size, more in
/// unoptimised builds.
const MAX_CALLS: u32 = 24;

/// Functions visited per job.
const MAX_VISITS: usize = 2000;

/// Copies of the text that are looked for.
const MAX_COPIES: usize = 16;

/// Where the text is.
pub(super) struct Workers {
    texts: Vec<u64>,
}

impl Workers {
    /// One search through the image's data.
    pub(super) fn new(code: &Code<'_, '_>) -> Self {
        let segments = code.image.segments().iter().filter(|segment| !segment.executable);
        let texts = segments.flat_map(|segment| {
            memmem::find_iter(segment.bytes, PARK).map(|at| segment.start.saturating_add(at as u64))
        });
        Self {
            texts: texts.take(MAX_COPIES).collect(),
        }
    }

    /// Whether the vtable is that of a worker's loop.
    pub(super) fn is_worker(&self, code: &mut Code<'_, '_>, vtable: &TaskVtable) -> bool {
        let Some(poll) = vtable
            .poll()
            .filter(|_| vtable.class() != Class::Async && !self.texts.is_empty())
        else {
            return false;
        };
        let mut seen = HashSet::from([poll.0]);
        let mut queue = VecDeque::from([(poll.0, 0)]);
        while let Some((function, depth)) = queue.pop_front() {
            for (_, step) in code.steps(function).iter() {
                match *step {
                    Step::Load(address) if self.texts.contains(&address) => return true,
                    // Unoptimised code gives `catch_unwind` the address of what runs the job.
                    Step::Load(address) if !code.image.is_code(address) => {}
                    Step::Call(target) | Step::Load(target)
                        if depth < MAX_CALLS && seen.len() < MAX_VISITS && seen.insert(target) =>
                    {
                        queue.push_back((target, depth + 1));
                    }
                    _ => {}
                }
            }
        }
        false
    }
}
