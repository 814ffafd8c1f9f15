//! Files mapped into memory for reading: the only place that does it.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Deref;

/// A whole file, mapped read-only.
///
/// The bytes belong to somebody else: they may change under the reader, so nothing that was checked once
/// may be trusted later. If the owner **truncates** the file, reading beyond its new end raises `SIGBUS`;
/// map only what has to be searched as a whole, and read single sections with `read_exact_at` instead.
#[derive(Debug)]
pub struct MappedFile {
    map: memmap2::Mmap,
}

impl MappedFile {
    /// Maps `file`, which must be a regular file of at least one and at most `max_len` bytes.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for anything but a regular file and for an empty one, `FileTooLarge` beyond
    /// `max_len`, and what `fstat` and `mmap` say.
    pub fn map(file: &File, max_len: u64) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if metadata.len() > max_len {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        // SAFETY: the mapping is private, read-only and handed out as `&[u8]` only for the lifetime of
        // `Self`. Another process may change the bytes meanwhile; every reader treats them as hostile and
        // parses them through bounds-checked reads, and none keeps a conclusion about bytes it reads again.
        let map = unsafe { memmap2::Mmap::map(file) }?;
        Ok(Self { map })
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mapping shows the file's bytes.
    #[test]
    fn map_of_a_file_shows_its_bytes() {
        let path = std::env::current_exe().unwrap();
        let map = MappedFile::map(&File::open(&path).unwrap(), u64::MAX).unwrap();
        assert_eq!(map.get(..4), Some(&b"\x7fELF"[..]));
        assert_eq!(map.len() as u64, path.metadata().unwrap().len());
    }

    /// A file beyond the limit is refused before anything is mapped.
    #[test]
    fn map_of_a_file_beyond_the_limit_is_refused() {
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        let error = MappedFile::map(&file, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    /// Devices and directories are refused.
    #[test]
    fn map_of_a_device_is_refused() {
        let file = File::open("/dev/zero").unwrap();
        let error = MappedFile::map(&file, u64::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
