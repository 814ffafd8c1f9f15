//! The executable mappings of a process, as unwinding needs them: found by address.

use crate::sys::maps;

/// Mappings beyond this number are left out (and counted): the kernel's own limit on all mappings of a
/// process is 65,530 unless the administrator raises it.
pub const MAX_MAPPINGS: usize = 16_384;

/// One executable mapping.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// Address behind the last byte.
    pub end: u64,
    /// Offset in the file of the first byte.
    pub offset: u64,
    /// Inode; 0 = no file behind it.
    pub inode: u64,
    /// The path as the process sees it, with " (deleted)" when it is; a name in brackets for the kernel's
    /// own; empty for anonymous memory. Bytes that are not UTF-8 are replaced.
    pub path: String,
}

impl Mapping {
    /// Whether this is the kernel's vDSO.
    #[must_use]
    pub fn is_vdso(&self) -> bool {
        self.inode == 0 && self.path == "[vdso]"
    }

    /// The last part of the path, without " (deleted)": what people call the module.
    #[must_use]
    pub fn file_name(&self) -> &str {
        let path = self.path.strip_suffix(" (deleted)").unwrap_or(&self.path);
        path.rsplit('/').next().unwrap_or(path)
    }
}

/// The executable mappings of a process, in the order of their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mappings {
    /// Sorted by start, without overlaps.
    pub list: Vec<Mapping>,
    /// How many were left out because there were more than [`MAX_MAPPINGS`].
    pub left_out: u64,
    /// Whether there was any mapping at all: a process whose leader has exited shows none.
    pub any: bool,
}

impl Mappings {
    /// Takes one mapping of the process; to be called in the order of addresses.
    pub fn push(&mut self, mapping: &maps::Mapping<'_>) {
        self.any = true;
        let in_order = self.list.last().is_none_or(|last| last.end <= mapping.start);
        if !mapping.execute || !in_order {
            return;
        }
        if self.list.len() >= MAX_MAPPINGS {
            self.left_out += 1;
            return;
        }
        self.list.push(Mapping {
            start: mapping.start,
            end: mapping.end,
            offset: mapping.offset,
            inode: mapping.inode,
            path: String::from_utf8_lossy(mapping.path).into_owned(),
        });
    }

    /// The index of the mapping that holds `address`.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<usize> {
        let index = self
            .list
            .partition_point(|mapping| mapping.start <= address)
            .checked_sub(1)?;
        (address < self.list.get(index)?.end).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &[u8]) -> Mappings {
        let mut mappings = Mappings::default();
        maps::visit(text, |mapping| mappings.push(mapping)).unwrap();
        mappings
    }

    const TEXT: &str = "\
555000000000-555000001000 r--p 00000000 fe:01 42                         /opt/my app/server
555000001000-555000005000 r-xp 00001000 fe:01 42                         /opt/my app/server
7f0000000000-7f0000010000 rwxp 00000000 00:00 0 
7f0000020000-7f0000030000 r-xp 00002000 fe:01 43                         /lib/libx.so.1 (deleted)
7ffff7fc0000-7ffff7fc2000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
";

    /// Only executable mappings are kept, with paths that hold spaces and marks of deletion.
    #[test]
    fn maps_text_gives_executable_mappings() {
        let maps = parse(TEXT.as_bytes());
        assert!(maps.any);
        assert_eq!(maps.list.len(), 5);
        assert_eq!(maps.list[0].path, "/opt/my app/server");
        assert_eq!((maps.list[0].offset, maps.list[0].inode), (0x1000, 42));
        assert_eq!(maps.list[1].path, "");
        assert_eq!(maps.list[2].file_name(), "libx.so.1");
        assert!(maps.list[3].is_vdso());
    }

    /// Addresses are found in the mapping that holds them, and in no other.
    #[test]
    fn maps_find_at_the_edges_of_a_mapping() {
        let maps = parse(TEXT.as_bytes());
        assert_eq!(maps.find(0x5550_0000_0fff), None);
        assert_eq!(maps.find(0x5550_0000_1000), Some(0));
        assert_eq!(maps.find(0x5550_0000_4fff), Some(0));
        assert_eq!(maps.find(0x5550_0000_5000), None);
        assert_eq!(maps.find(0), None);
        assert_eq!(maps.find(u64::MAX), None);
    }

    /// A text with more mappings than the limit is cut there, and says how many are missing.
    #[test]
    fn maps_beyond_the_limit_are_counted() {
        use std::fmt::Write as _;
        let mut text = String::new();
        for i in 0..MAX_MAPPINGS + 5 {
            let start = 0x1000_0000 + i * 0x2000;
            writeln!(text, "{start:x}-{:x} r-xp 00000000 00:00 0 ", start + 0x1000).unwrap();
        }
        let maps = parse(text.as_bytes());
        assert_eq!((maps.list.len(), maps.left_out), (MAX_MAPPINGS, 5));
    }

    proptest! {
        /// Any bytes give a sorted list without overlaps, and never a panic.
        #[test]
        fn maps_of_any_bytes_stay_sorted(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let maps = parse(&bytes[..]);
            prop_assert!(maps.list.is_sorted_by(|a, b| a.end <= b.start));
        }

        /// Lines that look right but lie give a sorted list without overlaps, in which every find is true.
        #[test]
        fn maps_of_lying_lines_stay_sorted(
            lines in proptest::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 0..50),
            address in any::<u64>(),
        ) {
            let text: String = lines
                .iter()
                .map(|(a, b, c)| format!("{a:x}-{b:x} r-xp {c:x} 00:00 7 /x\n"))
                .collect();
            let maps = parse(text.as_bytes());
            prop_assert!(maps.list.is_sorted_by(|a, b| a.end <= b.start));
            if let Some(index) = maps.find(address) {
                let mapping = &maps.list[index];
                prop_assert!(mapping.start <= address && address < mapping.end);
            }
        }
    }
}
