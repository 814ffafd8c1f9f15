//! The slots of hooked sites: the kernel's table, mapped into our memory. Reading it costs no system call.
#![allow(unsafe_code)]

use super::BpfError;
use super::maps::Map;
use leak_agent_common::key::SiteKey;
use leak_agent_common::slot::{SLOTS, Slot, place};
use leak_agent_common::totals::SiteTotals;
use memmap2::{MmapOptions, MmapRaw};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use zerocopy::{FromBytes, IntoBytes};

const WORDS: usize = size_of::<Slot>() / 8;
const KEY_WORDS: usize = size_of::<SiteKey>() / 8;
const RUNTIME_WORD: usize = KEY_WORDS - 1;
const SPAWNED_WORD: usize = KEY_WORDS;
const FINISHED_WORD: usize = KEY_WORDS + 1;
const STATE_WORD: usize = KEY_WORDS + 2;

/// The table.
pub(super) struct Slots {
    map: Map,
    memory: MmapRaw,
}

impl std::fmt::Debug for Slots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slots")
            .field("map", &self.map)
            .finish_non_exhaustive()
    }
}

impl Slots {
    /// Maps the table of `map`.
    pub(super) fn open(map: Map) -> Result<Self, BpfError> {
        let len = map.capacity as usize * size_of::<Slot>();
        match MmapOptions::new().len(len).map_raw(&map.fd) {
            Ok(memory) => Ok(Self { map, memory }),
            Err(source) => Err(BpfError::Map {
                operation: "map into memory",
                map: map.name,
                source,
            }),
        }
    }

    /// Name and capacity.
    pub(super) fn map(&self) -> &Map {
        &self.map
    }

    /// How many slots a machine with CPU numbers below `cpus` needs.
    pub(super) fn capacity(cpus: usize) -> u32 {
        u32::try_from(cpus).unwrap_or(u32::MAX).saturating_mul(SLOTS)
    }

    fn all(&self) -> impl Iterator<Item = &[AtomicU64]> {
        let words = self.memory.len() / 8;
        // SAFETY: the mapping is page-aligned, that long, readable and writable, and lives as long as `self`;
        // whoever else writes it (programs in the kernel) does so in whole words.
        let words = unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast::<AtomicU64>(), words) };
        words.chunks_exact(WORDS)
    }

    /// All slots in use, summed over the CPUs, and how many they are.
    pub(super) fn read(&self) -> (HashMap<SiteKey, SiteTotals>, usize) {
        let mut sums: HashMap<SiteKey, SiteTotals> = HashMap::new();
        let mut in_use = 0;
        for slot in self.all() {
            if let Some((key, totals)) = read(slot) {
                let sum = sums.entry(key).or_default();
                *sum = sum.merged(totals);
                in_use += 1;
            }
        }
        (sums, in_use)
    }

    /// One site, summed over the CPUs.
    pub(super) fn of(&self, key: &SiteKey) -> SiteTotals {
        let slots = self.all().skip(place(key) as usize).step_by(SLOTS as usize);
        slots
            .filter_map(read)
            .filter(|(other, _)| other == key)
            .fold(SiteTotals::default(), |sum, (_, totals)| sum.merged(totals))
    }

    /// Frees the slots of a site: only after nothing can count there any more.
    pub(super) fn forget(&self, key: &SiteKey) {
        for slot in self.all().skip(place(key) as usize).step_by(SLOTS as usize) {
            if read(slot).is_some_and(|(other, _)| other == *key) {
                free(slot);
            }
        }
    }
}

fn read(slot: &[AtomicU64]) -> Option<(SiteKey, SiteTotals)> {
    let word = |index: usize| slot.get(index).map_or(0, |word| word.load(Ordering::Relaxed));
    if word(RUNTIME_WORD) == 0 {
        return None;
    }
    fence(Ordering::Acquire); // the runtime was written last
    let mut key = [0u64; KEY_WORDS];
    for (index, to) in key.iter_mut().enumerate() {
        *to = word(index);
    }
    let totals = SiteTotals {
        spawned: word(SPAWNED_WORD),
        finished: word(FINISHED_WORD),
        baseline: 0,
    };
    Some((SiteKey::read_from_bytes(key.as_bytes()).ok()?, totals))
}

fn free(slot: &[AtomicU64]) {
    let clear = |index: usize| {
        if let Some(word) = slot.get(index) {
            word.store(0, Ordering::Release);
        }
    };
    clear(RUNTIME_WORD);
    (0..STATE_WORD)
        .filter(|&index| index != RUNTIME_WORD)
        .for_each(clear);
    clear(STATE_WORD);
}

#[cfg(test)]
mod tests {
    use super::*;
    use leak_agent_common::key::ProcessKey;
    use leak_agent_common::slot::state;

    fn key(site: u64) -> SiteKey {
        SiteKey {
            process: ProcessKey {
                start_boottime: 7,
                tgid: 9,
                pad: 0,
            },
            site,
            plan: 1,
            exec_id: 2,
            runtime: 2,
            caller: 0,
        }
    }

    fn slot(key: &SiteKey) -> Vec<AtomicU64> {
        let slot = Slot {
            key: *key,
            spawned: 5,
            finished: 3,
            state: state::TAKEN,
        };
        slot.as_bytes()
            .chunks_exact(8)
            .map(|word| AtomicU64::new(u64::read_from_bytes(word).unwrap()))
            .collect()
    }

    /// A slot that is being taken has no runtime yet, and is nobody's.
    #[test]
    fn slot_without_its_runtime_is_not_read() {
        let slot = slot(&key(0x1000));
        assert_eq!(
            read(&slot).map(|(key, totals)| (key.site, totals.spawned)),
            Some((0x1000, 5))
        );
        slot[RUNTIME_WORD].store(0, Ordering::Relaxed);
        assert_eq!(read(&slot), None);
    }

    /// A freed slot is all zeros: the next site begins at nothing.
    #[test]
    fn slot_after_freeing_is_all_zeros() {
        let slot = slot(&key(0x1000));
        free(&slot);
        assert!(slot.iter().all(|word| word.load(Ordering::Relaxed) == 0));
    }

    /// Neighbouring vtables of one process spread over the table.
    #[test]
    fn places_of_neighbouring_sites_rarely_collide() {
        let places: std::collections::HashSet<u32> = (0..100u64)
            .map(|index| place(&key(0x50_0000 + index * 0x60)))
            .collect();
        assert!(places.len() > 85, "{}", places.len());
        assert!(places.iter().all(|&place| place < SLOTS));
    }
}
