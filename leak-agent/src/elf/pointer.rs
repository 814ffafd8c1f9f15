//! The pointers an ELF file holds: which words the loader fills in, and with what.

use super::{ElfError, Image};
use object::LittleEndian as LE;
use object::elf;
use object::read::elf::Dyn as _;

/// 64 MiB of memory; a 200 MB executable was seen with 0.9 million.
const MAX_POINTERS: usize = 4 << 20;

/// The words of an image that hold addresses of the same image once it is loaded, sorted by place.
///
/// For a relocatable image: the targets of its relative relocations (`DT_RELA`, `DT_RELR`) and of those that
/// name a symbol it defines itself. For an image of fixed addresses: the aligned words outside the code
/// that are addresses of its segments; an integer may look like one.
#[derive(Debug, Default)]
pub struct Pointers {
    /// (address of the word, what it points to), sorted, one per word.
    words: Vec<(u64, u64)>,
}

impl Pointers {
    /// Reads the relocations: one pass over them, or over the data of an image of fixed addresses.
    ///
    /// # Errors
    /// [`ElfError::TooManyPointers`].
    pub fn read(image: &Image<'_>) -> Result<Self, ElfError> {
        let mut words = Vec::new();
        if image.is_fixed() {
            fixed(image, &mut words)?;
        }
        let table = Tables::read(image);
        for (at, size) in [table.rela, table.plt] {
            rela(image, &table, array(image, at, size), &mut words)?;
        }
        let (at, size) = table.relr;
        relr(image, array(image, at, size), &mut words)?;
        words.sort_unstable();
        words.dedup_by_key(|(place, _)| *place);
        words.shrink_to_fit();
        Ok(Self { words })
    }

    /// Where the word at this address points; `None` if it holds no address of this image.
    #[must_use]
    pub fn target(&self, place: u64) -> Option<u64> {
        let index = self.words.binary_search_by_key(&place, |(at, _)| *at).ok()?;
        self.words.get(index).map(|(_, target)| *target)
    }

    /// All of them: (address of the word, what it points to), sorted by address.
    #[must_use]
    pub fn all(&self) -> &[(u64, u64)] {
        &self.words
    }

    /// Those in an address range, sorted by address.
    #[must_use]
    pub fn within(&self, range: std::ops::Range<u64>) -> &[(u64, u64)] {
        let from = self.words.partition_point(|(at, _)| *at < range.start);
        let to = self.words.partition_point(|(at, _)| *at < range.end);
        self.words.get(from..to).unwrap_or(&[])
    }
}

/// Where the dynamic section says the relocations are: (address, bytes) each.
#[derive(Default)]
struct Tables {
    rela: (u64, u64),
    plt: (u64, u64),
    relr: (u64, u64),
    symbols: u64,
}

impl Tables {
    fn read(image: &Image<'_>) -> Self {
        let mut table = Self::default();
        for entry in image.dynamic {
            let value = entry.d_val(LE);
            match entry.d_tag(LE) {
                elf::DT_NULL => break,
                elf::DT_RELA => table.rela.0 = value,
                elf::DT_RELASZ => table.rela.1 = value,
                elf::DT_JMPREL => table.plt.0 = value,
                elf::DT_PLTRELSZ => table.plt.1 = value,
                elf::DT_RELR => table.relr.0 = value,
                elf::DT_RELRSZ => table.relr.1 = value,
                elf::DT_SYMTAB => table.symbols = value,
                _ => {}
            }
        }
        table
    }
}

/// The bytes of a table, as far as the file has them.
fn array<'data>(image: &Image<'data>, at: u64, size: u64) -> &'data [u8] {
    let bytes = image.bytes_from(at).unwrap_or(&[]);
    let size = usize::try_from(size).unwrap_or(usize::MAX).min(bytes.len());
    bytes.get(..size).unwrap_or(&[])
}

fn push(words: &mut Vec<(u64, u64)>, place: u64, target: u64) -> Result<(), ElfError> {
    if words.len() >= MAX_POINTERS {
        return Err(ElfError::TooManyPointers { limit: MAX_POINTERS });
    }
    words.push((place, target));
    Ok(())
}

/// `Elf64_Rela` entries: place, type and symbol, addend.
fn rela(
    image: &Image<'_>,
    table: &Tables,
    bytes: &[u8],
    words: &mut Vec<(u64, u64)>,
) -> Result<(), ElfError> {
    let word = |entry: &[u8; 24], at: usize| {
        let bytes = entry.get(at..).and_then(|rest| rest.first_chunk());
        u64::from_le_bytes(bytes.copied().unwrap_or_default())
    };
    let (relative, absolute, slots) = match image.machine() {
        elf::EM_AARCH64 => (1027, 257, [1025, 1026]),
        _ => (8, 1, [6, 7]), // R_X86_64_RELATIVE, _64, _GLOB_DAT and _JUMP_SLOT
    };
    for entry in bytes.as_chunks::<24>().0 {
        let (place, info, addend) = (word(entry, 0), word(entry, 8), word(entry, 16));
        let kind = info & 0xffff_ffff;
        let target = if kind == relative {
            Some(addend)
        } else if kind == absolute {
            defined_symbol(image, table, info >> 32).map(|value| value.wrapping_add(addend))
        } else if slots.contains(&kind) {
            defined_symbol(image, table, info >> 32)
        } else {
            None
        };
        if let Some(target) = target {
            push(words, place, target)?;
        }
    }
    Ok(())
}

