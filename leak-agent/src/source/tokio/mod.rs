//! The tokio source: which code of an executable creates and finishes tokio tasks.

pub mod names;
pub mod vtable;

use super::{Inspection, Source};
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

    fn inspect(&self, _elf: &Elf<'_>) -> Inspection {
        Inspection::NotMine
    }
}
