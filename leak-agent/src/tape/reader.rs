//! A tape, read from its beginning to its last whole frame.

use super::entry::{Decoder, Entry, Header, unpack_header};
use super::frame::{self, Decompressor, Found};
use super::{MAGIC, TapeError, VERSION};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// How a tape ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With its end mark.
    Whole,
    /// Without: its agent was killed, or is still recording. All of it was read.
    Open,
    /// Within the frame that begins at this byte.
    Cut {
        /// Where.
        offset: u64,
    },
}

/// Reads entries off a tape.
pub struct Reader<R> {
    file: R,
    header: Header,
    /// Where the next frame begins.
    offset: u64,
    stream: Decompressor,
    decoder: Decoder,
    end: Option<End>,
}

impl Reader<BufReader<File>> {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or is no tape that can be read.
    pub fn open(path: &Path) -> Result<Self, TapeError> {
        let file = File::open(path).map_err(|source| TapeError::Open {
            path: path.to_owned(),
            source,
        })?;
        Self::new(BufReader::new(file))
    }
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// It is no tape, one of a newer version, or ends within its header.
    pub fn new(mut file: R) -> Result<Self, TapeError> {
        let failed = |source| TapeError::Read { offset: 0, source };
        let mut head = [0_u8; 12];
        let got = frame::fill(&mut file, &mut head).map_err(failed)?;
        let (magic, version) = head.split_at(MAGIC.len());
        if got == 0 || !MAGIC.starts_with(&magic[..got.min(magic.len())]) {
            return Err(TapeError::NotATape);
        }
        if got < head.len() {
            return Err(TapeError::NoHeader);
        }
        let found = version.try_into().map_or(0, u32::from_le_bytes);
        if found > VERSION {
            return Err(TapeError::Newer {
                found,
                known: VERSION,
            });
        }
        let offset = head.len() as u64;
        let corrupt = |what: &str| TapeError::Corrupt {
            offset,
            what: what.to_owned(),
        };
        if found == 0 {
            return Err(corrupt("there is no version 0"));
        }
        let payload = match frame::read(&mut file).map_err(failed)? {
            Found::Payload(payload) => payload,
            Found::Damaged(what) => return Err(corrupt(what)),
            Found::EndMark | Found::Nothing | Found::Cut => return Err(TapeError::NoHeader),
        };
        Ok(Self {
            file,
            header: unpack_header(&payload).map_err(|what| corrupt(&what))?,
            offset: offset + 8 + payload.len() as u64,
            stream: Decompressor::new().map_err(failed)?,
            decoder: Decoder::default(),
            end: None,
        })
    }

    /// What it begins with.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How it ended; `None` = it was not read to its end.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// The next entry; `None` = the tape is at its end.
    ///
    /// # Errors
    ///
    /// The file cannot be read on, or is damaged: then nothing after it can be read either.
    pub fn entry(&mut self) -> Result<Option<Entry>, TapeError> {
        loop {
            let offset = self.offset;
            let corrupt = |what: String| TapeError::Corrupt { offset, what };
            let entry = self.stream.entry().map_err(|what| corrupt(what.to_owned()))?;
            if let Some(entry) = entry {
                return self.decoder.entry(&entry).map(Some).map_err(corrupt);
            }
            if self.end.is_some() {
                return Ok(None);
            }
            let found = frame::read(&mut self.file);
            match found.map_err(|source| TapeError::Read { offset, source })? {
                Found::Payload(payload) => {
                    self.stream
                        .push(&payload)
                        .map_err(|error| corrupt(error.to_string()))?;
                    self.offset += 8 + payload.len() as u64;
                }
                Found::EndMark => self.end = Some(End::Whole),
                Found::Nothing => self.end = Some(End::Open),
                Found::Cut => self.end = Some(End::Cut { offset }),
                Found::Damaged(what) => return Err(corrupt(what.to_owned())),
            }
        }
    }
}
