//! A made-up process: memory as a map of bytes, with a runtime's books in it, and somebody who changes them.

use super::super::version::Version;
use super::super::vtable::{CellOffsets, TaskVtable};
use super::layout::{HeaderLayout, Links, Sharded};
use super::{Layouts, TokioBooks};
use crate::source::books::{Books as _, ProcessBooks};
use crate::sys::memory::{Batch, Memory, MemoryError};
use crate::types::Vaddr;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Run-time minus file address.
pub(super) const BIAS: u64 = 0x5555_0000_0000;
/// Vtables: of short and of long tasks, of closures on the blocking pool, of tasks of a `LocalSet`.
pub(super) const SHORT: u64 = 0x1000;
pub(super) const LONG: u64 = 0x1080;
pub(super) const BLOCKING: u64 = 0x1100;
pub(super) const LOCAL: u64 = 0x1180;
/// The heap, and what is where in it.
pub(super) const HEAP: u64 = 0x7f00_0000_0000;
const HEAP_SIZE: usize = 0x4_0000;
/// The shared state that scheduler handles point to, and the `OwnedTasks` in it.
pub(super) const HANDLE: u64 = HEAP + 0x1000;
pub(super) const OWNED: u64 = HANDLE + 0x140;
const LISTS: u64 = HEAP + 0x3000;
/// The same of a `LocalSet`.
pub(super) const LOCAL_HANDLE: u64 = HEAP + 0x4000;
pub(super) const LOCAL_ENDS: u64 = LOCAL_HANDLE + 0x28;
/// A stack.
pub(super) const STACK: u64 = HEAP + 0x8000;
const TASKS: u64 = HEAP + 0x1_0000;
const TASK_SIZE: u64 = 0x1000;

pub(super) const OWNER: u64 = 7;
pub(super) const LOCAL_OWNER: u64 = 9;
const SHARDS: u64 = 4;

/// Changes the memory before a read, whose number it is told.
type Hook = Box<dyn FnMut(u64, &mut Bytes)>;

/// Bytes by address.
#[derive(Clone, Default)]
pub(super) struct Bytes(BTreeMap<u64, Vec<u8>>);

impl Bytes {
    fn range(&self, at: u64) -> &[u8] {
        let before = self.0.range(..=at).next_back();
        let found = before.and_then(|(start, bytes)| bytes.get(usize::try_from(at - start).unwrap()..));
        found.unwrap_or_default()
    }

    pub(super) fn word(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.range(at)[..8].try_into().unwrap())
    }

    pub(super) fn put(&mut self, at: u64, word: u64) {
        let (start, bytes) = self.0.range_mut(..=at).next_back().unwrap();
        let at = usize::try_from(at - start).unwrap();
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }

    pub(super) fn unmap(&mut self, from: u64) {
        let (start, bytes) = self.0.range_mut(..=from).next_back().unwrap();
        let behind = bytes.split_off(usize::try_from(from - start).unwrap());
        self.0.insert(
            from + TASK_SIZE,
            behind[usize::try_from(TASK_SIZE).unwrap()..].to_vec(),
        );
    }

    pub(super) fn copy(&mut self, from: u64, to: u64, words: u64) {
        for number in 0..words {
            let word = self.word(from + 8 * number);
            self.put(to + 8 * number, word);
        }
    }
}

/// The process.
pub(super) struct Process {
    pub(super) bytes: RefCell<Bytes>,
    pub(super) reads: Cell<u64>,
    hook: RefCell<Option<Hook>>,
    /// It ends with this read.
    pub(super) ends_at: Cell<u64>,
    form: Sharded,
    header: HeaderLayout,
    tasks: Cell<u64>,
}

impl Memory for Process {
    fn read_some(&self, at: u64, into: &mut [u8]) -> Result<usize, MemoryError> {
        let number = self.reads.replace(self.reads.get() + 1);
        if number >= self.ends_at.get() {
            return Err(MemoryError::Gone { pid: 1 });
        }
        if let Some(hook) = self.hook.borrow_mut().as_mut() {
            hook(number, &mut self.bytes.borrow_mut());
        }
        let bytes = self.bytes.borrow();
        let found = bytes.range(at);
        let got = found.len().min(into.len());
        into[..got].copy_from_slice(&found[..got]);
        Ok(got)
    }

    fn read_many(&self, batch: &mut Batch) -> Result<(), MemoryError> {
        batch.fill(|at, into| Ok(self.read_some(at, into)? == into.len()))
    }

    fn pid(&self) -> u32 {
        1
    }
}

impl Process {
    /// With an `OwnedTasks` of this version that has no tasks yet.
    pub(super) fn new(version: Version) -> Self {
        let form = Sharded::of(version).unwrap_or(Sharded::of(Version::new(1, 35)).unwrap());
        let process = Self {
            bytes: RefCell::new(Bytes(BTreeMap::from([(HEAP, vec![0; HEAP_SIZE])]))),
            reads: Cell::new(0),
            hook: RefCell::new(None),
            ends_at: Cell::new(u64::MAX),
            form,
            header: HeaderLayout::of(version),
            tasks: Cell::new(0),
        };
        let at = |offset: usize| OWNED + offset as u64;
        process.put(at(form.lists), LISTS);
        process.put(at(form.shards), SHARDS);
        process.put(at(form.mask), SHARDS - 1);
        process.put(at(form.id), OWNER);
        process.put(at(form.size()), u64::MAX); // whatever follows it
        process.put(LOCAL_ENDS - 8, LOCAL_OWNER);
        process
    }

