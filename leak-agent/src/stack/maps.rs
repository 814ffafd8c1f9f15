//! `/proc/PID/maps`: the executable mappings of a process.

use std::io::{self, BufRead};

/// Mappings beyond this number are left out (and counted): the kernel's own limit on all mappings of a
/// process is 65,530 unless the administrator raises it.
pub const MAX_MAPPINGS: usize = 16_384;

/// A line longer than this is no line of `maps` (a path has at most 4,096 bytes, escaped 4 times as many).
const MAX_LINE: u64 = 20_000;

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
    /// Whether the text had any line: `maps` of a process whose leader has exited is empty.
    pub any: bool,
}

impl Mappings {
    /// Reads the text of `/proc/PID/maps`. Lines that are none are skipped.
    ///
    /// # Errors
    ///
    /// What reading says; `ESRCH` in the middle means that the process is gone.
    pub fn parse(mut text: impl BufRead) -> io::Result<Self> {
        let mut mappings = Self::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = io::Read::take(&mut text, MAX_LINE).read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            mappings.any = true;
            let Some(mapping) = executable(&line) else {
                continue;
            };
            if mappings.list.len() >= MAX_MAPPINGS {
                mappings.left_out += 1;
            } else if mappings.list.last().is_none_or(|last| last.end <= mapping.start) {
                mappings.list.push(mapping);
            }
        }
        Ok(mappings)
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

/// The mapping of one line, if it is executable.
fn executable(line: &[u8]) -> Option<Mapping> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let mut next = || std::str::from_utf8(fields.next()?).ok();
    let (start, end) = next()?.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let end = u64::from_str_radix(end, 16).ok()?;
    let executable = next()?.as_bytes().get(2) == Some(&b'x');
    let offset = u64::from_str_radix(next()?, 16).ok()?;
    let _device = next()?;
    let inode = next()?.parse().ok()?;
    let path = fields.next().unwrap_or_default().trim_ascii_start();
    (executable && start < end).then(|| Mapping {
        start,
        end,
        offset,
        inode,
        path: String::from_utf8_lossy(path).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        let maps = Mappings::parse(TEXT.as_bytes()).unwrap();
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
        let maps = Mappings::parse(TEXT.as_bytes()).unwrap();
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
        let maps = Mappings::parse(text.as_bytes()).unwrap();
        assert_eq!((maps.list.len(), maps.left_out), (MAX_MAPPINGS, 5));
    }

    proptest! {
        /// Any bytes give a sorted list without overlaps, and never a panic.
        #[test]
        fn maps_of_any_bytes_stay_sorted(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let maps = Mappings::parse(&bytes[..]).unwrap();
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
            let maps = Mappings::parse(text.as_bytes()).unwrap();
            prop_assert!(maps.list.is_sorted_by(|a, b| a.end <= b.start));
            if let Some(index) = maps.find(address) {
                let mapping = &maps.list[index];
                prop_assert!(mapping.start <= address && address < mapping.end);
            }
        }
    }
}
