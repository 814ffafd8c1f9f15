//! The Go scheduler's counters: goroutines that live, and goroutines ever created, without a look at each of them.
//!
//! The runtime adds them up from many places without stopping anything, and so do we: numbers that changed while the others
//! were read are read again.

use super::books::GoBooks;
use super::layout::Layout;
use crate::source::books::BooksError;
use crate::sys::memory::{Batch, Memory, MemoryError};

/// More processors than the Go runtime allows.
const PROCESSORS_MAX: u64 = 8192;
/// Identifiers that a processor takes at a time.
const IDS: u64 = 16;
/// Identifiers that were taken one by one since the last processor took some.
const SINGLE_IDS: u64 = 1 << 16;
/// So often the numbers are read until they hold still.
const ATTEMPTS: u32 = 8;

/// Where the counters of one process are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scheduler {
    layout: Layout,
    /// `allglen`, `sched` and `allp`, at run time.
    length: u64,
    sched: u64,
    processors: u64,
}

/// What the scheduler counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    /// `g`s in use: goroutines, the runtime's own and those for callbacks from C included.
    pub(super) live: u64,
    /// Ever created, likewise.
    pub(super) created: u64,
    /// The last identifier that was given out, or set aside for a processor.
    pub(super) last_id: u64,
}

fn word(memory: &dyn Memory, at: u64) -> Result<u64, MemoryError> {
    let mut bytes = [0; 8];
    memory.read(at, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn half(bytes: Option<&[u8]>) -> Option<u64> {
    Some(u32::from_le_bytes(*bytes?.first_chunk()?).into())
}

fn pair(bytes: Option<&[u8]>) -> Option<(u64, u64)> {
    let bytes = bytes?;
    let second = bytes.get(8..)?.first_chunk()?;
    Some((
        u64::from_le_bytes(*bytes.first_chunk()?),
        u64::from_le_bytes(*second),
    ))
}

/// Addresses of the processors: those in use, and those that were once.
struct Processors {
    all: Vec<u64>,
    in_use: usize,
}

impl Processors {
    /// `None` = no list of processors.
    fn read(memory: &dyn Memory, at: u64) -> Result<Option<Self>, BooksError> {
        let mut slice = [0; 24];
        memory.read(at, &mut slice)?;
        let part = |index: usize| {
            let bytes = slice.get(8 * index..).and_then(<[u8]>::first_chunk);
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let (begin, length, capacity) = (part(0), part(1), part(2));
        if begin == 0 || length == 0 || length > capacity || capacity > PROCESSORS_MAX {
            return Ok(None);
        }
        let (Ok(in_use), Ok(bytes)) = (usize::try_from(length), usize::try_from(8 * capacity)) else {
            return Ok(None);
        };
        let mut addresses = vec![0; bytes];
        match memory.read(begin, &mut addresses) {
            Err(MemoryError::NotMapped { .. }) => return Ok(None),
            done => done?,
        }
        let (words, _) = addresses.as_chunks::<8>();
        let all = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        Ok(Some(Self { all, in_use }))
    }

    /// Whether each of them is a processor of the number that its place in the list says.
    fn are(&self, memory: &dyn Memory) -> Result<bool, BooksError> {
        let mut batch = Batch::default();
        for at in self.all.iter().take(self.in_use) {
            batch.push(*at, 8);
        }
        memory.read_many(&mut batch)?;
        let is = |index: usize| {
            let bytes = batch.get(index)?;
            let id = half(Some(bytes))?;
            let status = half(bytes.get(4..))?;
            Some(id == index as u64 && status <= 4)
        };
        Ok((0..self.in_use).all(|index| is(index) == Some(true)))
    }
}

impl Scheduler {
    /// Finds the counters of a process; `None` = not for certain.
    pub(super) fn find(memory: &dyn Memory, books: &GoBooks, bias: u64) -> Result<Option<Self>, BooksError> {
        let Some(sched) = books.addresses.sched else {
            return Ok(None);
        };
        let mut lists = Vec::new();
        for at in &books.addresses.processors {
            let at = at.wrapping_add(bias);
            let read = match Processors::read(memory, at) {
                Err(BooksError::Memory(MemoryError::NotMapped { .. })) => continue,
                read => read?,
            };
            if let Some(processors) = read
                && processors.are(memory)?
            {
                lists.push(at);
            }
        }
        let [processors] = lists.as_slice() else {
            return Ok(None);
        };
        Ok(Some(Self {
            layout: books.layout,
            length: books.addresses.length.wrapping_add(bias),
            sched: sched.wrapping_add(bias),
            processors: *processors,
        }))
    }

    /// Reads them; `None` = they did not hold still. Costs some microseconds.
    pub(super) fn read(&self, memory: &dyn Memory) -> Result<Option<Counted>, BooksError> {
        for _ in 0..ATTEMPTS {
            let before = self.shared(memory)?;
            let Some(own) = self.own(memory)? else {
                return Ok(None);
            };
            let after = self.shared(memory)?;
            if before != after {
                continue; // something moved between a processor and the common pool
            }
            let (length, ids, free) = after;
            // The identifiers that were taken last end with the last one; threads of C take one by one.
            if ids < own.last_id || ids - own.last_id > SINGLE_IDS {
                return Ok(None);
            }
            let counted = length.checked_sub(free.saturating_add(own.free));
            let created = ids.checked_sub(own.ids);
            return Ok(counted.zip(created).map(|(live, created)| Counted {
                live,
                created,
                last_id: ids,
            }));
        }
        Ok(None)
    }

    /// Length of the list of all goroutines, the last identifier that was given out, and free `g`s of all processors.
    fn shared(&self, memory: &dyn Memory) -> Result<(u64, u64, u64), BooksError> {
        let mut free = 0_u64;
        for offset in self.layout.free.into_iter().flatten() {
            let mut bytes = [0; 4];
            memory.read(self.sched.wrapping_add(offset), &mut bytes)?;
            free = free.saturating_add(u32::from_le_bytes(bytes).into());
        }
        let ids = word(memory, self.sched.wrapping_add(self.layout.goidgen))?;
        let length = word(memory, self.length)?;
        Ok((length, ids, free))
    }

    /// What the processors have of their own; `None` = one of them is none.
    fn own(&self, memory: &dyn Memory) -> Result<Option<Own>, BooksError> {
        let Some(processors) = Processors::read(memory, self.processors)? else {
            return Ok(None);
        };
        let mut batch = Batch::default();
        let made = processors.all.iter().enumerate().filter(|(_, at)| **at != 0);
        let mut reads = Vec::new();
        for (index, at) in made {
            let ids = batch.push(at.wrapping_add(self.layout.p_goidcache), 16);
            let free =
                (index < processors.in_use).then(|| batch.push(at.wrapping_add(self.layout.p_free), 4));
            reads.push((ids, free));
        }
        memory.read_many(&mut batch)?;
        let mut own = Own {
            ids: 0,
            free: 0,
            last_id: 0,
        };
        for (ids, free) in reads {
            let Some((next, end)) = pair(batch.get(ids)) else {
                return Ok(None);
            };
            let Some(left) = end.checked_sub(next).filter(|left| *left <= IDS) else {
                return Ok(None);
            };
            own.ids = own.ids.saturating_add(left);
            own.last_id = own.last_id.max(end.saturating_sub(1));
            if let Some(free) = free {
                let Some(free) = half(batch.get(free)) else {
                    return Ok(None);
                };
                own.free = own.free.saturating_add(free);
            }
        }
        Ok(Some(own))
    }
}

struct Own {
    /// Identifiers that are not given out yet.
    ids: u64,
    /// Free `g`s.
    free: u64,
    /// The last identifier that one of them has taken.
    last_id: u64,
}
