//! The programs, one file per concept.

mod go;
mod process;
mod thread;
mod tokio;
