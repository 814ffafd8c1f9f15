//! Pages of a process's memory, copied a moment ago: tasks that were spawned one after the other lie side by side, and
//! the next task of one list is mostly on the page that the next task of another list has just needed.

use super::header::word;
use crate::source::books::BooksError;
use crate::sys::memory::{Batch, Memory};

/// Bytes of a page.
pub(super) const SIZE: usize = 4096;
/// Pages that are kept: 1 MiB.
const SLOTS: usize = 256;
/// Pages that are read ahead, where one page after the other was needed.
const AHEAD: u64 = 8;
/// Pages that are asked for together, at most, for some of them to be read ahead.
const FEW: usize = 16;
/// Tasks that are walked until a copy is too old: some milliseconds.
const OLD: u64 = 1 << 14;

/// The newest copies.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// A page has one slot in which it may be.
    slots: Vec<Page>,
    wanted: Vec<u64>,
    batch: Batch,
}

#[derive(Clone, Debug, Default)]
struct Page {
    /// Its address by its size, plus one: 0 = none.
    number: u64,
    /// When it was copied, in tasks walked.
    copied: u64,
    bytes: Vec<u8>,
}

impl Pages {
    /// What follows this address on its page; `None` = there is no copy that is new enough.
    pub(super) fn get(&self, at: u64, now: u64) -> Option<&[u8]> {
        let number = at / SIZE as u64;
        let page = self.slots.get(slot(number))?;
        let offset = usize::try_from(at % SIZE as u64).ok()?;
        (page.number == number + 1 && now.saturating_sub(page.copied) < OLD)
            .then(|| page.bytes.get(offset..))
            .flatten()
    }

    /// The word at this address.
    pub(super) fn word(&self, at: u64, now: u64) -> Option<u64> {
        word(self.get(at, now)?, 0)
    }

    /// Asks for the page with this address.
    pub(super) fn want(&mut self, at: u64) {
        self.wanted.push(at / SIZE as u64);
    }

    /// Copies the pages that were asked for, with one system call, and some behind them.
    pub(super) fn fetch(&mut self, memory: &dyn Memory, now: u64) -> Result<(), BooksError> {
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.len() <= FEW {
            for number in wanted.clone() {
                let is_here = |number: u64| self.get(number.saturating_mul(SIZE as u64), now).is_some();
                if number > 0 && is_here(number - 1) {
                    wanted.extend(number + 1..=number + AHEAD);
                } else if is_here(number + 1) {
                    wanted.extend(number.saturating_sub(AHEAD)..number);
                }
            }
            wanted.sort_unstable();
            wanted.dedup();
        }
        self.batch.clear();
        for number in &wanted {
            self.batch.push(number.saturating_mul(SIZE as u64), SIZE);
        }
        memory.read_many(&mut self.batch)?;
        self.slots.resize(SLOTS, Page::default());
        for (piece, number) in wanted.iter().enumerate() {
            if let (Some(bytes), Some(page)) = (self.batch.get(piece), self.slots.get_mut(slot(*number))) {
                page.number = number + 1;
                page.copied = now;
                page.bytes.clear();
                page.bytes.extend_from_slice(bytes);
            }
        }
        wanted.clear();
        self.wanted = wanted;
        Ok(())
    }

    /// No page was asked for.
    pub(super) fn is_content(&self) -> bool {
        self.wanted.is_empty()
    }
}

fn slot(number: u64) -> usize {
    usize::try_from(number % SLOTS as u64).unwrap_or(0)
}
