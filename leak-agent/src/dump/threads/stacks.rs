//! Stacks of threads: copied, unwound by the unwind data of the files they run through, or by the tables of a runtime where these
//! have none, and named.

use super::super::Request;
use super::super::process::{Executable, Opened};
use super::look::Seen;
use crate::source::thread::living;
use crate::source::{NamedStack, SiteInfo, thread};
use crate::stack::symbolize::{Batch as Symbols, NameCache, NamedFrame};
use crate::stack::{End, RawStack, Unwound, unwind};
use crate::sys::memory::{Batch, Memory as _, MemoryError};
use leak_agent_common::key::site;
use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Bytes of a stack that are read at first: most use less.
const FIRST: u64 = 16 << 10;
/// And of one that uses more, at most.
const LONG: u64 = 1 << 20;
/// In place of a frame pointer that is not known: nothing can be read there. (Zero would stand for the end of the stack.)
const NO_MEMORY: u64 = 1 << 62;
/// Mappings that are looked at, for where stacks end.
const RANGES_MAX: usize = 1 << 16;
/// Different stacks that are kept, and frames in them; those of further ones are left out.
const STACKS_MAX: usize = 1 << 16;
const FRAMES_MAX: usize = 1 << 20;
/// Addresses of which names are kept.
const NAMES_MAX: usize = 1 << 16;

/// The stacks of one dump, each once.
pub(super) struct Stacks {
    /// What the process may write to, sorted: stacks are there.
    writable: Vec<Range<u64>>,
    numbers: HashMap<Vec<u64>, usize>,
    all: Vec<Walked>,
    /// In all of them.
    frames: usize,
    symbols: Symbols,
    names: NameCache,
    batch: Batch,
    pub(super) notes: Vec<String>,
}

/// A stack, and what is needed to go on where its unwind data ends.
struct Walked {
    unwound: Unwound,
    /// From where the unwind data ends; `None` = it does not.
    rest: Option<NamedStack>,
}

/// A stack with names.
pub(super) struct Named {
    pub(super) stack: NamedStack,
    frames: Vec<NamedFrame>,
}

impl Named {
    /// What the threads that have it were started for.
    pub(super) fn site(&self, leader: bool, worker: bool) -> SiteInfo {
        if worker {
            return thread::reserved(site::KERNEL_WORKER);
        }
        living(&self.frames, leader)
    }
}

impl Stacks {
    pub(super) fn new(process: &Opened, request: &Request) -> Self {
        let mut writable = Vec::new();
        let visited = process.memory.directory().mappings(|mapping| {
            if mapping.read && mapping.write && writable.len() < RANGES_MAX {
                writable.push(mapping.start..mapping.end);
            }
        });
        let notes = match visited {
            Ok(Some(_)) => Vec::new(),
            Ok(None) => vec!["thread: the process is gone".to_owned()],
            Err(error) => vec![format!("thread: {error}")],
        };
        Self {
            writable,
            numbers: HashMap::new(),
            all: vec![Walked {
                unwound: Unwound {
                    frames: Vec::new(),
                    end: End::Cut,
                },
                rest: None,
            }],
            frames: 0,
            symbols: Symbols::new(),
            names: NameCache::new(NAMES_MAX, request.debug_files.clone()),
            batch: Batch::default(),
            notes,
        }
    }

    /// Bytes from here to the end of the stack.
    fn left(&self, sp: u64) -> u64 {
        let after = self.writable.partition_point(|range| range.start <= sp);
        let range = after.checked_sub(1).and_then(|index| self.writable.get(index));
        range.map_or(0, |range| range.end.saturating_sub(sp))
    }

    /// Reads and unwinds the stacks of these threads, in their order; `None` = it has none.
    pub(super) fn read(
        &mut self,
        process: &mut Opened,
        threads: &[Seen],
    ) -> Result<Vec<Option<usize>>, MemoryError> {
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        for thread in threads {
            let len = if thread.worker {
                0
            } else {
                self.left(thread.sp).min(FIRST)
            };
            batch.push(thread.sp, usize::try_from(len).unwrap_or(0));
        }
        process.memory.read_many(&mut batch)?;
        let mut read = Vec::with_capacity(threads.len());
        for (number, thread) in threads.iter().enumerate() {
            let bytes = batch.get(number).unwrap_or_default();
            if bytes.is_empty() {
                read.push(None);
                continue;
            }
            let left = self.left(thread.sp);
            let mut stack = RawStack {
                ip: thread.ip,
                sp: thread.sp,
                bp: thread.bp.unwrap_or(NO_MEMORY),
                start: thread.sp,
                bytes: bytes.to_vec(),
                cut: left > FIRST,
            };
            let mut walked = walk(process, &stack);
            if walked.needs_more() && stack.cut {
                stack
                    .bytes
                    .resize(usize::try_from(left.min(LONG)).unwrap_or(0), 0);
                let got = process.memory.read_some(thread.sp, &mut stack.bytes)?;
                stack.bytes.truncate(got);
                stack.cut = left > LONG;
                walked = walk(process, &stack);
            }
            read.push(self.number(walked));
        }
        self.batch = batch;
        Ok(read)
    }

