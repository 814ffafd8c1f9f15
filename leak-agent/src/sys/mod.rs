//! The operating system: what of it the agent uses, one concept per file.

pub mod clock;
pub mod map;
