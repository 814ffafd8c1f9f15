//! The kernel's walk by learned frame sizes, on copied bytes: what the BPF program does, in safe code.

use super::raw::RawStack;
use leak_agent_common::key::{FRAME_STOP, WALK_SEED, walk_site, walk_step};
use leak_agent_common::settings::WALK_FRAMES;

/// How a walk ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// At a frame that ends it, or after the most frames it takes: with this site number.
    Site(u64),
    /// At a frame that is not learned: the kernel gives the thread a ticket.
    Miss,
    /// At a place that was not copied: the kernel reads on, the copy cannot tell.
    Cut,
}

/// Walks a stack. `size` gives what was learned for a `pc`.
pub fn walk(stack: &RawStack, mut size: impl FnMut(u64) -> Option<u32>) -> Walk {
    let (mut pc, mut sp, mut key) = (stack.ip, stack.sp, WALK_SEED);
    for _ in 0..WALK_FRAMES {
        key = walk_step(key, pc);
        match size(pc) {
            None => return Walk::Miss,
            Some(FRAME_STOP) => return Walk::Site(walk_site(key)),
            Some(size) => sp = sp.wrapping_add(u64::from(size)),
        }
        match stack.word(sp.wrapping_sub(8)) {
            Some(word) => pc = word,
            None => return Walk::Cut,
        }
    }
    Walk::Site(walk_site(key))
}