    /// The number of a stack: the same for equal ones.
    fn number(&mut self, walked: Walked) -> Option<usize> {
        let mut key: Vec<u64> = walked.unwound.frames.iter().map(|frame| frame.pc).collect();
        key.push(u64::from(walked.unwound.end == End::Complete));
        if let Some(rest) = &walked.rest {
            key.push(u64::from(rest.complete));
            key.extend(rest.frames.iter().map(|frame| {
                let at = frame.address.rsplit_once("0x").map(|(_, at)| at);
                at.and_then(|at| u64::from_str_radix(at, 16).ok()).unwrap_or(0)
            }));
        }
        if let Some(known) = self.numbers.get(&key) {
            return Some(*known);
        }
        if self.all.len() >= STACKS_MAX || self.frames + key.len() > FRAMES_MAX {
            return None;
        }
        self.frames += key.len();
        let number = self.all.len();
        self.numbers.insert(key, number);
        self.all.push(walked);
        Some(number)
    }

    /// Where a stack is; that of no stack for none.
    pub(super) fn place(&self, stack: Option<usize>) -> Option<usize> {
        Some(stack.unwrap_or(0)).filter(|place| *place < self.all.len())
    }

    /// Names a stack. Blocks on symbols that are new.
    pub(super) fn name(&mut self, process: &mut Opened, place: usize) -> Named {
        let Some(walked) = self.all.get(place) else {
            return Named {
                stack: NamedStack::default(),
                frames: Vec::new(),
            };
        };
        let frames = self.symbols.name(
            &mut process.table,
            &mut process.modules,
            &mut self.names,
            &walked.unwound,
        );
        let mut calls: Vec<_> = frames.iter().map(thread::call).collect();
        let mut complete = walked.unwound.end == End::Complete;
        if let Some(rest) = &walked.rest {
            // It begins with the last frame of what is before it.
            let last = walked.unwound.frames.len().saturating_sub(1);
            let before = frames.iter().filter(|frame| frame.index < last).count();
            calls.truncate(before);
            calls.extend(rest.frames.iter().cloned());
            complete = rest.complete;
        }
        Named {
            stack: NamedStack {
                frames: calls,
                complete,
            },
            frames,
        }
    }
}

impl Walked {
    /// Whether it ended where the copy did.
    fn needs_more(&self) -> bool {
        self.unwound.end == End::Cut || self.rest.as_ref().is_some_and(|rest| !rest.complete)
    }
}

/// Unwinds a stack, in the addresses of the process.
fn walk(process: &mut Opened, stack: &RawStack) -> Walked {
    let unwound = unwind(&mut process.table, &mut process.modules, stack);
    let rest = match unwound.end {
        End::NoUnwindInfo => rest(process, stack, &unwound),
        _ => None,
    };
    Walked { unwound, rest }
}

/// The stack from its last frame on, by the tables of a runtime.
fn rest(process: &mut Opened, stack: &RawStack, unwound: &Unwound) -> Option<NamedStack> {
    let index = unwound.frames.len().checked_sub(1)?;
    let frame = unwound.frames.get(index)?;
    let module = process.table.module(frame.lookup(index), &mut process.modules)?;
    let (identity, bias) = (module.file.identity.clone(), module.bias);
    let of_module = |file: &&Executable| file.identity == identity && file.bias == bias;
    let file = process.files.iter().find(of_module)?;
    let called = frame.is_called(index);
    let stack = RawStack {
        ip: frame.pc,
        sp: frame.sp,
        ..stack.clone()
    };
    let elf = file.elf();
    file.plans.iter().find_map(|plan| {
        let tables = plan.stacks.as_ref()?;
        // The file is other people's.
        let unwound = AssertUnwindSafe(|| tables.unwind(&elf, bias, &stack, called));
        catch_unwind(unwound).ok().flatten()
    })
}
