//! Where the code itself says that a new goroutine keeps the address behind its `go` statement: for versions whose layout is
//! not known.

use crate::elf::Image;
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use std::collections::BTreeSet;
use std::ops::Range;

/// Bytes of the function that are looked at.
const CODE_MAX: usize = 16 << 10;
/// `runtime.newproc1` is given that address in it.
const ARGUMENT: Register = Register::RCX;

/// Places in some structure to which the function writes its third argument, and nothing that it has computed. It is followed
/// through registers and the function's own stack, from the entry on, in the order of the addresses.
pub(super) fn written(image: &Image<'_>, function: Range<u64>) -> BTreeSet<u32> {
    let size = usize::try_from(function.end.saturating_sub(function.start)).unwrap_or(CODE_MAX);
    let bytes = image.bytes_from(function.start).unwrap_or_default();
    let bytes = bytes.get(..size.min(CODE_MAX)).unwrap_or(bytes);
    let mut registers = BTreeSet::from([ARGUMENT]);
    let mut slots = BTreeSet::new();
    let mut written = BTreeSet::new();
    for instruction in Decoder::with_ip(64, bytes, function.start, DecoderOptions::NONE) {
        let moves = instruction.mnemonic() == Mnemonic::Mov;
        let (to, from) = (instruction.op0_kind(), instruction.op1_kind());
        match (to, from) {
            (OpKind::Memory, OpKind::Register) if moves => {
                let carried = registers.contains(&instruction.op1_register());
                match slot(&instruction) {
                    Some(slot) if carried => {
                        slots.insert(slot);
                    }
                    Some(slot) => {
                        slots.remove(&slot);
                    }
                    None if carried && instruction.memory_index() == Register::None => {
                        written.extend(u32::try_from(instruction.memory_displacement64()));
                    }
                    None => {}
                }
            }
            (OpKind::Register, _) if writes(&instruction) => {
                let to = instruction.op0_register().full_register();
                let carried = moves
                    && match from {
                        OpKind::Register => registers.contains(&instruction.op1_register()),
                        OpKind::Memory => slot(&instruction).is_some_and(|slot| slots.contains(&slot)),
                        _ => false,
                    };
                if carried {
                    registers.insert(to);
                } else {
                    registers.remove(&to);
                }
            }
            _ => {}
        }
        // What is called may change every register.
        if instruction.flow_control() == FlowControl::Call {
            registers.clear();
        }
    }
    written
}

/// Whether the first operand is changed.
fn writes(instruction: &Instruction) -> bool {
    !matches!(instruction.mnemonic(), Mnemonic::Cmp | Mnemonic::Test)
}

/// The place on the function's own stack, from the stack pointer.
fn slot(instruction: &Instruction) -> Option<u64> {
    let own = instruction.memory_base() == Register::RSP && instruction.memory_index() == Register::None;
    own.then(|| instruction.memory_displacement64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::Elf;
    use crate::source::go::fixture::{Parts, STEP, TEXT};
    use crate::types::ExecutableId;

    fn places(code: &[u8]) -> Vec<u32> {
        let mut parts = Parts::valid();
        parts.code[..code.len()].copy_from_slice(code);
        let file = parts.file();
        let image = Image::parse(&Elf {
            data: &file,
            id: ExecutableId::BuildId(vec![]),
            debug: None,
        })
        .unwrap();
        written(&image, TEXT..TEXT + STEP).into_iter().collect()
    }

    /// Kept on the stack over a call, and written behind another field.
    #[test]
    fn argument_is_followed_over_a_call_to_where_it_is_written() {
        let code = [
            0x48, 0x89, 0x4c, 0x24, 0x58, // mov [rsp+0x58], rcx
            0xe8, 0x00, 0x00, 0x00, 0x00, // call
            0x48, 0x89, 0x88, 0x18, 0x01, 0x00, 0x00, // mov [rax+0x118], rcx: not the argument any more
            0x48, 0x8b, 0x54, 0x24, 0x58, // mov rdx, [rsp+0x58]
            0x48, 0x89, 0x90, 0x20, 0x01, 0x00, 0x00, // mov [rax+0x120], rdx
            0x48, 0x8d, 0x52, 0x01, // lea rdx, [rdx+1]
            0x48, 0x89, 0x90, 0x30, 0x01, 0x00, 0x00, // mov [rax+0x130], rdx: computed
        ];
        assert_eq!(places(&code), [0x120]);
    }
}
