//! Unwinding: from copied bytes to frames, and how large each frame is.

use super::raw::RawStack;
use super::table::{ModuleCache, ModuleTable};
use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64};
use framehop::{FrameAddress, Unwinder as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// No stack is followed further: what is asked of it is near the top, and a crafted one must end.
pub const MAX_FRAMES: usize = 512;
/// A frame larger than this is taken for an error.
const MAX_FRAME: u64 = 64 << 20;

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The instruction pointer of the first frame, the return address of the others: the very values that
    /// the kernel's walk sees.
    pub pc: u64,
    /// The stack pointer in this frame at `pc`.
    pub sp: u64,
    /// The caller's stack pointer minus `sp`, if the kernel's walk can use it: the caller's `pc` lies in the
    /// 8 bytes below the caller's `sp`. `None` in the last frame and where it does not lie there.
    pub size: Option<u32>,
    /// `pc` is no return address: a signal came there.
    pub interrupted: bool,
}

impl Frame {
    /// Where to look for the code that this frame executes: a return address may be the first instruction
    /// of the next function. `index` is the frame's place, from the innermost.
    #[must_use]
    pub fn lookup(&self, index: usize) -> u64 {
        self.pc.saturating_sub(u64::from(self.is_called(index)))
    }

    /// Whether `pc` is a return address. `index`: as for [`Self::lookup`].
    #[must_use]
    pub fn is_called(&self, index: usize) -> bool {
        index > 0 && !self.interrupted
    }
}

/// Why there are no more frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The first function of the thread was reached.
    Complete,
    /// The copied bytes ended before the stack did.
    Cut,
    /// The last frame's code has no unwind data (Go, just-in-time compilers, some C libraries).
    NoUnwindInfo,
    /// The stack and the unwind data contradict each other.
    Error(&'static str),
}

/// An unwound stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwound {
    /// The frames, innermost first; never empty.
    pub frames: Vec<Frame>,
    /// Why they end.
    pub end: End,
}

impl Unwound {
    /// The sizes that the kernel's walk can learn of this stack: (pc, size).
    pub fn sizes(&self) -> impl Iterator<Item = (u64, u32)> {
        self.frames
            .iter()
            .filter_map(|frame| Some((frame.pc, frame.size?)))
    }
}

/// Unwinds a stack by the unwind data of its modules: no guess by frame pointers, which would find frames
/// that are none. Takes microseconds per frame, and blocks when a file is new.
#[must_use]
pub fn unwind(table: &mut ModuleTable, cache: &mut ModuleCache, stack: &RawStack) -> Unwound {
    let mut frames = vec![Frame {
        pc: stack.ip,
        sp: stack.sp,
        size: None,
        interrupted: false,
    }];
    // The unwind data is other people's: should framehop or gimli panic over it, the stack ends there.
    let walk = AssertUnwindSafe(|| walk(table, cache, stack, &mut frames));
    let end = catch_unwind(walk).unwrap_or(End::Error("the unwinder panicked"));
    Unwound { frames, end }
}

/// The registers with which a signal found a thread, as the kernel puts them on the stack before the handler runs.
struct Saved {
    ip: u64,
    sp: u64,
    bp: u64,
}

impl Saved {
    /// `sp`: the stack pointer when the handler has returned; the `ucontext` of x86-64 is there (arch/x86/include/uapi/asm,
    /// `sigcontext.h` and `ucontext.h`).
    fn read(stack: &RawStack, sp: u64) -> Option<Self> {
        let word = |offset: u64| stack.word(sp.checked_add(offset)?);
        Some(Self {
            bp: word(120)?,
            sp: word(160)?,
            ip: word(168)?,
        })
    }
}

fn walk(table: &mut ModuleTable, cache: &mut ModuleCache, stack: &RawStack, frames: &mut Vec<Frame>) -> End {
    let mut rules = CacheX86_64::<framehop::MayAllocateDuringUnwind>::new();
    let mut registers = UnwindRegsX86_64::new(stack.ip, stack.sp, stack.bp);
    loop {
        let index = frames.len() - 1;
        let Some(frame) = frames.last_mut() else {
            return End::Error("no first frame");
        };
        let (pc, sp) = (frame.pc, frame.sp);
        let Some(module) = table.module(frame.lookup(index), cache) else {
            return End::NoUnwindInfo;
        };
        if !module.file.describes(module.vaddr(frame.lookup(index))) {
            // The C library's wrapper of the system call ends its description before the call, because in
            // the child it would be wrong; it has nothing on the stack but its return address.
            let caller = stack.word(sp).filter(|_| index == 0);
            let Some(caller) =
                caller.filter(|caller| table.module(caller.saturating_sub(1), cache).is_some())
            else {
                return End::NoUnwindInfo;
            };
            frame.size = Some(8);
            registers.set_sp(sp.saturating_add(8));
            frames.push(Frame {
                pc: caller,
                sp: sp.saturating_add(8),
                size: None,
                interrupted: false,
            });
            continue;
        }
        if module.file.is_trampoline(module.vaddr(frame.lookup(index))) {
            let Some(saved) = Saved::read(stack, sp) else {
                return End::Cut;
            };
            if saved.sp <= sp {
                return End::Error("a signal came on another stack");
            }
            if frames.len() >= MAX_FRAMES {
                return End::Error("too many frames");
            }
            registers = UnwindRegsX86_64::new(saved.ip, saved.sp, saved.bp);
            frames.push(Frame {
                pc: saved.ip,
                sp: saved.sp,
                size: None,
                interrupted: true,
            });
            continue;
        }
        let Some(unwinder) = module.file.unwinder() else {
            return End::NoUnwindInfo;
        };
        let vaddr = module.vaddr(pc);
        let address = if !frame.is_called(index) {
            FrameAddress::from_instruction_pointer(vaddr)
        } else {
            let Some(address) = FrameAddress::from_return_address(vaddr) else {
                return End::Error("a return address is the first of its file");
            };
            address
        };
        registers.set_ip(vaddr);
        let mut missing = None;
        let mut read = |address| {
            let word = stack.word(address);
            if word.is_none() {
                missing = Some(address);
            }
            word.ok_or(())
        };
        let caller = match unwinder.unwind_frame(address, &mut registers, &mut rules, &mut read) {
            Ok(Some(caller)) => caller,
            Ok(None) => return End::Complete,
            Err(framehop::Error::CouldNotReadStack(_)) => {
                return match missing {
                    Some(address) if address >= stack.end().saturating_sub(7) && address >= sp => End::Cut,
                    _ => End::Error("a register was saved outside of the stack"),
                };
            }
            Err(framehop::Error::FramepointerUnwindingMovedBackwards) => {
                return End::Error("the frame pointer points backwards");
            }
            Err(framehop::Error::DidNotAdvance) => return End::Error("a frame is its own caller"),
            Err(framehop::Error::IntegerOverflow) => return End::Error("an address overflows"),
            Err(framehop::Error::ReturnAddressIsNull) => return End::Error("a return address is null"),
        };
        let caller_sp = registers.sp();
        let size = match caller_sp.checked_sub(sp) {
            Some(size @ 1..=MAX_FRAME) => u32::try_from(size).ok(),
            _ => return End::Error("the stack pointer moved backwards or too far"),
        };
        let plain = caller_sp.checked_sub(8).and_then(|slot| stack.word(slot)) == Some(caller);
        frame.size = size.filter(|_| plain);
        if frames.len() >= MAX_FRAMES {
            return End::Error("too many frames");
        }
        frames.push(Frame {
            pc: caller,
            sp: caller_sp,
            size: None,
            interrupted: false,
        });
    }
}
