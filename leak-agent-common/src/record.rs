//! Ring records: what is rare enough to be told one by one.

use crate::key::{ProcessKey, SiteKey};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Kinds of records.
pub mod kind {
    /// A process was created: [`super::ProcessRecord`]; `other` is the parent.
    pub const FORK: u32 = 1;
    /// A process has a new image: [`super::ProcessRecord`]; `other` is unused.
    pub const EXEC: u32 = 2;
    /// The last thread of a process is gone: [`super::ProcessRecord`]. May come twice.
    pub const EXIT: u32 = 3;
    /// A creation stack: [`super::StackRecord`], followed by `stack_len` bytes of stack.
    pub const STACK: u32 = 4;
    /// One spawn or finish, on request only: [`super::StreamRecord`].
    pub const STREAM: u32 = 5;
}

/// The start of every record.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Header {
    /// One of [`kind`].
    pub kind: u32,
    /// `exec_id` of the acting process, low 32 bits.
    pub exec_id: u32,
    /// `CLOCK_BOOTTIME` (before 5.8: not offered) in nanoseconds.
    pub at: u64,
    /// The acting process.
    pub process: ProcessKey,
}

/// A process begins, changes its image, or ends.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ProcessRecord {
    /// The head.
    pub header: Header,
    /// FORK: the creator's process.
    pub other: ProcessKey,
    /// The name of the acting task, at most 15 bytes, filled with 0.
    pub comm: [u8; 16],
}

/// The stack of whoever creates a task, at the creation: a thread's, or that of a task that has a stack of its own.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct StackRecord {
    /// The head.
    pub header: Header,
    /// The site under which the kernel counted the new task. For a thread its number is a ticket, or a learned key.
    pub site: SiteKey,
    /// Creator's instruction pointer (user).
    pub ip: u64,
    /// Creator's stack pointer (user): address of the first byte of the stack that is of interest.
    pub sp: u64,
    /// Creator's frame pointer register.
    pub bp: u64,
    /// Load bias of the file whose point was passed; 0 for threads.
    pub bias: u64,
    /// Address of the first copied byte: `sp` rounded down to [`crate::settings::STACK_PIECE`].
    pub stack_start: u64,
    /// How many bytes follow.
    pub stack_len: u32,
    /// Bit 0: the copy ended at the size limit, not at the end of the mapping.
    pub flags: u32,
}

/// Bit of [`StackRecord::flags`]: there was more stack than was copied.
pub const STACK_CUT: u32 = 1;

/// One spawn or finish.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct StreamRecord {
    /// The head.
    pub header: Header,
    /// The site.
    pub site: SiteKey,
    /// One of [`crate::point::role`].
    pub role: u32,
    /// Always 0.
    pub pad: u32,
}

const _: () = assert!(size_of::<Header>() == 32);
const _: () = assert!(size_of::<ProcessRecord>() == 64);
const _: () = assert!(size_of::<StackRecord>() == 120);
const _: () = assert!(size_of::<StreamRecord>() == 80);

/// A record, decoded; it borrows from the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record<'a> {
    /// [`kind::FORK`].
    Fork(&'a ProcessRecord),
    /// [`kind::EXEC`].
    Exec(&'a ProcessRecord),
    /// [`kind::EXIT`].
    Exit(&'a ProcessRecord),
    /// [`kind::STACK`], with the copied bytes.
    Stack(&'a StackRecord, &'a [u8]),
    /// [`kind::STREAM`].
    Stream(&'a StreamRecord),
}

/// Why bytes are no record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// Fewer bytes than the kind needs.
    Short {
        /// How many there were.
        len: usize,
    },
    /// A kind this build does not know.
    UnknownKind(u32),
    /// The bytes are not aligned to 8.
    Unaligned,
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Short { len } => write!(f, "record of {len} bytes is too short for its kind"),
            Self::UnknownKind(kind) => write!(f, "unknown record kind {kind}"),
            Self::Unaligned => write!(f, "record is not aligned to 8 bytes"),
        }
    }
}

impl core::error::Error for DecodeError {}

impl<'a> Record<'a> {
    /// Decodes one record from the ring.
    ///
    /// # Errors
    ///
    /// Bytes that are too short, unaligned or of an unknown kind; nothing is read beyond `bytes`.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let head = part::<Header>(bytes)?.0;
        Ok(match head.kind {
            kind::FORK => Self::Fork(part(bytes)?.0),
            kind::EXEC => Self::Exec(part(bytes)?.0),
            kind::EXIT => Self::Exit(part(bytes)?.0),
            kind::STACK => {
                let (head, rest) = part::<StackRecord>(bytes)?;
                let len = head.stack_len as usize;
                Self::Stack(
                    head,
                    rest.get(..len).ok_or(DecodeError::Short { len: bytes.len() })?,
                )
            }
            kind::STREAM => Self::Stream(part(bytes)?.0),
            other => return Err(DecodeError::UnknownKind(other)),
        })
    }
}

/// The first `T` of `bytes`, and the rest.
fn part<T: FromBytes + Immutable + KnownLayout>(bytes: &[u8]) -> Result<(&T, &[u8]), DecodeError> {
    T::ref_from_prefix(bytes).map_err(|error| match error {
        zerocopy::ConvertError::Alignment(_) => DecodeError::Unaligned,
        zerocopy::ConvertError::Size(_) => DecodeError::Short { len: bytes.len() },
    })
}
