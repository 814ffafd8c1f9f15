//! Why an ELF file could not be read.

/// Why an ELF file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// Not a 64-bit little-endian ELF file, or cut off in its headers.
    #[error("read the elf headers")]
    Header(#[source] object::read::Error),
    /// An object file, a core dump, or something unknown: it is never mapped as code.
    #[error("elf type {0} is neither an executable nor a shared object")]
    NotMapped(u16),
    /// More program headers than any linker writes.
    #[error("{found} segments, at most {limit} are read")]
    TooManySegments {
        /// How many the file has.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// More relocations than are worth keeping in memory.
    #[error("more than {limit} relocated pointers")]
    TooManyPointers {
        /// The limit.
        limit: usize,
    },
}
