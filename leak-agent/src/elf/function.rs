//! Where functions begin and end, from the unwind tables.

use super::{Image, Pointers};
use gimli::{
    BaseAddresses, CommonInformationEntry, EhFrame, EhFrameHdr, EhFrameOffset, EndianSlice, LittleEndian,
    Pointer, UnwindSection as _,
};
use std::collections::HashMap;

/// A 200 MB executable was seen with 0.5 million functions.
const MAX_FUNCTIONS: usize = 4 << 20;

/// A function's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Function {
    /// Address of its first byte.
    pub start: u64,
    /// Address behind its last byte.
    pub end: u64,
}

impl Function {
    /// Bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// How the bounds of functions were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// From unwind tables that cover the code: exact.
    UnwindTables,
    /// Estimated from call targets and relocated code pointers, as unwind tables are missing or cover little.
    Estimated,
}

/// The functions of an image, sorted, not overlapping.
#[derive(Debug)]
pub struct Functions {
    list: Vec<Function>,
    bounds: Bounds,
}

type Slice<'data> = EndianSlice<'data, LittleEndian>;

impl Functions {
    /// Reads the unwind tables, or estimates where they cover less than half of the code. One pass over
    /// the tables, or over the code.
    #[must_use]
    pub fn find(image: &Image<'_>, pointers: &Pointers) -> Self {
        let list = flatten(from_unwind_tables(image).unwrap_or_default());
        let covered: u64 = list.iter().map(Function::size).sum();
        let code: u64 = image
            .segments()
            .iter()
            .filter(|segment| segment.executable)
            .map(|segment| segment.bytes.len() as u64)
            .sum();
        if covered >= code / 2 {
            return Self {
                list,
                bounds: Bounds::UnwindTables,
            };
        }
        Self {
            list: super::estimate::functions(image, pointers),
            bounds: Bounds::Estimated,
        }
    }

    /// The function that holds the address.
    #[must_use]
    pub fn containing(&self, vaddr: u64) -> Option<Function> {
        self.index(vaddr).and_then(|index| self.list.get(index)).copied()
    }

    /// The place of the function that holds the address in [`Functions::all`].
    #[must_use]
    pub fn index(&self, vaddr: u64) -> Option<usize> {
        let index = self
            .list
            .partition_point(|function| function.start <= vaddr)
            .checked_sub(1)?;
        self.list
            .get(index)
            .is_some_and(|function| vaddr < function.end)
            .then_some(index)
    }

    /// The place of the function that starts at the address in [`Functions::all`].
    #[must_use]
    pub fn starting(&self, vaddr: u64) -> Option<usize> {
        self.list
            .binary_search_by_key(&vaddr, |function| function.start)
            .ok()
    }

    /// All of them, sorted by address.
    #[must_use]
    pub fn all(&self) -> &[Function] {
        &self.list
    }

    /// How they were found.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }
}

/// Sorts, and cuts each function where the next one starts.
fn flatten(mut list: Vec<Function>) -> Vec<Function> {
    list.sort_unstable();
    list.dedup_by_key(|function| function.start);
    for index in 1..list.len() {
        let next = list[index].start;
        let function = &mut list[index - 1];
        function.end = function.end.min(next);
    }
    list.retain(|function| function.start < function.end);
    list
}

/// The ranges of all frame descriptions that `.eh_frame_hdr` lists.
fn from_unwind_tables(image: &Image<'_>) -> Option<Vec<Function>> {
    let hdr_vaddr = image.eh_frame_hdr?;
    let bases = BaseAddresses::default().set_eh_frame_hdr(hdr_vaddr);
    let hdr = EhFrameHdr::new(image.bytes_from(hdr_vaddr)?, LittleEndian)
        .parse(&bases, 8)
        .ok()?;
    let Pointer::Direct(eh_frame_vaddr) = hdr.eh_frame_ptr() else {
        return None;
    };
    let eh_frame = EhFrame::new(image.bytes_from(eh_frame_vaddr)?, LittleEndian);
    let bases = bases.set_eh_frame(eh_frame_vaddr);
    let table = hdr.table()?;
    let mut entries = table.iter(&bases);
    let mut known: HashMap<EhFrameOffset, CommonInformationEntry<Slice<'_>>> = HashMap::new();
    let mut list = Vec::new();
    while let Ok(Some((_, Pointer::Direct(at)))) = entries.next() {
        if list.len() >= MAX_FUNCTIONS {
            break;
        }
        let Some(offset) = at
            .checked_sub(eh_frame_vaddr)
            .and_then(|at| usize::try_from(at).ok())
        else {
            continue;
        };
        let description = eh_frame.fde_from_offset(
            &bases,
            EhFrameOffset(offset),
            |section: &EhFrame<_>, bases, at| {
                if let Some(cie) = known.get(&at) {
                    return Ok(cie.clone());
                }
                let cie = section.cie_from_offset(bases, at)?;
                known.insert(at, cie.clone());
                Ok(cie)
            },
        );
        if let Ok(description) = description {
            let function = Function {
                start: description.initial_address(),
                end: description.end_address(),
            };
            if function.start < function.end && image.is_code(function.start) {
                list.push(function);
            }
        }
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that overlapping and repeated ranges become a sorted list without overlap.
    #[test]
    fn overlapping_ranges_are_cut_at_the_next_start() {
        let function = |start, end| Function { start, end };
        let list = flatten(vec![
            function(30, 40),
            function(10, 35),
            function(10, 12),
            function(5, 5),
        ]);
        assert_eq!(list, [function(10, 12), function(30, 40)]);
    }
}
