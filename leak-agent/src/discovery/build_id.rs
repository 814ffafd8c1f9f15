//! The linker's build id of an ELF file, by a bounded walk over its note segments. Go's linker has a note of its own, and where
//! it writes the common one, too, no segment leads there.

/// Program headers that are looked at; real files have about a dozen.
const HEADERS_MAX: usize = 256;
/// Bytes of one note segment that are looked at; real ones have about a hundred.
const NOTES_MAX: usize = 64 << 10;
/// `NT_GNU_BUILD_ID`, and whose it is.
const BUILD_ID: (u32, &[u8]) = (3, b"GNU\0");
/// The same of Go: four hashes as text with slashes between, the last of them that of the content.
const GO_BUILD_ID: (u32, &[u8]) = (4, b"Go\0\0");
/// `PT_NOTE`.
const NOTE: u32 = 4;
/// The longest id that is believed: SHA-256 and some.
const ID_MAX: usize = 64;
/// The longest of Go's.
const GO_ID_MAX: usize = 256;

/// The build id of a 64-bit little-endian ELF file; `None` = not such a file, or it has none. Total: any bytes give an
/// answer after at most 256 headers.
#[must_use]
pub fn build_id(elf: &[u8]) -> Option<Vec<u8>> {
    if elf.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let table = usize::try_from(u64_at(elf, 0x20)?).ok()?;
    let size = usize::from(u16_at(elf, 0x36)?);
    let count = usize::from(u16_at(elf, 0x38)?).min(HEADERS_MAX);
    if size < 0x38 {
        return None;
    }
    let header = |index: usize| {
        let start = table.checked_add(index.checked_mul(size)?)?;
        elf.get(start..start.checked_add(0x38)?)
    };
    let notes = |wanted: (u32, &[u8]), limit: usize| {
        (0..count)
            .filter_map(header)
            .filter(|header| u32_at(header, 0) == Some(NOTE))
            .find_map(|header| {
                let start = usize::try_from(u64_at(header, 0x08)?).ok()?;
                let len = usize::try_from(u64_at(header, 0x20)?).ok()?.min(NOTES_MAX);
                let align = if u64_at(header, 0x30)? == 8 { 8 } else { 4 };
                let notes = elf.get(start..start.checked_add(len)?.min(elf.len()))?;
                in_notes(notes, align, wanted, limit)
            })
    };
    notes(BUILD_ID, ID_MAX).map(<[u8]>::to_vec).or_else(|| {
        let hashes = notes(GO_BUILD_ID, GO_ID_MAX)?;
        let last = hashes.rsplit(|byte| *byte == b'/').next()?;
        (!last.is_empty() && last.len() <= ID_MAX).then(|| last.to_vec())
    })
}

fn in_notes<'data>(
    mut notes: &'data [u8],
    align: usize,
    (wanted, owner): (u32, &[u8]),
    limit: usize,
) -> Option<&'data [u8]> {
    loop {
        let name_len = usize::try_from(u32_at(notes, 0)?).ok()?;
        let data_len = usize::try_from(u32_at(notes, 4)?).ok()?;
        let kind = u32_at(notes, 8)?;
        let name_end = 12_usize.checked_add(name_len)?;
        let data_start = name_end.checked_next_multiple_of(align)?;
        let data_end = data_start.checked_add(data_len)?;
        let data = notes.get(data_start..data_end)?;
        let named = kind == wanted && notes.get(12..name_end)? == owner;
        if named && !data.is_empty() && data.len() <= limit {
            return Some(data);
        }
        notes = notes.get(data_end.checked_next_multiple_of(align)?..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file with one note segment that holds these notes.
    fn elf_with(notes: &[u8]) -> Vec<u8> {
        let mut elf = vec![0; 0x40 + 0x38];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[0x20] = 0x40;
        elf[0x36] = 0x38;
        elf[0x38] = 1;
        elf[0x40] = 4;
        elf[0x48] = 0x78;
        elf[0x60..0x68].copy_from_slice(&(notes.len() as u64).to_le_bytes());
        elf[0x70] = 4;
        elf.extend(notes);
        elf
    }

    fn note(name: &[u8], kind: u32, data: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [
            u32::try_from(name.len()).unwrap(),
            u32::try_from(data.len()).unwrap(),
            kind,
        ] {
            note.extend(word.to_le_bytes());
        }
        for part in [name, data] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    /// The id is found behind notes of other makers and kinds.
    #[test]
    fn build_id_behind_other_notes_is_found() {
        let mut notes = note(b"Go\0", 3, b"not this");
        notes.extend(note(b"GNU\0", 1, b"nor this one!"));
        notes.extend(note(b"GNU\0", 3, &[0xab; 20]));
        assert_eq!(build_id(&elf_with(&notes)), Some(vec![0xab; 20]));
    }

    /// Go's own id counts where there is no other: its last hash, that of the content.
    #[test]
    fn build_id_of_go_is_the_hash_of_its_content() {
        let mut notes = note(b"Go\0\0", 4, b"action/main/inputs/content");
        assert_eq!(build_id(&elf_with(&notes)), Some(b"content".to_vec()));
        notes.extend(note(b"GNU\0", 3, &[0xab; 20]));
        assert_eq!(build_id(&elf_with(&notes)), Some(vec![0xab; 20]));
        assert_eq!(build_id(&elf_with(&note(b"Go\0\0", 4, b"action/"))), None);
    }

    /// Files without an id, with an empty or an absurd one, and other files have none.
    #[test]
    fn build_id_of_files_without_one_is_none() {
        assert_eq!(build_id(&elf_with(&note(b"GNU\0", 3, b""))), None);
        assert_eq!(build_id(&elf_with(&note(b"GNU\0", 3, &[1; 65]))), None);
        assert_eq!(build_id(b"#!/bin/sh"), None);
        assert_eq!(build_id(&elf_with(&[0xff; 64])), None);
    }

    /// This test program's id is the one that another reader finds.
    #[test]
    fn build_id_of_this_program_is_that_of_an_independent_reader() {
        use object::Object;
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let file = object::File::parse(bytes.as_slice()).unwrap();
        assert_eq!(build_id(&bytes), file.build_id().unwrap().map(<[u8]>::to_vec));
    }

    proptest! {
        /// Hostile notes and headers give an answer, never a panic.
        #[test]
        fn build_id_of_hostile_notes_does_not_panic(
            notes in proptest::collection::vec(prop_oneof![Just(0_u8), Just(4), Just(0xff), any::<u8>()], 0..300),
            damage in proptest::collection::vec((0..0x78_usize, any::<u8>()), 0..6),
        ) {
            let mut elf = elf_with(&notes);
            for (at, value) in damage {
                elf[at] = value;
            }
            elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
            let _ = build_id(&elf);
        }
    }
}
