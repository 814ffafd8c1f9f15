//! Where functions begin and end, from the unwind tables.

use super::{Image, Pointers};
use gimli::{
    BaseAddresses, CommonInformationEntry, EhFrame, EhFrameHdr, EhFrameOffset, EndianSlice, LittleEndian,
    Pointer, UnwindSection as _,
};
use std::collections::HashMap;

/// A 200 MB executable was seen with 0.5 million functions.
const MAX_FUNCTIONS: usize = 4 << 20;

/// A hole of this size between described functions is padding, or a jump of the linker's, bytes.
const PADDING: u64 = 64;

/// Code outside of described functions is looked into if it is more than one part in this many.
const LEFT_OUT_SHARE: u64 = 16;

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
    /// Partly or wholly estimated from call targets and relocated code pointers, as unwind tables leave out code.
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
    /// Reads the unwind tables, and estimates where they leave out code: an executable built without them still has
    /// those of the standard library. One pass over the tables, and one over the code if much is left out.
    #[must_use]
    pub fn find(image: &Image<'_>, pointers: &Pointers) -> Self {
        let described = flatten(from_unwind_tables(image).unwrap_or_default());
        let code: u64 = image
            .segments()
            .iter()
            .filter(|segment| segment.executable)
            .map(|segment| segment.bytes.len() as u64)
            .sum();
        if !described.is_empty() && left_out(image, &described) <= code / LEFT_OUT_SHARE {
            return Self {
                list: described,
                bounds: Bounds::UnwindTables,
            };
        }
        let inside = |vaddr: u64| {
            described
                .partition_point(|function| function.start <= vaddr)
                .checked_sub(1)
                .and_then(|index| described.get(index))
                .is_some_and(|function| vaddr < function.end)
        };
        let mut list = super::estimate::functions(image, pointers);
        list.retain(|function| !inside(function.start));
        list.extend_from_slice(&described);
        Self {
            list: flatten(list),
            bounds: Bounds::Estimated,
        }
    }

    /// Those that the unwind tables describe, and no others: nothing is estimated where they leave out code.
    #[must_use]
    pub fn described(image: &Image<'_>) -> Self {
        Self {
            list: flatten(from_unwind_tables(image).unwrap_or_default()),
            bounds: Bounds::UnwindTables,
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

/// Bytes of code in no function of the list, padding aside.
fn left_out(image: &Image<'_>, list: &[Function]) -> u64 {
    let mut left_out = 0_u64;
    for segment in image.segments().iter().filter(|segment| segment.executable) {
        let end = segment.start.saturating_add(segment.bytes.len() as u64);
        let mut at = segment.start;
        let first = list.partition_point(|function| function.end <= at);
        let inside = list
            .iter()
            .skip(first)
            .take_while(|function| function.start < end);
        for function in inside {
            let hole = function.start.saturating_sub(at);
            left_out = left_out.saturating_add(if hole > PADDING { hole } else { 0 });
            at = at.max(function.end);
        }
        let hole = end.saturating_sub(at);
        left_out = left_out.saturating_add(if hole > PADDING { hole } else { 0 });
    }
    left_out
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
    use crate::elf::Elf;
    use crate::elf::image::test_image;
    use crate::types::ExecutableId;

    /// Check that padding between described functions is not taken for code left out, and that more than that is.
    #[test]
    fn code_left_out_is_what_lies_in_holes_larger_than_padding() {
        let mut file = test_image(0x1000, &[0; 64]);
        file[0x44] = 5; // readable, executable
        let elf = Elf {
            data: &file,
            id: ExecutableId::BuildId(vec![1]),
            debug: None,
        };
        let image = Image::parse(&elf).unwrap();
        let function = |start, end| Function { start, end };
        let whole = [function(0x1000, 0x1080), function(0x10c0, 0x11f8)];
        assert_eq!(left_out(&image, &whole), 0);
        assert_eq!(left_out(&image, &whole[..1]), 0x180);
        assert_eq!(left_out(&image, &whole[1..]), 0xc0);
        assert_eq!(left_out(&image, &[]), 0x200);
    }

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
