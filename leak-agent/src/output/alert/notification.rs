//! The notification: what a receiver is told at one time. Its JSON form is an interface (docs/NOTIFICATIONS.md), the body of a
//! webhook, the standard input of a command, and what the queue keeps.

use crate::config::notify::{Severity, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the document: a field may be added, none changes its meaning or goes away without a new one.
pub const VERSION: u32 = 1;

/// What a receiver is told at one time: news of one executable. All times are Unix time, seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// Version of this document: 1.
    pub version: u32,
    /// Unique on this node, and the same whenever this notification is sent again: drop what you have seen.
    pub id: String,
    /// Who sends it: "leak-agent" and its version.
    pub sender: String,
    /// The name of the node.
    pub node: String,
    /// The receiver's name in the configuration.
    pub receiver: String,
    /// What the alerts have in common; empty = nothing.
    pub group: String,
    /// When it was written; it may be sent later.
    pub created_at: f64,
    /// "firing" if one of the alerts is, else "resolved".
    pub status: Status,
    /// The findings.
    pub alerts: Vec<Alert>,
}

/// Whether a finding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It stands.
    Firing,
    /// It is over.
    Resolved,
}

impl Status {
    /// Its name.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// Why a finding is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// It was not told before.
    New,
    /// It is worse than when it was told.
    Worse,
    /// It is as it was.
    Repeated,
    /// It is over.
    Resolved,
    /// Somebody wants to see a notification.
    Test,
}

/// One finding: a spawn site in one process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Whether it stands.
    pub status: Status,
    /// Why it is told.
    pub news: News,
    /// Why it is over: "resolved", "process_ended", "suppressed", "not_seen_again"; null = it stands.
    pub over: Option<String>,
    /// What it was told as before, if that was milder; null = nothing else.
    pub before: Option<Rank>,
    /// The same for this site over restarts of the program and for all its replicas.
    pub fingerprint: String,
    /// The process. Check `start_time` before you act on it: pids are reused.
    pub pid: u32,
    /// When the process started; 0 = not known any more.
    pub start_time: f64,
    /// The same on the kernel's boot-time clock: nanoseconds since the boot.
    pub start_boottime: u64,
    /// Name of the process. Not sanitised.
    pub comm: String,
    /// Path of its executable; null = not known. Not sanitised.
    pub exe: Option<String>,
    /// "thread", "tokio", "go".
    pub runtime: String,
    /// The spawn site's id.
    pub site_id: String,
    /// Its name. Not sanitised.
    pub site: String,
    /// "file:line"; null = not known.
    pub location: Option<String>,
    /// What it is judged as.
    #[serde(flatten)]
    pub rank: Rank,
    /// How sure that is: 0 to 1.
    pub confidence: f64,
    /// When it was first suspected.
    pub opened_at: f64,
    /// When it was first called a leak.
    pub leak_at: Option<f64>,
    /// When it was over.
    pub resolved_at: Option<f64>,
    /// Why it was, as half a sentence; null = nothing to say.
    pub resolution: Option<String>,
    /// When it probably began.
    pub estimated_start: Option<f64>,
    /// Tasks more per minute.
    pub rate_per_min: f64,
    /// Tasks too many.
    pub surplus: u64,
    /// The detectors' numbers, as in the report.
    pub evidence: serde_json::Value,
    /// One sentence for people.
    pub sentence: String,
    /// The labels of the policy: environment, team, service, tier; those that are set.
    pub labels: BTreeMap<String, String>,
    /// The page that says what to do; null = no `runbook_base_url`.
    pub runbook_url: Option<String>,
}

/// What a finding is judged as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rank {
    /// "suspect" or "leak".
    pub verdict: String,
    /// "yellow" or "red".
    pub severity: String,
    /// "P0", "P1" or "P2".
    pub priority: String,
}

impl Rank {
    /// The verdict, if it is one that can be told.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        match self.verdict.as_str() {
            "suspect" => Some(Verdict::Suspect),
            "leak" => Some(Verdict::Leak),
            _ => None,
        }
    }

    /// The severity; an unknown one is the mildest.
    pub(super) fn severity(&self) -> Severity {
        if self.severity == "red" {
            Severity::Red
        } else {
            Severity::Yellow
        }
    }

    /// Whether this is worse than `other` in any respect.
    pub(super) fn worse_than(&self, other: &Self) -> bool {
        self.verdict() > other.verdict()
            || self.severity() > other.severity()
            || self.priority < other.priority // P0 before P1
    }
}

impl Notification {
    /// Its status, from its alerts.
    pub(super) fn status_of(alerts: &[Alert]) -> Status {
        if alerts.iter().any(|alert| alert.status == Status::Firing) {
            Status::Firing
        } else {
            Status::Resolved
        }
    }
}
