//! The programs, one file per concept.

mod go;
mod process;
mod registers;
mod thread;
mod tokio;
