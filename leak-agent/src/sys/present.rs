//! Which private memory of a process is in RAM: where its heap is, without what it only reserved.
//!
//! Allocators reserve a gigabyte where they use megabytes. Reading what was never touched would make the kernel
//! walk through it, and reading what was swapped out would bring it back; both are left out.

use super::maps::Mapping;
use super::memory::{Memory as _, MemoryError, RemoteMemory, failed};
use std::ops::Range;

/// Pages whose state is looked up per process: 256 GiB of address space, 0.1 s where nothing is mapped.
pub const PAGES_MAX: u64 = 64 << 20;
/// Ranges that are given: 24 MiB of memory.
pub const RANGES_MAX: usize = 1 << 20;
/// Pages whose state is read per system call.
const PAGES_PER_READ: usize = 1 << 15;

/// Bits of a page's word in `/proc/PID/pagemap` (Documentation/admin-guide/mm/pagemap.rst).
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;

/// The private, writable, anonymous memory of a process.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PrivateMemory {
    /// What of it is in RAM: maximal ranges of addresses, sorted. Without the main thread's stack.
    pub ranges: Vec<Range<u64>>,
    /// Bytes in these ranges.
    pub bytes: u64,
    /// Bytes that are swapped out, hence not in the ranges.
    pub swapped: u64,
    /// Bytes of address space that were not looked at, because of [`PAGES_MAX`] or [`RANGES_MAX`].
    pub unseen: u64,
}

impl PrivateMemory {
    /// Looks it up: about 1 µs per mapping, 1 ms per gigabyte of address space.
    ///
    /// # Errors
    ///
    /// *Gone*, *denied*, *failed*, as of the memory itself.
    pub fn of(memory: &RemoteMemory) -> Result<Self, MemoryError> {
        let pid = memory.pid();
        let gone = || MemoryError::Gone { pid };
        let mut areas: Vec<Range<u64>> = Vec::new();
        memory
            .directory()
            .mappings(|mapping| {
                if is_heap(mapping) {
                    match areas.last_mut() {
                        Some(last) if last.end == mapping.start => last.end = mapping.end,
                        _ => areas.push(mapping.start..mapping.end),
                    }
                }
            })
            .map_err(super::memory::refused)?
            .ok_or_else(gone)?;
        let file = memory
            .directory()
            .open_file("pagemap")
            .map_err(super::memory::refused)?
            .ok_or_else(gone)?;
        let page = super::map::page_size() as u64;
        let mut found = Self::default();
        let mut pages_left = PAGES_MAX;
        let mut words = vec![0; PAGES_PER_READ * 8];
        for area in areas {
            let mut at = area.start;
            while at < area.end {
                let pages = ((area.end - at) / page)
                    .min(PAGES_PER_READ as u64)
                    .min(pages_left);
                if pages == 0 || found.ranges.len() >= RANGES_MAX {
                    found.unseen = found.unseen.saturating_add(area.end - at);
                    break;
                }
                pages_left -= pages;
                let wanted = usize::try_from(pages * 8).unwrap_or(words.len());
                let into = words.get_mut(..wanted).unwrap_or_default();
                let got = rustix::io::pread(&file, &mut *into, at / page * 8)
                    .map_err(|errno| failed("pagemap", pid, errno))?;
                if got < 8 {
                    break; // not an address of user space
                }
                for word in into.get(..got).unwrap_or_default().chunks_exact(8) {
                    let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
                    found.page(at, page, word);
                    at += page;
                }
            }
        }
        memory.still_there()?;
        Ok(found)
    }

    /// Takes in the state of one page; pages come in order of address.
    fn page(&mut self, at: u64, size: u64, word: u64) {
        if word & PRESENT != 0 {
            self.bytes += size;
            match self.ranges.last_mut() {
                Some(last) if last.end == at => last.end = at + size,
                _ => self.ranges.push(at..at + size),
            }
        } else if word & SWAPPED != 0 {
            self.swapped += size;
        }
    }
}

/// Whether an allocator may have its memory there.
fn is_heap(mapping: &Mapping<'_>) -> bool {
    let named = mapping.path.first() == Some(&b'[');
    mapping.read
        && mapping.write
        && mapping.private
        && mapping.inode == 0
        && (!named || mapping.path == b"[heap]" || mapping.path.starts_with(b"[anon"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::proc;

    fn own() -> PrivateMemory {
        let id = proc::id_of(std::process::id()).unwrap().unwrap();
        PrivateMemory::of(&RemoteMemory::open(&id).unwrap()).unwrap()
    }

    /// Check that memory is present once it was touched, and not before.
    #[test]
    fn reserved_memory_is_present_only_where_it_was_touched() {
        let page = super::super::map::page_size();
        let mut reserved = memmap2::MmapMut::map_anon(64 * page).unwrap();
        let start = reserved.as_ptr() as u64;
        let within = |found: &PrivateMemory, at: u64| found.ranges.iter().any(|range| range.contains(&at));
        let before = own();
        reserved[40 * page] = 1;
        let after = own();
        let touched = start + 40 * page as u64;
        // Huge pages may bring neighbours along.
        assert!(!within(&before, touched) && within(&after, touched), "{after:?}");
        let boxed = Box::new([7_u8; 100]);
        assert!(within(&own(), boxed.as_ptr() as u64));
        assert!(
            !within(&after, start - 1 - start % page as u64)
                || after.ranges.is_sorted_by(|a, b| a.end < b.start)
        );
    }

    /// Check that code, read-only data, shared memory and the stack are no heap.
    #[test]
    fn mappings_that_no_allocator_uses_are_left_out() {
        let cases = [
            ("1000-2000 rw-p 0 00:00 0", true),
            ("1000-2000 rw-p 0 00:00 0      [heap]", true),
            ("1000-2000 rw-p 0 00:00 0      [anon:arena]", true),
            ("1000-2000 rw-p 0 00:00 0      [stack]", false),
            ("1000-2000 rw-s 0 00:00 0", false),
            ("1000-2000 r--p 0 00:00 0", false),
            ("1000-2000 ---p 0 00:00 0", false),
            ("1000-2000 rw-p 0 08:01 77     /usr/lib/libc.so.6", false),
            ("1000-2000 r-xp 0 00:00 0      [vdso]", false),
        ];
        for (line, expected) in cases {
            assert_eq!(
                is_heap(&Mapping::parse(line.as_bytes()).unwrap()),
                expected,
                "{line}"
            );
        }
    }

    /// Check that neighbouring pages are one range, and a swapped one is no part of it.
    #[test]
    fn neighbouring_present_pages_become_one_range() {
        let mut found = PrivateMemory::default();
        for (number, word) in [PRESENT, PRESENT | 5, SWAPPED, PRESENT, 0]
            .into_iter()
            .enumerate()
        {
            found.page(0x1000 * number as u64, 0x1000, word);
        }
        assert_eq!(found.ranges, [0..0x2000, 0x3000..0x4000]);
        assert_eq!((found.bytes, found.swapped), (0x3000, 0x1000));
    }
}
