//! Frames: what is written at once, with its length and its checksum; and the one stream of compressed entries in them.

use super::{ENTRY_MAX, FRAME_MAX, varint};
use std::collections::VecDeque;
use std::io::{self, Read, Write};

/// How hard to compress: more costs much and gives little.
const LEVEL: i32 = 3;
/// A window of more than 2^23 bytes is nothing that we wrote.
const WINDOW_LOG_MAX: u32 = 23;
/// Plain bytes of a frame, beyond which it is ended.
const PLAIN_MAX: usize = 4 << 20;

/// A frame around a payload.
pub(super) fn framed(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(payload.len() + 8);
    frame.extend(length.to_le_bytes());
    frame.extend(crc32fast::hash(payload).to_le_bytes());
    frame.extend(payload);
    frame
}

/// What stands where a frame would begin.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A whole frame's payload.
    Payload(Vec<u8>),
    /// The end mark.
    EndMark,
    /// The file ends.
    Nothing,
    /// The file ends within a frame.
    Cut,
    /// No frame that was written so, and why.
    Damaged(&'static str),
}

/// Reads a frame.
///
/// # Errors
///
/// Those of the file.
pub(super) fn read(file: &mut impl Read) -> io::Result<Found> {
    let mut head = [0_u8; 8];
    match fill(file, &mut head)? {
        0 => return Ok(Found::Nothing),
        8 => {}
        _ => return Ok(Found::Cut),
    }
    let [l0, l1, l2, l3, c0, c1, c2, c3] = head;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let sum = u32::from_le_bytes([c0, c1, c2, c3]);
    match (length, sum) {
        (0, 0) => return Ok(Found::EndMark),
        (0, _) => return Ok(Found::Damaged("a frame without a payload")),
        (length, _) if length > FRAME_MAX => return Ok(Found::Damaged("a frame that is too long")),
        _ => {}
    }
    let mut payload = Vec::new();
    file.take(length as u64).read_to_end(&mut payload)?;
    Ok(if payload.len() < length {
        Found::Cut
    } else if crc32fast::hash(&payload) == sum {
        Found::Payload(payload)
    } else {
        Found::Damaged("its checksum is wrong")
    })
}

/// Reads until the buffer is full or the file ends.
pub(super) fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Entries in, payloads out.
pub(super) struct Compressor {
    stream: zstd::stream::write::Encoder<'static, Vec<u8>>,
    plain: usize,
}

impl Compressor {
    /// A new stream.
    ///
    /// # Errors
    ///
    /// No memory for it.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            stream: zstd::stream::write::Encoder::new(Vec::new(), LEVEL)?,
            plain: 0,
        })
    }

    /// Takes an entry; gives the payloads that were filled by it.
    ///
    /// # Errors
    ///
    /// The compressor's.
    pub(super) fn push(&mut self, entry: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let mut full = Vec::new();
        let mut length = Vec::new();
        varint::put(&mut length, entry.len() as u64);
        for part in [length.as_slice(), entry] {
            for piece in part.chunks(PLAIN_MAX) {
                self.stream.write_all(piece)?;
                self.plain += piece.len();
                if self.plain >= PLAIN_MAX {
                    full.extend(self.flush()?);
                }
            }
        }
        Ok(full)
    }

    /// What was pushed since the last payload; `None` = nothing.
    ///
    /// # Errors
    ///
    /// The compressor's.
    pub(super) fn flush(&mut self) -> io::Result<Option<Vec<u8>>> {
        if std::mem::take(&mut self.plain) == 0 {
            return Ok(None);
        }
        self.stream.flush()?;
        Ok(Some(std::mem::take(self.stream.get_mut())))
    }
}

/// Payloads in, entries out.
pub(super) struct Decompressor {
    stream: zstd::stream::write::Decoder<'static, Bounded>,
}

/// The beginning of what is not read yet; refuses more than one entry and one frame may have.
#[derive(Default)]
struct Bounded(VecDeque<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > ENTRY_MAX + 2 * PLAIN_MAX {
            return Err(io::Error::other("more than was ever written at once"));
        }
        self.0.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Decompressor {
    /// A new stream.
    ///
    /// # Errors
    ///
    /// No memory for it.
    pub(super) fn new() -> io::Result<Self> {
        let mut stream = zstd::stream::write::Decoder::new(Bounded::default())?;
        stream.window_log_max(WINDOW_LOG_MAX)?;
        Ok(Self { stream })
    }

    /// Takes a payload.
    ///
    /// # Errors
    ///
    /// It is not compressed as we do.
    pub(super) fn push(&mut self, payload: &[u8]) -> io::Result<()> {
        self.stream.write_all(payload)?;
        self.stream.flush()
    }

    /// The next entry; `None` = it is not whole yet.
    ///
    /// # Errors
    ///
    /// A length that no entry has.
    pub(super) fn entry(&mut self) -> Result<Option<Vec<u8>>, &'static str> {
        let plain = &mut self.stream.get_mut().0;
        let head: Vec<u8> = plain.iter().take(10).copied().collect();
        let mut rest = head.as_slice();
        let Some(length) = varint::take(&mut rest) else {
            return if head.len() < 10 {
                Ok(None)
            } else {
                Err("an entry without a length")
            };
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= ENTRY_MAX);
        let length = length.ok_or("an entry that is too long")?;
        let begin = head.len() - rest.len();
        if plain.len() < begin + length {
            return Ok(None);
        }
        plain.drain(..begin);
        Ok(Some(plain.drain(..length).collect()))
    }
}
