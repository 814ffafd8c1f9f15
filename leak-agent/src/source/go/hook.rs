//! Where in a function of the Go runtime a probe is cheap and sees what the function was given.

use crate::elf::Image;
use crate::types::Vaddr;
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, Register};

/// Instructions from the entry on.
const INSTRUCTIONS_MAX: usize = 8;
/// Bytes of that many.
const BYTES_MAX: usize = 8 * 15;

/// The first instruction of a function that the kernel emulates, if only the check of the stack's size comes before it:
/// the arguments are still where the caller put them, and since the function runs on the stack of its thread, where that
/// check never fails, it is passed exactly once per call. `None` = the function begins otherwise.
pub(super) fn first_emulated(image: &Image<'_>, entry: Vaddr) -> Option<Vaddr> {
    let bytes = image.bytes_from(entry.0)?;
    let bytes = bytes.get(..BYTES_MAX).unwrap_or(bytes);
    let mut decoder = Decoder::with_ip(64, bytes, entry.0, DecoderOptions::NONE);
    let mut branch = None;
    for _ in 0..INSTRUCTIONS_MAX {
        let instruction = decoder.decode();
        match instruction.mnemonic() {
            // Go 1.20 and later.
            Mnemonic::Push if instruction.op0_register() == Register::RBP => {
                return Some(Vaddr(instruction.ip()));
            }
            Mnemonic::Jbe => {
                branch.get_or_insert(Vaddr(instruction.ip()));
            }
            Mnemonic::Cmp => {}
            Mnemonic::Lea if written(&instruction) == Register::R12 => {}
            _ => break,
        }
    }
    branch
}

fn written(instruction: &Instruction) -> Register {
    instruction.op0_register().full_register()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::Elf;
    use crate::source::go::fixture::{Parts, TEXT};
    use crate::types::ExecutableId;

    fn found(code: &[u8]) -> Option<u64> {
        let mut parts = Parts::valid();
        parts.code[..code.len()].copy_from_slice(code);
        let file = parts.file();
        let image = Image::parse(&Elf {
            data: &file,
            id: ExecutableId::BuildId(vec![]),
            debug: None,
        })
        .unwrap();
        first_emulated(&image, Vaddr(TEXT)).map(|at| at.0 - TEXT)
    }

    /// The prologues of the versions: `push rbp` behind the check, or the check's own branch.
    #[test]
    fn prologue_of_a_runtime_function_gives_its_first_emulated_instruction() {
        // cmp rsp, [r14+16]; jbe +0x20; push rbp
        let new = [0x49, 0x3b, 0x66, 0x10, 0x76, 0x20, 0x55, 0x48, 0x89, 0xe5];
        assert_eq!(found(&new), Some(6));
        // lea r12, [rsp-8]; cmp r12, [r14+16]; jbe +0x20; push rbp
        let large = [
            0x4c, 0x8d, 0x64, 0x24, 0xf8, 0x4d, 0x3b, 0x66, 0x10, 0x76, 0x20, 0x55,
        ];
        assert_eq!(found(&large), Some(11));
        // cmp rsp, [r14+16]; jbe +0x20; sub rsp, 0x18
        let old = [0x49, 0x3b, 0x66, 0x10, 0x76, 0x20, 0x48, 0x83, 0xec, 0x18];
        assert_eq!(found(&old), Some(4));
    }

    /// A function that touches its arguments first, or has no such instruction, is refused.
    #[test]
    fn prologue_that_writes_arguments_is_refused() {
        // mov rax, rbx; push rbp
        assert_eq!(found(&[0x48, 0x89, 0xd8, 0x55]), None);
        // ret
        assert_eq!(found(&[0xc3]), None);
    }
}
