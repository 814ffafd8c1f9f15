//! The wiring: the only place that knows everyone.

mod handle;
mod proc_only;
mod self_usage;

pub use handle::{AgentHandle, StartError, Stop};
pub use self_usage::SelfUsage;

use crate::config::AgentConfig;

/// Starts the agent on threads of its own and returns at once; the first complete report comes later
/// (`report.agent.ready`).
///
/// # Errors
///
/// What keeps the agent from doing anything at all: missing privileges or kernel features (unless
/// [`AgentConfig::bpf`] is off), an unreadable `/proc`.
pub fn start(config: AgentConfig) -> Result<AgentHandle, StartError> {
    if config.bpf {
        return Err(StartError::Bpf {
            reason: "this build has no BPF programs".to_owned(),
            lacks_privilege: false,
        });
    }
    proc_only::start(config, "BPF is switched off".to_owned())
}
