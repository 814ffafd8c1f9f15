//! The BPF side, seen from user space: the only module that knows aya, and the raw `bpf(2)` calls that aya
//! 0.14 does not have (multi links for uprobes, batched map reads).
//!
//! - [`object`]: the compiled programs, part of the agent's own binary
//! - [`fields`]: where this kernel keeps the fields the programs read
//! - [`kernel`]: load, attach to the kernel's tracepoints, walk over what was there before
//! - [`attach`]: hook plans → attach points in files
//! - [`ring`]: records out of the ring
//! - [`maps`]: totals, learned frames, counters
//! - [`slots`]: the shares of hooked sites
//! - [`threads`]: the threads of one process and their registers, for dumps
//! - [`price`]: what the programs cost

pub mod attach;
mod btf;
pub mod error;
mod fields;
pub mod kernel;
pub mod maps;
mod object;
pub mod price;
pub mod ring;
mod slots;
mod syscall;
mod threads;

pub use attach::{Attached, Attacher};
pub use error::BpfError;
pub use kernel::{Hook, Kernel, Limits};
pub use threads::ThreadWalk;
