//! Tapes: everything that reached the engine, and what the agent said of itself at each tick, in a file. What comes out of
//! the event line when a tape is replayed is what came out of it when the tape was made.
//!
//! ```text
//! file   = "LEAKTAPE", version (u32), frame…, end mark
//! frame  = length of the payload (u32, never 0), CRC-32 of the payload (u32), payload
//! end    = eight bytes of zero: the recorder had time to say goodbye
//! ```
//!
//! Numbers are little-endian. The first payload is the [`Header`], as MessagePack. All further payloads together are one
//! zstd stream that is flushed at the end of each frame: what is in a whole frame can be read, and costs next to nothing
//! if it was said before. The stream holds entries:
//!
//! ```text
//! entry  = length of what follows (variable), kind (u8), body
//! kinds    1 input (MessagePack), 2 totals (see `rows`), 3 tick (MessagePack), 4 the engine's state (MessagePack)
//! ```
//!
//! MessagePack has the names of fields, so that tapes stay readable when a field is added. A frame that is cut off is the
//! end of the tape. A frame that is damaged is an error and ends the reading: all after it builds on it. A tape of a newer
//! version is refused.
//!
//! When a file is full, the recorder goes on in a new one that begins with the engine's state, so that each can be replayed
//! without those before.

mod entry;
mod error;
mod frame;
mod reader;
mod recorder;
mod rows;
mod varint;
mod writer;

pub use entry::{Entry, Header};
pub use error::TapeError;
pub use reader::{End, Reader};
pub use recorder::Recorder;
pub use writer::Writer;

/// How a tape begins.
const MAGIC: &[u8; 8] = b"LEAKTAPE";
/// Version of the format: counted up when older agents would misread a tape.
pub const VERSION: u32 = 1;
/// A frame's payload is at most this long, compressed.
const FRAME_MAX: usize = 16 << 20;
/// An entry is at most this long: the state of an engine with millions of sites.
const ENTRY_MAX: usize = 512 << 20;

#[cfg(test)]
mod tests;
