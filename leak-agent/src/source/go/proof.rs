//! What other structures of the runtime say of its goroutines: a layout that is wrong about a field that goroutines alone cannot
//! prove is found out here.

use super::goroutine::{self, Goroutine, Status};
use super::layout::Layout;
use crate::source::books::BooksError;
use crate::sys::memory::{Batch, Memory, MemoryError};

/// Goroutines that are looked at, of each sort.
const SAMPLES: usize = 256;
/// Numbers are given out in batches: one who has ended may have had a number larger than those of all that live, by so many.
const IDS_AHEAD: u64 = 1 << 17;

/// What is to be confirmed, collected while all goroutines are walked through.
#[derive(Debug, Default)]
pub(super) struct Proof {
    /// The addresses of those that wait, and of what they wait with.
    waiting: Vec<(u64, u64)>,
    /// Their addresses, and those of their threads and of the threads they are bound to; 0 = none.
    on_threads: Vec<(u64, u64, u64)>,
    /// The numbers of those who created goroutines, for as many of these.
    creators: Vec<u64>,
}

impl Proof {
    /// Takes a living goroutine; what is wrong with it already.
    pub(super) fn take(&mut self, at: u64, found: &Goroutine, layout: &Layout) -> Option<&'static str> {
        // The main goroutine has no creator.
        if let Some(parent) = found
            .parent
            .filter(|_| found.id != 1 && !found.is_for_callbacks())
            && self.creators.len() < SAMPLES
        {
            self.creators.push(parent);
        }
        if self.on_threads.len() < SAMPLES && (found.thread != 0 || found.bound_to != 0) {
            self.on_threads.push((at, found.thread, found.bound_to));
        }
        if found.status != Some(Status::Waiting) {
            return None;
        }
        if found.waiting != 0 && self.waiting.len() < SAMPLES {
            self.waiting.push((at, found.waiting));
        }
        let at_channel = matches!(layout.word(found.reason), Some("chan receive" | "chan send"));
        (at_channel && found.waiting == 0).then_some("a goroutine that waits for no channel")
    }

    /// Asks the other structures; what is wrong, if anything. One read for each goroutine. `last_id`: the largest number of one.
    pub(super) fn ask(
        self,
        memory: &dyn Memory,
        layout: &Layout,
        last_id: u64,
    ) -> Result<Option<&'static str>, BooksError> {
        let last_id = last_id.saturating_add(IDS_AHEAD);
        let exists = |creator: &u64| *creator != 0 && *creator <= last_id;
        if !self.creators.is_empty() && !self.creators.iter().any(exists) {
            return Ok(Some("no goroutine that another one created"));
        }
        let mut batch = Batch::default();
        for (_, sudog) in &self.waiting {
            batch.push(*sudog, 8);
        }
        for (_, thread, bound_to) in &self.on_threads {
            batch.push(thread.wrapping_add(layout.m_lockedg), 8);
            batch.push(bound_to.wrapping_add(layout.m_lockedg), 8);
        }
        memory.read_many(&mut batch)?;
        let word = |number: usize| {
            let bytes = batch.get(number).and_then(<[u8]>::first_chunk);
            bytes.map(|bytes| u64::from_le_bytes(*bytes))
        };
        for (number, (at, sudog)) in self.waiting.iter().enumerate() {
            if word(number) != Some(*at) && still_waits(memory, *at, *sudog, layout)? {
                return Ok(Some("a goroutine that waits in the name of another"));
            }
        }
        let threads = self.waiting.len();
        for (number, (at, thread, bound_to)) in self.on_threads.iter().enumerate() {
            let bound = (*thread != 0).then(|| word(threads + 2 * number)).flatten();
            let binds = (*bound_to != 0).then(|| word(threads + 2 * number + 1)).flatten();
            if *bound_to != 0 && binds != Some(*at) {
                return Ok(Some("a goroutine bound to a thread that is not bound to it"));
            }
            if bound == Some(*at) && bound_to != thread {
                return Ok(Some("a thread bound to a goroutine that is not bound to it"));
            }
        }
        Ok(None)
    }
}

/// Whether a goroutine still waits with the same thing: it may have been woken since.
fn still_waits(memory: &dyn Memory, at: u64, sudog: u64, layout: &Layout) -> Result<bool, BooksError> {
    let mut bytes = vec![0; goroutine::size(layout)];
    match memory.read(at, &mut bytes) {
        Err(MemoryError::NotMapped { .. }) => return Ok(true),
        done => done?,
    }
    let now = Goroutine::read(&bytes, layout);
    Ok(now.is_none_or(|now| now.status == Some(Status::Waiting) && now.waiting == sudog))
}
