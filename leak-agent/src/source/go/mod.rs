//! The Go source: which code of an executable begins and ends goroutines, and what the `go` statements are called.

mod address;
mod books;
pub mod build_info;
mod creation;
#[cfg(any(test, fuzzing))]
pub mod fixture;
mod goroutine;
mod hook;
mod layout;
pub mod module;
mod names;
pub mod pclntab;
mod plan;
mod scheduler;
mod stack_code;
#[cfg(test)]
mod tests;
mod threads;
mod wait_reason;

use super::{Inspection, Source, StackCode};
use crate::elf::Elf;
use crate::types::Runtime;
use leak_agent_common::key::runtime;

/// Goroutines.
pub const RUNTIME: Runtime = Runtime {
    wire: runtime::GO,
    label: "go",
};

/// The source.
pub struct Go;

impl Source for Go {
    fn runtime(&self) -> Runtime {
        RUNTIME
    }

    fn inspect(&self, elf: &Elf<'_>) -> Inspection {
        plan::inspect(elf)
    }

    fn stack_code(&self, elf: &Elf<'_>) -> Option<StackCode> {
        stack_code::find(elf)
    }
}
