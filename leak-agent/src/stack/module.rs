//! One executable file as unwinding needs it: where its segments are, its unwind data, its identity.

use super::headers::{ElfError, Headers, ReadAt, Section, Segment};
use crate::types::ExecutableId;
use framehop::x86_64::UnwinderX86_64;
use framehop::{ExplicitModuleSectionInfo, Module as FramehopModule, Unwinder};
use gimli::{BaseAddresses, EhFrame, EhFrameHdr, EhFrameOffset, Pointer, UnwindSection};
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

/// The most bytes of unwind data that are kept of one file. A browser has some 20 MiB.
const MAX_UNWIND: u64 = 96 << 20;
/// The most bytes of `.comment` that are read.
const MAX_COMMENT: u64 = 4096;
/// The longest description of one function's frames that is followed: a crafted one could keep the
/// interpreter of its instructions busy for seconds. Real ones have some KiB at most.
const MAX_FRAME_ENTRY: usize = 64 << 10;
/// Unwind data without an index is only used up to this size: the index has to be made first.
const MAX_WITHOUT_INDEX: usize = 8 << 20;
/// Symbol tables, or debug information, of more bytes than this (after decompression) are not used.
const MAX_SYMBOLS: u64 = 1 << 30;

/// One executable or library. Shared by all processes that map it.
pub struct ModuleFile {
    /// The linker's build id, else the file's identity: what site ids are built on.
    pub id: ExecutableId,
    /// The file itself: what caches are keyed by.
    pub identity: ExecutableId,
    /// Its headers.
    pub headers: Headers,
    unwind: Option<Unwind>,
    /// Own memory, bytes.
    pub bytes: usize,
    /// What built it, as far as the file says.
    pub language: Language,
    /// What names can be had of it.
    pub symbols: Symbols,
}

/// What built a file, as far as that matters for its thread stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Go: threads are the runtime's, the stack names no cause.
    Go,
    /// Rust: the frame that calls `pthread_create` is the standard library's, even when nameless.
    Rust,
    /// Anything else, or nothing known.
    Other,
}

/// What names can be had of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Symbols {
    /// None, or more than anybody should read.
    None,
    /// Function names.
    Table,
    /// Function names, lines and inlined functions.
    Debug,
}

/// The identity of a file as the file system gives it: what caches are keyed by.
///
/// Not the build id: a container can make a file with any build id, and would then choose what is known of
/// other people's files.
#[must_use]
pub fn file_identity(metadata: &Metadata) -> ExecutableId {
    ExecutableId::File {
        dev: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        mtime: metadata
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(metadata.mtime_nsec()),
    }
}

impl ModuleFile {
    /// Reads headers and unwind data of a file. Blocks; reads some hundred KiB of a usual library, at most
    /// [`MAX_UNWIND`] bytes of any.
    ///
    /// # Errors
    ///
    /// No ELF file of this machine, unreadable, or larger than the limits.
    pub fn read(file: &File) -> Result<Self, ElfError> {
        let metadata = file.metadata().map_err(|source| ElfError::Read {
            what: "the metadata",
            source,
        })?;
        if !metadata.is_file() {
            return Err(ElfError::Foreign);
        }
        Self::parse(file, file_identity(&metadata))
    }