/// The address of a dynamic symbol that the image defines itself. Another library may still take its place
/// when it is loaded; Rust code is never replaced so.
fn defined_symbol(image: &Image<'_>, table: &Tables, index: u64) -> Option<u64> {
    let at = table.symbols.checked_add(index.checked_mul(24)?)?;
    let symbol = image.bytes(at, 24)?;
    let section = u16::from_le_bytes(*symbol.get(6..)?.first_chunk()?);
    let value = u64::from_le_bytes(*symbol.get(8..)?.first_chunk()?);
    (section != 0 && value != 0).then_some(value)
}

/// `DT_RELR`: an even entry is an address, which is relocated; an odd one is a bitmap over the 63 words that
/// follow the last one covered. The addend is the word itself.
fn relr(image: &Image<'_>, bytes: &[u8], words: &mut Vec<(u64, u64)>) -> Result<(), ElfError> {
    let mut next = 0_u64;
    let mut relocate = |place: u64| match image.u64_at(place) {
        Some(target) => push(words, place, target),
        None => Ok(()),
    };
    for entry in bytes.as_chunks::<8>().0 {
        let entry = u64::from_le_bytes(*entry);
        if entry & 1 == 0 {
            relocate(entry)?;
            next = entry.wrapping_add(8);
            continue;
        }
        let mut bits = entry >> 1;
        while bits != 0 {
            relocate(next.wrapping_add(8 * u64::from(bits.trailing_zeros())))?;
            bits &= bits - 1;
        }
        next = next.wrapping_add(63 * 8);
    }
    Ok(())
}

/// The aligned words outside the code that are addresses of the image.
fn fixed(image: &Image<'_>, words: &mut Vec<(u64, u64)>) -> Result<(), ElfError> {
    for segment in image.segments().iter().filter(|segment| !segment.executable) {
        let skip = usize::try_from(segment.start.wrapping_neg() % 8).unwrap_or(0);
        let first = segment.start.wrapping_add(skip as u64);
        let bytes = segment.bytes.get(skip..).unwrap_or(&[]);
        for (index, word) in bytes.as_chunks::<8>().0.iter().enumerate() {
            let target = u64::from_le_bytes(*word);
            if target != 0 && image.segment(target).is_some() {
                push(words, first.wrapping_add(8 * index as u64), target)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::Elf;
    use crate::elf::image::test_image;
    use crate::types::ExecutableId;

    /// Check that an address entry and a bitmap entry relocate exactly the words they name.
    #[test]
    fn relr_of_an_address_and_a_bitmap_gives_the_named_words() {
        let mut words = vec![0_u64; 80];
        for (index, word) in words.iter_mut().enumerate() {
            *word = 0x1_0000 + index as u64;
        }
        let file = test_image(0x1000, &words);
        let elf = Elf {
            data: &file,
            id: ExecutableId::BuildId(vec![1]),
            debug: None,
        };
        let image = Image::parse(&elf).unwrap();
        let table: Vec<u8> = [0x1000_u64, 0b1011, (1 << 63) | 1, 0b11]
            .iter()
            .flat_map(|entry| entry.to_le_bytes())
            .collect();
        let mut found = Vec::new();
        relr(&image, &table, &mut found).unwrap();
        // Word 0 by address; words 1 and 3 by the first bitmap (words 1 to 63), the last of the second
        // bitmap (words 64 to 126) is outside of the file, word 127 too.
        assert_eq!(
            found,
            [(0x1000, 0x1_0000), (0x1008, 0x1_0001), (0x1018, 0x1_0003)]
        );
        let table: Vec<u8> = [0x1000_u64, 1, 0b101]
            .iter()
            .flat_map(|entry| entry.to_le_bytes())
            .collect();
        found.clear();
        relr(&image, &table, &mut found).unwrap();
        assert_eq!(found, [(0x1000, 0x1_0000), (0x1208, 0x1_0041)]);
    }

    /// Check that a word of an image of fixed addresses counts as a pointer only if it points into the image.
    #[test]
    fn fixed_image_words_outside_of_it_are_no_pointers() {
        let file = test_image(0x40_0000, &[0x40_0008, 7, 0, u64::MAX, 0x40_0000]);
        let elf = Elf {
            data: &file,
            id: ExecutableId::BuildId(vec![1]),
            debug: None,
        };
        let image = Image::parse(&elf).unwrap();
        let mut found = Vec::new();
        fixed(&image, &mut found).unwrap();
        assert_eq!(found, [(0x40_0000, 0x40_0008), (0x40_0020, 0x40_0000)]);
    }
}
