//! Where functions begin, guessed from code that has no unwind tables.

use super::{Function, Image, Pointers};

/// Call targets kept while estimating.
const MAX_CALLS: usize = 8 << 20;
/// Function starts are accepted off the usual alignment only if fewer than this share of them is aligned.
const ALIGNED_SHARE: usize = 2;

/// Estimates functions: a function starts where a relocated code pointer or a `call` leads, and ends where
/// the next one starts. A target of a single call counts only behind padding or an instruction
/// that control does not pass, as chance bytes look like calls. One pass over the code.
pub(super) fn functions(image: &Image<'_>, pointers: &Pointers) -> Vec<Function> {
    let mut starts: Vec<u64> = pointers
        .all()
        .iter()
        .map(|(_, target)| *target)
        .filter(|target| image.is_code(*target))
        .collect();
    let mut calls = Vec::new();
    for segment in image.segments().iter().filter(|segment| segment.executable) {
        for at in memchr::memchr_iter(0xe8, segment.bytes) {
            let Some(rel) = segment.bytes.get(at + 1..).and_then(|rest| rest.first_chunk()) else {
                break;
            };
            let next = segment.start.wrapping_add(at as u64 + 5);
            let target = next.wrapping_add_signed(i64::from(i32::from_le_bytes(*rel)));
            if segment.contains(target) && calls.len() < MAX_CALLS {
                calls.push(target);
            }
        }
    }
    calls.sort_unstable();
    let aligned = calls.iter().filter(|target| *target % 16 == 0).count();
    let only_aligned = aligned * ALIGNED_SHARE > calls.len();
    for same in calls.chunk_by(|one, other| one == other) {
        let target = same[0];
        if only_aligned && target % 16 != 0 {
            continue;
        }
        if same.len() > 1 || follows_an_end(image, target) {
            starts.push(target);
        }
    }
    starts.sort_unstable();
    starts.dedup();
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
