//! The `moduledata` of a Go executable: where its code begins and ends, and where its tables are.

use super::pclntab::{Shape, Table};
use crate::elf::{ElfError, Image, Pointers};
use memchr::memmem::Finder;

/// Offsets of fields that are the same in all versions.
const TEXT: u64 = 176;
const TEXT_END: u64 = 184;

/// What is needed of it. Small: kept as long as the file is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module {
    /// The table of functions.
    pub table: Shape,
    /// Address of `moduledata` itself, in the file's own numbering.
    pub vaddr: u64,
    /// The first byte of Go's code, in the file's own numbering.
    pub text: u64,
    /// The first byte behind it.
    pub text_end: u64,
    /// Where data of functions are, inlined calls among them.
    pub functions_data: u64,
}

/// Why a file with Go's build information has no module that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// There is no table of functions.
    #[error("no table of functions")]
    NoTable,
    /// Nothing, or more than one thing, points to the table of functions.
    #[error("its table of functions has {0} owners instead of one")]
    Owners(usize),
    /// The code that it names is not there.
    #[error("its module data names code that is not in the file")]
    NoText,
    /// No layout that is known fits, or several do.
    #[error("its module data are laid out in a way that is not known")]
    Unknown,
    /// The file's pointers cannot be read.
    #[error(transparent)]
    Pointers(#[from] ElfError),
}

impl Module {
    /// Finds it. `functions_data`: offset of `gofunc` in this version.
    ///
    /// # Errors
    ///
    /// [`ModuleError`].
    pub fn find(image: &Image<'_>, functions_data: u64) -> Result<Self, ModuleError> {
        let tables = Shape::find(image);
        if tables.is_empty() {
            return Err(ModuleError::NoTable);
        }
        let pointers = if image.is_fixed() {
            None
        } else {
            Some(Pointers::read(image)?)
        };
        let word = |at: u64| match &pointers {
            Some(pointers) => pointers.target(at).or_else(|| image.u64_at(at)),
            None => image.u64_at(at),
        };
        let mut owners = Vec::new();
        for table in tables {
            for vaddr in owners_of(image, pointers.as_ref(), &table) {
                owners.push((table, vaddr));
            }
        }
        let [(table, vaddr)] = owners.as_slice() else {
            return Err(ModuleError::Owners(owners.len()));
        };
        let field = |offset: u64| vaddr.checked_add(offset).and_then(word);
        let text = field(TEXT).ok_or(ModuleError::NoText)?;
        let text_end = field(TEXT_END).ok_or(ModuleError::NoText)?;
        let whole = text_end.checked_sub(text).is_some_and(|size| size >> 32 == 0);
        if !whole || !image.is_code(text) {
            return Err(ModuleError::NoText);
        }
        Ok(Self {
            table: *table,
            vaddr: *vaddr,
            text,
            text_end,
            functions_data: field(functions_data).unwrap_or(0),
        })
    }

    /// The table of functions in the file; `None` = it is not there.
    #[must_use]
    pub fn open<'data>(&self, image: &'data Image<'data>) -> Option<Table<'data>> {
        self.table.open(image, self.text, self.functions_data)
    }
}

/// Words that hold the table's address and are followed by one that holds that of its names.
fn owners_of(image: &Image<'_>, pointers: Option<&Pointers>, table: &Shape) -> Vec<u64> {
    if let Some(pointers) = pointers {
        let holds = |place: u64, wanted: u64| pointers.target(place) == Some(wanted);
        return pointers
            .all()
            .iter()
            .filter(|(place, target)| *target == table.vaddr && holds(place + 8, table.names_at()))
            .map(|(place, _)| *place)
            .collect();
    }
    let mut pair = table.vaddr.to_le_bytes().to_vec();
    pair.extend(table.names_at().to_le_bytes());
    let finder = Finder::new(&pair);
    let data = image.segments().iter().filter(|segment| !segment.executable);
    data.flat_map(|segment| {
        let places = finder.find_iter(segment.bytes).take(16);
        places.map(|at| segment.start.saturating_add(at as u64))
    })
    .filter(|vaddr| vaddr.is_multiple_of(8))
    .collect()
}
