//! The stacks of all goroutines of a process that runs on: read together with what the runtime has written down about each, and
//! believed only if that was the same before and after.

use super::super::goroutine::{self, Goroutine, Status};
use super::super::layout::Layout;
use super::super::traceback::Traceback;
use super::super::unwind::{Ended, Unwinder};
use super::{BATCH, CHECKS, COPY, GROUP, NOWHERE, Process, Walk};
use crate::elf::{Elf, Image};
use crate::source::books::{BooksError, Budget, SavedStack};
use crate::source::stacks::{NamedStack, StackedTask, TaskStacks};
use crate::sys::clock;
use crate::sys::memory::{Batch, Memory, MemoryError};
use crate::types::BootTime;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// One that moved is read again, so often.
const ROUNDS: u32 = 4;
/// Bytes of a stack that are read at first: most use less.
const FIRST: u64 = 4096;
/// And of one that uses more, at most. Frames are as many as are wanted long before.
const LONG: u64 = 1 << 20;
/// Different stacks that are kept, and addresses in them; those of further ones are left out.
const STACKS_MAX: usize = 1 << 16;
const ADDRESSES_MAX: usize = 1 << 20;
/// Frames of all stacks together that are named.
const NAMED_MAX: usize = 1 << 18;
/// Whatever a crafted executable's tables say: after this long it is enough.
const PATIENCE: Duration = Duration::from_secs(30);
/// The scanning bit of the status: the second of its bytes.
const SCANNED_BYTE: usize = 1;
/// Behind the wait reason: flags by which the garbage collector asks for something.
const ASKED_BYTES: usize = 7;

impl Process {
    /// See [`crate::source::ProcessBooks::stacks`]. What is not believed yet is checked on the way, so that each goroutine is read once.
    pub(super) fn believed_stacks(
        &mut self,
        memory: &dyn Memory,
        elf: &Elf<'_>,
        limit: usize,
    ) -> Result<TaskStacks, BooksError> {
        if memory.threads() == Some(1) {
            return Ok(refused(COPY));
        }
        for _ in 0..CHECKS {
            let checked = (!self.believed).then(Checked::default);
            let (all, checked) = match self.read_stacks(memory, elf, limit, checked) {
                Err(BooksError::Memory(MemoryError::NotMapped { .. })) => return Ok(refused(NOWHERE)),
                read => read?,
            };
            let wrong = match checked {
                None => return Ok(all),
                Some(checked) => checked.wrong(memory, &self.books.layout)?,
            };
            if wrong.is_none() {
                return Ok(all);
            }
        }
        // Inside a C program the first goroutine is another one; the counters tell then, if it is right nevertheless.
        match self.examine(memory)? {
            Some(wrong) => Ok(refused(&wrong)),
            None => {
                self.believed = true;
                Ok(self.read_stacks(memory, elf, limit, None)?.0)
            }
        }
    }

    /// Reads the stacks; with what was seen while each goroutine was checked, if they are to be.
    fn read_stacks(
        &mut self,
        memory: &dyn Memory,
        elf: &Elf<'_>,
        limit: usize,
        checked: Option<Checked>,
    ) -> Result<(TaskStacks, Option<Checked>), BooksError> {
        let mut all = TaskStacks::default();
        let image = Image::parse(elf).ok();
        let Some(table) = image.as_ref().and_then(|image| self.books.module.open(image)) else {
            all.refused
                .push("its table of functions is not in its file".to_owned());
            return Ok((all, None));
        };
        if !self.extend(memory, Budget::default().tasks)? {
            all.refused
                .push("its list of goroutines did not keep still".to_owned());
        }
        let list = std::mem::take(&mut self.list);
        let layout = self.books.layout;
        let mut reading = Reading {
            unwinder: Unwinder::new(table, self.bias),
            layout,
            process: self,
            checked,
            chains: Chains::default(),
            heads: Batch::default(),
            again: Batch::default(),
            bytes: Batch::default(),
            long: Vec::new(),
            limit,
            all,
        };
        let began = clock::now();
        let mut read = Ok(());
        for part in list.chunks(BATCH) {
            read = reading.part(memory, part);
            if read.is_err() {
                break;
            }
            if clock::now().since(began) > PATIENCE {
                reading
                    .all
                    .refused
                    .push(format!("not all were read within {} s", PATIENCE.as_secs()));
                break;
            }
        }
        let Reading {
            chains,
            mut all,
            checked,
            ..
        } = reading;
        self.list = list;
        if let Err(error) = read {
            // What was read until the process ended is as good as all else.
            if all.tasks.is_empty() {
                return Err(error);
            }
            all.refused.push(error.to_string());
        }
        let executable = elf.id.to_string();
        let Layout { wrapper, minor, .. } = layout;
        let mut traceback = Traceback::new(table, &executable, wrapper, minor);
        all.stacks = chains.named(&mut traceback, began);
        if chains.left_out > 0 {
            all.refused
                .push(format!("{} stacks: too many different ones", chains.left_out));
        }
        Ok((all, checked))
    }
}

