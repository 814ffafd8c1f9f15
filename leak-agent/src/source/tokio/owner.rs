//! Whose code a function is: whether tasks of one type alone can run it.
//!
//! A function belongs to a vtable if every way into it, backwards through all calls and jumps of the file, begins in a
//! slot of that vtable. The calls are those of the linear pass, which may see too many and misses none
//! between functions it knows. What can be called through an address that something else holds belongs to nobody.

use super::finish::Search;
use super::vtable::TaskVtable;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Functions on all ways to one. Generated code has two to five.
const MAX_WAYS: usize = 32;

/// The ways into some functions.
pub(super) struct Owners {
    /// Of each function: what can run before it, itself included; `None` = more than is looked at.
    ways: HashMap<u32, Option<Vec<Way>>>,
    /// Those that nothing but calls enters.
    only_called: HashSet<u32>,
}

/// A function on the way, and how it is entered but by the calls of others on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// Through a slot of this vtable.
    Slot(u64),
    /// Not at all.
    Called,
    /// By means that are not seen.
    Open,
}

impl Owners {
    /// Looks at these functions (places in the list of functions). One pass over the file's pointers. `exported`:
    /// addresses that other files may call, sorted.
    pub(super) fn find(
        search: &Search<'_>,
        vtables: &[TaskVtable],
        exported: &[u64],
        functions: &BTreeSet<u32>,
    ) -> Self {
        let closures: HashMap<u32, Option<BTreeSet<u32>>> = functions
            .iter()
            .map(|index| (*index, closure(search, *index)))
            .collect();
        let start = |index: u32| search.functions.all().get(index as usize).map(|each| each.start);
        let interest: HashSet<u64> = closures
            .values()
            .flatten()
            .flatten()
            .filter_map(|index| start(*index))
            .collect();
        let mut holders: HashMap<u64, Vec<u64>> = HashMap::new();
        for (word, target) in search.pointers.all() {
            if interest.contains(target) {
                holders.entry(*target).or_default().push(*word);
            }
        }
        let mut ranges: Vec<(u64, u64)> = vtables
            .iter()
            .map(|vtable| (vtable.vaddr.0, 8 * vtable.slots.len() as u64))
            .collect();
        ranges.sort_unstable();
        let way = |index: u32| -> Vec<Way> {
            let Some(vaddr) = start(index) else {
                return vec![Way::Open];
            };
            if search.scan.is_taken(index) || exported.binary_search(&vaddr).is_ok() {
                return vec![Way::Open];
            }
            let held = holders.get(&vaddr).map_or(&[][..], Vec::as_slice);
            if held.is_empty() {
                let called = search.scan.callers(index).any(|caller| caller != index);
                return vec![if called { Way::Called } else { Way::Open }];
            }
            held.iter()
                .map(|word| vtable_of(&ranges, *word).map_or(Way::Open, Way::Slot))
                .collect()
        };
        let only_called = functions
            .iter()
            .copied()
            .filter(|index| way(*index) == [Way::Called])
            .collect();
        let ways = closures
            .into_iter()
            .map(|(index, closure)| (index, closure.map(|all| all.into_iter().flat_map(way).collect())))
            .collect();
        Self { ways, only_called }
    }

    /// Whether nothing enters this function but calls that are seen.
    #[must_use]
    pub(super) fn is_only_called(&self, function: u32) -> bool {
        self.only_called.contains(&function)
    }

    /// The vtable (its address) whose tasks alone run this function.
    #[must_use]
    pub(super) fn owner(&self, function: u32) -> Option<u64> {
        let mut owner = None;
        for way in self.ways.get(&function)?.as_ref()? {
            match way {
                Way::Called => {}
                Way::Slot(vtable) if owner.is_none_or(|before| before == *vtable) => owner = Some(*vtable),
                Way::Slot(_) | Way::Open => return None,
            }
        }
        owner
    }
}

/// The function and all from which it can be reached by calls.
fn closure(search: &Search<'_>, index: u32) -> Option<BTreeSet<u32>> {
    let mut seen = BTreeSet::from([index]);
    let mut open = vec![index];
    while let Some(called) = open.pop() {
        for caller in search.scan.callers(called) {
            if seen.insert(caller) {
                open.push(caller);
            }
            if seen.len() > MAX_WAYS {
                return None;
            }
        }
    }
    Some(seen)
}

/// The vtable one of whose slots the word is.
fn vtable_of(ranges: &[(u64, u64)], word: u64) -> Option<u64> {
    let before = ranges
        .partition_point(|(vaddr, _)| *vaddr <= word)
        .checked_sub(1)?;
    let (vaddr, size) = ranges.get(before)?;
    (word.wrapping_sub(*vaddr) < *size).then_some(*vaddr)
}
