//! Load-time settings: `.rodata` variables of the BPF object, written by the loader before the kernel
//! freezes them, so that the verifier sees constants.

/// Symbol that holds [`crate::WIRE_VERSION`] in the object.
pub const WIRE_VERSION_SYMBOL: &str = "WIRE_VERSION";

/// Offset of a field of a kernel struct that this kernel does not have.
pub const NO_FIELD: u32 = u32::MAX;

/// Names of the variables that hold offsets of kernel struct fields (bytes from the start of the struct),
/// with the struct and the field's names, newest kernel first. The loader takes them from the kernel's BTF.
pub const FIELDS: &[(&str, &str, &[&str])] = &[
    ("O_PID", "task_struct", &["pid"]),
    ("O_TGID", "task_struct", &["tgid"]),
    ("O_FLAGS", "task_struct", &["flags"]),
    ("O_COMM", "task_struct", &["comm"]),
    ("O_LEADER", "task_struct", &["group_leader"]),
    ("O_START", "task_struct", &["start_boottime", "real_start_time"]),
    ("O_EXEC_ID", "task_struct", &["self_exec_id"]),
    ("O_PARENT", "task_struct", &["real_parent"]),
    ("O_SIGNAL", "task_struct", &["signal"]),
    ("O_STATE", "task_struct", &["__state", "state"]),
    ("O_VOLUNTARY", "task_struct", &["nvcsw"]),
    ("O_INVOLUNTARY", "task_struct", &["nivcsw"]),
    ("O_SIGNAL_LIVE", "signal_struct", &["live"]),
];

/// How many bytes of a creator's stack are copied at most (`STACK_BYTES`), a multiple of
/// [`STACK_PIECE`], at most [`STACK_CAP`].
pub const STACK_BYTES_SYMBOL: &str = "STACK_BYTES";
/// 1 in N spawns and finishes is sent as a stream record; 0 = none (`STREAM_EVERY`).
pub const STREAM_EVERY_SYMBOL: &str = "STREAM_EVERY";
/// How many stacks one process may send per second (`STACKS_PER_SEC`).
pub const STACKS_PER_SEC_SYMBOL: &str = "STACKS_PER_SEC";

/// Stack bytes are copied in pieces of this size, so that no piece crosses a page.
pub const STACK_PIECE: usize = 1024;
/// The most stack bytes a record can carry.
pub const STACK_CAP: usize = 16 * 1024;
/// The walk by learned frame sizes gives up after this many frames.
pub const WALK_FRAMES: usize = 24;

/// How many callers of libraries one process may have that are told apart.
pub const CALLERS_PER_PROCESS: u64 = 512;
/// Frames of a library's own that are looked through for its caller.
pub const LIBRARY_FRAMES: usize = 8;

/// How many rows of totals one process may have before its further sites are folded (`SITES_PER_PROCESS`).
pub const SITES_PER_PROCESS_SYMBOL: &str = "SITES_PER_PROCESS";
