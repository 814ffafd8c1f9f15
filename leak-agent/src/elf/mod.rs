//! ELF files: bytes in, facts out. Knows nothing of runtimes or processes.

use crate::types::ExecutableId;

/// An executable's bytes (memory-mapped) and its identity.
pub struct Elf<'data> {
    /// The whole file.
    pub data: &'data [u8],
    /// Its identity, which site ids are built on.
    pub id: ExecutableId,
}
