//! The headers of an ELF file, read piece by piece: segments, sections and the build id.
//!
//! Nothing is mapped: a mapped file that its owner truncates would kill the reader.

use object::LittleEndian as LE;
use object::elf::{
    self, ELFCLASS64, ELFDATA2LSB, ELFMAG, EM_X86_64, FileHeader64, NT_GNU_BUILD_ID, PF_X, PT_GNU_EH_FRAME,
    PT_LOAD, PT_NOTE, ProgramHeader64, SHF_COMPRESSED, SHT_NOBITS, SectionHeader64,
};
use object::pod;
use object::read::elf::NoteIterator;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Program headers beyond this number are not read.
const MAX_SEGMENTS: u16 = 512;
/// A file with more sections is read as one without.
const MAX_SECTIONS: u16 = 16_384;
/// The most bytes of section names that are read.
const MAX_NAMES: u64 = 1 << 20;
/// The most bytes of notes that are read per segment.
const MAX_NOTES: u64 = 64 << 10;
/// The longest build id that is taken; the usual one has 20 bytes.
const MAX_BUILD_ID: usize = 64;

/// Why an ELF file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// Reading failed, or the file ends before what its headers promise.
    #[error("read {what} of the module")]
    Read {
        /// What was to be read.
        what: &'static str,
        /// Why it could not be.
        #[source]
        source: io::Error,
    },
    /// It is no ELF file of this machine.
    #[error("module is no little-endian 64-bit x86-64 ELF file")]
    Foreign,
    /// A part of it is larger than anything sane.
    #[error("{what} of the module has {len} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// Its size in bytes.
        len: u64,
        /// What would have been accepted.
        limit: u64,
    },
}

/// Bytes that can be read at an offset.
pub trait ReadAt {
    /// Reads exactly `len` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` when there are fewer; nothing is allocated then.
    fn read_at(&self, offset: u64, len: u64) -> io::Result<Vec<u8>>;
}

impl ReadAt for [u8] {
    fn read_at(&self, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        range(offset, len)
            .and_then(|range| self.get(range))
            .map(<[u8]>::to_vec)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl ReadAt for File {
    fn read_at(&self, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        let end = offset
            .checked_add(len)
            .filter(|end| self.metadata().is_ok_and(|file| *end <= file.len()));
        let Some(len) = end.and_then(|_| usize::try_from(len).ok()) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let mut bytes = vec![0; len];
        self.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

/// `offset..offset + len` as indices.
fn range(offset: u64, len: u64) -> Option<Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    Some(start..start.checked_add(usize::try_from(len).ok()?)?)
}

/// A segment that is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Address in the file's own numbering.
    pub vaddr: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub file_size: u64,
    /// Bytes in memory.
    pub memory_size: u64,
    /// Whether it holds code.
    pub executable: bool,
}

/// A section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Address in the file's own numbering; 0 if it is not loaded.
    pub vaddr: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// Bytes in the file; 0 if it has none there.
    pub size: u64,
    /// Whether the bytes in the file are compressed.
    pub compressed: bool,
}

impl Section {
    /// Its address range.
    #[must_use]
    pub fn vaddr_range(&self) -> Range<u64> {
        self.vaddr..self.vaddr.saturating_add(self.size)
    }
}

/// What the headers say.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    /// Loaded segments, in the file's order.
    pub segments: Vec<Segment>,
    /// Sections; empty when the file has none or lies about them.
    pub sections: Vec<Section>,
    /// The segment that holds `.eh_frame_hdr`: address, offset, bytes.
    pub eh_frame_hdr: Option<Segment>,
    /// The linker's build id.
    pub build_id: Option<Vec<u8>>,
}

