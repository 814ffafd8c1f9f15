//! Which references of the linear pass are real: the operand of an instruction, not chance bytes.
//!
//! Before tokio 1.23 a vtable begins where the code refers to, and nothing refers into its middle; there a chance
//! reference hides a vtable (`74 05 4c 89 f7 ff` reads as one 640 KB back).

use super::code::{Budget, Listing};
use super::scan::Scan;
use crate::elf::{Functions, Image};
use iced_x86::{Instruction, OpKind};
use std::collections::BTreeSet;

/// The addresses that instructions refer to, of those that the pass saw referred to; sorted. Decodes every function
/// with such a reference; what cannot be decoded counts as real.
pub(super) fn confirmed(
    image: &Image<'_>,
    functions: &Functions,
    scan: &Scan,
    budget: &mut Budget,
) -> Vec<u64> {
    let mut real = BTreeSet::new();
    for seen in scan.references.chunk_by(|one, other| one.0 == other.0) {
        let Some((index, _)) = seen.first() else { continue };
        let listing = functions
            .all()
            .get(*index as usize)
            .and_then(|function| Listing::decode(image, *function, budget));
        let Some(listing) = listing else {
            real.extend(seen.iter().map(|(_, address)| *address));
            continue;
        };
        let named = listing
            .instructions
            .iter()
            .flat_map(|instruction| operands(instruction, image.is_fixed()));
        real.extend(named.filter(|named| seen.binary_search(&(*index, *named)).is_ok()));
    }
    real.into_iter().collect()
}

/// The addresses in an instruction's operands.
fn operands(instruction: &Instruction, fixed: bool) -> impl Iterator<Item = u64> {
    let relative = instruction
        .is_ip_rel_memory_operand()
        .then(|| instruction.ip_rel_memory_address());
    let absolute = (fixed && !instruction.is_ip_rel_memory_operand())
        .then(|| instruction.memory_displacement64())
        .filter(|address| *address != 0);
    let immediates = (0..instruction.op_count())
        .filter(move |operand| fixed && is_immediate(instruction.op_kind(*operand)))
        .map(|operand| instruction.immediate(operand));
    relative.into_iter().chain(absolute).chain(immediates)
}

fn is_immediate(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Immediate32 | OpKind::Immediate64 | OpKind::Immediate32to64
    )
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::super::scan::Wanted;
    use super::*;
    use crate::elf::{Elf, Pointers};

    fn referred(data: &[u8], wanted: Vec<u64>) -> (usize, Vec<u64>) {
        let elf: Elf<'_> = fixture::elf(data);
        let image = Image::parse(&elf).unwrap();
        let pointers = Pointers::read(&image).unwrap();
        let functions = Functions::find(&image, &pointers);
        let scan = Scan::run(&image, &functions, &pointers, &Wanted::new(wanted));
        let seen = scan.references.len();
        (seen, confirmed(&image, &functions, &scan, &mut Budget::full()))
    }

    /// Check that bytes across two instructions which read as a reference are none, and that an operand is one.
    #[test]
    fn chance_reference_is_dropped_and_an_operand_is_kept() {
        let data = fixture::executable();
        let (seen, real) = referred(&data, vec![fixture::DATA]);
        assert_eq!((seen, real), (1, vec![fixture::DATA]));

        let mut data = data;
        // je +5; mov rdi,r14; call rax: `05 4c 89 f7 ff` reads as an operand relative to the next instruction.
        let code = [0x74, 0x05, 0x4c, 0x89, 0xf7, 0xff, 0xd0];
        data[0x1044 + 0x60..0x1044 + 0x60 + code.len()].copy_from_slice(&code);
        let next = fixture::CODE + 0x44 + 0x60 + 6;
        let chance = next.wrapping_add_signed(i64::from(i32::from_le_bytes([0x4c, 0x89, 0xf7, 0xff])));
        let (seen, real) = referred(&data, vec![chance]);
        assert_eq!((seen, real), (1, vec![]));
    }
}
