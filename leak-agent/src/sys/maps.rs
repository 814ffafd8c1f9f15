//! The text of `/proc/PID/maps`: one mapping per line, parsed without allocation, read in bounded pieces.
//!
//! `55d14fc04000-55d14fc09000 r-xp 00002000 00:28 10658396   /usr/bin/sleep`. The kernel escapes only newlines in
//! the path (as `\012`); everything else is what the owner of the file chose, so a path is for matching and
//! showing, never for finding the file: that is what the address range and `map_files` are for.

use std::io::{self, Read};

/// The most bytes of one process's text that are read: about 100,000 mappings with short paths.
pub const MAPS_BYTES_MAX: u64 = 16 << 20;

/// The longest line: a path of `PATH_MAX` bytes, each escaped to four, and the columns before it.
const LINE_MAX: usize = 4 * 4096 + 256;

/// One mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping<'a> {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// The process may read it.
    pub read: bool,
    /// The process may write to it.
    pub write: bool,
    /// The process may execute it.
    pub execute: bool,
    /// What the process writes to it is its own; `false` = shared.
    pub private: bool,
    /// Offset of its first byte in the file, bytes.
    pub offset: u64,
    /// Device as the kernel's `MAJOR:MINOR`. Not always what `stat` says (btrfs, overlayfs before 6.8).
    pub dev: (u32, u32),
    /// Inode number; 0 = not a file.
    pub inode: u64,
    /// Path with the kernel's escapes and its " (deleted)"; `[stack]` and the like; empty = anonymous.
    pub path: &'a [u8],
}

impl<'a> Mapping<'a> {
    /// Parses one line without its newline; `None` = not in the kernel's format.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let (range, rest) = word(line)?;
        let (perms, rest) = word(rest)?;
        let (offset, rest) = word(rest)?;
        let (dev, rest) = word(rest)?;
        let (inode, rest) = word(rest)?;
        let (start, end) = halves(range, b'-')?;
        let (major, minor) = halves(dev, b':')?;
        let [r, w, x, p] = perms else { return None };
        let mapping = Self {
            start: hex(start)?,
            end: hex(end)?,
            read: *r == b'r',
            write: *w == b'w',
            execute: *x == b'x',
            private: *p == b'p',
            offset: hex(offset)?,
            dev: (u32::try_from(hex(major)?).ok()?, u32::try_from(hex(minor)?).ok()?),
            inode: decimal(inode)?,
            path: rest.trim_ascii_start(),
        };
        (mapping.start < mapping.end).then_some(mapping)
    }

    /// The path without the kernel's " (deleted)", and whether it was there. A file may be named so on purpose.
    #[must_use]
    pub fn path_deleted(&self) -> (&'a [u8], bool) {
        match self.path.strip_suffix(b" (deleted)") {
            Some(path) => (path, true),
            None => (self.path, false),
        }
    }
}

/// What became of a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MapsRead {
    /// Mappings that were visited.
    pub mappings: u64,
    /// Lines that are not in the kernel's format.
    pub malformed: u64,
    /// The text went on beyond [`MAPS_BYTES_MAX`].
    pub cut: bool,
}

