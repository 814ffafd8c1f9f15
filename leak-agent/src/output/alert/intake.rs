//! What the ledgers are fed with: the findings of a report, as they would be told.

use super::ledger::{ProcessId, Seen};
use super::notification::{Alert, News, Rank, Status};
use crate::report::{Finding, Labels, Process, Report};
use std::collections::BTreeMap;

/// The page about findings, in docs/runbooks.
const RUNBOOK: &str = "LeakAgentTaskLeak.md";

/// The findings of a report; links to runbooks are the receiver's to add.
pub(super) fn findings(report: &Report) -> Vec<Seen> {
    report
        .findings
        .iter()
        .map(|finding| seen(finding, report))
        .collect()
}

/// Whether a process lives; `None` = nobody knows before the first full scan.
pub(super) fn alive(report: &Report, (pid, start_boottime): ProcessId) -> Option<bool> {
    if !report.agent.ready {
        return None;
    }
    Some(process(report, pid, start_boottime).is_some_and(|process| process.alive))
}

fn seen(finding: &Finding, report: &Report) -> Seen {
    let over = if finding.is_open() {
        finding.suppressed.as_ref().map(|_| "suppressed")
    } else {
        Some("resolved")
    };
    Seen {
        alert: alert(finding, report),
        over,
    }
}

fn alert(finding: &Finding, report: &Report) -> Alert {
    Alert {
        status: Status::Firing,
        news: News::New,
        over: None,
        before: None,
        fingerprint: finding.fingerprint.clone(),
        pid: finding.pid,
        start_time: start_time(finding, report),
        start_boottime: finding.start_boottime,
        comm: finding.comm.clone(),
        exe: finding.exe.clone(),
        runtime: finding.runtime.clone(),
        site_id: finding.site_id.clone(),
        site: finding.site.clone(),
        location: finding.location.clone(),
        rank: Rank {
            verdict: finding.verdict.label().to_owned(),
            severity: finding.severity.label().to_owned(),
            priority: finding.priority.label().to_owned(),
        },
        confidence: finding.confidence,
        opened_at: finding.opened_at,
        leak_at: finding.leak_at,
        resolved_at: finding.resolved_at,
        resolution: finding.resolution.clone(),
        estimated_start: finding.estimated_start,
        rate_per_min: finding.rate_per_min,
        surplus: finding.surplus,
        evidence: serde_json::to_value(&finding.evidence).unwrap_or_default(),
        sentence: finding.sentence.clone(),
        labels: labels(&finding.labels),
        runbook_url: None,
    }
}

/// The start of the finding's process as Unix time; 0 if no process is left to tell the time of the boot.
fn start_time(finding: &Finding, report: &Report) -> f64 {
    if let Some(process) = process(report, finding.pid, finding.start_boottime) {
        return process.start_time;
    }
    let since_boot = |boottime: u64| boottime as f64 / 1e9;
    let boot = report
        .processes
        .first()
        .map(|process| process.start_time - since_boot(process.start_boottime));
    boot.map_or(0.0, |boot| boot + since_boot(finding.start_boottime))
}

/// A process of the report, which is sorted by pid and start.
fn process(report: &Report, pid: u32, start_boottime: u64) -> Option<&Process> {
    let sorted = &report.processes;
    let found = sorted.binary_search_by_key(&(pid, start_boottime), |process| {
        (process.pid, process.start_boottime)
    });
    sorted.get(found.ok()?)
}

/// Those labels that are set.
fn labels(labels: &Labels) -> BTreeMap<String, String> {
    [
        ("environment", &labels.environment),
        ("team", &labels.team),
        ("service", &labels.service),
        ("tier", &labels.tier),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| (name.to_owned(), value.clone()))
    .collect()
}

/// The link to the page about findings.
pub(super) fn runbook(base: &str) -> String {
    format!("{}/{RUNBOOK}", base.trim_end_matches('/'))
}

/// The machine's own name; empty if it cannot be had.
pub(super) fn node() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map_or(String::new(), |name| name.trim().to_owned())
}
