//! What the Go linker writes into every executable about how it was built: the version first of all.

use crate::elf::Image;
use memchr::memmem::Finder;
use std::fmt;

/// What the build information begins with, at a multiple of 16 bytes.
const MAGIC: &[u8] = b"\xff Go buildinf:";
/// Of the flags behind the magic: the texts follow in the file itself (Go 1.18 and later).
const INLINE: u8 = 2;
/// Where the flags are.
const FLAGS: usize = 15;
/// Where the texts begin.
const TEXTS: usize = 32;
/// A version is much shorter.
const VERSION_MAX: usize = 256;
/// Places that look like the beginning and are none: Go's own tools have some.
const PLACES_MAX: usize = 64;

/// A version of Go: `go1.24.11`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The 24 of 1.24; `None` = a development version, or no version at all.
    pub minor: Option<u32>,
    /// As it is written, without the leading "go" and what follows the first blank.
    pub text: String,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Version {
    fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let first = text.split_whitespace().next().unwrap_or_default();
        let number = first.strip_prefix("go1.").map(|rest| {
            let digits = rest.find(|each: char| !each.is_ascii_digit());
            rest.get(..digits.unwrap_or(rest.len())).unwrap_or_default()
        });
        Self {
            minor: number.and_then(|digits| digits.parse().ok()),
            text: first.strip_prefix("go").unwrap_or(first).to_owned(),
        }
    }
}

/// What the build information says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildInfo {
    /// Go 1.18 or later.
    Version(Version),
    /// A Go that writes pointers instead of texts: 1.13 to 1.17.
    Old,
}

impl BuildInfo {
    /// Reads it; `None` = there is none. Costs one search through the writable segments.
    #[must_use]
    pub fn find(image: &Image<'_>) -> Option<Self> {
        let magic = Finder::new(MAGIC);
        let writable = image.segments().iter().filter(|segment| segment.writable);
        for segment in writable {
            let aligned = |at: &usize| (segment.start.wrapping_add(*at as u64)).is_multiple_of(16);
            let places = magic.find_iter(segment.bytes).take(PLACES_MAX);
            for at in places.filter(aligned) {
                let found = segment.bytes.get(at..).and_then(read);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }
}

/// Reads what begins with the magic.
fn read(bytes: &[u8]) -> Option<BuildInfo> {
    let flags = *bytes.get(FLAGS)?;
    if flags & INLINE == 0 {
        return Some(BuildInfo::Old);
    }
    let texts = bytes.get(TEXTS..)?;
    let (length, rest) = uvarint(texts)?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= VERSION_MAX)?;
    Some(BuildInfo::Version(Version::parse(rest.get(..length)?)))
}

/// A number of seven bits a byte, and what follows it.
fn uvarint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(u32::try_from(7 * index).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(version: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([8, INLINE]);
        bytes.resize(TEXTS, 0);
        bytes.push(u8::try_from(version.len()).unwrap());
        bytes.extend(version);
        bytes.push(0);
        bytes
    }

    /// Release, candidate, experiment and vendor texts are read as the version they are of.
    #[test]
    fn version_of_a_release_a_candidate_and_a_vendor_is_its_minor() {
        for (text, minor, shown) in [
            ("go1.24.11", Some(24), "1.24.11"),
            ("go1.27rc1", Some(27), "1.27rc1"),
            ("go1.22.1 X:boringcrypto", Some(22), "1.22.1"),
            ("go1.25", Some(25), "1.25"),
            ("devel go1.28-abcdef", None, "devel"),
        ] {
            let Some(BuildInfo::Version(version)) = read(&info(text.as_bytes())) else {
                panic!("{text} is not read");
            };
            assert_eq!((version.minor, version.text.as_str()), (minor, shown));
        }
    }

    /// A length beyond every version, or beyond the file, is no build information.
    #[test]
    fn length_that_lies_is_no_build_information() {
        let mut bytes = info(b"go1.24");
        bytes.truncate(TEXTS);
        let mut long = bytes.clone();
        long.extend([0x80, 0x80, 0x80, 0x80, 0x40]);
        assert_eq!(read(&long), None);
        bytes.push(100);
        assert_eq!(read(&bytes), None);
    }

    /// What Go wrote before 1.18 is told from what is no Go.
    #[test]
    fn flags_of_an_older_go_are_old() {
        let mut bytes = info(b"go1.17");
        bytes[FLAGS] = 0;
        assert_eq!(read(&bytes), Some(BuildInfo::Old));
    }
}
