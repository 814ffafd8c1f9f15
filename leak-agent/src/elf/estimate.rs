//! Where functions begin, guessed from code that has no unwind tables.

use super::{Function, Image, Pointers};

/// Call targets kept while estimating.
const MAX_CALLS: usize = 8 << 20;
/// Opcode of `call rel32`.
const CALL: u8 = 0xe8;
/// Opcode of `jmp rel32`.
const JUMP: u8 = 0xe9;
/// Function starts are accepted off the usual alignment only if fewer than this share of them is aligned.
const ALIGNED_SHARE: usize = 2;

/// Estimates functions: a function starts where a relocated code pointer or a `call` leads, or a `jmp` out of another
/// one, and ends where the next one starts. A target of a single call, or of jumps alone, counts only behind padding or
/// an instruction that control does not pass, as chance bytes look like calls. Two passes over the code.
pub(super) fn functions(image: &Image<'_>, pointers: &Pointers) -> Vec<Function> {
    let mut starts: Vec<u64> = pointers
        .all()
        .iter()
        .map(|(_, target)| *target)
        .filter(|target| image.is_code(*target))
        .collect();
    let mut calls: Vec<u64> = branches(image, CALL)
        .map(|(_, target)| target)
        .take(MAX_CALLS)
        .collect();
    calls.sort_unstable();
    let aligned = calls.iter().filter(|target| *target % 16 == 0).count();
    let only_aligned = aligned * ALIGNED_SHARE > calls.len();
    let is_possible = |target: u64| !only_aligned || target.is_multiple_of(16);
    for same in calls.chunk_by(|one, other| one == other) {
        let target = same[0];
        if is_possible(target) && (same.len() > 1 || follows_an_end(image, target)) {
            starts.push(target);
        }
    }
    starts.sort_unstable();
    starts.dedup();
    let function = |vaddr: u64| starts.partition_point(|start| *start <= vaddr);
    let mut jumps: Vec<u64> = branches(image, JUMP)
        .filter(|(from, target)| {
            is_possible(*target) && function(*from) != function(*target) && follows_an_end(image, *target)
        })
        .map(|(_, target)| target)
        .take(MAX_CALLS)
        .collect();
    starts.append(&mut jumps);
    starts.sort_unstable();
    starts.dedup();
    up_to_the_next(image, &starts)
}

/// Every relative branch of this opcode within a segment: (its address, where it leads), chance bytes included.
fn branches(image: &Image<'_>, opcode: u8) -> impl Iterator<Item = (u64, u64)> {
    let code = image.segments().iter().filter(|segment| segment.executable);
    code.flat_map(move |segment| {
        memchr::memchr_iter(opcode, segment.bytes).filter_map(move |at| {
            let rel = segment.bytes.get(at + 1..)?.first_chunk()?;
            let from = segment.start.wrapping_add(at as u64);
            let target = from
                .wrapping_add(5)
                .wrapping_add_signed(i64::from(i32::from_le_bytes(*rel)));
            segment.contains(target).then_some((from, target))
        })
    })
}

/// Functions from their starts: each ends where the next one starts, or its segment ends.
fn up_to_the_next(image: &Image<'_>, starts: &[u64]) -> Vec<Function> {
    let mut list: Vec<Function> = Vec::with_capacity(starts.len());
    for (index, start) in starts.iter().enumerate() {
        let Some(segment) = image.segment(*start) else {
            continue;
        };
        let segment_end = segment.start.saturating_add(segment.bytes.len() as u64);
        let end = starts
            .get(index + 1)
            .copied()
            .unwrap_or(u64::MAX)
            .min(segment_end);
        if *start < end {
            list.push(Function { start: *start, end });
        }
    }
    list
}

/// Whether the bytes before the address are padding or an instruction that control does not pass.
fn follows_an_end(image: &Image<'_>, vaddr: u64) -> bool {
    let Some(before) = vaddr.checked_sub(5).and_then(|at| image.bytes(at, 5)) else {
        return true; // the first bytes of a segment
    };
    matches!(
        before,
        [.., 0xcc | 0x90 | 0xc3] | [.., 0x0f, 0x0b] | [0xe9 | 0xe8, ..] | [.., 0xeb, _] | [.., 0x00] // ends of long nops
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::Elf;
    use crate::elf::image::test_image;
    use crate::types::ExecutableId;

    fn starts(code: &[u8]) -> Vec<u64> {
        let words: Vec<u64> = code
            .as_chunks::<8>()
            .0
            .iter()
            .map(|word| u64::from_le_bytes(*word))
            .collect();
        let mut file = test_image(0x1000, &words);
        file[0x44] = 5; // readable, executable
        let elf = Elf {
            data: &file,
            id: ExecutableId::BuildId(vec![1]),
            debug: None,
        };
        let image = Image::parse(&elf).unwrap();
        functions(&image, &Pointers::default())
            .iter()
            .map(|function| function.start)
            .collect()
    }

    /// Check that a function that others only jump to is found, and that the head of a loop is none.
    #[test]
    fn jump_out_of_a_function_leads_to_another_and_a_jump_within_does_not() {
        let mut code = [0xcc_u8; 0x60];
        code[0x00..0x05].copy_from_slice(&[0xe8, 0x0b, 0, 0, 0]); // call 0x10
        code[0x05..0x0a].copy_from_slice(&[0xe9, 0x26, 0, 0, 0]); // jmp 0x30
        code[0x10..0x20].copy_from_slice(&[0x90; 16]);
        code[0x20..0x25].copy_from_slice(&[0xe9, 0xfb, 0xff, 0xff, 0xff]); // jmp 0x20
        code[0x30] = 0xc3;
        code[0x40..0x45].copy_from_slice(&[0xe8, 0xcb, 0xff, 0xff, 0xff]); // call 0x10
        assert_eq!(starts(&code), [0x1010, 0x1030]);
    }
}
