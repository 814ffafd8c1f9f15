//! A test notification to each receiver, once, past its queue: does it work?

use super::AlertError;
use super::intake;
use super::notification::{Alert, News, Notification, Rank, Status, VERSION};
use super::send::{Outcome, Sender};
use crate::config::NotifyConfig;
use crate::config::notify::ReceiverConfig;
use crate::sys::clock;
use std::collections::BTreeMap;

/// What came of telling one receiver.
#[derive(Debug)]
pub struct Trial {
    /// Its name.
    pub receiver: String,
    /// How it is reached.
    pub kind: &'static str,
    /// Whether it has the notification; else why not, as half a sentence.
    pub told: Result<(), String>,
}

/// Tells each receiver, or only the one of this name, a finding that says that it is a test. Blocks within their time
/// limits.
///
/// # Errors
///
/// No thread can wait for answers.
pub fn trial(config: &NotifyConfig, only: Option<&str>) -> Result<Vec<Trial>, AlertError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AlertError::Thread)?;
    let node = config.node.clone().unwrap_or_else(intake::node);
    let wanted = |receiver: &&ReceiverConfig| only.is_none_or(|only| only == receiver.name);
    let trials = config.receivers.iter().filter(wanted).map(|receiver| Trial {
        receiver: receiver.name.clone(),
        kind: receiver.target.kind(),
        told: runtime.block_on(tell(receiver, &node)),
    });
    let trials = trials.collect();
    runtime.shutdown_background();
    Ok(trials)
}

async fn tell(receiver: &ReceiverConfig, node: &str) -> Result<(), String> {
    let sender = Sender::prepare(receiver).map_err(|error| match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    })?;
    match sender.send(&notification(receiver, node)).await {
        Outcome::Delivered => Ok(()),
        Outcome::Again { why, .. } | Outcome::Refused { why } => Err(why),
    }
}

fn notification(receiver: &ReceiverConfig, node: &str) -> Notification {
    let now = clock::unix();
    let base = receiver.runbook_base_url.as_deref();
    let alert = Alert {
        status: Status::Firing,
        news: News::Test,
        over: None,
        before: None,
        fingerprint: "test".to_owned(),
        pid: std::process::id(),
        start_time: now,
        start_boottime: clock::now().0,
        comm: "leak-agent".to_owned(),
        exe: None,
        runtime: "thread".to_owned(),
        site_id: "test".to_owned(),
        site: "test".to_owned(),
        location: None,
        rank: Rank {
            verdict: "suspect".to_owned(),
            severity: "yellow".to_owned(),
            priority: "P2".to_owned(),
        },
        confidence: 0.0,
        opened_at: now,
        leak_at: None,
        resolved_at: None,
        resolution: None,
        estimated_start: None,
        rate_per_min: 0.0,
        surplus: 0,
        evidence: serde_json::Value::Null,
        sentence: "This is a test notification of leak-agent: nothing leaks.".to_owned(),
        labels: BTreeMap::new(),
        runbook_url: base.map(intake::runbook),
    };
    Notification {
        version: VERSION,
        id: format!("test-{:x}-{:x}", clock::now().0, std::process::id()),
        sender: super::SENDER.to_owned(),
        node: node.to_owned(),
        receiver: receiver.name.clone(),
        group: String::new(),
        created_at: now,
        status: Status::Firing,
        alerts: vec![alert],
    }
}