    /// The same for bytes, such as the vDSO's.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn parse(file: &(impl ReadAt + ?Sized), identity: ExecutableId) -> Result<Self, ElfError> {
        let headers = Headers::read(file)?;
        let unwind = UnwindData::read(file, &headers)?.map(|data| Unwind::new(data, &headers));
        let bytes = unwind
            .as_ref()
            .map_or(0, |unwind| unwind.data.frames.len() + unwind.data.index.len());
        Ok(Self {
            id: headers
                .build_id
                .clone()
                .map_or_else(|| identity.clone(), ExecutableId::BuildId),
            identity,
            unwind,
            bytes: bytes + headers.sections.len() * size_of::<Section>(),
            language: language(file, &headers),
            symbols: symbols(file, &headers),
            headers,
        })
    }

    /// Whether it has its full symbol table: `strip` takes it away.
    #[must_use]
    pub fn has_symbol_table(&self) -> bool {
        self.headers.section(".symtab").is_some()
    }

    /// What unwinds in this file's own addresses; `None` = no unwind data.
    #[must_use]
    pub fn unwinder(&self) -> Option<&FileUnwinder> {
        self.unwind.as_ref().map(|unwind| &unwind.unwinder)
    }

    /// Whether the unwind data describes the code at `vaddr`. Where it does not, an unwinder can only guess.
    #[must_use]
    pub fn describes(&self, vaddr: u64) -> bool {
        self.unwind.as_ref().is_some_and(|unwind| unwind.describes(vaddr))
    }

    /// Whether the code at `vaddr` is what signal handlers return to: what lies on the stack there was put there by the kernel.
    #[must_use]
    pub fn is_trampoline(&self, vaddr: u64) -> bool {
        self.unwind
            .as_ref()
            .is_some_and(|unwind| unwind.is_trampoline(vaddr))
    }
}

impl std::fmt::Debug for ModuleFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ModuleFile {{ id: {}, {} bytes }}", self.id, self.bytes)
    }
}

/// What built the file.
fn language(file: &(impl ReadAt + ?Sized), headers: &Headers) -> Language {
    if headers.section(".gopclntab").is_some() || headers.section(".go.buildinfo").is_some() {
        return Language::Go;
    }
    let comment = headers
        .section(".comment")
        .and_then(|section| file.read_at(section.offset, section.size.min(MAX_COMMENT)).ok());
    if comment.is_some_and(|text| text.windows(6).any(|word| word == b"rustc ")) {
        return Language::Rust;
    }
    Language::Other
}

/// What names can be had without trusting the file too far: a reader of symbols maps tables of any size and
/// allocates what a compressed section claims to hold.
pub(super) fn symbols(file: &(impl ReadAt + ?Sized), headers: &Headers) -> Symbols {
    let size = |section: &Section| {
        if !section.compressed {
            return section.size;
        }
        // `Elf64_Chdr`: type, reserved, size (8 bytes at 8), alignment.
        let claimed = file.read_at(section.offset.saturating_add(8), 8).ok();
        claimed
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(u64::MAX, u64::from_le_bytes)
    };
    let total = |wanted: &dyn Fn(&str) -> bool| {
        let sections = headers.sections.iter().filter(|section| wanted(&section.name));
        sections.map(size).fold(0, u64::saturating_add)
    };
    let is_debug = |name: &str| name.starts_with(".debug_");
    let table = total(&|name| matches!(name, ".symtab" | ".strtab" | ".dynsym" | ".dynstr"));
    let debug = total(&is_debug);
    let rest = headers.sections.iter().filter(|section| section.compressed);
    let rest = rest.filter(|section| !is_debug(&section.name)).map(size);
    if table == 0 || table.saturating_add(rest.fold(0, u64::saturating_add)) > MAX_SYMBOLS {
        Symbols::None
    } else if debug <= MAX_SYMBOLS && headers.section(".debug_line").is_some() {
        Symbols::Debug
    } else {
        Symbols::Table
    }
}

/// Unwinds in the addresses of one file.
pub type FileUnwinder = UnwinderX86_64<Arc<[u8]>>;

/// Unwind data, ready to use.
struct Unwind {
    data: UnwindData,
    bases: BaseAddresses,
    unwinder: FileUnwinder,
}

/// `.eh_frame` and its index.
struct UnwindData {
    frames: Arc<[u8]>,
    frames_vaddr: u64,
    /// Empty = none; framehop makes its own.
    index: Arc<[u8]>,
    index_vaddr: u64,
}

