//! What a uprobe does at one attach point: the value behind its cookie.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One attach point. The cookie of the point is its index in the map of points.
///
/// The program computes the site like this:
///
/// - with [`from::CONSTANT`] it is `site`
/// - with [`from::REGISTER`], register `reg` minus the load bias
/// - with [`from::HEADER`], `p = reg`; `derefs` times `p = *p`; then `*(p + field)` minus the load bias
/// - with [`from::PAIR`], two addresses that the runtime's own program knows where to find, each minus the load bias and
///   minus `site`: the first in the upper half, the second in the lower. Where tasks end, `field` is where the first is in the
///   task's header; where they are created, it is where their creator's header has its saved stack pointer, behind which
///   follows the instruction pointer, and `reg` words behind it the frame pointer
///
/// The load bias is the run-time address of the probed instruction minus `vaddr`, so that no per-process
/// table is needed.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Point {
    /// Virtual address, in the file, of the instruction the probe sits on.
    pub vaddr: u64,
    /// The site, for [`from::CONSTANT`]; what addresses are counted from, for [`from::PAIR`].
    pub site: u64,
    /// The plan it belongs to: index into the map of plans.
    pub plan: u32,
    /// One of [`crate::key::runtime`].
    pub runtime: u32,
    /// Byte offset of a field of a task's header, for [`from::HEADER`] (it names the site) and [`from::PAIR`].
    pub field: u32,
    /// One of [`role`].
    pub role: u8,
    /// One of [`from`].
    pub from: u8,
    /// One of [`reg`]; for [`from::PAIR`] see above.
    pub reg: u8,
    /// How often the register is dereferenced before the field is read: 0 or 1.
    pub derefs: u8,
}

/// What passing a point means.
pub mod role {
    /// A task was created.
    pub const SPAWN: u8 = 1;
    /// A task ended.
    pub const FINISH: u8 = 2;
}

/// Where the site's number comes from.
pub mod from {
    /// Known when the plan was made.
    pub const CONSTANT: u8 = 1;
    /// A register holds the run-time address.
    pub const REGISTER: u8 = 2;
    /// A field of the task header holds it.
    pub const HEADER: u8 = 3;
    /// Two addresses.
    pub const PAIR: u8 = 4;
}

/// Register numbers: the order of x86-64 machine code (rax = 0 … r15 = 15).
pub mod reg {
    /// How many there are.
    pub const COUNT: u8 = 16;
}

/// One plan: one file with its points. Nothing is counted before `armed` is 1.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PlanState {
    /// 1 = count.
    pub armed: u32,
    /// How many places in libraries it has (see [`crate::key::LibraryKey`]).
    pub libraries: u32,
}

const _: () = assert!(size_of::<Point>() == 32 && size_of::<PlanState>() == 8);
