//! Findings, settings and notifications for the tests.

use super::ledger::{Grouping, Head, Ledger, Moment, Seen};
use super::notification::{Alert, News, Notification, Rank, Status, VERSION};
use crate::config::ExeFilter;
use crate::config::notify::{Pace, Severity, Verdict, Wants};
use crate::report::{
    Evidence, Finding, FindingState, Growth, Labels, NeverEnds, Priority, Rules,
    Severity as ReportedSeverity, Verdict as ReportedVerdict,
};
use crate::types::BootTime;
use std::collections::BTreeMap;
use std::time::Duration;

/// Everything from yellow leaks on.
pub(super) fn wants() -> Wants {
    Wants {
        verdict: Verdict::Leak,
        severity: Severity::Yellow,
        resolved: true,
        runtimes: Vec::new(),
        exes: ExeFilter::default(),
        labels: BTreeMap::new(),
    }
}

/// Groups of 10 s, repeats after an hour, no limit to speak of.
pub(super) fn pace() -> Pace {
    Pace {
        group_wait: Duration::from_secs(10),
        repeat_interval: Duration::from_secs(3_600),
        max_per_minute: 6_000,
        max_attempts: None,
        max_age: Duration::from_secs(86_400),
        retry_first: Duration::from_millis(20),
        retry_longest: Duration::from_millis(200),
    }
}

/// So many seconds after the beginning, on both clocks.
pub(super) fn at(seconds: u64) -> Moment {
    Moment {
        boot: BootTime((10_000 + seconds) * 1_000_000_000),
        unix: 1_700_000_000.0 + seconds as f64,
    }
}

/// A ledger with these settings.
pub(super) fn ledger(wants: Wants, pace: Pace, grouping: Grouping) -> Ledger {
    let head = Head {
        sender: "leak-agent 0".to_owned(),
        node: "node-1".to_owned(),
        receiver: "ops".to_owned(),
        runbook_url: None,
        run: "r".to_owned(),
    };
    Ledger::new(wants, pace, grouping, head, at(0).boot)
}

/// A leak of a site in a process, red and P1.
pub(super) fn alert(fingerprint: &str, pid: u32, exe: &str) -> Alert {
    Alert {
        status: Status::Firing,
        news: News::New,
        over: None,
        before: None,
        fingerprint: fingerprint.to_owned(),
        pid,
        start_time: 1_699_999_000.5,
        start_boottime: u64::from(pid) * 1_000,
        comm: "svc".to_owned(),
        exe: Some(exe.to_owned()),
        runtime: "tokio".to_owned(),
        site_id: "abcd0123:0x2".to_owned(),
        site: "app::serve".to_owned(),
        location: Some("src/app.rs:7".to_owned()),
        rank: rank("leak", "red", "P1"),
        confidence: 0.97,
        opened_at: 1_700_000_000.0,
        leak_at: Some(1_700_000_030.0),
        resolved_at: None,
        resolution: None,
        estimated_start: Some(1_699_999_900.0),
        rate_per_min: 60.0,
        surplus: 120,
        evidence: serde_json::json!({ "floor_rises": true }),
        sentence: "app::serve keeps 60 more tasks every minute.".to_owned(),
        labels: BTreeMap::from([
            ("team".to_owned(), "payments".to_owned()),
            ("environment".to_owned(), "prod".to_owned()),
        ]),
        runbook_url: Some("https://wiki.example/runbooks/LeakAgentTaskLeak.md".to_owned()),
    }
}

pub(super) fn rank(verdict: &str, severity: &str, priority: &str) -> Rank {
    Rank {
        verdict: verdict.to_owned(),
        severity: severity.to_owned(),
        priority: priority.to_owned(),
    }
}

/// The same, as it stands in a report.
pub(super) fn seen(fingerprint: &str, pid: u32, exe: &str) -> Seen {
    Seen {
        alert: alert(fingerprint, pid, exe),
        over: None,
    }
}

/// A notification with these findings.
pub(super) fn notification(id: &str, alerts: Vec<Alert>) -> Notification {
    Notification {
        version: VERSION,
        id: id.to_owned(),
        sender: "leak-agent 0".to_owned(),
        node: "node-1".to_owned(),
        receiver: "ops".to_owned(),
        group: "/srv/app".to_owned(),
        created_at: 1_700_000_060.0,
        status: Notification::status_of(&alerts),
        alerts,
    }
}

/// The same leak, as a report has it.
pub(super) fn finding(fingerprint: &str, pid: u32, exe: &str) -> Finding {
    let leak = ReportedVerdict::Leak;
    Finding {
        fingerprint: fingerprint.to_owned(),
        pid,
        start_boottime: u64::from(pid) * 1_000_000_000,
        comm: "svc".to_owned(),
        exe: Some(exe.to_owned()),
        runtime: "tokio".to_owned(),
        site_id: "abcd0123:0x2".to_owned(),
        site: "app::serve".to_owned(),
        location: Some("src/app.rs:7".to_owned()),
        verdict: leak,
        state: FindingState::Confirmed,
        severity: ReportedSeverity::Red,
        priority: Priority::P1,
        confidence: 0.97,
        opened_at: 1_700_000_000.0,
        leak_at: Some(1_700_000_030.0),
        resolved_at: None,
        resolution: None,
        reopened: 0,
        estimated_start: Some(1_699_999_900.0),
        rate_per_min: 60.0,
        surplus: 120,
        evidence: Evidence {
            growth: Growth {
                verdict: leak,
                reason: None,
                window_seconds: 120.0,
                from: 10.0,
                to: 130.0,
                per_minute: 60.0,
                noise: 2.0,
                not_fallen: 1.0,
                climbs: 3,
                lasted_seconds: 120.0,
                level: 10.0,
                steadiness: Some(1.0),
                explained: 0.0,
                spawned: 120.0,
                finished: 0.0,
            },
            never_ends: NeverEnds {
                verdict: leak,
                reason: None,
                age_seconds: 60.0,
                cohort: 60.0,
                alive_at_least: 60.0,
            },
            rules: Rules {
                verdict: ReportedVerdict::Suspect,
                reason: None,
                deviation: 40.0,
                slope_per_second: 1.0,
                same_stack_share: None,
                hold: Vec::new(),
            },
            exhaustion: Vec::new(),
            alternative: "some_end".to_owned(),
            patience_seconds: 60.0,
            trust: 1.0,
        },
        labels: Labels {
            team: "payments".to_owned(),
            ..Labels::default()
        },
        suppressed: None,
        sentence: "app::serve keeps 60 more tasks every minute.".to_owned(),
    }
}
