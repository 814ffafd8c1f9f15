//! The operating system: what of it the agent uses, one concept per file.
//!
//! Everything under `/proc` and every file of another process is untrusted: reads are bounded and total. A
//! process that vanished is `Ok(None)`, never an error.

pub mod call;
pub mod caps;
pub mod clock;
pub mod file;
pub mod heap;
pub mod limits;
pub mod map;
pub mod maps;
pub mod memory;
pub mod present;
pub mod proc;
