//! A task's header: what it says, and what no header says.

use super::super::vtable::Class;
use super::layout::{HeaderLayout, Links};
use crate::source::books::TaskState;
use crate::types::Vaddr;

/// More references than any task has.
const REFS_MAX: u64 = 1 << 20;

/// The word at an offset; `None` = beyond the bytes.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// The state word of a task (tokio's runtime/task/state.rs, the same since 1.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State(pub(super) u64);

impl State {
    const RUNNING: u64 = 1;
    const COMPLETE: u64 = 2;
    const NOTIFIED: u64 = 4;
    const JOIN_INTEREST: u64 = 8;
    const CANCELLED: u64 = 32;

    pub(super) fn refs(self) -> u64 {
        self.0 >> 6
    }

    pub(super) fn complete(self) -> bool {
        self.0 & Self::COMPLETE != 0
    }

    pub(super) fn join_handle(self) -> bool {
        self.0 & Self::JOIN_INTEREST != 0
    }

    /// A task that exists has references, and does not run once it is complete.
    pub(super) fn plausible(self) -> bool {
        (1..=REFS_MAX).contains(&self.refs())
            && self.0 & (Self::RUNNING | Self::COMPLETE) != Self::RUNNING | Self::COMPLETE
    }

    pub(super) fn task(self) -> TaskState {
        let has = |bits| self.0 & bits == bits;
        if has(Self::COMPLETE) {
            TaskState::Complete
        } else if has(Self::CANCELLED) {
            TaskState::Cancelled
        } else if has(Self::RUNNING | Self::NOTIFIED) {
            TaskState::Woken
        } else if has(Self::RUNNING) {
            TaskState::Running
        } else if has(Self::NOTIFIED) {
            TaskState::Scheduled
        } else {
            TaskState::Idle
        }
    }
}

/// A task type: what its vtable says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TaskType {
    /// The vtable's address in the file.
    pub(super) site: Vaddr,
    /// How its tasks are scheduled.
    pub(super) class: Class,
    /// Offset of the list links; `None` = not known.
    pub(super) links: Option<u64>,
    /// Offset of the scheduler handle; `None` before tokio 1.23.
    pub(super) scheduler: Option<u64>,
    /// Offset of the task's id; `None` before tokio 1.23.
    pub(super) id: Option<u64>,
}

/// The task types of one executable, by the address of their vtables.
#[derive(Debug)]
pub(super) struct TaskTypes {
    sorted: Vec<TaskType>,
    low: u64,
    high: u64,
}

impl TaskTypes {
    pub(super) fn new(mut types: Vec<TaskType>) -> Self {
        types.sort_by_key(|each| each.site);
        Self {
            low: types.first().map_or(u64::MAX, |each| each.site.0),
            high: types.last().map_or(0, |each| each.site.0),
            sorted: types,
        }
    }

    /// The type whose vtable is at this address of the file.
    pub(super) fn at(&self, address: u64) -> Option<&TaskType> {
        if address < self.low || address > self.high {
            return None;
        }
        let place = self
            .sorted
            .binary_search_by_key(&address, |each| each.site.0)
            .ok()?;
        self.sorted.get(place)
    }

    /// For tests of what is claimed wrongly.
    #[cfg(test)]
    pub(super) fn change(&mut self, change: impl FnMut(&mut TaskType)) {
        self.sorted.iter_mut().for_each(change);
    }

    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }

    /// First and last address of a vtable.
    pub(super) fn span(&self) -> (u64, u64) {
        (self.low, self.high)
    }
}

/// A header that may be one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header<'a> {
    pub(super) state: State,
    pub(super) kind: &'a TaskType,
    pub(super) owner: u64,
}

/// How headers are read in one process.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeaderReader<'a> {
    pub(super) layout: HeaderLayout,
    pub(super) types: &'a TaskTypes,
    /// Run-time minus file address.
    pub(super) bias: u64,
}

impl<'a> HeaderReader<'a> {
    /// The header that begins with these bytes; `None` = these are no task's.
    pub(super) fn read(&self, bytes: &[u8]) -> Option<Header<'a>> {
        let state = State(word(bytes, 0)?);
        let vtable = word(bytes, self.layout.vtable)?;
        let kind = self.types.at(vtable.wrapping_sub(self.bias))?;
        let owner = word(bytes, self.layout.owner)?;
        state.plausible().then_some(Header { state, kind, owner })
    }

    /// Bytes of a task that show its header.
    pub(super) fn least(&self) -> usize {
        self.layout.size()
    }

    /// Offset of the id of a task of this type.
    pub(super) fn id(&self, kind: &TaskType) -> Option<usize> {
        usize::try_from(kind.id?).ok()
    }

    /// Offset of the list links of a task of this type.
    pub(super) fn links(&self, kind: &TaskType) -> Option<usize> {
        match self.layout.links {
            Links::Header(at) => usize::try_from(at).ok(),
            Links::Trailer => usize::try_from(kind.links?).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check what the bits of a state word mean.
    #[test]
    fn state_bits_are_what_tokio_means_by_them() {
        let cases = [
            (0xcc, TaskState::Scheduled, true, 3),
            (0x48, TaskState::Idle, true, 1),
            (0x41, TaskState::Running, false, 1),
            (0x85, TaskState::Woken, false, 2),
            (0x64, TaskState::Cancelled, false, 1),
            (0x4a, TaskState::Complete, true, 1),
        ];
        for (bits, task, join_handle, refs) in cases {
            let state = State(bits);
            assert!(state.plausible(), "{bits:#x}");
            assert_eq!(
                (state.task(), state.join_handle(), state.refs()),
                (task, join_handle, refs)
            );
        }
        for bits in [0, 0x3f, 0x43, u64::MAX, (REFS_MAX + 1) << 6, 0x7f12_3456_7890] {
            assert!(!State(bits).plausible(), "{bits:#x}");
        }
    }
}