impl UnwindData {
    /// Reads `.eh_frame` by the section headers, or by the program headers in a file without sections.
    fn read(file: &(impl ReadAt + ?Sized), headers: &Headers) -> Result<Option<Self>, ElfError> {
        let (mut index, mut index_vaddr) = (Vec::new(), 0);
        let place = headers
            .section(".eh_frame_hdr")
            .map(|section| (section.vaddr, section.offset, section.size))
            .or_else(|| {
                let segment = headers.eh_frame_hdr?;
                Some((segment.vaddr, segment.offset, segment.file_size))
            });
        if let Some((vaddr, offset, len)) = place {
            index = read(file, "the unwind index", offset, len)?;
            index_vaddr = vaddr;
        }
        let frames = headers
            .section(".eh_frame")
            .filter(|section| section.size > 0 && !section.compressed)
            .map(|section| (section.vaddr, section.offset, section.size))
            .or_else(|| frames_by_index(&index, index_vaddr, &headers.segments));
        let Some((frames_vaddr, offset, len)) = frames else {
            return Ok(None);
        };
        let frames = read(file, "the unwind data", offset, len)?;
        if index.is_empty() && frames.len() > MAX_WITHOUT_INDEX {
            return Ok(None);
        }
        Ok(Some(Self {
            frames: frames.into(),
            frames_vaddr,
            index: index.into(),
            index_vaddr,
        }))
    }
}

impl Unwind {
    fn new(data: UnwindData, headers: &Headers) -> Self {
        let segments = &headers.segments;
        let base = segments.iter().map(|segment| segment.vaddr).min().unwrap_or(0);
        let end = segments
            .iter()
            .map(|segment| segment.vaddr.saturating_add(segment.memory_size))
            .max()
            .unwrap_or(0);
        let range = |vaddr: u64, len: usize| vaddr..vaddr.saturating_add(len as u64);
        let vaddr = |name| headers.section(name).map(Section::vaddr_range);
        let start = |name| vaddr(name).map_or(0, |range| range.start);
        let bases = BaseAddresses::default()
            .set_eh_frame(data.frames_vaddr)
            .set_eh_frame_hdr(data.index_vaddr)
            .set_text(start(".text"))
            .set_got(start(".got"));
        let info = ExplicitModuleSectionInfo {
            base_svma: base,
            text_svma: vaddr(".text"),
            got_svma: vaddr(".got"),
            eh_frame_svma: Some(range(data.frames_vaddr, data.frames.len())),
            eh_frame_hdr_svma: Some(range(data.index_vaddr, data.index.len())),
            eh_frame: Some(Arc::clone(&data.frames)),
            eh_frame_hdr: (!data.index.is_empty()).then(|| Arc::clone(&data.index)),
            ..ExplicitModuleSectionInfo::default()
        };
        let mut unwinder = FileUnwinder::new();
        unwinder.add_module(FramehopModule::new(String::new(), base..end, base, info));
        Self {
            data,
            bases,
            unwinder,
        }
    }

    fn describes(&self, vaddr: u64) -> bool {
        if self.data.index.is_empty() {
            // framehop's own index cannot be asked; a small file's data is trusted to be whole.
            return true;
        }
        self.entry(vaddr).is_some_and(|entry| {
            entry.entry_len() <= MAX_FRAME_ENTRY && entry.cie().entry_len() <= MAX_FRAME_ENTRY
        })
    }

    fn is_trampoline(&self, vaddr: u64) -> bool {
        self.entry(vaddr)
            .is_some_and(|entry| entry.is_signal_trampoline())
    }

    /// The entry for the code at `vaddr`; `None` = there is none, or no index.
    fn entry(&self, vaddr: u64) -> Option<Entry<'_>> {
        if self.data.index.is_empty() {
            return None;
        }
        let index = EhFrameHdr::new(&self.data.index, gimli::LittleEndian);
        let index = index.parse(&self.bases, 8).ok()?;
        let mut frames = EhFrame::new(&self.data.frames, gimli::LittleEndian);
        frames.set_address_size(8);
        // By hand, because gimli's own way subtracts what the file says without a check.
        let table = index.table()?;
        let (Ok(Pointer::Direct(entry)), Pointer::Direct(start)) =
            (table.lookup(vaddr, &self.bases), index.eh_frame_ptr())
        else {
            return None;
        };
        let offset = usize::try_from(entry.checked_sub(start)?).ok()?;
        frames
            .fde_from_offset(&self.bases, EhFrameOffset(offset), EhFrame::cie_from_offset)
            .ok()
            .filter(|entry| entry.contains(vaddr))
    }
}

