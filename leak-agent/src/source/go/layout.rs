//! What differs between the versions of Go: where fields are, and what numbers mean.
//!
//! Offsets in bytes, measured in executables of each version on linux/amd64: default, cgo and PIE; from patch release to
//! patch release they did not change.

use super::wait_reason;

/// The oldest and the newest version whose layout is known.
pub(super) const OLDEST: u32 = 19;
pub(super) const NEWEST: u32 = 27;

macro_rules! layouts {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $values:expr;)*) => {
        /// Where things are in one version.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) struct Layout {
            $($(#[$doc])* pub(super) $field: $type,)*
        }

        const fn column(index: usize) -> Layout {
            Layout {
                $($field: {
                    const VALUES: [$type; 8] = $values;
                    VALUES[index]
                },)*
            }
        }
    };
}

layouts! {
    /// The 24 of 1.24.
    minor: u32 = [19, 21, 22, 23, 24, 25, 26, 27];
    /// The function in which every goroutine ends, on the stack of its thread.
    ends_in: &'static str = [
        "runtime.goexit0", "runtime.goexit0", "runtime.gdestroy", "runtime.gdestroy", "runtime.gdestroy",
        "runtime.gdestroy", "runtime.gdestroy", "runtime.gdestroy",
    ];
    /// How the table of functions marks what the compiler made to call something else (`funcID_wrapper`).
    wrapper: u8 = [21, 21, 22, 22, 22, 23, 23, 23];
    /// `moduledata.gofunc`.
    gofunc: u64 = [304, 320, 320, 320, 320, 320, 320, 344];

    /// `g.sched.g`; `g.sched.sp` and `g.sched.pc` are 16 and 8 bytes before it.
    sched_g: usize = [72, 72, 72, 72, 72, 72, 72, 72];
    /// `g.sched.bp`.
    sched_bp: usize = [104, 104, 104, 104, 104, 96, 96, 96];
    /// `g.syscallsp`; `g.syscallpc` follows.
    syscallsp: usize = [112, 112, 112, 112, 112, 104, 104, 104];
    /// `g.atomicstatus`.
    status: usize = [144, 144, 144, 152, 152, 144, 144, 144];
    /// `g.goid`.
    goid: usize = [152, 152, 152, 160, 160, 152, 152, 152];
    /// `g.waitsince`.
    waitsince: usize = [168, 168, 168, 176, 176, 168, 168, 168];
    /// `g.waitreason`, one byte.
    waitreason: usize = [176, 176, 176, 184, 184, 176, 176, 176];
    /// `g.lockedm`.
    lockedm: usize = [232, 208, 208, 216, 216, 208, 208, 208];
    /// `g.parentGoid`.
    parent: Option<usize> = [
        None, Some(272), Some(272), Some(280), Some(280), Some(272), Some(280), Some(280),
    ];
    /// `g.gopc`: behind the `go` statement. `g.startpc` is 16 bytes on.
    gopc: u32 = [296, 280, 280, 288, 288, 280, 288, 288];

    /// `schedt.goidgen`.
    goidgen: u64 = [0, 0, 0, 0, 0, 0, 0, 0];
    /// `schedt.ngsys`.
    ngsys: u64 = [72, 72, 72, 72, 72, 80, 96, 96];
    /// `schedt.gFree.lock`.
    free_lock: u64 = [152, 160, 160, 160, 160, 168, 184, 184];
    /// The numbers of free `g`s, 32 bits each: `schedt.gFree.n`, from 1.25 `gFree.stack.size` and `gFree.noStack.size`.
    free: &'static [u64] = [&[176], &[184], &[184], &[184], &[184], &[184, 200], &[200, 216], &[200, 216]];

    /// `p.goidcache`; `p.goidcacheend` follows.
    p_goidcache: u64 = [384, 384, 384, 376, 376, 376, 384, 384];
    /// `p.gFree.n`, from 1.25 `p.gFree.size`: 32 bits.
    p_free: u64 = [2472, 2472, 2472, 2464, 2464, 2464, 2472, 2472];

    /// What a waiting goroutine waits for, by `g.waitreason`.
    reasons: &'static [&'static str] = [
        wait_reason::GO_19, wait_reason::GO_21, wait_reason::GO_22, wait_reason::GO_23, wait_reason::GO_24,
        wait_reason::GO_25, wait_reason::GO_26, wait_reason::GO_26,
    ];
}

static LAYOUTS: [Layout; 8] = [
    column(0),
    column(1),
    column(2),
    column(3),
    column(4),
    column(5),
    column(6),
    column(7),
];

impl Layout {
    /// Where the registers of a goroutine that does not run are: its stack pointer, and its frame pointer.
    pub(super) fn saved(&self) -> (u32, u32) {
        let offset = |field: usize| u32::try_from(field).unwrap_or(u32::MAX);
        (offset(self.sched_g.saturating_sub(16)), offset(self.sched_bp))
    }

    /// That of a version; `None` = not known.
    pub(super) fn of(minor: u32) -> Option<&'static Self> {
        LAYOUTS.iter().find(|layout| layout.minor == minor)
    }
}
