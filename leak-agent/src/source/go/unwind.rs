//! Walks through stacks by the sizes of frames that the table of functions has: of goroutines, and of threads where they run Go's
//! own code. Frame pointers are not needed, symbols neither.

use super::pclntab::{Function, Table};
use crate::source::stacks::UNWOUND_MAX;
use std::collections::HashMap;

/// Addresses of which it is read how to leave them; stacks end at further ones. Programs have some thousands.
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
        if self.steps.len() >= STEPS_MAX {
            return Some(Step::End);
        }
        let function = self.table.function_of(vaddr)?;
        let step = self.read(function, vaddr);
        self.steps.insert(vaddr, step);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::{Elf, Image};
    use crate::source::go::fixture::{FUNCTIONS, entry, without_frames};
    use crate::source::go::module::Module;
    use crate::types::ExecutableId;
    use proptest::prelude::*;

    const BIAS: u64 = 0x7000;
    /// `moduledata.gofunc` of the fixture's version.
    const GOFUNC: u64 = 320;

    fn walk(start: (u64, u64), word: impl Fn(u64) -> Option<u64>) -> (Ended, Vec<u64>) {
        let file = without_frames();
        let elf = Elf {
            data: &file,
            id: ExecutableId::BuildId(vec![]),
            debug: None,
        };
        let image = Image::parse(&elf).unwrap();
        let table = Module::find(&image, GOFUNC).unwrap();
        let table = table.open(&image).unwrap();
        let mut pcs = Vec::new();
        let ended = Unwinder::new(table, BIAS).walk(start, word, &mut pcs);
        (ended, pcs)
    }

    /// A stack all of whose words lead to the same function, one whose words lead back to the first, and one at the end of the
    /// address space: each ends, with no more frames than are wanted.
    #[test]
    fn stack_that_leads_back_to_itself_ends() {
        let same = |_| Some(entry(7) + BIAS + 3);
        let (ended, pcs) = walk((entry(7) + BIAS, 0x1000), same);
        assert_eq!((ended, pcs.len()), (Ended::Broken, UNWOUND_MAX));
        let two = |at: u64| Some(entry(5 + 2 * (at / 8 % 2)) + BIAS + 3);
        let (ended, pcs) = walk((entry(7) + BIAS, 0x1000), two);
        assert_eq!((ended, pcs.len()), (Ended::Broken, UNWOUND_MAX));
        let (ended, pcs) = walk((entry(7) + BIAS, u64::MAX), same);
        assert_eq!(ended, Ended::Broken);
        assert!(pcs.len() <= UNWOUND_MAX);
    }

    /// What leads out of the code, and what was not copied, ends a walk where it is.
    #[test]
    fn walk_ends_where_the_code_or_the_copy_does() {
        assert_eq!(walk((0, 0x1000), |_| None), (Ended::Broken, vec![]));
        let (ended, pcs) = walk((entry(7) + BIAS + 1, 0x1000), |_| None);
        assert_eq!((ended, pcs), (Ended::Needs(0x1000), vec![entry(7) + 1]));
        let (ended, pcs) = walk((entry(7) + BIAS + 1, 0x1000), |_| Some(u64::MAX));
        assert_eq!((ended, pcs.len()), (Ended::Broken, 1));
    }

    proptest! {
        /// Whatever is on a stack, a walk ends, with so many frames at most.
        #[test]
        fn any_stack_ends(pc in any::<u64>(), sp in any::<u64>(), words in proptest::collection::vec(any::<u64>(), 0..64)) {
            let word = |at: u64| words.get(usize::try_from(at % 97).unwrap_or(0)).copied();
            let inside = |word: u64| entry(word % FUNCTIONS.len() as u64) + BIAS + word % 64;
            let (_, pcs) = walk((inside(pc), sp), |at| word(at).map(inside));
            prop_assert!(pcs.len() <= UNWOUND_MAX);
            let (_, pcs) = walk((pc, sp), word);
            prop_assert!(pcs.len() <= UNWOUND_MAX);
        }
    }
}