/// Reads the text and calls `visit` with each mapping, in order of address. Memory: one line buffer.
///
/// # Errors
///
/// Those of the reader. A process that dies meanwhile gives ESRCH or an early end.
pub fn visit(mut text: impl Read, mut visit: impl FnMut(&Mapping<'_>)) -> io::Result<MapsRead> {
    let mut done = MapsRead::default();
    let mut buffer = vec![0; LINE_MAX * 4];
    let mut filled = 0;
    let mut total = 0_u64;
    let mut skipping = false; // within a line that is longer than any line of the kernel's
    loop {
        let space = buffer.get_mut(filled..).unwrap_or_default();
        let got = match text.read(space) {
            Ok(0) => break,
            Ok(got) => got.min(space.len()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        total += got as u64;
        filled += got;
        let ready = buffer.get(..filled).unwrap_or_default();
        let whole = ready
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        for line in ready
            .get(..whole)
            .unwrap_or_default()
            .split(|byte| *byte == b'\n')
        {
            if line.is_empty() {
                continue;
            }
            if std::mem::take(&mut skipping) {
                continue;
            }
            match Mapping::parse(line) {
                Some(mapping) => {
                    done.mappings += 1;
                    visit(&mapping);
                }
                None => done.malformed += 1,
            }
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
        if filled == buffer.len() {
            done.malformed += u64::from(!skipping);
            skipping = true;
            filled = 0;
        }
        if total >= MAPS_BYTES_MAX {
            done.cut = true;
            return Ok(done);
        }
    }
    if filled > 0 && !skipping {
        match Mapping::parse(buffer.get(..filled).unwrap_or_default()) {
            Some(mapping) => {
                done.mappings += 1;
                visit(&mapping);
            }
            None => done.malformed += 1,
        }
    }
    Ok(done)
}

/// The word up to the first space, and what follows the space.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end)?;
    (!word.is_empty()).then_some((word, rest.get(1..).unwrap_or_default()))
}

fn halves(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == at)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

fn hex(text: &[u8]) -> Option<u64> {
    number(text, 16)
}

fn decimal(text: &[u8]) -> Option<u64> {
    number(text, 10)
}

/// Digits only: no sign, no space.
fn number(text: &[u8], radix: u32) -> Option<u64> {
    let first = text.first()?;
    char::from(*first).to_digit(radix)?;
    u64::from_str_radix(std::str::from_utf8(text).ok()?, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(text: &[u8]) -> (Vec<(u64, u64, Vec<u8>)>, MapsRead) {
        let mut seen = Vec::new();
        let read = visit(text, |m| seen.push((m.start, m.inode, m.path.to_vec()))).unwrap();
        (seen, read)
    }

    /// Lines as kernels write them: files, deleted files, anonymous memory, names with spaces and escapes.
    #[test]
    fn maps_lines_of_real_kernels_are_parsed() {
        struct Row {
            line: &'static str,
            start: u64,
            execute: bool,
            offset: u64,
            dev: (u32, u32),
            inode: u64,
            path: &'static str,
            deleted: bool,
        }
        let row = |line, start, execute, offset, dev, inode, path, deleted| Row {
            line,
            start,
            execute,
            offset,
            dev,
            inode,
            path,
            deleted,
        };
        let rows = [
            row(
                "55d14fc04000-55d14fc09000 r-xp 00002000 00:28 10658396                   /usr/bin/sleep",
                0x55d1_4fc0_4000,
                true,
                0x2000,
                (0, 0x28),
                10_658_396,
                "/usr/bin/sleep",
                false,
            ),
            row(
                "7f00-7f01 rw-p 00000000 00:00 0 ",
                0x7f00,
                false,
                0,
                (0, 0),
                0,
                "",
                false,
            ),
            row(
                "7f00-7f01 rw-p 00000000 00:00 0",
                0x7f00,
                false,
                0,
                (0, 0),
                0,
                "",
                false,
            ),
            row(
                "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]",
                0xffff_ffff_ff60_0000,
                true,
                0,
                (0, 0),
                0,
                "[vsyscall]",
                false,
            ),
            row(
                "1000-2000 r-xs fffff000 103:02 7 /a b/c  d (deleted)",
                0x1000,
                true,
                0xffff_f000,
                (0x103, 2),
                7,
                "/a b/c  d",
                true,
            ),
            row(
                "1000-2000 r-xp 0 fd:01 7 /memfd:jit (deleted)",
                0x1000,
                true,
                0,
                (0xfd, 1),
                7,
                "/memfd:jit",
                true,
            ),
            row(
                "1000-2000 r-xp 0 fd:01 7 /x\\012y",
                0x1000,
                true,
                0,
                (0xfd, 1),
                7,
                "/x\\012y",
                false,
            ),
        ];
        for row in rows {
            let got = Mapping::parse(row.line.as_bytes()).unwrap_or_else(|| panic!("{}", row.line));
            assert_eq!(got.start, row.start, "{}", row.line);
            assert_eq!(
                (got.execute, got.offset, got.dev, got.inode),
                (row.execute, row.offset, row.dev, row.inode)
            );
            assert_eq!(
                got.path_deleted(),
                (row.path.as_bytes(), row.deleted),
                "{}",
                row.line
            );
        }
    }

    /// What no kernel writes is counted, not guessed at.
    #[test]
    fn maps_lines_that_no_kernel_writes_are_malformed() {
        for line in [
            "1000 r-xp 0 0:0 0",
            "1000-1000 r-xp 0 0:0 0",
            "2000-1000 r-xp 0 0:0 0",
            "+100-2000 r-xp 0 0:0 0",
            "1000-2000 r-x 0 0:0 0",
            "1000-2000 r-xp 0 0 0",
            "1000-2000 r-xp 0 0:0",
            "1000-2000 r-xp 0 0:0 -1",
            "1000-2000 r-xp  0:0 1",
            "10000000000000000-2 r-xp 0 0:0 0",
            "é-2 r-xp 0 0:0 0",
            "1-2 r-xp 0 100000000:0 0",
        ] {
            assert_eq!(Mapping::parse(line.as_bytes()), None, "{line}");
        }
        let (seen, read) = all(b"nonsense\n1000-2000 r-xp 0 0:1 5 /x\n\nmore");
        assert_eq!(seen, [(0x1000, 5, b"/x".to_vec())]);
        assert_eq!((read.mappings, read.malformed, read.cut), (1, 2, false));
    }

    /// A line longer than any the kernel writes is skipped as one line, and the next one is read.
    #[test]
    fn maps_line_without_end_is_skipped_and_the_next_is_read() {
        let mut text = b"1000-2000 r-xp 0 0:1 5 /".to_vec();
        text.extend(std::iter::repeat_n(b'a', LINE_MAX * 9));
        text.extend(b"\n3000-4000 r-xp 0 0:1 6 /y\n");
        let (seen, read) = all(&text);
        assert_eq!(seen, [(0x3000, 6, b"/y".to_vec())]);
        assert_eq!(read.malformed, 1);
    }

    /// A text without end costs a bounded number of bytes.
    #[test]
    fn maps_text_without_end_is_cut() {
        struct Endless;
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let line = b"1000-2000 r-xp 0 0:1 5 /x\n";
                buffer[..line.len()].copy_from_slice(line);
                Ok(line.len())
            }
        }
        let read = visit(Endless, |_| {}).unwrap();
        assert!(read.cut && read.mappings * 26 <= MAPS_BYTES_MAX + 26);
    }

    /// Our own maps: every line is understood, and our code is among them.
    #[test]
    fn maps_of_this_process_are_understood_to_the_last_line() {
        let mut ours = false;
        let here = maps_of_this_process_are_understood_to_the_last_line as fn() as usize as u64;
        let read = visit(std::fs::File::open("/proc/self/maps").unwrap(), |m| {
            ours |= m.execute && m.start <= here && here < m.end;
        })
        .unwrap();
        assert!(ours && read.malformed == 0 && !read.cut && read.mappings > 5);
    }

    /// Splits the text at arbitrary places.
    struct Pieces<'a>(&'a [u8], usize);
    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let take = self.1.min(self.0.len()).min(buffer.len());
            let (now, rest) = self.0.split_at(take);
            buffer[..take].copy_from_slice(now);
            self.0 = rest;
            Ok(take)
        }
    }

    proptest! {
        /// No text makes the parser panic, and how the text arrives does not change what it says.
        #[test]
        fn maps_text_of_any_bytes_is_read_alike_in_any_pieces(
            text in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b' '), Just(b'-'), Just(b':'), b'0'..=b'9', any::<u8>()], 0..2000),
            piece in 1..300_usize,
        ) {
            let mut whole = Vec::new();
            let first = visit(text.as_slice(), |m| whole.push((m.start, m.path.to_vec()))).unwrap();
            let mut pieces = Vec::new();
            let second = visit(Pieces(&text, piece), |m| pieces.push((m.start, m.path.to_vec()))).unwrap();
            prop_assert_eq!(whole, pieces);
            prop_assert_eq!(first, second);
        }

        /// A line written in the kernel's format is read back as it was.
        #[test]
        fn maps_line_written_by_the_format_is_read_back(
            start in 0..u64::MAX - 1, len in 1..1_u64 << 40, offset: u64, major: u32, minor: u32, inode: u64,
            path in "/[a-z ()]{0,40}[a-z]",
        ) {
            let end = start.saturating_add(len);
            let line = format!("{start:x}-{end:x} r-xp {offset:08x} {major:02x}:{minor:02x} {inode}    {path}");
            let got = Mapping::parse(line.as_bytes()).unwrap();
            prop_assert_eq!((got.start, got.end, got.offset), (start, end, offset));
            prop_assert_eq!((got.dev, got.inode, got.path), ((major, minor), inode, path.as_bytes()));
        }
    }
}
