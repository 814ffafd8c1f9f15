//! Load-time settings: the loader writes them, the kernel freezes them, the verifier sees constants.

use leak_agent_common::settings::NO_FIELD;

/// Version of the wire contract, for the loader to compare.
#[used]
#[unsafe(no_mangle)]
static WIRE_VERSION: u32 = leak_agent_common::WIRE_VERSION;

macro_rules! settings {
    ($($(#[$doc:meta])* $symbol:ident: $type:ty = $value:expr => $getter:ident,)*) => {$(
        #[unsafe(no_mangle)]
        static $symbol: $type = $value;

        $(#[$doc])*
        #[inline(always)]
        pub(crate) fn $getter() -> $type {
            // SAFETY: a valid static; volatile because the loader changes it behind the compiler's back.
            unsafe { core::ptr::read_volatile(&raw const $symbol) }
        }
    )*};
}

settings! {
    /// `task_struct.pid`.
    O_PID: u32 = NO_FIELD => o_pid,
    /// `task_struct.tgid`.
    O_TGID: u32 = NO_FIELD => o_tgid,
    /// `task_struct.flags`.
    O_FLAGS: u32 = NO_FIELD => o_flags,
    /// `task_struct.comm`.
    O_COMM: u32 = NO_FIELD => o_comm,
    /// `task_struct.group_leader`.
    O_LEADER: u32 = NO_FIELD => o_leader,
    /// `task_struct.start_boottime`.
    O_START: u32 = NO_FIELD => o_start,
    /// `task_struct.self_exec_id`.
    O_EXEC_ID: u32 = NO_FIELD => o_exec_id,
    /// `task_struct.signal`.
    O_SIGNAL: u32 = NO_FIELD => o_signal,
    /// `task_struct.__state`.
    O_STATE: u32 = NO_FIELD => o_state,
    /// `task_struct.nvcsw`.
    O_VOLUNTARY: u32 = NO_FIELD => o_voluntary,
    /// `task_struct.nivcsw`.
    O_INVOLUNTARY: u32 = NO_FIELD => o_involuntary,
    /// The process whose threads are told; 0 = none.
    ONLY_PROCESS: u32 = 0 => only_process,
    /// `signal_struct.live`.
    O_SIGNAL_LIVE: u32 = NO_FIELD => o_signal_live,
    /// Most stack bytes to copy.
    STACK_BYTES: u32 = 8192 => stack_bytes,
    /// Stacks one process may send per second.
    STACKS_PER_SEC: u32 = 64 => stacks_per_sec,
    /// Rows of totals one process may have.
    SITES_PER_PROCESS: u32 = 4096 => sites_per_process,
    /// 1 in N hits is sent as a stream record; 0 = none.
    STREAM_EVERY: u32 = 0 => stream_every,
}
