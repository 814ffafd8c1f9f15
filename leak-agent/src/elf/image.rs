//! An ELF file as it is mapped: segments, bytes by address, addresses to file offsets.

use super::{Elf, ElfError};
use crate::types::{FileOffset, Vaddr};
use object::LittleEndian as LE;
use object::elf;
use object::read::elf::{FileHeader as _, ProgramHeader as _};

/// Linkers write about a dozen program headers.
const MAX_SEGMENTS: usize = 256;

/// A mapped piece of the file (`PT_LOAD`).
#[derive(Clone, Copy, Debug)]
pub struct Segment<'data> {
    /// Address of its first byte.
    pub start: u64,
    /// Bytes in memory; what exceeds `bytes` is zero (`.bss`).
    pub mem_size: u64,
    /// Where its bytes are in the file.
    pub offset: u64,
    /// Its bytes in the file.
    pub bytes: &'data [u8],
    /// Mapped executable.
    pub executable: bool,
    /// Mapped writable.
    pub writable: bool,
}

impl Segment<'_> {
    /// Whether the address is in it, `.bss` included.
    #[must_use]
    pub fn contains(&self, vaddr: u64) -> bool {
        vaddr.checked_sub(self.start).is_some_and(|at| at < self.mem_size)
    }
}

/// An ELF file as it is mapped. Cheap to make: it reads the headers only.
#[derive(Debug)]
pub struct Image<'data> {
    /// Sorted by address.
    segments: Vec<Segment<'data>>,
    pub(super) data: &'data [u8],
    pub(super) header: &'data elf::FileHeader64<LE>,
    pub(super) dynamic: &'data [elf::Dyn64<LE>],
    pub(super) eh_frame_hdr: Option<u64>,
}

impl<'data> Image<'data> {
    /// Reads the headers of a 64-bit little-endian executable or shared object.
    ///
    /// # Errors
    /// [`ElfError::Header`], [`ElfError::NotMapped`] or [`ElfError::TooManySegments`].
    pub fn parse(file: &Elf<'data>) -> Result<Self, ElfError> {
        let data = file.data;
        let header = elf::FileHeader64::<LE>::parse(data).map_err(ElfError::Header)?;
        let endian = header.endian().map_err(ElfError::Header)?;
        let kind = header.e_type(endian);
        if kind != elf::ET_EXEC && kind != elf::ET_DYN {
            return Err(ElfError::NotMapped(kind.0));
        }
        let headers = header.program_headers(endian, data).map_err(ElfError::Header)?;
        if headers.len() > MAX_SEGMENTS {
            return Err(ElfError::TooManySegments {
                found: headers.len(),
                limit: MAX_SEGMENTS,
            });
        }
        let mut image = Self {
            segments: Vec::new(),
            data,
            header,
            dynamic: &[],
            eh_frame_hdr: None,
        };
        for program in headers {
            match program.p_type(endian) {
                elf::PT_LOAD => image.segments.extend(segment(program, data)),
                elf::PT_DYNAMIC => {
                    if let Ok(Some(dynamic)) = program.dynamic(endian, data) {
                        image.dynamic = dynamic;
                    }
                }
                elf::PT_GNU_EH_FRAME => image.eh_frame_hdr = Some(program.p_vaddr(endian)),
                _ => {}
            }
        }
        image.segments.sort_by_key(|segment| segment.start);
        Ok(image)
    }

    /// The instruction set, as the header states it (`object::elf::EM_X86_64` …).
    #[must_use]
    pub fn machine(&self) -> elf::Machine {
        self.header.e_machine(LE)
    }