impl Headers {
    /// Reads the headers. Reads at most about 2 MiB.
    ///
    /// # Errors
    ///
    /// [`ElfError::Foreign`] for another machine's file, [`ElfError::Read`] when the program headers cannot
    /// be had. Unreadable sections or notes are none.
    pub fn read(file: &(impl ReadAt + ?Sized)) -> Result<Self, ElfError> {
        let read = |what, offset, len| {
            file.read_at(offset, len)
                .map_err(|source| ElfError::Read { what, source })
        };
        let bytes = read("the header", 0, size_of::<FileHeader64<LE>>() as u64)?;
        let header = pod::from_bytes::<FileHeader64<LE>>(&bytes)
            .map_err(|()| ElfError::Foreign)?
            .0;
        let ident = &header.e_ident;
        let ours = ident.magic == ELFMAG
            && ident.class == ELFCLASS64
            && ident.data == ELFDATA2LSB
            && header.e_machine.get(LE) == EM_X86_64
            && usize::from(header.e_phentsize.get(LE)) == size_of::<ProgramHeader64<LE>>();
        if !ours {
            return Err(ElfError::Foreign);
        }

        let mut headers = Self::default();
        let count = header.e_phnum.get(LE).min(MAX_SEGMENTS);
        let len = u64::from(count) * size_of::<ProgramHeader64<LE>>() as u64;
        let bytes = read("the program headers", header.e_phoff.get(LE), len)?;
        let segments =
            pod::slice_from_all_bytes::<ProgramHeader64<LE>>(&bytes).map_err(|()| ElfError::Foreign)?;
        for segment in segments {
            let place = Segment {
                vaddr: segment.p_vaddr.get(LE),
                offset: segment.p_offset.get(LE),
                file_size: segment.p_filesz.get(LE),
                memory_size: segment.p_memsz.get(LE),
                executable: segment.p_flags.get(LE).0 & PF_X.0 != 0,
            };
            match segment.p_type.get(LE) {
                PT_LOAD => headers.segments.push(place),
                PT_GNU_EH_FRAME => headers.eh_frame_hdr = Some(place),
                PT_NOTE if headers.build_id.is_none() => {
                    headers.build_id = file
                        .read_at(place.offset, place.file_size.min(MAX_NOTES))
                        .ok()
                        .and_then(|notes| build_id(&notes, segment.p_align.get(LE)));
                }
                _ => {}
            }
        }
        headers.sections = sections(file, header).unwrap_or_default();
        Ok(headers)
    }

    /// The first section of this name.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// How far the addresses of a mapping are above those of the file: for the executable mapping that
    /// begins at `start` and shows the file from `offset`. `None` = no executable segment is there.
    ///
    /// Segments share pages of the file with their neighbours, so only executable ones are looked at, and
    /// the one whose first page is the mapping's is preferred.
    #[must_use]
    pub fn bias(&self, start: u64, offset: u64) -> Option<u64> {
        const PAGE: u64 = 0xfff;
        let code = || self.segments.iter().filter(|segment| segment.executable);
        let segment = code()
            .find(|segment| segment.offset & !PAGE == offset)
            .or_else(|| {
                code().find(|segment| {
                    let end = segment.offset.saturating_add(segment.file_size);
                    (segment.offset & !PAGE..end).contains(&offset)
                })
            })?;
        Some(
            start
                .wrapping_sub(offset)
                .wrapping_add(segment.offset)
                .wrapping_sub(segment.vaddr),
        )
    }
}

/// The sections; `None` if the file has none or their headers cannot be read.
fn sections(file: &(impl ReadAt + ?Sized), header: &FileHeader64<LE>) -> Option<Vec<Section>> {
    let count = header.e_shnum.get(LE);
    let entry = size_of::<SectionHeader64<LE>>();
    if count == 0 || count > MAX_SECTIONS || usize::from(header.e_shentsize.get(LE)) != entry {
        return None;
    }
    let bytes = file
        .read_at(header.e_shoff.get(LE), u64::from(count) * entry as u64)
        .ok()?;
    let table = pod::slice_from_all_bytes::<SectionHeader64<LE>>(&bytes).ok()?;
    let names = table.get(usize::from(header.e_shstrndx.get(LE).0))?;
    let names = file
        .read_at(names.sh_offset.get(LE), names.sh_size.get(LE).min(MAX_NAMES))
        .ok()?;
    let section = |section: &SectionHeader64<LE>| {
        let start = usize::try_from(section.sh_name.get(LE)).ok()?;
        let name = names.get(start..)?.split(|byte| *byte == 0).next()?;
        // A name is never longer than this; a crafted file may let thousands share one long text.
        let name = name.get(..name.len().min(64))?;
        Some(Section {
            name: String::from_utf8_lossy(name).into_owned(),
            vaddr: section.sh_addr.get(LE),
            offset: section.sh_offset.get(LE),
            size: if section.sh_type.get(LE) == SHT_NOBITS {
                0
            } else {
                section.sh_size.get(LE)
            },
            compressed: section.sh_flags.get(LE).0 & SHF_COMPRESSED.0 != 0,
        })
    };
    Some(table.iter().filter_map(section).collect())
}

