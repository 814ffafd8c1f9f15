//! The tokio source: which code of an executable creates and finishes tokio tasks.

mod apart;
pub mod books;
mod code;
mod finish;
#[cfg(test)]
mod fixture;
mod flow;
mod frame;
pub mod names;
mod owner;
mod plan;
mod reference;
mod scan;
mod snap;
mod spawn;
mod stack_code;
mod transfer;
mod unoptimised;
pub mod version;
pub mod vtable;

use super::{Inspection, Source, StackCode};
use crate::elf::Elf;
use crate::types::Runtime;
use leak_agent_common::key::runtime;

/// tokio tasks.
pub const RUNTIME: Runtime = Runtime {
    wire: runtime::TOKIO,
    label: "tokio",
};

/// The source.
pub struct Tokio;

impl Source for Tokio {
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
