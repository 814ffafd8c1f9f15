//! Raw user stacks: which modules they run through, how they unwind, what their frames are called, and what
//! the kernel's walk has to learn to recognise them.

pub mod raw;

pub use raw::RawStack;
