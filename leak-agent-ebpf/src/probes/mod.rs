//! The programs, one file per concept.

mod process;
mod thread;
mod tokio;
