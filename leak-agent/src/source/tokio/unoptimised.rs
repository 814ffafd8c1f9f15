//! The end of a task in unoptimised code without symbols: `State::transition_to_complete` flips the state by a call of
//! `AtomicUsize::fetch_xor`, as nothing is inlined.
//!
//! Checked against builds of tokio 1.20 to 1.54 by rustc 1.95.

use super::code::{Budget, Listing};
use super::scan::Scan;
use crate::elf::{Functions, Image, Pointers};
use memchr::memmem::Finder;

/// `mov esi, RUNNING | COMPLETE; mov edx, AcqRel; call …`: the second and third argument of `fetch_xor`.
const CALL_OF_XOR: [u8; 11] = [0xbe, 3, 0, 0, 0, 0xba, 3, 0, 0, 0, 0xe8];
/// Calls between `fetch_xor` and the compare-exchange loop.
const MAX_DEPTH: u32 = 3;
/// Chance finds looked at.
const MAX_FINDS: usize = 1024;

/// The functions (places in the list) that flip the state of what their first argument points to, sorted.
pub(super) fn flipping(
    image: &Image<'_>,
    functions: &Functions,
    pointers: &Pointers,
    scan: &Scan,
    budget: &mut Budget,
) -> Vec<u32> {
    let finder = Finder::new(&CALL_OF_XOR);
    let mut found = Vec::new();
    for segment in image.segments().iter().filter(|segment| segment.executable) {
        for at in finder.find_iter(segment.bytes).take(MAX_FINDS) {
            let call = segment
                .start
                .wrapping_add(at as u64 + CALL_OF_XOR.len() as u64 - 1);
            let Some(index) = functions.index(call).and_then(|index| u32::try_from(index).ok()) else {
                continue;
            };
            let listing = functions
                .all()
                .get(index as usize)
                .and_then(|function| Listing::decode(image, *function, budget));
            let called = listing.and_then(|listing| listing.callee(listing.index(call)?, pointers));
            let exchanges = called
                .and_then(|called| functions.starting(called))
                .is_some_and(|called| exchanges(called, functions, image, pointers, scan, budget));
            if exchanges {
                found.push(index);
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether a function, or one that it calls, has a compare-exchange of 8 bytes.
fn exchanges(
    start: usize,
    functions: &Functions,
    image: &Image<'_>,
    pointers: &Pointers,
    scan: &Scan,
    budget: &mut Budget,
) -> bool {
    let mut level = vec![start];
    for _ in 0..MAX_DEPTH {
        let mut next = Vec::new();
        for index in level {
            let place = u32::try_from(index).unwrap_or(u32::MAX);
            if scan.exchanging.binary_search(&place).is_ok() {
                return true;
            }
            let listing = functions
                .all()
                .get(index)
                .and_then(|function| Listing::decode(image, *function, budget));
            let Some(listing) = listing else { continue };
            next.extend(
                (0..listing.instructions.len())
                    .filter_map(|at| listing.callee(at, pointers))
                    .filter_map(|target| functions.starting(target)),
            );
        }
        next.sort_unstable();
        next.dedup();
        level = next;
    }
    false
}
