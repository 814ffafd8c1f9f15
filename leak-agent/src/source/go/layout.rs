//! What differs between the versions of Go: where fields are.
//!
//! Offsets in bytes, measured in executables of the versions named on linux/amd64, default, cgo and PIE; from patch
//! release to patch release they did not change.

/// The oldest and the newest version whose layout is known.
pub(super) const OLDEST: u32 = 19;
pub(super) const NEWEST: u32 = 27;

/// Where things are in one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The 24 of 1.24.
    pub(super) minor: u32,
    /// `g.gopc`: behind the `go` statement. `g.startpc` is 16 bytes on.
    pub(super) gopc: u32,
    /// `moduledata.gofunc`.
    pub(super) gofunc: u64,
    /// The function in which every goroutine ends, on the stack of its thread.
    pub(super) ends_in: &'static str,
    /// How the table of functions marks what the compiler made to call something else (`funcID_wrapper`).
    pub(super) wrapper: u8,
}

const fn of(minor: u32, gopc: u32, gofunc: u64, ends_in: &'static str, wrapper: u8) -> Layout {
    Layout {
        minor,
        gopc,
        gofunc,
        ends_in,
        wrapper,
    }
}

const LAYOUTS: &[Layout] = &[
    of(19, 296, 304, "runtime.goexit0", 21),
    of(21, 280, 320, "runtime.goexit0", 21),
    of(22, 280, 320, "runtime.gdestroy", 22),
    of(23, 288, 320, "runtime.gdestroy", 22),
    of(24, 288, 320, "runtime.gdestroy", 22),
    of(25, 280, 320, "runtime.gdestroy", 23),
    of(26, 288, 320, "runtime.gdestroy", 23),
    of(27, 288, 344, "runtime.gdestroy", 23),
];

impl Layout {
    /// That of a version; `None` = not known.
    pub(super) fn of(minor: u32) -> Option<&'static Self> {
        LAYOUTS.iter().find(|layout| layout.minor == minor)
    }
}
