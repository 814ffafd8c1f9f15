//! What must not be seen: URLs with tokens, keys, passwords. They come from files and are never logged.

use crate::output::alert::AlertError;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// A secret is no longer than this.
const BYTES_MAX: u64 = 64 << 10;

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(String);

impl Secret {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Reads it from a file; white space around it is none of it.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is empty, is too long, or is no text.
    pub(super) fn read(path: &Path) -> Result<Self, AlertError> {
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text));
        read.map_err(|source| AlertError::File {
            path: path.to_owned(),
            source,
        })?;
        let text = text.trim();
        let reason = if text.is_empty() {
            "is empty"
        } else if text.len() as u64 > BYTES_MAX {
            "is longer than 64 KiB"
        } else {
            return Ok(Self(text.to_owned()));
        };
        Err(AlertError::Content {
            path: path.to_owned(),
            reason,
        })
    }

    /// The text, for the one place that needs it.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