/// The description of one function's frames.
type Entry<'data> = gimli::FrameDescriptionEntry<gimli::EndianSlice<'data, gimli::LittleEndian>>;

/// Where `.eh_frame` is according to its index: from there to the end of the segment.
fn frames_by_index(index: &[u8], vaddr: u64, segments: &[Segment]) -> Option<(u64, u64, u64)> {
    let bases = BaseAddresses::default().set_eh_frame_hdr(vaddr);
    let parsed = EhFrameHdr::new(index, gimli::LittleEndian)
        .parse(&bases, 8)
        .ok()?;
    let Pointer::Direct(frames) = parsed.eh_frame_ptr() else {
        return None;
    };
    let segment = segments
        .iter()
        .find(|segment| (segment.vaddr..segment.vaddr.saturating_add(segment.file_size)).contains(&frames))?;
    let skipped = frames - segment.vaddr;
    Some((
        frames,
        segment.offset.checked_add(skipped)?,
        segment.file_size - skipped,
    ))
}

/// Reads a part within the limit.
fn read(
    file: &(impl ReadAt + ?Sized),
    what: &'static str,
    offset: u64,
    len: u64,
) -> Result<Vec<u8>, ElfError> {
    if len > MAX_UNWIND {
        return Err(ElfError::TooLarge {
            what,
            len,
            limit: MAX_UNWIND,
        });
    }
    file.read_at(offset, len)
        .map_err(|source| ElfError::Read { what, source })
}

#[cfg(test)]
pub(in crate::stack) mod tests {
    use super::*;
    use crate::stack::maps::{Mapping, Mappings};
    use proptest::prelude::*;

    /// The C library that this test runs with: a small file with everything in it.
    pub(in crate::stack) fn libc_path() -> String {
        let text = File::open("/proc/self/maps").unwrap();
        let mut maps = Mappings::default();
        crate::sys::maps::visit(text, |mapping| maps.push(mapping)).unwrap();
        let maps = maps.list;
        let libc = maps
            .into_iter()
            .find(|map: &Mapping| map.file_name().starts_with("libc."));
        libc.expect("tests are linked dynamically").path
    }

    fn file_id() -> ExecutableId {
        ExecutableId::File {
            dev: 1,
            inode: 2,
            size: 3,
            mtime: 4,
        }
    }

    /// The test's own executable is Rust with unwind data.
    #[test]
    fn module_of_a_rust_executable_has_unwind_data() {
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        let module = ModuleFile::read(&file).unwrap();
        assert!(module.unwinder().is_some());
        assert_eq!(module.language, Language::Rust);
        assert_eq!(module.symbols, Symbols::Debug);
    }

    /// Without section headers the unwind data is found through the program headers.
    #[test]
    fn module_without_sections_still_has_unwind_data() {
        let mut bytes = std::fs::read(libc_path()).unwrap();
        let with = ModuleFile::parse(&bytes[..], file_id()).unwrap();
        bytes[0x3c] = 0; // e_shnum
        bytes[0x3d] = 0;
        let without = ModuleFile::parse(&bytes[..], file_id()).unwrap();
        assert!(without.headers.sections.is_empty());
        assert!(without.unwinder().is_some());
        assert!(without.bytes > 0 && with.bytes > 0);
    }

    /// Directories and devices are refused without being read.
    #[test]
    fn module_of_a_device_is_refused() {
        let device = File::open("/dev/zero").unwrap();
        assert!(matches!(ModuleFile::read(&device), Err(ElfError::Foreign)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// An executable with damaged headers or cut anywhere never panics.
        #[test]
        fn module_of_a_damaged_file_never_panics(
            cut in 0usize..2_000_000,
            damage in proptest::collection::vec((0usize..1200, any::<u8>()), 0..30),
        ) {
            let mut bytes = std::fs::read(libc_path()).unwrap();
            let len = bytes.len();
            for (at, byte) in damage {
                bytes[at] = byte;
                bytes[len - 1 - at * 3] = byte;
            }
            let _ = ModuleFile::parse(&bytes[..len.saturating_sub(cut)], file_id());
        }
    }
}
