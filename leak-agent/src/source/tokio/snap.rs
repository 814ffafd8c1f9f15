//! Which instruction near a point can carry a cheap probe.
//!
//! A uprobe on an instruction that the kernel emulates costs half a microsecond; any other is executed out of
//! line in single-step mode, 5 to 19 µs in a VM. So a point moves, within the straight line it is in, to
//! the nearest instruction that is emulated and is passed exactly as often.

use super::code::{Flow, Listing, branch_target, never_falls_through};
use crate::elf::{Functions, Image, Pointers};
use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind, Register};

/// How far a point may move, instructions.
const MAX_DISTANCE: usize = 64;
/// How deep a call that never returns may hide.
const NORETURN_DEPTH: u32 = 3;
/// Instructions looked at to find that code never returns.
const NORETURN_LENGTH: usize = 64;

/// What the kernel does with an instruction under a uprobe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Probing {
    /// Emulated in the breakpoint handler.
    Emulated,
    /// Executed out of line in single-step mode.
    SingleStep,
    /// Attaching fails.
    Refused,
}

/// How the kernel treats the instruction that these bytes are (all of its bytes and no more).
///
/// Checked against `arch/x86/kernel/uprobes.c` of Linux 5.10 and 6.18: `branch_setup_xol_ops` and
/// `push_setup_xol_ops` emulate near and short jumps, conditional jumps, relative calls, the one-byte `nop` and
/// the push of a register. Multi-byte nops are emulated by the newest kernels only and so do not
/// count. `is_prefix_bad` refuses segment and lock prefixes; a branch with an operand-size prefix is refused too.
#[must_use]
pub(super) fn probing(bytes: &[u8]) -> Probing {
    match bytes {
        [0xe8 | 0xe9, _, _, _, _] | [0xeb | 0x70..=0x7f, _] | [0x90] => Probing::Emulated,
        [0x0f, 0x80..=0x8f, _, _, _, _] => Probing::Emulated,
        [0x50..=0x57] | [0x41, 0x50..=0x57] => Probing::Emulated,
        [0x67, 0xe8, _, _, _, _] => Probing::Emulated, // what linkers make of `call [rip+slot]`
        [] => Probing::Refused,
        _ => other(bytes),
    }
}

fn other(bytes: &[u8]) -> Probing {
    let prefix = |byte: &&u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
    let prefixes = bytes.iter().take_while(prefix).count();
    let (prefixes, rest) = bytes.split_at(prefixes);
    if prefixes
        .iter()
        .any(|byte| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0xf0))
    {
        return Probing::Refused;
    }
    let branch = matches!(
        rest,
        [0xe8 | 0xe9 | 0xeb | 0x70..=0x7f | 0x90, ..] | [0x0f, 0x80..=0x8f, ..]
    );
    // Traps, port and privileged instructions are refused as well; compiled code has none on these paths.
    let trap = matches!(
        rest,
        [0xcc | 0xcd | 0xce | 0xcf | 0xf1 | 0xf4 | 0xfa | 0xfb | 0x6c..=0x6f | 0xe4..=0xe7 | 0xec..=0xef, ..]
            | [0x0f, 0x05 | 0x0b | 0x34 | 0x35, ..]
    );
    if trap || (branch && prefixes.contains(&0x66)) {
        Probing::Refused
    } else {
        Probing::SingleStep
    }
}

/// Whether a point may move over a call that is not emulated itself (`call [rip+slot]`, `call r12`): such are calls of
/// the allocator, of `memcpy` and the like, which return once or end the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Calls {
    /// It may not.
    Stop,
    /// It may, if registers that must be kept are preserved by functions.
    Cross,
}

/// Moves points within one function.
pub(super) struct Snapper<'a> {
    /// The image.
    pub(super) image: &'a Image<'a>,
    /// Its functions.
    pub(super) functions: &'a Functions,
    /// Its pointers.
    pub(super) pointers: &'a Pointers,
    /// The function.
    pub(super) listing: &'a Listing,
    /// Its jump targets.
    pub(super) flow: &'a Flow,
}

