//! The thread: takes each report, has every ledger look at it, fills the queues, and lets the workers work.

use super::AlertError;
use super::books::AlertBooks;
use super::intake::{self, findings};
use super::ledger::{Grouping, Head, Ledger, Moment};
use super::notification::{News, Notification};
use super::queue::Queue;
use super::render::{alertmanager, line};
use super::send::Sender;
use super::worker::{Line, Worker};
use crate::config::NotifyConfig;
use crate::config::notify::{ReceiverConfig, Target};
use crate::report::Report;
use crate::sys::clock;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// At the end, what waits is tried for so long; the rest stays on disk.
const LAST_ATTEMPTS: Duration = Duration::from_millis(800);
/// Look-ups of names that may run at the same time: they cannot be cut short.
const BLOCKING_THREADS: usize = 8;
/// Name of the receiver that is there unless it is switched off, or a receiver of the kind "log" is named.
const LOG: &str = "log";

/// All receivers, ready to be told.
#[derive(Debug)]
pub struct Alerts {
    outlets: Vec<Outlet>,
    books: AlertBooks,
}

/// One receiver.
#[derive(Debug)]
struct Outlet {
    config: ReceiverConfig,
    ledger: Ledger,
    line: Arc<Line>,
    /// Taken by its worker; a log and a dry run have none.
    sender: Option<Sender>,
}

