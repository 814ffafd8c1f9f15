//! A notification as lines in the agent's log: one per finding.

use super::shown;
use crate::output::alert::notification::{Alert, Notification, Status};

/// Logs it: what stands as a warning, what is over as information.
pub(in crate::output::alert) fn log(notification: &Notification) {
    for alert in &notification.alerts {
        one(&notification.receiver, alert);
    }
}

fn one(receiver: &str, alert: &Alert) {
    let (site, comm) = (shown(&alert.site), shown(&alert.comm));
    let exe = shown(alert.exe.as_deref().unwrap_or(""));
    let sentence = shown(&alert.sentence);
    let rank = &alert.rank;
    let (fingerprint, pid, runtime) = (alert.fingerprint.as_str(), alert.pid, alert.runtime.as_str());
    match alert.status {
        Status::Firing => tracing::warn!(
            receiver,
            fingerprint,
            pid,
            comm,
            exe,
            runtime,
            site,
            verdict = rank.verdict,
            severity = rank.severity,
            priority = rank.priority,
            confidence = alert.confidence,
            rate_per_min = alert.rate_per_min,
            surplus = alert.surplus,
            runbook = alert.runbook_url,
            news = ?alert.news,
            "{}: {sentence}",
            rank.verdict
        ),
        Status::Resolved => tracing::info!(
            receiver,
            fingerprint,
            pid,
            comm,
            exe,
            runtime,
            site,
            why = alert.over,
            "over: {site} in {comm} ({pid})"
        ),
    }
}
