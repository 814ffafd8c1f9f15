//! The wiring: the only place that knows everyone.

mod attachments;
mod books;
mod follow;
mod handle;
mod judge;
mod limits;
mod line;
mod message;
mod names;
mod pace;
mod proc_only;
mod reconcile;
mod replay;
mod ring;
mod self_usage;
mod stacks;
mod watched;

pub use handle::{AgentHandle, StartError, Stop};
pub use reconcile::{Comparison, Reconciler};
pub use replay::Replay;
pub use self_usage::SelfUsage;

use crate::bpf::BpfError;
use crate::bpf::error::chain;
use crate::config::AgentConfig;
use crate::output::alert::{AlertBooks, Alerts};
use crate::sys::caps::{self, Requirement};

/// How threads are followed, for people.
const BY_KERNEL: &str = "kernel tracepoints";
const BY_PROC: &str = "/proc/PID/stat";
/// All of these.
const EVIDENCES: [&str; 2] = [BY_KERNEL, BY_PROC];

/// Starts the agent on threads of its own and returns at once; the first complete report comes later
/// (`report.agent.ready`).
///
/// # Errors
///
/// What keeps the agent from doing anything at all: missing privileges or kernel features (unless
/// [`AgentConfig::bpf`] is off), an unreadable `/proc`, a receiver of notifications that can never be told anything.
pub fn start(config: AgentConfig) -> Result<AgentHandle, StartError> {
    // First what can be wrong in the configuration.
    let alerts = Alerts::prepare(&config.notify)?;
    let handle = follow(config, &alerts.books())?;
    let told = alerts.start(handle.reports())?;
    Ok(handle.with_alerts(told))
}

fn follow(config: AgentConfig, alerts: &AlertBooks) -> Result<AgentHandle, StartError> {
    if !config.bpf {
        return proc_only::start(config, "BPF is switched off".to_owned(), alerts.clone());
    }
    match follow::start(config.clone(), alerts.clone()) {
        Err(StartError::Bpf { reason, .. }) => {
            tracing::warn!(
                reason,
                "no BPF: threads are counted from /proc, tasks of other runtimes from memory"
            );
            proc_only::start(config, reason, alerts.clone())
        }
        started => started,
    }
}

/// Why BPF cannot be used, for people: what is missing, if the machine says so, else what failed.
fn why_no_bpf(error: &BpfError) -> StartError {
    let missing: Vec<Requirement> = caps::survey()
        .into_iter()
        .filter(Requirement::is_missing)
        .collect();
    for requirement in &missing {
        let Requirement {
            name,
            needed_for,
            hint,
            ..
        } = requirement;
        tracing::warn!(name, needed_for, hint, "missing");
    }
    let names: Vec<&str> = missing.iter().map(|requirement| requirement.name).collect();
    let failed = chain(error);
    StartError::Bpf {
        lacks_privilege: names.iter().any(|name| name.starts_with("CAP_")),
        reason: if names.is_empty() {
            failed
        } else {
            format!("missing: {} ({failed})", names.join(", "))
        },
    }
}
