//! Places in the source from debug information: the line tables of the functions asked for, nothing else of it.

use super::location::{Location, Owner};
use crate::elf::{Functions, Image, section_bytes};
use gimli::{Dwarf, EndianSlice, LineRow, LittleEndian, SectionId, Unit};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A compressed section larger than this is left alone: it would have to be held in memory, bytes.
const MAX_DECOMPRESSED: u64 = 64 << 20;

/// Compilation units whose header is read.
const MAX_UNITS: usize = 1 << 16;

/// Rows of line tables that are run: about a second.
const MAX_ROWS: usize = 16 << 20;

type Slice<'data> = EndianSlice<'data, LittleEndian>;

/// A place that debug information names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    path: String,
    line: u32,
}

impl Line {
    /// As a location.
    pub(super) fn location(&self) -> Location<'_> {
        Location {
            path: &self.path,
            line: self.line,
        }
    }
}

/// What the line tables say of one function.
#[derive(Clone, Debug, Default)]
pub(super) struct FunctionLines {
    /// Where it begins.
    pub(super) entry: Option<Line>,
    /// The first place of the program in it: code of the program that was inlined.
    pub(super) program: Option<Line>,
}

/// The lines of functions, by address of their first byte.
#[derive(Debug, Default)]
pub(super) struct Lines {
    known: BTreeMap<u64, (u64, FunctionLines)>,
}

impl Lines {
    /// Reads the lines of the functions that start at the addresses. Runs the line tables of the units that hold them, once
    /// each. Nothing is found in a file without debug information, in one whose debug information is compressed
    /// and large, and beyond the bounds.
    pub(super) fn read(image: &Image<'_>, functions: &Functions, starts: impl Iterator<Item = u64>) -> Self {
        let mut lines = Self::default();
        for start in starts {
            let function = functions
                .containing(start)
                .filter(|function| function.start == start);
            if let Some(function) = function {
                lines
                    .known
                    .insert(start, (function.end, FunctionLines::default()));
            }
        }
        if !lines.known.is_empty() {
            // A damaged table leaves what was read before it.
            let _ = lines.run(image);
        }
        lines
    }

    /// What is known of the function that starts here.
    pub(super) fn get(&self, start: u64) -> Option<&FunctionLines> {
        self.known.get(&start).map(|(_, lines)| lines)
    }

    fn run(&mut self, image: &Image<'_>) -> gimli::Result<()> {
        let empty = Cow::Borrowed(&[][..]);
        let sections = gimli::DwarfSections::load(|id: SectionId| {
            let bytes = section_bytes(image, id.name().as_bytes(), MAX_DECOMPRESSED);
            Ok::<Cow<'_, [u8]>, gimli::Error>(bytes.unwrap_or_else(|| empty.clone()))
        })?;
        let dwarf = sections.borrow(|bytes| EndianSlice::new(bytes, LittleEndian));
        let mut rows_left = MAX_ROWS;
        let mut headers = dwarf.units();
        for _ in 0..MAX_UNITS {
            let Some(header) = headers.next()? else { break };
            let Ok(unit) = dwarf.unit(header) else { continue };
            if self.wants(&dwarf, &unit)? {
                self.run_unit(&dwarf, &unit, &mut rows_left)?;
            }
        }
        Ok(())
    }

    /// Whether the unit's code holds one of the functions.
    fn wants(&self, dwarf: &Dwarf<Slice<'_>>, unit: &Unit<Slice<'_>>) -> gimli::Result<bool> {
        let mut ranges = dwarf.unit_ranges(unit)?;
        while let Some(range) = ranges.next()? {
            if range.begin < range.end && self.known.range(range.begin..range.end).next().is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn run_unit(
        &mut self,
        dwarf: &Dwarf<Slice<'_>>,
        unit: &Unit<Slice<'_>>,
        rows_left: &mut usize,
    ) -> gimli::Result<()> {
        let Some(program) = unit.line_program.clone() else {
            return Ok(());
        };
        let mut rows = program.rows();
        while let Some((header, row)) = rows.next_row()? {
            let Some(left) = rows_left.checked_sub(1) else {
                return Ok(());
            };
            *rows_left = left;
            let address = row.address();
            let Some((start, (end, lines))) = self.known.range_mut(..=address).next_back() else {
                continue;
            };
            if row.end_sequence() || address >= *end {
                continue;
            }
            let at_entry = address == *start && lines.entry.is_none();
            if !at_entry && lines.program.is_some() {
                continue;
            }
            let Some(line) = place(dwarf, unit, header, row) else {
                continue;
            };
            if lines.program.is_none() && line.location().owner() == Owner::Program {
                lines.program = Some(line.clone());
            }
            if at_entry {
                lines.entry = Some(line);
            }
        }
        Ok(())
    }
}

/// The file and line of a row, in the form of panic locations.
fn place(
    dwarf: &Dwarf<Slice<'_>>,
    unit: &Unit<Slice<'_>>,
    header: &gimli::LineProgramHeader<Slice<'_>>,
    row: &LineRow,
) -> Option<Line> {
    let line = u32::try_from(row.line()?.get()).ok()?;
    let file = row.file(header)?;
    let text = |value| {
        let slice = dwarf.attr_string(unit, value).ok()?;
        Some(String::from_utf8_lossy(slice.slice()).into_owned())
    };
    let name = text(file.path_name())?;
    // Directory 0 is the folder of the compilation.
    let folder = file.directory(header).filter(|_| file.directory_index() != 0);
    let stated = match folder.and_then(text) {
        Some(folder) if !name.starts_with('/') => format!("{folder}/{name}"),
        _ => name,
    };
    let whole = match unit.comp_dir {
        Some(folder) if !stated.starts_with('/') => format!("{}/{stated}", folder.to_string_lossy()),
        _ => stated.clone(),
    };
    // Cargo compiles the program's own crates from their folder: panics say "src/main.rs" of them.
    let own = Location { path: &whole, line }.owner() == Owner::Program;
    let path = if own { stated } else { whole };
    (!path.contains(char::is_control)).then_some(Line { path, line })
}
