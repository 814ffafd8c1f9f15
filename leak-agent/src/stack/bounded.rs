//! A map with a size limit: what was not asked for lately goes first.

use std::collections::HashMap;
use std::hash::Hash;

/// A bounded map of two generations. A hit in the old one moves the entry to the young one; when the young
/// one has reached half of the capacity it becomes the old one, and what nobody asked for is dropped.
///
/// All operations take constant time, but for the one insertion in many that drops a generation.
#[derive(Debug)]
pub struct Bounded<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
    evicted: u64,
}

impl<K: Eq + Hash + Clone, V> Bounded<K, V> {
    /// A map that holds at most `capacity` entries (at least two).
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            half: (capacity / 2).max(1),
            evicted: 0,
        }
    }

    /// The value of `key`, which counts as asked for now.
    pub fn get(&mut self, key: &K) -> Option<&mut V> {
        if !self.young.contains_key(key) {
            let (key, value) = self.old.remove_entry(key)?;
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    /// The key that is equal to `key`, which counts as asked for now.
    pub fn key(&mut self, key: &K) -> Option<&K> {
        self.get(key)?;
        self.young.get_key_value(key).map(|(key, _)| key)
    }

    /// Inserts or replaces.
    pub fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.age();
        }
        self.young.insert(key, value);
    }

    /// Drops the old generation and makes the young one old.
    pub fn age(&mut self) {
        self.evicted = self.evicted.saturating_add(self.old.len() as u64);
        self.old = std::mem::take(&mut self.young);
    }

    /// Removes and returns the value of `key`.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    /// Keeps the entries for which `keep` says yes; the others do not count as evicted.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.young.retain(&mut keep);
        self.old.retain(keep);
    }

    /// All values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.young.values().chain(self.old.values())
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries were dropped for want of room.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The map never holds more than its capacity, and says how many it dropped.
    #[test]
    fn bounded_beyond_its_capacity_drops_and_counts() {
        let mut map = Bounded::new(10);
        for key in 0..100 {
            map.insert(key, ());
            assert!(map.len() <= 10);
        }
        assert_eq!(map.evicted() + map.len() as u64, 100);
    }

    /// An entry that is asked for again and again survives any number of insertions.
    #[test]
    fn bounded_entry_in_use_survives() {
        let mut map = Bounded::new(10);
        map.insert(1_000, "kept");
        for key in 0..100 {
            assert_eq!(map.get(&1_000).copied(), Some("kept"), "before inserting {key}");
            map.insert(key, "passing");
        }
        assert_eq!(map.get(&0), None);
    }

    /// An entry is in one generation only: after a removal it is gone.
    #[test]
    fn bounded_removed_entry_is_gone() {
        let mut map = Bounded::new(4);
        for key in 0..4 {
            map.insert(key, key);
        }
        map.insert(0, 7);
        assert_eq!(map.remove(&0), Some(7));
        assert_eq!(map.get(&0), None);
    }
}
