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
mod structure;
mod symbol;

pub use error::ElfError;
pub use function::{Bounds, Function, Functions};
pub use image::{Image, Segment};
pub use pointer::Pointers;
pub use section::{has_section, section_bytes};
pub use structure::Structures;
pub use symbol::{Symbol, exported_functions, function_symbols, has_symbol_table};

/// An executable's bytes (memory-mapped) and its identity.
pub struct Elf<'data> {
    /// The whole file.
    pub data: &'data [u8],
    /// Its identity, which site ids are built on.
    pub id: ExecutableId,
    /// Where to ask for its separate debug file; `None` = it has none.
    pub debug: Option<&'data dyn DebugSource>,
}

/// Has the separate debug file of an executable, once it is asked for: it is looked for only then.
pub trait DebugSource {
    /// The file's bytes, or why there are none. The first call may take seconds.
    fn debug_file(&self) -> DebugFile<'_>;
}

/// The separate debug file of an executable: good for names, and for nothing that must be right.
#[derive(Clone, Copy, Debug)]
pub enum DebugFile<'data> {
    /// There is none.
    None,
    /// Its bytes. It belongs to the executable, by build id or checksum.
    Found(&'data [u8]),
    /// There is one, but it is not used: why, as half a sentence.
    Refused(&'data str),
}