fn refused(why: &str) -> TaskStacks {
    TaskStacks {
        refused: vec![why.to_owned()],
        ..TaskStacks::default()
    }
}

/// What is seen while goroutines are checked.
#[derive(Default)]
struct Checked {
    ids: HashSet<u64>,
    walk: Walk,
    /// The first of the list was looked at.
    begun: bool,
}

impl Checked {
    /// Takes a goroutine that is read for the first time.
    fn take(
        &mut self,
        process: &mut Process,
        memory: &dyn Memory,
        at: u64,
        found: &Goroutine,
    ) -> Result<(), BooksError> {
        if !std::mem::replace(&mut self.begun, true) {
            self.walk.begins_with_main = process.is_main(found);
        }
        if found.is_live() {
            process.check(memory, at, found, &mut self.ids, &mut self.walk)?;
            self.walk.last_id = self.walk.last_id.max(found.id);
        }
        Ok(())
    }

    /// Why they are not to be believed, if they are not.
    fn wrong(mut self, memory: &dyn Memory, layout: &Layout) -> Result<Option<&'static str>, BooksError> {
        if self.walk.wrong.is_some() {
            return Ok(self.walk.wrong);
        }
        if !self.walk.begins_with_main {
            return Ok(Some("a first goroutine that is not the main one"));
        }
        std::mem::take(&mut self.walk.proof).ask(memory, layout, self.walk.last_id)
    }
}

/// Different walks, in the order in which they were seen.
#[derive(Default)]
struct Chains {
    numbers: HashMap<Box<[u64]>, u32>,
    all: Vec<(Box<[u64]>, bool)>,
    addresses: usize,
    left_out: u64,
}

impl Chains {
    fn number(&mut self, pcs: &[u64], complete: bool) -> Option<u32> {
        if let Some(known) = self.numbers.get(pcs) {
            return Some(*known);
        }
        let number = u32::try_from(self.all.len()).ok()?;
        if self.all.len() >= STACKS_MAX || self.addresses + pcs.len() > ADDRESSES_MAX {
            self.left_out += 1;
            return None;
        }
        self.addresses += pcs.len();
        self.numbers.insert(pcs.into(), number);
        self.all.push((pcs.into(), complete));
        Some(number)
    }

    fn named(&self, traceback: &mut Traceback<'_>, began: BootTime) -> Vec<NamedStack> {
        let mut left = NAMED_MAX;
        let mut named = Vec::with_capacity(self.all.len());
        for (pcs, complete) in &self.all {
            let mut stack = NamedStack::default();
            if clock::now().since(began) < 2 * PATIENCE {
                stack.frames = traceback.frames(pcs, true);
                stack.complete = *complete && stack.frames.len() <= left;
                stack.frames.truncate(left);
                left -= stack.frames.len();
            }
            named.push(stack);
        }
        named
    }
}

/// A goroutine whose stack is being read.
struct Candidate {
    /// Its place in the batch of `g`s.
    head: usize,
    stacked: StackedTask,
    at: u64,
    /// Where its stack is in the batch of stacks, and its copy begins.
    piece: usize,
    stack: SavedStack,
}

struct Reading<'process, 'table> {
    process: &'process mut Process,
    layout: Layout,
    /// `None` = they are believed already.
    checked: Option<Checked>,
    unwinder: Unwinder<'table>,
    chains: Chains,
    heads: Batch,
    again: Batch,
    bytes: Batch,
    /// A stack that is longer than most.
    long: Vec<u8>,
    limit: usize,
    all: TaskStacks,
}

impl Reading<'_, '_> {
    /// Reads these goroutines.
    fn part(&mut self, memory: &dyn Memory, part: &[u64]) -> Result<(), BooksError> {
        let mut moving: Vec<StackedTask> = Vec::new();
        let mut todo: Vec<u64> = part.to_vec();
        for round in 0..ROUNDS {
            if todo.is_empty() {
                break;
            }
            let candidates = self.begin(memory, &todo, round == 0)?;
            let mut read = Vec::with_capacity(candidates.len());
            let mut pcs = Vec::new();
            for candidate in &candidates {
                pcs.clear();
                let ended = self.walk(memory, candidate, &mut pcs)?;
                read.push(self.chains_of(&pcs, ended));
            }
            moving.clear();
            todo.clear();
            self.again.clear();
            let size = goroutine::size(&self.layout);
            for candidate in &candidates {
                self.again.push(candidate.at, size);
            }
            memory.read_many(&mut self.again)?;
            for (number, (candidate, stack)) in candidates.iter().zip(read).enumerate() {
                let before = self.heads.get(candidate.head).unwrap_or_default();
                let after = self.again.get(number).unwrap_or_default();
                let rested = is_same(before, after, &self.layout);
                if rested {
                    let stacked = StackedTask {
                        stack,
                        ..candidate.stacked
                    };
                    self.all.tasks.push(stacked);
                } else {
                    todo.push(candidate.at);
                    moving.push(candidate.stacked);
                }
            }
            if round + 1 == ROUNDS {
                self.all.tasks.append(&mut moving);
            }
        }
        Ok(())
    }

