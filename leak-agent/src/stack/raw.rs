//! A stack as it was copied: three registers and bytes.

use leak_agent_common::record::{STACK_CUT, StackRecord};

/// The copied part of a thread's user stack, with the registers that unwinding starts from.
#[derive(Clone, PartialEq, Eq)]
pub struct RawStack {
    /// Instruction pointer.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer register; holds anything in code built without frame pointers.
    pub bp: u64,
    /// Address of the first of `bytes`; at or below `sp`.
    pub start: u64,
    /// The copied bytes.
    pub bytes: Vec<u8>,
    /// The copy ended at a size limit, not at the end of the stack.
    pub cut: bool,
}

impl RawStack {
    /// The stack of a ring record.
    #[must_use]
    pub fn from_record(record: &StackRecord, bytes: &[u8]) -> Self {
        Self {
            ip: record.ip,
            sp: record.sp,
            bp: record.bp,
            start: record.stack_start,
            bytes: bytes.to_vec(),
            cut: record.flags & STACK_CUT != 0,
        }
    }

    /// The 8 bytes at `address`; `None` outside of the copy.
    #[must_use]
    pub fn word(&self, address: u64) -> Option<u64> {
        let from = usize::try_from(address.checked_sub(self.start)?).ok()?;
        let bytes = self.bytes.get(from..from.checked_add(8)?)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    /// Address behind the last copied byte.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.bytes.len() as u64)
    }
}

impl std::fmt::Debug for RawStack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "RawStack {{ ip: {:#x}, sp: {:#x}, bp: {:#x}, {} bytes from {:#x}, cut: {} }}",
            self.ip,
            self.sp,
            self.bp,
            self.bytes.len(),
            self.start,
            self.cut
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words are read by address; one that is not wholly in the copy is none.
    #[test]
    fn word_at_the_edges_of_the_copy_is_bounded() {
        let stack = RawStack {
            ip: 0,
            sp: 0x1000,
            bp: 0,
            start: 0x1000,
            bytes: (0..16).collect(),
            cut: false,
        };
        assert_eq!(stack.word(0x1000), Some(0x0706_0504_0302_0100));
        assert_eq!(stack.word(0x1008), Some(0x0f0e_0d0c_0b0a_0908));
        assert_eq!(stack.word(0x1009), None);
        assert_eq!(stack.word(0xfff), None);
        assert_eq!(stack.word(u64::MAX), None);
        assert_eq!(stack.end(), 0x1010);
    }
}
