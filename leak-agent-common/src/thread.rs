//! What a walk over the threads of one process tells of each: one record after the other, in the kernel's order.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Symbol of the process that the walk is about (`ONLY_PROCESS`): its pid.
pub const ONLY_PROCESS_SYMBOL: &str = "ONLY_PROCESS";

/// A thread as the kernel has it, and where its program goes on. Registers are those with which it entered the kernel: of a thread
/// that sleeps they are right, of one that runs they are those of some moment before.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ThreadState {
    /// Its id.
    pub tid: u32,
    /// `task_struct.__state`: 0 = it runs, or may.
    pub state: u32,
    /// `task_struct.flags`.
    pub flags: u32,
    /// 0.
    pub pad: u32,
    /// How often it gave up its CPU.
    pub voluntary: u64,
    /// How often its CPU was taken from it.
    pub involuntary: u64,
    /// When it began: nanoseconds of `CLOCK_BOOTTIME`.
    pub start_boottime: u64,
    /// Instruction pointer.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer register.
    pub bp: u64,
    /// Number of the system call; all ones = it entered the kernel otherwise.
    pub call: u64,
    /// Its name, filled up with zeros.
    pub comm: [u8; 16],
}

const _: () = assert!(size_of::<ThreadState>() == 88 && align_of::<ThreadState>() == 8);
