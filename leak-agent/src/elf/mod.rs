//! ELF files: bytes in, facts out. Knows nothing of runtimes or processes.
//!
//! Everything here reads files of other people: each reader is bounded by named limits and total, that is,
//! a crafted file gives an [`ElfError`] or fewer facts, never a panic or a hang.

use crate::types::ExecutableId;

mod error;
mod estimate;
mod function;
mod image;
mod pointer;
mod section;
mod symbol;

pub use error::ElfError;
pub use function::{Bounds, Function, Functions};
pub use image::{Image, Segment};
pub use pointer::Pointers;
pub use section::section_bytes;
pub use symbol::{Symbol, function_symbols};

/// An executable's bytes (memory-mapped) and its identity.
pub struct Elf<'data> {
    /// The whole file.
    pub data: &'data [u8],
    /// Its identity, which site ids are built on.
    pub id: ExecutableId,
}