    pub(super) fn put(&self, at: u64, word: u64) {
        self.bytes.borrow_mut().put(at, word);
    }

    pub(super) fn word(&self, at: u64) -> u64 {
        self.bytes.borrow().word(at)
    }

    /// From now on this is called before each read.
    pub(super) fn before_each_read(&self, hook: impl FnMut(u64, &mut Bytes) + 'static) {
        *self.hook.borrow_mut() = Some(Box::new(hook));
    }

    /// Offset of the list links of a task of this type.
    pub(super) fn links(&self, vtable: u64) -> u64 {
        match self.header.links {
            Links::Header(at) => at,
            Links::Trailer => offsets(vtable).trailer,
        }
    }

    /// Where the ends of the list with this number are.
    pub(super) fn ends(number: u64) -> u64 {
        LISTS + number * 24 + 8
    }

    /// Makes a task that is in no list.
    pub(super) fn task(&self, vtable: u64, state: u64, owner: u64, scheduler: u64) -> u64 {
        let number = self.tasks.replace(self.tasks.get() + 1);
        let at = TASKS + number * TASK_SIZE;
        self.put(at, state);
        self.put(at + self.header.vtable as u64, BIAS + vtable);
        self.put(at + self.header.owner as u64, owner);
        if self.header.align == 128 {
            self.put(at + offsets(vtable).scheduler, scheduler);
            self.put(at + offsets(vtable).id, number + 1);
        }
        at
    }

    /// Puts it at the young end of a list.
    pub(super) fn push(&self, task: u64, vtable: u64, ends: u64) {
        let links = self.links(vtable);
        let head = self.word(ends);
        self.put(task + links + 8, head);
        if head == 0 {
            self.put(ends + 8, task);
        } else {
            let other = self.word(head + self.header.vtable as u64) - BIAS;
            self.put(head + self.links(other), task);
        }
        self.put(ends, task);
    }

    /// Spawns a task on the runtime.
    pub(super) fn spawn(&self, vtable: u64) -> u64 {
        let task = self.task(vtable, 0x48, OWNER, HANDLE);
        let id = self.tasks.get();
        self.push(task, vtable, Self::ends(id & (SHARDS - 1)));
        self.count(1, 1);
        task
    }

    /// Changes what the runtime counts.
    pub(super) fn count(&self, added: u64, live: u64) {
        for (offset, more) in [(self.form.added, added), (Some(self.form.count), live)] {
            if let Some(offset) = offset {
                let at = OWNED + offset as u64;
                self.put(at, self.word(at) + more);
            }
        }
    }

    /// Spawns a task on the `LocalSet`.
    pub(super) fn spawn_local(&self) -> u64 {
        let task = self.task(LOCAL, 0x48, LOCAL_OWNER, LOCAL_HANDLE);
        self.push(task, LOCAL, LOCAL_ENDS);
        task
    }

    /// Twenty tasks of two types, and five that have ended.
    pub(super) fn with_twenty_tasks(version: Version) -> Self {
        let process = Self::new(version);
        for number in 0..20 {
            process.spawn(if number % 3 == 0 { LONG } else { SHORT });
        }
        process.count(5, 0);
        process
    }

    /// All memory.
    pub(super) fn ranges() -> Vec<Range<u64>> {
        std::iter::once(HEAP..HEAP + HEAP_SIZE as u64).collect()
    }
}

/// Takes a task out of its list, as tokio does.
pub(super) fn unlink(bytes: &mut Bytes, task: u64, links: impl Fn(u64) -> u64, ends: u64) {
    let at = |bytes: &Bytes, task: u64| task + links(bytes.word(task + 0x10) - BIAS);
    let own = at(bytes, task);
    let (prev, next) = (bytes.word(own), bytes.word(own + 8));
    match prev {
        0 => bytes.put(ends, next),
        prev => {
            let place = at(bytes, prev) + 8;
            bytes.put(place, next);
        }
    }
    match next {
        0 => bytes.put(ends + 8, prev),
        next => {
            let place = at(bytes, next);
            bytes.put(place, prev);
        }
    }
    bytes.put(own, 0);
    bytes.put(own + 8, 0);
}

pub(super) fn offsets(vtable: u64) -> CellOffsets {
    let (trailer, id) = match vtable {
        SHORT => (0x80, 0x28),
        LONG => (0x900, 0x28),
        LOCAL => (0x100, 0x28),
        _ => (0x60, 0x30),
    };
    CellOffsets {
        trailer,
        scheduler: 0x20,
        id,
    }
}

/// The books of the made-up executable.
pub(super) fn books(versions: &[Version]) -> TokioBooks {
    let modern = versions.iter().all(|version| *version >= Version::MODERN_VTABLE);
    let vtables: Vec<TaskVtable> = [SHORT, LONG, BLOCKING, LOCAL]
        .into_iter()
        .map(|vaddr| TaskVtable {
            vaddr: Vaddr(vaddr),
            slots: Vec::new(),
            offsets: modern.then(|| offsets(vaddr)),
        })
        .collect();
    TokioBooks::new(versions, &vtables, |vtable| Some(offsets(vtable.vaddr.0).trailer))
}

/// The same, opened, after somebody has changed the layouts.
pub(super) fn open(version: Version, change: impl FnOnce(&mut Layouts)) -> Box<dyn ProcessBooks> {
    let mut books = books(&[version]);
    change(Arc::get_mut(&mut books.0).unwrap());
    books.open(BIAS)
}
