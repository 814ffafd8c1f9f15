//! What a function calls and which addresses it loads, decoded when asked for and remembered.

use crate::elf::{Functions, Image, Pointers};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use object::elf::EM_X86_64;
use std::collections::HashMap;
use std::rc::Rc;

/// Bytes of one function that are decoded; what lies behind is not seen. The poll function of a large async fn
/// with all it awaits inlined was seen with 90 KB.
const MAX_FUNCTION: usize = 512 * 1024;

/// Bytes that are decoded for one executable in all: about a second.
const MAX_DECODED: usize = 64 << 20;

/// Steps that are looked at for one executable in all, each as often as it is: half a second. A crafted file may
/// have many tasks that share much code.
const MAX_WORK: usize = 64 << 20;

/// What an instruction does, as far as names care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Calls, or leaves for, the function that starts at this address.
    Call(u64),
    /// Loads this address into a register.
    Load(u64),
    /// Goes on at this address of the same function, always.
    Jump(u64),
}

/// The code of an image, one function at a time.
pub(super) struct Code<'image, 'data> {
    pub(super) image: &'image Image<'data>,
    pub(super) pointers: &'image Pointers,
    functions: &'image Functions,
    known: HashMap<u64, Rc<[(u64, Step)]>>,
    budget: usize,
    work: usize,
}

impl<'image, 'data> Code<'image, 'data> {
    /// Decodes nothing yet.
    pub(super) fn new(
        image: &'image Image<'data>,
        pointers: &'image Pointers,
        functions: &'image Functions,
    ) -> Self {
        Self {
            image,
            pointers,
            functions,
            known: HashMap::new(),
            budget: MAX_DECODED,
            work: MAX_WORK,
        }
    }

    /// Whether code was left out because a bound was reached.
    pub(super) fn exhausted(&self) -> bool {
        self.budget == 0 || self.work == 0
    }

    /// Takes work from the budget; false once it is used up.
    pub(super) fn charge(&mut self, work: usize) -> bool {
        self.work = self.work.saturating_sub(work.saturating_add(1));
        self.work > 0
    }

    /// The calls and loads of the function that starts at the address, in order, with the address of each. Empty
    /// for what is not known to be a function, for other instruction sets than x86-64 and once
    /// the budget is used up.
    pub(super) fn steps(&mut self, start: u64) -> Rc<[(u64, Step)]> {
        if let Some(steps) = self.known.get(&start) {
            let steps = Rc::clone(steps);
            return if self.charge(steps.len()) {
                steps
            } else {
                Rc::from([])
            };
        }
        let steps: Rc<[(u64, Step)]> = self.decode(start).into();
        self.known.insert(start, Rc::clone(&steps));
        steps
    }

    fn decode(&mut self, start: u64) -> Vec<(u64, Step)> {
        let mut steps = Vec::new();
        let function = self
            .functions
            .containing(start)
            .filter(|function| function.start == start);
        let Some(function) = function.filter(|_| self.image.machine() == EM_X86_64) else {
            return steps;
        };
        let size = usize::try_from(function.size()).unwrap_or(MAX_FUNCTION);
        let size = size.min(MAX_FUNCTION).min(self.budget);
        let Some(bytes) = self.image.bytes_from(start) else {
            return steps;
        };
        let bytes = bytes.get(..size).unwrap_or(bytes);
        self.budget = self.budget.saturating_sub(bytes.len());
        let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        while decoder.can_decode() {
            decoder.decode_out(&mut instruction);
            if let Some(step) = self.step(&instruction, function.start..function.end) {
                steps.push((instruction.ip(), step));
            }
        }
        steps
    }

    fn step(&self, instruction: &Instruction, own: std::ops::Range<u64>) -> Option<Step> {
        let slot = || {
            instruction
                .is_ip_rel_memory_operand()
                .then(|| instruction.ip_rel_memory_address())
                .and_then(|slot| self.pointers.target(slot))
        };
        match instruction.flow_control() {
            FlowControl::Call | FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
                let target = instruction.near_branch_target();
                if target != 0 && (target == own.start || !own.contains(&target)) {
                    Some(Step::Call(target))
                } else {
                    (instruction.flow_control() == FlowControl::UnconditionalBranch)
                        .then_some(Step::Jump(target))
                }
            }
            FlowControl::IndirectCall | FlowControl::IndirectBranch => slot().map(Step::Call),
            _ => match instruction.mnemonic() {
                Mnemonic::Lea if instruction.is_ip_rel_memory_operand() => {
                    Some(Step::Load(instruction.ip_rel_memory_address()))
                }
                Mnemonic::Mov if instruction.op1_kind() == OpKind::Memory => slot().map(Step::Load),
                Mnemonic::Mov
                    if self.image.is_fixed()
                        && instruction.op0_register() != Register::None
                        && instruction.op1_kind() == OpKind::Immediate32 =>
                {
                    Some(u64::from(instruction.immediate32()))
                        .filter(|address| self.image.segment(*address).is_some())
                        .map(Step::Load)
                }
                _ => None,
            },
        }
    }
}