    /// Linked to fixed addresses (`ET_EXEC`): its pointers are not relocated and the load bias is 0.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.header.e_type(LE) == elf::ET_EXEC
    }

    /// The mapped pieces, sorted by address.
    #[must_use]
    pub fn segments(&self) -> &[Segment<'data>] {
        &self.segments
    }

    /// The segment that holds the address.
    #[must_use]
    pub fn segment(&self, vaddr: u64) -> Option<&Segment<'data>> {
        let after = self.segments.partition_point(|segment| segment.start <= vaddr);
        // Crafted segments may overlap; the nearest start wins, as it is the one a linker means.
        self.segments[..after]
            .iter()
            .rev()
            .find(|segment| segment.contains(vaddr))
    }

    /// Whether the address is in an executable segment.
    #[must_use]
    pub fn is_code(&self, vaddr: u64) -> bool {
        self.segment(vaddr).is_some_and(|segment| segment.executable)
    }

    /// The file's bytes from the address to the end of its segment; `None` if no byte of the file is mapped there.
    #[must_use]
    pub fn bytes_from(&self, vaddr: u64) -> Option<&'data [u8]> {
        let segment = self.segment(vaddr)?;
        let at = usize::try_from(vaddr.checked_sub(segment.start)?).ok()?;
        segment.bytes.get(at..).filter(|bytes| !bytes.is_empty())
    }

    /// Exactly `len` bytes of the file at the address; `None` if they are not all in one segment of the file.
    #[must_use]
    pub fn bytes(&self, vaddr: u64, len: usize) -> Option<&'data [u8]> {
        self.bytes_from(vaddr)?.get(..len)
    }

    /// The word at the address as the file states it, before relocation.
    #[must_use]
    pub fn u64_at(&self, vaddr: u64) -> Option<u64> {
        let bytes = self.bytes_from(vaddr)?;
        Some(u64::from_le_bytes(*bytes.first_chunk()?))
    }

    /// The 32-bit word at the address as the file states it, before relocation.
    #[must_use]
    pub fn u32_at(&self, vaddr: u64) -> Option<u32> {
        let bytes = self.bytes_from(vaddr)?;
        Some(u32::from_le_bytes(*bytes.first_chunk()?))
    }

    /// Where the byte at the address is in the file: what a uprobe is attached to. `None` if it is not in the file.
    #[must_use]
    pub fn file_offset(&self, vaddr: Vaddr) -> Option<FileOffset> {
        let segment = self.segment(vaddr.0)?;
        let at = vaddr.0.checked_sub(segment.start)?;
        let in_file = usize::try_from(at).is_ok_and(|at| at < segment.bytes.len());
        Some(FileOffset(segment.offset.checked_add(at)?)).filter(|_| in_file)
    }

    /// The address at which a byte of the file is mapped; executable segments win where several map it.
    #[must_use]
    pub fn vaddr(&self, offset: FileOffset) -> Option<Vaddr> {
        let holds = |segment: &&Segment<'_>| {
            offset
                .0
                .checked_sub(segment.offset)
                .is_some_and(|at| usize::try_from(at).is_ok_and(|at| at < segment.bytes.len()))
        };
        let mut holding = self.segments.iter().filter(holds);
        let first = holding.next()?;
        let segment = if first.executable {
            first
        } else {
            holding.find(|segment| segment.executable).unwrap_or(first)
        };
        Some(Vaddr(
            segment.start.checked_add(offset.0.checked_sub(segment.offset)?)?,
        ))
    }
}

/// A `PT_LOAD` as far as its bytes are in the file; `None` for an empty one or one that wraps around.
fn segment<'data>(program: &elf::ProgramHeader64<LE>, data: &'data [u8]) -> Option<Segment<'data>> {
    let (offset, size) = program.file_range(LE);
    let start = program.p_vaddr(LE);
    let mem_size = program.p_memsz(LE).max(size);
    start.checked_add(mem_size).filter(|_| mem_size > 0)?;
    let from = usize::try_from(offset).ok()?.min(data.len());
    let to = usize::try_from(offset.checked_add(size)?).ok()?.min(data.len());
    Some(Segment {
        start,
        mem_size,
        offset,
        bytes: data.get(from..to)?,
        executable: program.p_flags(LE).0 & elf::PF_X.0 != 0,
        writable: program.p_flags(LE).0 & elf::PF_W.0 != 0,
    })
}

/// A small executable of fixed addresses with one read-only segment, for tests of this module and its siblings.
#[cfg(test)]
pub(super) fn test_image(start: u64, words: &[u64]) -> Vec<u8> {
    let mut file = vec![0_u8; 0x78];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    let size = 8 * words.len() as u64;
    put(0, &[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    put(0x10, &2_u16.to_le_bytes()); // ET_EXEC
    put(0x12, &62_u16.to_le_bytes()); // x86-64
    put(0x14, &1_u32.to_le_bytes());
    put(0x20, &0x40_u64.to_le_bytes()); // program headers
    put(0x34, &64_u16.to_le_bytes());
    put(0x36, &56_u16.to_le_bytes());
    put(0x38, &1_u16.to_le_bytes());
    put(0x40, &1_u32.to_le_bytes()); // PT_LOAD
    put(0x44, &4_u32.to_le_bytes()); // readable
    put(0x48, &0x78_u64.to_le_bytes());
    put(0x50, &start.to_le_bytes());
    put(0x60, &size.to_le_bytes());
    put(0x68, &size.to_le_bytes());
    file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ExecutableId;

    /// Check that addresses and offsets translate both ways, and only within the file.
    #[test]
    fn offsets_of_a_segment_translate_both_ways() {
        let data = test_image(0x40_0000, &[1, 2, 3]);
        let image = Image::parse(&Elf {
            data: &data,
            id: ExecutableId::BuildId(vec![]),
            debug: None,
        })
        .unwrap();
        assert_eq!(image.file_offset(Vaddr(0x40_0008)), Some(FileOffset(0x80)));
        assert_eq!(image.vaddr(FileOffset(0x80)), Some(Vaddr(0x40_0008)));
        assert_eq!(image.file_offset(Vaddr(0x40_0018)), None);
        assert_eq!(image.u64_at(0x40_0010), Some(3));
        assert_eq!(image.u64_at(0x40_0011), None);
    }
}