impl Snapper<'_> {
    /// How the kernel treats the instruction.
    #[must_use]
    pub(super) fn probing(&self, index: usize) -> Probing {
        let bytes = self
            .listing
            .instructions
            .get(index)
            .and_then(|instruction| self.image.bytes(instruction.ip(), instruction.len()));
        probing(bytes.unwrap_or(&[]))
    }

    /// The first emulated instruction from `at` on that is passed exactly when `at` is, with the registers in
    /// `keep` unchanged. `at` itself is taken whether or not a jump leads to it.
    #[must_use]
    pub(super) fn forward(&self, at: usize, keep: &[Register], calls: Calls) -> Option<usize> {
        let mut infos = InstructionInfoFactory::new();
        for index in at..at.checked_add(MAX_DISTANCE)? {
            if index > at && self.flow.is_target(index) {
                return None;
            }
            let instruction = self.listing.instructions.get(index)?;
            if self.probing(index) == Probing::Emulated {
                return Some(index);
            }
            let straight = match instruction.flow_control() {
                FlowControl::Next => true,
                FlowControl::IndirectCall => calls == Calls::Cross && self.falls_through(index),
                _ => false,
            };
            if !straight || writes(&mut infos, instruction, keep) {
                return None;
            }
        }
        None
    }

    /// The nearest emulated instruction before `at` that is passed exactly when `at` is, with the registers in
    /// `keep` unchanged in between: not over a jump target, and over a conditional jump only if its taken
    /// side never returns.
    #[must_use]
    pub(super) fn backward(&self, at: usize, keep: &[Register], calls: Calls) -> Option<usize> {
        let mut infos = InstructionInfoFactory::new();
        let mut index = at;
        for _ in 0..MAX_DISTANCE {
            if self.flow.is_target(index) {
                return None;
            }
            index = index.checked_sub(1)?;
            let instruction = self.listing.instructions.get(index)?;
            let straight = match instruction.flow_control() {
                FlowControl::Next | FlowControl::Call => true,
                FlowControl::IndirectCall => calls == Calls::Cross,
                FlowControl::ConditionalBranch => self.ends(instruction.near_branch64(), NORETURN_DEPTH),
                _ => false,
            };
            if !straight || never_falls_through(instruction) || writes(&mut infos, instruction, keep) {
                return None;
            }
            if self.probing(index) == Probing::Emulated {
                return Some(index);
            }
        }
        None
    }

    /// Whether none of these instructions changes the register.
    #[must_use]
    pub(super) fn unchanged(&self, range: std::ops::Range<usize>, register: Register) -> bool {
        let mut infos = InstructionInfoFactory::new();
        let instructions = self.listing.instructions.get(range).unwrap_or(&[]);
        !instructions
            .iter()
            .any(|instruction| writes(&mut infos, instruction, &[register]))
    }

    /// Whether control may go from the instruction to the next one.
    #[must_use]
    pub(super) fn falls_through(&self, index: usize) -> bool {
        self.listing.instructions.get(index).is_some_and(|instruction| {
            let ends_in_call = matches!(
                instruction.flow_control(),
                FlowControl::Call | FlowControl::IndirectCall
            ) && branch_target(instruction, self.pointers)
                .is_some_and(|target| self.never_returns(target, NORETURN_DEPTH));
            !never_falls_through(instruction) && !ends_in_call
        })
    }

    /// Whether the code at an address of this function never returns: a straight line to a trap, to a call of a
    /// function that never returns, or to the end of the function behind a call.
    fn ends(&self, vaddr: u64, depth: u32) -> bool {
        let Some(mut index) = self.listing.index(vaddr) else {
            return self.never_returns(vaddr, depth);
        };
        for _ in 0..NORETURN_LENGTH {
            let Some(instruction) = self.listing.instructions.get(index) else {
                return true; // ran off the end of the function: the call before never returned
            };
            match instruction.flow_control() {
                FlowControl::Exception => return true,
                FlowControl::Call | FlowControl::IndirectCall => {
                    if branch_target(instruction, self.pointers)
                        .is_some_and(|target| self.never_returns(target, depth))
                    {
                        return true;
                    }
                }
                FlowControl::UnconditionalBranch => {
                    let target = instruction.near_branch64();
                    match self.listing.index(target) {
                        Some(next) => {
                            index = next;
                            continue;
                        }
                        None => return self.never_returns(target, depth),
                    }
                }
                FlowControl::Next => {}
                _ => return false,
            }
            index += 1;
        }
        false
    }

    /// Whether a function has no way to return: no return, and no jump out but to a function that has none.
    fn never_returns(&self, vaddr: u64, depth: u32) -> bool {
        let (Some(depth), Some(function)) = (depth.checked_sub(1), self.functions.containing(vaddr)) else {
            return false;
        };
        if function.start != vaddr || function.size() > 16 * NORETURN_LENGTH as u64 {
            return false;
        }
        let Ok(size) = usize::try_from(function.size()) else {
            return false;
        };
        let Some(bytes) = self.image.bytes(function.start, size) else {
            return false;
        };
        let mut decoder =
            iced_x86::Decoder::with_ip(64, bytes, function.start, iced_x86::DecoderOptions::NONE);
        let inside = |target: u64| (function.start..function.end).contains(&target);
        decoder
            .iter()
            .all(|instruction| match instruction.flow_control() {
                FlowControl::Return => false,
                FlowControl::IndirectBranch => branch_target(&instruction, self.pointers)
                    .is_some_and(|target| self.never_returns(target, depth)),
                FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
                    let target = instruction.near_branch64();
                    instruction.op0_kind() == OpKind::NearBranch64
                        && (inside(target) || self.never_returns(target, depth))
                }
                _ => true,
            })
    }
}

