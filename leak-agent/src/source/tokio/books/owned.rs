//! tokio's `OwnedTasks` since 1.35, recognised by its shape.
//!
//! It is built on a stack and moved to its place, so copies of it stay behind that pass every test while the runtime
//! has no tasks: they have the same id and the same array of lists. All are kept; the one that counts on is real.

use super::chain::Chain;
use super::header::word;
use super::layout::{Sharded, shard};
use crate::source::books::BooksError;
use crate::sys::memory::{Batch, Memory};

/// How many lists tokio makes: four per thread, rounded up to a power of two, no more than this.
const SHARDS_MAX: u64 = 1 << 16;
/// Ids are given out one by one, to each list of tasks of the process.
pub(super) const ID_END: u64 = 1 << 32;
/// Where memory is.
const ADDRESSES: std::ops::Range<u64> = 0x1000..1 << 56;
/// How often what changes under the eyes is looked at again.
const ATTEMPTS: u32 = 4;

/// What one `OwnedTasks` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) lists: u64,
    pub(super) shards: u64,
    pub(super) added: Option<u64>,
    pub(super) count: u64,
    pub(super) id: u64,
    pub(super) closed: bool,
}

impl Owned {
    /// Its runtime is shut down and nothing is left of it, perhaps not even this.
    fn is_over(&self) -> bool {
        self.closed && self.count == 0
    }

    /// The same lists of the same runtime.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        (self.id, self.lists, self.shards) == (other.id, other.lists, other.shards)
    }

    /// One walk per list.
    pub(super) fn chains(&self) -> Vec<Chain> {
        (0..self.shards)
            .map(|number| {
                let list = self.lists.saturating_add(number * shard::SIZE as u64);
                Chain::of_list(
                    list.saturating_add(shard::HEAD as u64),
                    Some((number, self.shards)),
                )
            })
            .collect()
    }
}

impl Sharded {
    /// Whether these two words may be its number of lists and its mask: the quick test of a search.
    pub(super) fn may_be(shards: u64, mask: u64) -> bool {
        mask.wrapping_add(1) == shards && shards.is_power_of_two() && (4..=SHARDS_MAX).contains(&shards)
    }

    /// What these bytes say, if they have the shape.
    pub(super) fn read(&self, bytes: &[u8]) -> Option<Owned> {
        let owned = Owned {
            lists: word(bytes, self.lists)?,
            shards: word(bytes, self.shards)?,
            added: match self.added {
                Some(at) => Some(word(bytes, at)?),
                None => None,
            },
            count: word(bytes, self.count)?,
            id: word(bytes, self.id)?,
            closed: *bytes.get(self.closed)? == 1,
        };
        let right = Self::may_be(owned.shards, word(bytes, self.mask)?)
            && owned.lists.is_multiple_of(8)
            && ADDRESSES.contains(&owned.lists)
            && owned.added.is_none_or(|added| owned.count <= added)
            && (1..ID_END).contains(&owned.id)
            && *bytes.get(self.closed)? <= 1;
        right.then_some(owned)
    }

    /// What is at this address, if it has the shape down to its lists: each is locked or not, has two ends or none, and
    /// all are empty when nothing is counted.
    pub(super) fn verify(&self, memory: &dyn Memory, at: u64) -> Result<Option<Owned>, BooksError> {
        let mut bytes = vec![0; self.size()];
        let mut lists = Vec::new();
        for _ in 0..ATTEMPTS {
            if memory.read_some(at, &mut bytes)? < bytes.len() {
                return Ok(None);
            }
            let Some(owned) = self.read(&bytes) else {
                return Ok(None);
            };
            lists.resize(usize::try_from(owned.shards).unwrap_or(0) * shard::SIZE, 0);
            if memory.read_some(owned.lists, &mut lists)? < lists.len() {
                return Ok(None);
            }
            match filled(&lists) {
                None => {}
                Some(filled) if (filled == 0) == (owned.count == 0) => {
                    return Ok(Some(owned).filter(|owned| !owned.is_over()));
                }
                Some(_) => {}
            }
        }
        Ok(None)
    }

    /// The newest state of the copies at these addresses; `None` = none of them is `known` any more, or the runtime is shut
    /// down and empty. Each is read three
    /// times: a counter that is changed while it is copied may be read as a number it never was, and then does not lie
    /// between its neighbours.
    pub(super) fn counters(
        &self,
        memory: &dyn Memory,
        copies: &[u64],
        known: &Owned,
    ) -> Result<Option<Owned>, BooksError> {
        let mut batch = Batch::default();
        let mut best: Option<Owned> = None;
        for _ in 0..ATTEMPTS {
            batch.clear();
            for at in copies.iter().flat_map(|at| [at; 3]) {
                batch.push(*at, self.size());
            }
            memory.read_many(&mut batch)?;
            let mut torn = false;
            best = None;
            for copy in 0..copies.len() {
                let read = |turn: usize| {
                    let owned = self.read(batch.get(copy * 3 + turn)?)?;
                    owned.same_as(known).then_some(owned)
                };
                let (Some(first), Some(second), Some(third)) = (read(0), read(1), read(2)) else {
                    continue;
                };
                torn |= first.added > second.added || second.added > third.added;
                let middle = if self.added.is_some() || first.count == second.count {
                    second
                } else {
                    let mut all = [first, second, third];
                    all.sort_by_key(|each| each.count);
                    all[1]
                };
                if best.is_none_or(|best| (best.added, best.count) < (middle.added, middle.count)) {
                    best = Some(middle);
                }
            }
            if !torn {
                break;
            }
        }
        Ok(best.filter(|best| !best.is_over()))
    }
}

/// How many of these lists have tasks; `None` = they are no lists.
fn filled(lists: &[u8]) -> Option<u64> {
    let mut filled = 0;
    for list in lists.chunks_exact(shard::SIZE) {
        let (head, tail) = (word(list, shard::HEAD)?, word(list, shard::TAIL)?);
        if *list.first()? > 3
            || (head == 0) != (tail == 0)
            || !head.is_multiple_of(8)
            || !tail.is_multiple_of(8)
        {
            return None;
        }
        filled += u64::from(head != 0);
    }
    Some(filled)
}
