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
    /// `g.waiting`: the first `sudog`.
    waiting: usize = [328, 312, 312, 320, 320, 312, 320, 320];
    /// `g.labels`, where they are a slice of pairs of texts; before 1.24 they were a map.
    labels: Option<usize> = [None, None, None, None, Some(352), Some(344), Some(352), Some(352)];
    /// `g.sleepWhen`: when a sleeper is to wake.
    sleep_when: Option<usize> = [None, None, None, Some(368), Some(368), Some(360), Some(368), Some(368)];

    /// `m.lockedg`.
    m_lockedg: u64 = [352, 352, 344, 344, 368, 360, 384, 384];

    /// `sudog.isSelect`: one byte.
    sudog_select: usize = [52, 52, 52, 52, 52, 52, 60, 60];
    /// `sudog.waitlink`.
    sudog_link: usize = [64, 64, 64, 64, 64, 64, 72, 72];
    /// `sudog.c`: the channel's address, which from 1.26 on is the second word of it.
    sudog_channel: usize = [80, 80, 80, 80, 80, 80, 96, 96];
    /// `hchan.closed`: 32 bits; `qcount` and `dataqsiz` are the first two words.
    channel_closed: usize = [28, 28, 28, 28, 28, 28, 28, 28];

    /// `schedt.goidgen`.
    goidgen: u64 = [0, 0, 0, 0, 0, 0, 0, 0];
    /// `schedt.ngsys`.
    ngsys: u64 = [72, 72, 72, 72, 72, 80, 96, 96];
    /// `schedt.gFree.lock`.
    free_lock: u64 = [152, 160, 160, 160, 160, 168, 184, 184];
    /// The numbers of free `g`s, 32 bits each: `schedt.gFree.n`, from 1.25 `gFree.stack.size` and `gFree.noStack.size`.
    free: [Option<u64>; 2] = [
        [Some(176), None], [Some(184), None], [Some(184), None], [Some(184), None], [Some(184), None],
        [Some(184), Some(200)], [Some(200), Some(216)], [Some(200), Some(216)],
    ];

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

    /// All that are known, each as if it were that of a version that nobody knows: what numbers mean is left out.
    pub(super) fn of_unknown() -> impl Iterator<Item = Self> {
        LAYOUTS.iter().map(Self::without_words)
    }

    /// The newest, as in [`Self::of_unknown`].
    pub(super) fn newest_of_unknown() -> Self {
        column(LAYOUTS.len() - 1).without_words()
    }

    fn without_words(&self) -> Self {
        Self {
            labels: None,
            reasons: wait_reason::UNKNOWN,
            ..*self
        }
    }

    /// The runtime's word for what a goroutine waits for; `None` = not known.
    pub(super) fn word(&self, reason: u8) -> Option<&'static str> {
        let word = self.reasons.get(usize::from(reason)).copied();
        word.filter(|word| !word.is_empty())
    }

    /// The same places for all that counts are made of. What is only told besides is left out of the result where the two
    /// differ.
    pub(super) fn agreed(&self, other: &Self) -> Option<Self> {
        let same = |one: Option<usize>, other: Option<usize>| one.filter(|_| one == other);
        let agreed = Self {
            sleep_when: same(self.sleep_when, other.sleep_when),
            parent: same(self.parent, other.parent),
            ..*self
        };
        let nameless = |of: &Self| Self {
            minor: 0,
            ends_in: "",
            wrapper: 0,
            gofunc: 0,
            m_lockedg: 0,
            sleep_when: None,
            parent: None,
            ..*of
        };
        (nameless(self) == nameless(other)).then_some(agreed)
    }
}
