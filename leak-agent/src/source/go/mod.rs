//! The Go source: which code of an executable begins and ends goroutines, and what the `go` statements are called.

mod address;
mod books;
pub mod build_info;
mod callback;
mod creation;
mod debug_info;
mod detail;
#[cfg(any(test, fuzzing))]
pub mod fixture;
mod goroutine;
mod hook;
mod inferred;
mod known;
mod layout;
mod library;
pub mod module;
mod names;
pub mod pclntab;
mod plan;
mod proof;
mod scheduler;
mod stack_code;
mod statement;
#[cfg(test)]
mod tests;
mod threads;
mod traceback;
mod unwind;
mod wait_reason;
mod waits;

use super::{Inspection, Source, StackCode};
use crate::elf::{Elf, Image};
use crate::types::Runtime;
use leak_agent_common::key::runtime;

/// Goroutines.
pub const RUNTIME: Runtime = Runtime {
    wire: runtime::GO,
    label: "go",
};

/// The tables of a Go executable by which its functions, lines and frames are known: for names of addresses, and for walks
/// through the stacks of goroutines. `None` = it is none, or one whose layout is not known.
#[must_use]
pub fn module(elf: &Elf<'_>) -> Option<module::Module> {
    let image = Image::parse(elf).ok()?;
    let build_info::BuildInfo::Version(version) = build_info::BuildInfo::find(&image)? else {
        return None;
    };
    known::Known::of(&image, version.minor).module(&image).ok()
}

/// The source.
pub struct Go;

impl Source for Go {
    fn runtime(&self) -> Runtime {
        RUNTIME
    }

    fn inspect(&self, elf: &Elf<'_>) -> Inspection {
        plan::inspect(elf)
    }

    fn has_stacks(&self) -> bool {
        true
    }

    fn stack_code(&self, elf: &Elf<'_>) -> Option<StackCode> {
        stack_code::find(elf)
    }
}
