//! One pass over a process's memory: what looks like tokio's books, and what looks like its tasks.

use super::super::vtable::Class;
use super::header::{HeaderReader, word};
use super::layout::Sharded;
use super::owned::ID_END;
use crate::source::books::BooksError;
use crate::sys::memory::Memory;
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;
/// Words that are looked at together: no header and no `OwnedTasks` is longer.
const WINDOW: usize = 7;
/// Groups of which tasks are remembered.
const OWNERS_MAX: usize = 4096;
/// Tasks remembered per group, as ways into its lists.
const ENTRIES_MAX: usize = 8;
/// Places that look like books.
const SHAPES_MAX: usize = 4096;
/// Tasks in no list, of each sort: 8 MiB.
const TASKS_MAX: usize = 1 << 20;

/// What a pass saw.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    /// Some live tasks of each group, by its id.
    pub(super) tasks: BTreeMap<u64, Vec<u64>>,
    /// Addresses at which an `OwnedTasks` may be, and in which of the forms.
    pub(super) shapes: Vec<(u64, Sharded)>,
    /// Live tasks that are in no list.
    pub(super) blocking: Vec<u64>,
    /// Complete tasks.
    pub(super) complete: Vec<u64>,
    /// Bytes read.
    pub(super) scanned: u64,
    /// Something was left out: the budget or one of the lists above was full.
    pub(super) cut: bool,
}

impl Sightings {
    /// Reads the ranges from beginning to end, as far as `bytes` go.
    pub(super) fn scan(
        &mut self,
        memory: &dyn Memory,
        reader: &HeaderReader<'_>,
        forms: &[Sharded],
        ranges: &[Range<u64>],
        bytes: u64,
    ) -> Result<(), BooksError> {
        let overlap = (WINDOW - 1) * 8;
        let mut buffer = vec![0; CHUNK];
        let mut words = Vec::with_capacity(CHUNK / 8);
        for range in ranges {
            let mut at = range.start.saturating_add(7) & !7;
            while at < range.end {
                if self.scanned >= bytes {
                    self.cut = true;
                    return Ok(());
                }
                let left = usize::try_from(range.end - at).unwrap_or(CHUNK);
                let into = buffer.get_mut(..left.min(CHUNK)).unwrap_or_default();
                let wanted = into.len();
                let got = memory.read_some(at, into)?;
                self.scanned += got as u64;
                words.clear();
                let read = buffer.get(..got).unwrap_or_default();
                words.extend(
                    read.chunks_exact(8)
                        .map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default())),
                );
                self.look(reader, forms, at, &words, read);
                at = if got < wanted {
                    // A hole, since the ranges were looked up. On with the next page behind it.
                    (at.saturating_add(got as u64) & !0xfff).saturating_add(0x1000)
                } else if wanted < CHUNK {
                    range.end
                } else {
                    at + (CHUNK - overlap) as u64
                };
            }
        }
        Ok(())
    }

    /// Looks at each place in these words at which something may begin.
    fn look(
        &mut self,
        reader: &HeaderReader<'_>,
        forms: &[Sharded],
        start: u64,
        words: &[u64],
        bytes: &[u8],
    ) {
        let vtable = reader.layout.vtable / 8;
        let (low, high) = reader.types.span();
        let (low, span) = (low.wrapping_add(reader.bias), high.wrapping_sub(low));
        for (number, window) in words.windows(WINDOW).enumerate() {
            let [_, shards, w2, w3, w4, ..] = *window else {
                continue;
            };
            if w3.wrapping_add(1) == shards || w4.wrapping_add(1) == shards {
                self.shape(forms, start, number * 8, bytes);
            }
            let pointer = if vtable == 2 { w2 } else { w4 };
            if pointer.wrapping_sub(low) <= span {
                self.header(reader, start, number * 8, bytes);
            }
        }
    }

    fn shape(&mut self, forms: &[Sharded], start: u64, offset: usize, bytes: &[u8]) {
        for form in forms {
            if bytes.get(offset..).and_then(|bytes| form.read(bytes)).is_some() {
                if self.shapes.len() < SHAPES_MAX {
                    self.shapes.push((start + offset as u64, *form));
                } else {
                    self.cut = true;
                }
            }
        }
    }

    fn header(&mut self, reader: &HeaderReader<'_>, start: u64, offset: usize, bytes: &[u8]) {
        let at = start + offset as u64;
        if at.is_multiple_of(reader.layout.align)
            && let Some(bytes) = bytes.get(offset..)
        {
            self.task(reader, at, bytes);
        }
    }

    /// Takes in what may be a task's header, from a scan or from a hint.
    pub(super) fn task(&mut self, reader: &HeaderReader<'_>, at: u64, bytes: &[u8]) {
        let Some(header) = reader.read(bytes) else {
            return;
        };
        let keep = |list: &mut Vec<u64>, cut: &mut bool| {
            if list.len() < TASKS_MAX {
                list.push(at);
            } else {
                *cut = true;
            }
        };
        match (header.state.complete(), header.owner, header.kind.class) {
            (true, _, _) => keep(&mut self.complete, &mut self.cut),
            (false, 0, Class::Blocking | Class::Unknown) => keep(&mut self.blocking, &mut self.cut),
            (false, 0, Class::Async) => {} // not yet, or no longer, anybody's
            (false, _, Class::Blocking) => {}
            (false, ID_END.., _) => {} // remains of a task, with something else in them
            (false, owner, _) => {
                let known = self.tasks.contains_key(&owner);
                if !known && self.tasks.len() >= OWNERS_MAX {
                    self.cut = true;
                    return;
                }
                let entries = self.tasks.entry(owner).or_default();
                if entries.len() < ENTRIES_MAX {
                    entries.push(at);
                }
            }
        }
    }
}

/// Bytes of a shared allocation that are searched for books: those of tokio's schedulers are smaller.
const SHARED_MAX: usize = 0x1000;

/// The beginning of what this task's scheduler handle points to, and where that is; empty = not known.
pub(super) fn scheduler(
    memory: &dyn Memory,
    reader: &HeaderReader<'_>,
    task: u64,
    owner: u64,
) -> Result<(u64, Vec<u8>), BooksError> {
    let mut bytes = vec![0; reader.least()];
    if memory.read_some(task, &mut bytes)? < bytes.len() {
        return Ok((0, Vec::new()));
    }
    let offset = reader
        .read(&bytes)
        .filter(|header| header.owner == owner)
        .and_then(|header| header.kind.scheduler);
    let Some(offset) = offset else {
        return Ok((0, Vec::new()));
    };
    let mut pointer = [0; 8];
    if memory.read_some(task.saturating_add(offset), &mut pointer)? < pointer.len() {
        return Ok((0, Vec::new()));
    }
    let at = word(&pointer, 0).unwrap_or(0);
    if at == 0 || !at.is_multiple_of(8) {
        return Ok((0, Vec::new()));
    }
    let mut shared = vec![0; SHARED_MAX];
    let got = memory.read_some(at, &mut shared)?;
    shared.truncate(got);
    Ok((at, shared))
}