    /// Reads what the runtime says of these goroutines, and of those that rest the stacks. What has none is done with.
    fn begin(
        &mut self,
        memory: &dyn Memory,
        todo: &[u64],
        first: bool,
    ) -> Result<Vec<Candidate>, BooksError> {
        let layout = &self.layout;
        let size = goroutine::size(layout);
        self.heads.clear();
        self.bytes.clear();
        for at in todo {
            self.heads.push(*at, size);
        }
        memory.read_many(&mut self.heads)?;
        let mut candidates = Vec::with_capacity(todo.len());
        for (head, at) in todo.iter().enumerate() {
            let bytes = self.heads.get(head).unwrap_or_default();
            let Some(found) = Goroutine::read(bytes, layout) else {
                if let Some(checked) = &mut self.checked {
                    checked.walk.wrong = Some("a list entry that leads nowhere");
                }
                continue;
            };
            if let Some(checked) = self.checked.as_mut().filter(|_| first) {
                checked.take(self.process, memory, *at, &found)?;
            }
            if !found.is_live() {
                continue;
            }
            let site = if found.is_for_callbacks() {
                super::callback::SITE
            } else if let Some(site) = self.process.site(&found) {
                site
            } else {
                continue; // it is being made
            };
            if self.all.tasks.len() + candidates.len() >= self.limit {
                self.all.left_out += 1;
                continue;
            }
            let stacked = StackedTask {
                task: found.told(*at, site, GROUP.owner, layout),
                state: found.status.map_or("unknown", Status::word),
                stack: None,
            };
            match stacked.task.stack {
                Some(stack) => {
                    let len = (stack.high - stack.sp).min(FIRST);
                    candidates.push(Candidate {
                        head,
                        stacked,
                        at: *at,
                        piece: self.bytes.push(stack.sp, usize::try_from(len).unwrap_or(0)),
                        stack,
                    });
                }
                None => self.all.tasks.push(stacked),
            }
        }
        memory.read_many(&mut self.bytes)?;
        Ok(candidates)
    }

    fn walk(
        &mut self,
        memory: &dyn Memory,
        candidate: &Candidate,
        pcs: &mut Vec<u64>,
    ) -> Result<Ended, BooksError> {
        let SavedStack { sp, pc, high, .. } = candidate.stack;
        let bytes = self.bytes.get(candidate.piece).unwrap_or_default();
        let ended = self.unwinder.walk((pc, sp), |at| word(bytes, sp, at), pcs);
        match ended {
            Ended::Needs(at) if at < high => {}
            _ => return Ok(ended),
        }
        let len = usize::try_from((high - sp).min(LONG)).unwrap_or(0);
        self.long.resize(len, 0);
        let got = memory.read_some(sp, &mut self.long)?;
        let bytes = self.long.get(..got).unwrap_or_default();
        pcs.clear();
        Ok(self.unwinder.walk((pc, sp), |at| word(bytes, sp, at), pcs))
    }

    fn chains_of(&mut self, pcs: &[u64], ended: Ended) -> Option<u32> {
        if pcs.is_empty() {
            return None;
        }
        self.chains.number(pcs, ended == Ended::Complete)
    }
}

/// The 8 bytes at an address, of a copy that begins at `from`.
fn word(bytes: &[u8], from: u64, at: u64) -> Option<u64> {
    let index = usize::try_from(at.checked_sub(from)?).ok()?;
    Some(u64::from_le_bytes(*bytes.get(index..)?.first_chunk()?))
}

/// Whether a goroutine did not run between two readings of its `g`. Each time it stops, the runtime adds one to a counter of a byte
/// (`trackingSeq`), and it notes the time now and then; so all bytes are compared but those that the garbage collector changes in a
/// goroutine that rests.
fn is_same(before: &[u8], after: &[u8], layout: &Layout) -> bool {
    let changes = |at: usize| {
        let since = layout.waitsince..layout.waitsince + 8;
        let asked = layout.waitreason + 1..layout.waitreason + 1 + ASKED_BYTES;
        at == layout.status + SCANNED_BYTE || since.contains(&at) || asked.contains(&at)
    };
    if before.is_empty() || before.len() != after.len() {
        return false;
    }
    before == after
        || before
            .iter()
            .zip(after)
            .enumerate()
            .all(|(at, (before, after))| before == after || changes(at))
}
