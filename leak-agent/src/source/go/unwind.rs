//! Walks through stacks by the sizes of frames that the table of functions has: of goroutines, and of threads where they run Go's
//! own code. Frame pointers are not needed, symbols neither.

use super::pclntab::{Function, Table};
use crate::source::stacks::UNWOUND_MAX;
use std::collections::HashMap;

/// Addresses of which it is kept how to leave them.
const STEPS_MAX: usize = 1 << 17;
/// The only function that writes the stack pointer and can be unwound through nevertheless: its table says what it does.
const CALLS_BACK: &[u8] = b"runtime.cgocallback";

/// Goes on on the stack of a thread and never comes back: what it calls is the outermost there.
const LEAVES: &[u8] = b"runtime.mcall";

/// How one frame is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The return address lies so many bytes above the stack pointer.
    Up(u64),
    /// Nothing has called it.
    Outermost,
    /// It cannot be told.
    End,
}

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The function that nothing has called was reached.
    Complete,
    /// What lies at this address is needed, and was not given.
    Needs(u64),
    /// The stack leads out of the code, or is deeper than anybody wants to know.
    Broken,
}

/// Walks through the stacks of one process; remembers how frames are left.
pub(super) struct Unwinder<'table> {
    table: Table<'table>,
    bias: u64,
    steps: HashMap<u64, Step>,
}

impl<'table> Unwinder<'table> {
    /// `bias`: run-time minus file address.
    pub(super) fn new(table: Table<'table>, bias: u64) -> Self {
        Self {
            table,
            bias,
            steps: HashMap::new(),
        }
    }

    /// Takes the address at which each frame goes on, the innermost first, in the file's own numbering. `word` reads the stack.
    /// What is put into `into` before the end stays there.
    pub(super) fn walk(
        &mut self,
        (mut pc, mut sp): (u64, u64),
        word: impl Fn(u64) -> Option<u64>,
        into: &mut Vec<u64>,
    ) -> Ended {
        for _ in 0..UNWOUND_MAX {
            let vaddr = pc.wrapping_sub(self.bias);
            let up = match self.step(vaddr) {
                None => return Ended::Broken,
                Some(step) => {
                    into.push(vaddr);
                    match step {
                        Step::Up(up) => up,
                        Step::Outermost => return Ended::Complete,
                        Step::End => return Ended::Broken,
                    }
                }
            };
            let Some(slot) = sp.checked_add(up) else {
                return Ended::Broken;
            };
            match word(slot) {
                Some(caller) => pc = caller,
                None => return Ended::Needs(slot),
            }
            // A frame takes its return address at least: stacks that lead back to themselves come to their end.
            sp = slot.saturating_add(8);
        }
        Ended::Broken
    }

    /// `None` = no function of the table has this address.
    fn step(&mut self, vaddr: u64) -> Option<Step> {
        if let Some(known) = self.steps.get(&vaddr) {
            return Some(*known);
        }
        let function = self.table.function_of(vaddr)?;
        let step = self.read(function, vaddr);
        if self.steps.len() < STEPS_MAX {
            self.steps.insert(vaddr, step);
        }
        Some(step)
    }

    fn read(&self, function: Function, vaddr: u64) -> Step {
        if self.table.is_outermost(function) || self.table.is_named(function, LEAVES) {
            return Step::Outermost;
        }
        if self.table.ends_stacks(function) && !self.table.is_named(function, CALLS_BACK) {
            return Step::End;
        }
        let size = self.table.frame_size(function, vaddr);
        match size.and_then(|size| u64::try_from(size).ok()) {
            Some(size) => Step::Up(size),
            None => Step::End,
        }
    }
}
