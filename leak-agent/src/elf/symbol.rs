//! The function symbols of an ELF file.

use super::Image;
use crate::types::Vaddr;
use object::LittleEndian as LE;
use object::elf;
use object::read::elf::{FileHeader as _, Sym as _};

/// A function's symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'data> {
    /// Where the function starts.
    pub vaddr: Vaddr,
    /// Its bytes; 0 = not stated.
    pub size: u64,
    /// The mangled name.
    pub name: &'data [u8],
}

/// The defined function symbols of the full table, else (stripped) of the dynamic one, in file order.
/// Streams: nothing is kept.
pub fn function_symbols<'data>(image: &Image<'data>) -> impl Iterator<Item = Symbol<'data>> + use<'data> {
    let data = image.data;
    let table = image.header.sections(LE, data).ok().and_then(|sections| {
        [elf::SHT_SYMTAB, elf::SHT_DYNSYM]
            .into_iter()
            .filter_map(|kind| sections.symbols(LE, data, kind).ok())
            .find(|table| !table.is_empty())
    });
    table.into_iter().flat_map(move |table| {
        table.iter().filter_map(move |symbol| {
            let function = symbol.st_type() == elf::STT_FUNC && symbol.st_shndx(LE).0 != 0;
            let name = symbol.name(LE, table.strings()).ok()?;
            function.then_some(Symbol {
                vaddr: Vaddr(symbol.st_value(LE)),
                size: symbol.st_size(LE),
                name,
            })
        })
    })
}

/// The addresses of what other files may call by name, sorted. `None` if the file does not say (no section headers).
#[must_use]
pub fn exported_functions(image: &Image<'_>) -> Option<Vec<u64>> {
    let sections = image.header.sections(LE, image.data).ok()?;
    if sections.is_empty() {
        return None;
    }
    let table = sections.symbols(LE, image.data, elf::SHT_DYNSYM).ok()?;
    let mut exported: Vec<u64> = table
        .iter()
        .filter(|symbol| symbol.st_shndx(LE).0 != 0 && symbol.st_value(LE) != 0)
        .map(|symbol| symbol.st_value(LE))
        .collect();
    exported.sort_unstable();
    exported.dedup();
    Some(exported)
}

/// Whether the file has its full symbol table: `strip` takes it away.
#[must_use]
pub fn has_symbol_table(image: &Image<'_>) -> bool {
    let sections = image.header.sections(LE, image.data);
    sections.is_ok_and(|sections| {
        let table = sections.symbols(LE, image.data, elf::SHT_SYMTAB);
        table.is_ok_and(|table| !table.is_empty())
    })
}
