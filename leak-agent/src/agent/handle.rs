//! A running agent, seen from the command line: its reports, and its end.

use super::reconcile::Reconciler;
use crate::output::alert::{AlertError, AlertHandle};
use crate::report::Report;
use crate::sys::proc::ProcError;
use crate::tape::TapeError;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

/// Why the agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No BPF: privileges or kernel features are missing. Threads can still be counted from `/proc`.
    #[error("cannot use BPF: {reason}")]
    Bpf {
        /// What is missing.
        reason: String,
        /// Whether it is a matter of privileges.
        lacks_privilege: bool,
    },
    /// `/proc` cannot be listed.
    #[error("cannot list processes")]
    Proc(#[source] ProcError),
    /// A receiver of notifications can never be told anything.
    #[error("nobody can be told about findings")]
    Alert(#[from] AlertError),
    /// What is to be recorded cannot be.
    #[error("cannot record")]
    Tape(#[source] TapeError),
    /// No thread could be started.
    #[error("cannot start the agent's thread")]
    Thread(#[source] io::Error),
}

/// A running agent. Dropping it stops the agent, too.
#[derive(Debug)]
pub struct AgentHandle {
    reports: watch::Receiver<Arc<Report>>,
    reconciler: Reconciler,
    /// `None` = there is nobody to tell about findings.
    alerts: Option<AlertHandle>,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The agent's side of the end: tells when to stop.
#[derive(Debug)]
pub struct Stop(mpsc::Receiver<()>);

impl Stop {
    /// Waits for `timeout`, or until the agent is to stop; `true` = stop.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> bool {
        !matches!(self.0.recv_timeout(timeout), Err(RecvTimeoutError::Timeout))
    }
}

impl AgentHandle {
    /// Runs `body` on a thread of its own. It sends a report per tick and returns when [`Stop`] says so;
    /// when it returns earlier, the receivers see their channel closed.
    ///
    /// # Errors
    ///
    /// [`StartError::Thread`].
    pub fn spawn<F>(first: Report, body: F) -> Result<Self, StartError>
    where
        F: FnOnce(&watch::Sender<Arc<Report>>, &Stop) + Send + 'static,
    {
        let (sender, reports) = watch::channel(Arc::new(first));
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("agent".to_owned())
            .spawn(move || body(&sender, &Stop(stopped)))
            .map_err(StartError::Thread)?;
        Ok(Self {
            reports,
            reconciler: Reconciler::new(None),
            alerts: None,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The same agent, with somebody to ask for comparisons.
    pub(super) fn with_reconciler(mut self, reconciler: Reconciler) -> Self {
        self.reconciler = reconciler;
        self
    }

    /// The same agent, with somebody who tells receivers about its findings.
    pub(super) fn with_alerts(mut self, alerts: Option<AlertHandle>) -> Self {
        self.alerts = alerts;
        self
    }

    /// Whom to ask for a comparison with the runtimes' own books.
    #[must_use]
    pub fn reconciler(&self) -> Reconciler {
        self.reconciler.clone()
    }

    /// The reports: one per interval, the newest only. The first value is there at once and is not ready.
    #[must_use]
    pub fn reports(&self) -> watch::Receiver<Arc<Report>> {
        self.reports.clone()
    }

    /// Stops the agent and waits until it has detached everything. Blocks for as long as that takes.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // Both ends take their time, and take it together.
        if let Some(alerts) = &self.alerts {
            alerts.end();
        }
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the agent's thread panicked");
        }
        drop(self.alerts.take());
    }
}

impl Drop for AgentHandle {
    fn drop(&mut self) {
        self.end();
    }
}
