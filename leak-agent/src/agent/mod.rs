//! The wiring: the only place that knows everyone.

mod attachments;
mod follow;
mod handle;
mod message;
mod proc_only;
mod ring;
mod self_usage;
mod stacks;

pub use handle::{AgentHandle, StartError, Stop};
pub use self_usage::SelfUsage;

use crate::bpf::BpfError;
use crate::config::AgentConfig;

/// Starts the agent on threads of its own and returns at once; the first complete report comes later
/// (`report.agent.ready`).
///
/// # Errors
///
/// What keeps the agent from doing anything at all: missing privileges or kernel features (unless
/// [`AgentConfig::bpf`] is off), an unreadable `/proc`.
pub fn start(config: AgentConfig) -> Result<AgentHandle, StartError> {
    if !config.bpf {
        return proc_only::start(config, "BPF is switched off".to_owned());
    }
    match follow::start(config.clone()) {
        Err(StartError::Bpf { reason, .. }) => {
            tracing::warn!(
                reason,
                "no BPF: threads are counted from /proc, tasks of other runtimes are not seen"
            );
            proc_only::start(config, reason)
        }
        started => started,
    }
}

/// Why BPF cannot be used, for people.
fn why_no_bpf(error: &BpfError) -> StartError {
    StartError::Bpf {
        reason: chain(error),
        lacks_privilege: true,
    }
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
