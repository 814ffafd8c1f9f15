//! A tape, written to files of bounded size.

use super::entry::{Header, Misfit, pack_header};
use super::frame::{Compressor, framed};
use super::{MAGIC, TapeError, VERSION};
use crate::config::RecordConfig;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

/// Writes encoded entries to a file, and to the next one when it is full.
pub struct Writer {
    config: RecordConfig,
    header: Vec<u8>,
    file: File,
    stream: Compressor,
    bytes: u64,
}

impl Writer {
    /// Begins a file. One that is there already is kept as the newest of the old ones.
    ///
    /// # Errors
    ///
    /// The file cannot be made or written.
    pub fn create(config: RecordConfig, header: &Header) -> Result<Self, TapeError> {
        let failed = |source: io::Error| TapeError::Open {
            path: config.path.clone(),
            source,
        };
        let header = pack_header(header).map_err(|misfit: Misfit| failed(io::Error::other(misfit)))?;
        let (file, bytes) = begin(&config, &header).map_err(failed)?;
        let stream = Compressor::new().map_err(failed)?;
        Ok(Self {
            config,
            header,
            file,
            stream,
            bytes,
        })
    }

    /// Takes an entry. It is in the file after [`Self::flush`] at the latest.
    ///
    /// # Errors
    ///
    /// Those of the file.
    pub(super) fn push(&mut self, entry: &[u8]) -> Result<(), TapeError> {
        let payloads = self.stream.push(entry);
        let written =
            payloads.and_then(|payloads| payloads.iter().try_for_each(|payload| self.frame(payload)));
        written.map_err(|source| self.failed(source))
    }

    /// Writes what was pushed.
    ///
    /// # Errors
    ///
    /// Those of the file.
    pub(super) fn flush(&mut self) -> Result<(), TapeError> {
        let payload = self.stream.flush();
        let written = payload.and_then(|payload| payload.iter().try_for_each(|payload| self.frame(payload)));
        written.map_err(|source| self.failed(source))
    }

    /// Ends the file, and begins the next one.
    ///
    /// # Errors
    ///
    /// Those of the files.
    pub(super) fn rotate(&mut self) -> Result<(), TapeError> {
        self.end()?;
        let next = begin(&self.config, &self.header).and_then(|next| Ok((next, Compressor::new()?)));
        let ((file, bytes), stream) = next.map_err(|source| self.failed(source))?;
        self.file = file;
        self.stream = stream;
        self.bytes = bytes;
        Ok(())
    }

    /// Writes what was pushed, and the end mark.
    ///
    /// # Errors
    ///
    /// Those of the file.
    pub(super) fn end(&mut self) -> Result<(), TapeError> {
        self.flush()?;
        self.file.write_all(&[0; 8]).map_err(|source| self.failed(source))
    }

    /// Bytes in the present file.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn frame(&mut self, payload: &[u8]) -> io::Result<()> {
        let frame = framed(payload);
        // In one piece: a tape that is cut here has lost one frame, and says so.
        self.file.write_all(&frame)?;
        self.bytes += frame.len() as u64;
        Ok(())
    }

    fn failed(&self, source: io::Error) -> TapeError {
        TapeError::Write {
            path: self.config.path.clone(),
            source,
        }
    }
}

/// Makes room for a file and writes its head. What is in it is for root: it tells of all processes.
fn begin(config: &RecordConfig, header: &[u8]) -> io::Result<(File, u64)> {
    let old = |number: u32| {
        let mut name = OsString::from(&config.path);
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    let present = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    if present(&config.path) {
        for number in (1..config.files.saturating_sub(1)).rev() {
            if present(&old(number)) {
                fs::rename(old(number), old(number + 1))?;
            }
        }
        if config.files > 1 {
            fs::rename(&config.path, old(1))?;
        }
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&config.path)?;
    let mut head = MAGIC.to_vec();
    head.extend(VERSION.to_le_bytes());
    head.extend(framed(header));
    file.write_all(&head)?;
    Ok((file, head.len() as u64))
}