/// Runs as long as it is not ended; dropping it ends it, too.
#[derive(Debug)]
pub struct AlertHandle {
    ending: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Alerts {
    /// Reads what the receivers need and opens their queues.
    ///
    /// # Errors
    ///
    /// A receiver that can never be told anything: a file is missing, a program cannot be run. A queue that cannot be
    /// opened is no error: it is kept in memory, which is said and counted.
    pub fn prepare(config: &NotifyConfig) -> Result<Self, AlertError> {
        let now = moment();
        let node = config.node.clone().unwrap_or_else(intake::node);
        let mut receivers = config.receivers.clone();
        let has_log = receivers
            .iter()
            .any(|receiver| matches!(receiver.target, Target::Log));
        if config.log && !has_log {
            receivers.push(log(&receivers));
        }
        let books = AlertBooks::of(
            receivers
                .iter()
                .map(|receiver| (receiver.name.clone(), receiver.target.kind(), receiver.dry_run)),
        );
        let mut outlets = Vec::new();
        for (index, receiver) in receivers.into_iter().enumerate() {
            let state_dir = config.state_dir.as_ref();
            let outlet = Outlet::open(receiver, &node, state_dir, now)?;
            books.queue(index, &outlet.line.queue());
            outlets.push(outlet);
        }
        Ok(Self { outlets, books })
    }

    /// What becomes of the notifications.
    #[must_use]
    pub fn books(&self) -> AlertBooks {
        self.books.clone()
    }

    /// Starts the thread that tells them; `None` = there is nobody to tell.
    ///
    /// # Errors
    ///
    /// [`AlertError::Thread`].
    pub fn start(self, reports: watch::Receiver<Arc<Report>>) -> Result<Option<AlertHandle>, AlertError> {
        if self.outlets.is_empty() {
            return Ok(None);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .build()
            .map_err(AlertError::Thread)?;
        let (ending, ended) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("notify".to_owned())
            .spawn(move || {
                runtime.block_on(self.run(reports, ended));
                // A look-up of a name may hang; nobody waits for it.
                runtime.shutdown_background();
            })
            .map_err(AlertError::Thread)?;
        Ok(Some(AlertHandle {
            ending,
            thread: Some(thread),
        }))
    }

    async fn run(mut self, mut reports: watch::Receiver<Arc<Report>>, mut ending: watch::Receiver<bool>) {
        let (workers_end, workers_ending) = watch::channel(false);
        let mut workers = JoinSet::new();
        for (receiver, outlet) in self.outlets.iter_mut().enumerate() {
            if let Some(sender) = outlet.sender.take() {
                let worker = Worker {
                    receiver,
                    name: outlet.config.name.clone(),
                    sender,
                    pace: outlet.config.pace.clone(),
                    line: Arc::clone(&outlet.line),
                    books: self.books.clone(),
                    ending: workers_ending.clone(),
                };
                workers.spawn(worker.run());
            }
        }
        loop {
            let now = clock::now();
            let due = self
                .outlets
                .iter_mut()
                .filter_map(|outlet| outlet.ledger.next_due(now))
                .min();
            let wait = due.map_or(Duration::MAX, |due| due.since(now));
            tokio::select! {
                changed = reports.changed() => match changed {
                    Ok(()) => {
                        let report = Arc::clone(&reports.borrow_and_update());
                        self.see(&report);
                    }
                    Err(_) => break,
                },
                _ = ending.wait_for(|ending| *ending) => break,
                () = tokio::time::sleep(wait) => {}
            }
            self.tell(false);
        }
        // The last report may not have been looked at.
        let last = Arc::clone(&reports.borrow_and_update());
        self.see(&last);
        self.tell(true);
        workers_end.send_replace(true);
        let all = async { while workers.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_ATTEMPTS, all).await.is_err() {
            tracing::debug!("some notifications are left for the next start");
        }
    }

    fn see(&mut self, report: &Report) {
        let now = clock::now();
        let findings = findings(report);
        for outlet in &mut self.outlets {
            let alive = |process| intake::alive(report, process);
            outlet.ledger.see(&findings, alive, now);
        }
    }

    /// Has the ledgers write what is due, or all at the end.
    fn tell(&mut self, all: bool) {
        let now = moment();
        for (index, outlet) in self.outlets.iter_mut().enumerate() {
            let backlog = outlet.line.queue().len() > 0;
            let written = if all {
                outlet.ledger.take_all(now)
            } else {
                outlet.ledger.take(backlog, now)
            };
            let changed = written
                .iter()
                .flat_map(|notification| &notification.alerts)
                .any(|alert| alert.news != News::Repeated);
            for notification in &written {
                outlet.tell(notification, index, &self.books);
            }
            if changed {
                outlet.remember(now);
            }
            self.books.ledger(index, outlet.ledger.counts());
            if !written.is_empty() && !outlet.at_once() {
                self.books.queue(index, &outlet.line.queue());
            }
        }
    }
}

impl Outlet {
    fn open(
        config: ReceiverConfig,
        node: &str,
        state_dir: Option<&PathBuf>,
        now: Moment,
    ) -> Result<Self, AlertError> {
        let sender = Sender::prepare(&config).map_err(|error| AlertError::Receiver {
            receiver: config.name.clone(),
            source: Box::new(error),
        })?;
        let head = Head {
            sender: super::SENDER.to_owned(),
            node: node.to_owned(),
            receiver: config.name.clone(),
            runbook_url: config.runbook_base_url.as_deref().map(intake::runbook),
            run: format!("{:x}-{:x}", now.boot.0, std::process::id()),
        };
        let grouping = match config.target {
            Target::Alertmanager(_) => Grouping::All,
            Target::Webhook(_) | Target::Log => Grouping::Executable,
            Target::Command(_) => Grouping::Finding,
        };
        let mut ledger = Ledger::new(
            config.wants.clone(),
            config.pace.clone(),
            grouping,
            head,
            now.boot,
        );
        let at_once = config.dry_run || sender.is_log();
        let dir = state_dir
            .filter(|_| !at_once)
            .map(|dir| dir.join("notify").join(&config.name));
        let queue = Queue::open(dir.as_deref(), config.queue);
        if let Some(memory) = queue.read_memory() {
            match serde_json::from_slice(&memory) {
                Ok(remembered) => ledger.recall(remembered, now),
                Err(error) => {
                    tracing::warn!(%error, receiver = config.name, "cannot read whom it was told of");
                }
            }
        }
        Ok(Self {
            config,
            ledger,
            line: Arc::new(Line::new(queue)),
            sender: Some(sender).filter(|_| !at_once),
        })
    }

    /// Nothing is sent anywhere: the log has it at once.
    fn at_once(&self) -> bool {
        self.config.dry_run || matches!(self.config.target, Target::Log)
    }

    fn tell(&self, notification: &Notification, index: usize, books: &AlertBooks) {
        if !self.at_once() {
            self.line.push(notification);
            return;
        }
        if self.config.dry_run {
            dry_run(&self.config, notification);
        } else {
            line::log(notification);
        }
        books.note(index, |facts| {
            facts.taken += 1;
            facts.delivered += 1;
            facts.last_delivered = Some(notification.created_at);
        });
    }

    fn remember(&mut self, now: Moment) {
        if self.at_once() {
            return;
        }
        match serde_json::to_vec(&self.ledger.remember(now)) {
            Ok(body) => self.line.queue().write_memory(&body),
            Err(error) => tracing::error!(%error, "cannot write whom a receiver was told of"),
        }
    }
}

/// Says what would be sent.
fn dry_run(config: &ReceiverConfig, notification: &Notification) {
    let kind = config.target.kind();
    let body = match &config.target {
        Target::Alertmanager(_) => {
            alertmanager::body(notification, config.pace.repeat_interval, clock::unix())
        }
        _ => serde_json::to_vec(notification),
    };
    match body {
        Ok(body) => tracing::warn!(
            receiver = config.name,
            kind,
            body = %String::from_utf8_lossy(&body),
            "dry run: this would be sent"
        ),
        Err(error) => tracing::error!(%error, receiver = config.name, "cannot be written as JSON"),
    }
}

/// The receiver that is there by itself, under a name that no other has.
fn log(others: &[ReceiverConfig]) -> ReceiverConfig {
    let mut name = LOG.to_owned();
    while others.iter().any(|other| other.name == name) {
        name.push('_');
    }
    ReceiverConfig::log(name)
}

/// Now, on both clocks.
fn moment() -> Moment {
    Moment {
        boot: clock::now(),
        unix: clock::unix(),
    }
}

impl AlertHandle {
    /// Has it come to an end: news is written down, what waits is tried once more for less than a second.
    pub fn end(&self) {
        self.ending.send_replace(true);
    }
}

impl Drop for AlertHandle {
    fn drop(&mut self) {
        self.end();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that tells receivers panicked");
        }
    }
}

#[cfg(test)]
mod tests;
