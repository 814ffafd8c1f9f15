//! Who a count belongs to: a process, a runtime in it, a spawn site of that runtime.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A thread group: (tgid, start time). A bare pid is reused; this pair is not.
///
/// It is stable over `exec` and over the death of the leader: an `exec` by another thread takes over the
/// leader's pid *and* start time (kernel 6.18, `de_thread`).
#[repr(C)]
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ProcessKey {
    /// `group_leader->start_boottime`, nanoseconds of `CLOCK_BOOTTIME`.
    pub start_boottime: u64,
    /// Process id in the initial pid namespace.
    pub tgid: u32,
    /// Always 0: keeps the key free of uninitialised bytes, the kernel hashes all of them.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub pad: u32,
}

/// The key of one row of totals: a spawn site in one image of one process.
#[repr(C)]
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SiteKey {
    /// The process.
    pub process: ProcessKey,
    /// The runtime's own number of the site: see [`crate::key::site`] for the reserved ones; for
    /// tokio the virtual address of the task vtable *in the file*; for Go the address behind the `go` statement and that of
    /// the function it starts, each as a distance from the beginning of the text, in 32 bits.
    pub site: u64,
    /// Which plan (file) the site's number belongs to; 0 for kernel hooks.
    pub plan: u32,
    /// Low 32 bits of `task_struct.self_exec_id`: the image within the process. 0 for threads, which
    /// outlive nothing of an image but the one thread that called `exec`.
    pub exec_id: u32,
    /// One of [`runtime`].
    pub runtime: u32,
    /// 0: all tasks of the site. Else only the creations that one caller of a library asked for (see [`LibraryKey`]): the
    /// address to which it will return, as a distance from the beginning of the text. Such a row says which of the site's
    /// creations these were; they are in the site's own row, too.
    #[cfg_attr(feature = "serde", serde(default))]
    pub caller: u32,
}

/// A place in the code of a library that creates tasks on behalf of its callers. A site is there if the upper half of its
/// number is `statement`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct LibraryKey {
    /// The plan, as in [`SiteKey::plan`].
    pub plan: u32,
    /// The address behind the statement, as a distance from the beginning of the text.
    pub statement: u32,
}

/// How many ranges of addresses a library's code may be in.
pub const LIBRARY_RANGES: usize = 4;

/// The code of a library: the caller is the first one outside.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Library {
    /// First address of each range and the one behind its last, as distances from the beginning of the text; unused ranges
    /// are empty.
    pub ranges: [[u32; 2]; LIBRARY_RANGES],
}

/// Runtime numbers on the wire. They are labels: only the runtime's own source gives them a meaning.
pub mod runtime {
    /// OS threads.
    pub const THREAD: u32 = 1;
    /// tokio tasks.
    pub const TOKIO: u32 = 2;
    /// Goroutines.
    pub const GO: u32 = 3;
}

/// Site numbers that mean the same for every runtime. Real sites never collide with them: addresses and
/// hashes are forced above [`site::RESERVED`].
pub mod site {
    /// Sites below this number are reserved.
    pub const RESERVED: u64 = 0x100;
    /// The main thread of a process.
    pub const MAIN: u64 = 1;
    /// Alive before we attached: where it was created was not seen.
    pub const BASELINE: u64 = 2;
    /// Created after we attached, but its creation stack could not be had (rate limit).
    pub const UNRESOLVED: u64 = 3;
    /// The map of totals was full: every further site of the process is folded into this one.
    pub const OTHER: u64 = 4;
    /// A thread that the kernel itself runs in the process (io_uring, vhost): nobody called for it by name.
    pub const KERNEL_WORKER: u64 = 5;
    /// Set in the number of a *ticket*: a site number given to a single thread whose creation stack the
    /// kernel could not recognise. User space learns the stack from the ring and assigns the ticket to a site.
    pub const TICKET: u64 = 1 << 63;
}

/// The key of one learned frame size: in this image of this process, at this return address, the caller's
/// stack pointer is so many bytes above this frame's.
#[repr(C)]
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct FrameKey {
    /// The process.
    pub process: ProcessKey,
    /// Run-time address: the instruction pointer of the first frame, return addresses of the others.
    pub pc: u64,
    /// The image, as in [`SiteKey::exec_id`].
    pub exec_id: u32,
    /// Always 0.
    pub pad: u32,
}

/// The learned size that ends a walk: the site is known by the frames up to and including this one.
pub const FRAME_STOP: u32 = 0;

/// Start value of a walk's key.
pub const WALK_SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// One step of the walk's key: fold the next frame's address in. The kernel and user space share this
/// function, so that user space can tell which key a stack will get.
///
/// The walk: `key = WALK_SEED`; for each frame from the innermost: `key = walk_step(key, pc)`, stop if the
/// frame's learned size is [`FRAME_STOP`] or after [`crate::settings::WALK_FRAMES`] frames; in the end
/// [`walk_site`] makes the site number of it.
#[must_use]
#[inline(always)]
pub const fn walk_step(key: u64, pc: u64) -> u64 {
    let mixed = (key ^ pc).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 32)
}

/// The site number of a finished walk: never a ticket, never a reserved number.
#[must_use]
#[inline(always)]
pub const fn walk_site(key: u64) -> u64 {
    (key & !site::TICKET) | (1 << 62)
}

const _: () = assert!(size_of::<FrameKey>() == 32);
const _: () = assert!(size_of::<ProcessKey>() == 16 && size_of::<SiteKey>() == 40);
