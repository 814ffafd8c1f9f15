//! Which tokio an executable holds: its panic paths say so, and stripping leaves them.

use crate::elf::Image;
use memchr::memmem::Finder;
use std::collections::BTreeMap;
use std::fmt;

/// More hits than this say nothing new.
const MAX_HITS: usize = 100_000;

/// A version of tokio.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Version {
    /// 1 in `1.47.2`.
    pub major: u32,
    /// 47 in `1.47.2`.
    pub minor: u32,
    /// 2 in `1.47.2`.
    pub patch: u32,
}

impl Version {
    /// From this version on a task is marked complete at its end whoever holds its handle.
    pub const FIRST_FOLLOWED: Self = Self::new(1, 10);
    /// From this version on the vtable pointer is the third word of a task's header; before, the fifth.
    pub const SHORT_HEADER: Self = Self::new(1, 21);
    /// From this version on a vtable states the offsets of the parts of a cell.
    pub const MODERN_VTABLE: Self = Self::new(1, 23);

    /// The first release of a minor version.
    #[must_use]
    pub const fn new(major: u32, minor: u32) -> Self {
        Self {
            major,
            minor,
            patch: 0,
        }
    }

    /// Offset of the vtable pointer in a task's header, bytes.
    #[must_use]
    pub fn vtable_field(self) -> u32 {
        if self >= Self::SHORT_HEADER { 0x10 } else { 0x20 }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What the mapped bytes say of tokio.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Traces {
    /// The word "tokio" is somewhere in the mapped bytes.
    pub mentioned: bool,
    /// Versions named by paths of tokio's source, with how often; the most frequent first, the newest of equals.
    pub versions: Vec<(Version, usize)>,
}

impl Traces {
    /// Searches the mapped bytes, in one pass of a vectorised search. This is the whole price of a file
    /// that has nothing of tokio.
    #[must_use]
    pub fn find(image: &Image<'_>) -> Self {
        let mut counts = BTreeMap::new();
        let mut hits = 0;
        let finder = Finder::new("tokio");
        for segment in image.segments() {
            for at in finder.find_iter(segment.bytes).take(MAX_HITS) {
                hits += 1;
                if let Some(version) = source_path_version(segment.bytes, at) {
                    *counts.entry(version).or_insert(0) += 1;
                }
            }
        }
        let mut versions: Vec<(Version, usize)> = counts.into_iter().collect();
        versions.sort_by_key(|(version, count)| std::cmp::Reverse((*count, *version)));
        Self {
            mentioned: hits > 0,
            versions,
        }
    }
}

/// The version in `tokio-1.47.2/src…` at this place. Not that of `signal-hook-tokio-0.4.0/src…`: another crate.
fn source_path_version(bytes: &[u8], at: usize) -> Option<Version> {
    let (before, here) = bytes.split_at_checked(at)?;
    if matches!(before.last(), Some(b'-' | b'_')) {
        return None;
    }
    let rest = here.strip_prefix(b"tokio-")?;
    let (major, rest) = number(rest)?;
    let (minor, rest) = number(rest.strip_prefix(b".")?)?;
    let (patch, rest) = number(rest.strip_prefix(b".")?)?;
    // A pre-release ("-alpha.6") or build number may follow.
    let end = rest.iter().take(32).position(|byte| *byte == b'/')?;
    rest.get(end..)?
        .starts_with(b"/src")
        .then_some(Version { major, minor, patch })
}

/// A decimal number of at most six digits, and what follows it.
fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let digits = bytes
        .iter()
        .take(7)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (number, rest) = bytes.split_at_checked(digits)?;
    (1..=6).contains(&digits).then_some(())?;
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check which path beginnings name a version.
    #[test]
    fn source_paths_name_versions_and_other_words_do_not() {
        let cases: [(&[u8], Option<[u32; 3]>); 11] = [
            (b"tokio-1.47.2/src/runtime/task/core.rs", Some([1, 47, 2])),
            (b"tokio-0.2.25/src/lib.rs", Some([0, 2, 25])),
            (b"tokio-0.2.0-alpha.6/src/lib.rs", Some([0, 2, 0])),
            (b"tokio-1.47.2/tests/x.rs", None),
            (b"tokio-1.47/src", None),
            (b"tokio-runtime-worker", None),
            (b"tokio-util-0.7.1/src", None),
            (b"tokio-1.9999999.0/src", None),
            (b"tokio-1.2.", None),
            (b"signal-hook-tokio-0.4.0/src/lib.rs", None),
            (b"index/tokio-1.54.1/src/task/mod.rs", Some([1, 54, 1])),
        ];
        for (bytes, expected) in cases {
            let at = bytes.windows(5).position(|word| word == b"tokio").unwrap();
            let found = source_path_version(bytes, at).map(|v| [v.major, v.minor, v.patch]);
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(bytes));
        }
    }

    /// Check where the vtable pointer is expected on both sides of the change of the header.
    #[test]
    fn vtable_field_moves_with_tokio_1_21() {
        assert_eq!(Version::new(1, 20).vtable_field(), 0x20);
        assert_eq!(Version::new(1, 21).vtable_field(), 0x10);
    }
}