/// Whether it changes one of these registers, wholly or in part.
fn writes(infos: &mut InstructionInfoFactory, instruction: &Instruction, keep: &[Register]) -> bool {
    if keep.is_empty() {
        return false;
    }
    let clobbers = matches!(
        instruction.flow_control(),
        FlowControl::Call | FlowControl::IndirectCall
    ) && keep.iter().any(|register| !callee_saved(*register));
    clobbers
        || infos.info(instruction).used_registers().iter().any(|used| {
            let written = !matches!(
                used.access(),
                OpAccess::Read | OpAccess::CondRead | OpAccess::None
            );
            written && keep.contains(&used.register().full_register())
        })
}

/// Whether a function leaves the register as it was.
#[must_use]
pub(super) fn callee_saved(register: Register) -> bool {
    matches!(
        register,
        Register::RBX
            | Register::RBP
            | Register::RSP
            | Register::R12
            | Register::R13
            | Register::R14
            | Register::R15
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check how the kernel treats each form of instruction that a point may meet.
    #[test]
    fn probing_of_each_form_is_what_the_kernel_does() {
        use Probing::{Emulated, Refused, SingleStep};
        let cases: &[(&[u8], Probing)] = &[
            (&[0xe8, 1, 2, 3, 4], Emulated),                           // call rel32
            (&[0x67, 0xe8, 1, 2, 3, 4], Emulated),                     // addr32 call rel32
            (&[0xe9, 1, 2, 3, 4], Emulated),                           // jmp rel32
            (&[0xeb, 5], Emulated),                                    // jmp rel8
            (&[0x74, 5], Emulated),                                    // je rel8
            (&[0x0f, 0x85, 1, 2, 3, 4], Emulated),                     // jne rel32
            (&[0x90], Emulated),                                       // nop
            (&[0x55], Emulated),                                       // push rbp
            (&[0x41, 0x57], Emulated),                                 // push r15
            (&[0x48, 0x55], SingleStep),                               // rex.w push rbp
            (&[0x6a, 1], SingleStep),                                  // push imm8
            (&[0xff, 0x75, 8], SingleStep),                            // push [rbp+8]
            (&[0x66, 0x90], Refused),                                  // two-byte nop
            (&[0x0f, 0x1f, 0x44, 0, 0], SingleStep),                   // five-byte nop
            (&[0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0], Refused), // long nop with cs prefix
            (&[0x66, 0xe8, 1, 2, 3, 4], Refused),                      // call with operand size prefix
            (&[0xf0, 0x48, 0x0f, 0xb1, 0x0f], Refused),                // lock cmpxchg
            (&[0x3e, 0xff, 0xe0], Refused),                            // notrack jmp rax
            (&[0xff, 0x15, 1, 2, 3, 4], SingleStep),                   // call [rip+x]
            (&[0x48, 0x89, 0xe5], SingleStep),                         // mov rbp,rsp
            (&[0xf3, 0x0f, 0x1e, 0xfa], SingleStep),                   // endbr64
            (&[0xc3], SingleStep),                                     // ret
            (&[0xcc], Refused),                                        // int3
            (&[0x0f, 0x0b], Refused),                                  // ud2
            (&[0x66, 0x0f, 0x6f, 0xc1], SingleStep),                   // movdqa
            (&[], Refused),
        ];
        for (bytes, expected) in cases {
            assert_eq!(probing(bytes), *expected, "{bytes:02x?}");
        }
    }
}