/// The build id among notes.
fn build_id(notes: &[u8], align: u64) -> Option<Vec<u8>> {
    let mut notes = NoteIterator::<FileHeader64<LE>>::new(LE, align, notes).ok()?;
    while let Ok(Some(note)) = notes.next() {
        if note.name() == elf::ELF_NOTE_GNU && note.n_type(LE) == NT_GNU_BUILD_ID {
            let id = note.desc();
            return (!id.is_empty() && id.len() <= MAX_BUILD_ID).then(|| id.to_vec());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The C library that this test runs with: a small file with everything in it.
    fn libc_bytes() -> Vec<u8> {
        std::fs::read(crate::stack::module::tests::libc_path()).unwrap()
    }

    /// The test's own executable has code, sections and unwind data, read from a file as from memory.
    #[test]
    fn headers_of_an_executable_name_its_sections() {
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        let headers = Headers::read(&file).unwrap();
        assert!(headers.segments.iter().any(|segment| segment.executable));
        for name in [".text", ".eh_frame", ".eh_frame_hdr"] {
            assert!(
                headers.section(name).is_some_and(|section| section.size > 0),
                "{name}"
            );
        }

        let libc = Headers::read(&libc_bytes()[..]).unwrap();
        let file = File::open(crate::stack::module::tests::libc_path()).unwrap();
        assert_eq!(libc.sections, Headers::read(&file).unwrap().sections);
        assert!(libc.build_id.is_some_and(|id| id.len() == 20));
    }

    /// Text is no ELF file; an empty file cannot even be asked.
    #[test]
    fn headers_of_text_are_foreign() {
        assert!(matches!(Headers::read(&[b'x'; 100][..]), Err(ElfError::Foreign)));
        assert!(matches!(Headers::read(&[][..]), Err(ElfError::Read { .. })));
    }

    /// The segment that begins in the mapping's page wins over one that merely reaches into it.
    #[test]
    fn bias_of_segments_that_share_a_page_takes_the_one_that_begins_there() {
        let segment = |vaddr, offset| Segment {
            vaddr,
            offset,
            file_size: 0x1800,
            memory_size: 0x1800,
            executable: true,
        };
        let headers = Headers {
            segments: vec![segment(0x20_0000, 0), segment(0x20_2800, 0x1800)],
            ..Headers::default()
        };
        assert_eq!(headers.bias(0x7000_0000, 0), Some(0x7000_0000 - 0x20_0000));
        assert_eq!(headers.bias(0x7000_2000, 0x1000), Some(0x7000_2000 - 0x20_2000));
        assert_eq!(headers.bias(0x7000_3000, 0x2000), Some(0x7000_3000 - 0x20_3000));
        assert_eq!(headers.bias(0x7000_0000, 0x9000), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A real file with bytes overwritten in its headers, or cut anywhere, never panics.
        #[test]
        fn headers_of_a_damaged_file_never_panic(
            cut in 0usize..5000,
            damage in proptest::collection::vec((0usize..1000, any::<u8>()), 0..20),
            tail in any::<bool>(),
        ) {
            let mut bytes = libc_bytes();
            let len = bytes.len();
            for (at, byte) in damage {
                bytes[at] = byte;
                // The section headers are at the end of the file.
                bytes[len - 1 - at * 7] = byte;
            }
            let end = if tail { len - cut } else { cut };
            let _ = Headers::read(&bytes[..end]);
        }
    }
}
