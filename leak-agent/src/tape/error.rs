//! Why a tape cannot be read or written.

use std::io;
use std::path::PathBuf;

/// What is wrong with a tape.
#[derive(Debug, thiserror::Error)]
pub enum TapeError {
    /// The file cannot be opened or created.
    #[error("cannot open the tape {}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be read on.
    #[error("cannot read the tape at byte {offset}")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written on.
    #[error("cannot write the tape {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not begin as tapes do.
    #[error("not a tape of leak-agent")]
    NotATape,
    /// It was made by a newer agent.
    #[error("the tape has version {found} of the format, and this agent knows {known}")]
    Newer {
        /// The tape's.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// It ends before the first frame has ended: there is nothing to replay.
    #[error("the tape is cut off within its header")]
    NoHeader,
    /// A frame is not what was written.
    #[error("the tape is damaged at byte {offset}: {what}")]
    Corrupt {
        /// Where the frame begins.
        offset: u64,
        /// What is wrong, as half a sentence.
        what: String,
    },
    /// No thread to write with.
    #[error("cannot start the thread that writes the tape")]
    Thread(#[source] io::Error),
}
