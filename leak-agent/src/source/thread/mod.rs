//! The thread source: what an OS thread is, and which code created it.

use crate::types::Runtime;
use leak_agent_common::key::runtime;

/// OS threads.
pub const RUNTIME: Runtime = Runtime {
    wire: runtime::THREAD,
    label: "thread",
};
