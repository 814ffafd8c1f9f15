//! Sections of an ELF file by name: what is not mapped, such as debug information.

use super::Image;
use object::LittleEndian as LE;
use object::read::elf::{FileHeader as _, SectionHeader as _};
use std::borrow::Cow;

/// The bytes of a section, decompressed if need be; `None` if the file has no such section, it is cut off, or it
/// is compressed and larger than `max_decompressed` bytes. Borrows what is not compressed.
#[must_use]
pub fn section_bytes<'data>(
    image: &Image<'data>,
    name: &[u8],
    max_decompressed: u64,
) -> Option<Cow<'data, [u8]>> {
    let sections = image.header.sections(LE, image.data).ok()?;
    let (_, section) = sections.section_by_name(LE, name)?;
    match section.compression(LE, image.data).ok()? {
        None => section.data(LE, image.data).ok().map(Cow::Borrowed),
        Some((header, offset, size)) => {
            use object::read::elf::CompressionHeader as _;
            let full: u64 = header.ch_size(LE);
            if full > max_decompressed {
                return None;
            }
            let data = object::read::CompressedData {
                format: match header.ch_type(LE) {
                    object::elf::ELFCOMPRESS_ZLIB => object::CompressionFormat::Zlib,
                    object::elf::ELFCOMPRESS_ZSTD => object::CompressionFormat::Zstandard,
                    _ => return None,
                },
                data: object::ReadRef::read_bytes_at(image.data, offset, size).ok()?,
                uncompressed_size: full,
            };
            data.decompress().ok()
        }
    }
}

/// Whether the file has a section of this name with bytes in the file.
#[must_use]
pub fn has_section(image: &Image<'_>, name: &[u8]) -> bool {
    let section = image.header.sections(LE, image.data).ok();
    let section = section.and_then(|sections| sections.section_by_name(LE, name));
    section.is_some_and(|(_, section)| section.data(LE, image.data).is_ok_and(|data| !data.is_empty()))
}
