use super::*;
use crate::output::alert::fixture::{alert, notification, rank};
use crate::output::alert::notification::{News, Notification, Status};
use crate::report::fixture::HOSTILE;
use serde_json::{Value, json};
use std::time::Duration;

/// Seconds are told as the calendar knows them, leap years included; nonsense is cut to what can be told.
#[test]
fn time_is_told_as_rfc3339() {
    for (unix, text) in [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (951_826_154.25, "2000-02-29T12:09:14.250Z"),
        (1_709_251_199.999, "2024-02-29T23:59:59.999Z"),
        (4_107_542_400.0, "2100-03-01T00:00:00.000Z"),
        (1_700_000_000.5, "2023-11-14T22:13:20.500Z"),
        (-5.0, "1970-01-01T00:00:00.000Z"),
        (f64::NAN, "1970-01-01T00:00:00.000Z"),
        (1e300, "9999-12-31T23:59:59.999Z"),
    ] {
        assert_eq!(rfc3339(unix), text);
    }
}

fn body(notification: &Notification, now: f64) -> Vec<Value> {
    let body = alertmanager::body(notification, Duration::from_secs(60), now).unwrap();
    serde_json::from_slice(&body).unwrap()
}

/// A standing finding is an alert that ends by itself after some repeats that did not come.
#[test]
fn alertmanager_is_told_of_a_finding_with_its_end() {
    let alerts = body(
        &notification("1", vec![alert("f1", 7, "/srv/app")]),
        1_700_000_100.0,
    );
    assert_eq!(alerts.len(), 1);
    assert_eq!(
        alerts[0]["labels"],
        json!({
            "alertname": "LeakAgentFinding", "severity": "warning", "growth": "red", "priority": "P1", "verdict": "leak",
            "fingerprint": "f1", "instance": "node-1", "pid": "7", "comm": "svc", "exe": "/srv/app",
            "runtime": "tokio", "site": "abcd0123:0x2", "site_name": "app::serve", "team": "payments", "environment": "prod",
        })
    );
    assert_eq!(alerts[0]["startsAt"], rfc3339(1_700_000_000.0));
    assert_eq!(alerts[0]["endsAt"], rfc3339(1_700_000_340.0));
    assert_eq!(
        alerts[0]["annotations"]["runbook_url"],
        "https://wiki.example/runbooks/LeakAgentTaskLeak.md"
    );
}

/// What is over ends in the past, never before it began, whatever the clocks did.
#[test]
fn alertmanager_is_told_an_end_that_is_past() {
    let mut over = alert("f1", 7, "/srv/app");
    over.status = Status::Resolved;
    for (resolved_at, now, starts, ends) in [
        (
            Some(1_700_000_050.0),
            1_700_000_100.0,
            1_700_000_000.0,
            1_700_000_050.0,
        ),
        (
            Some(1_700_000_900.0),
            1_700_000_100.0,
            1_700_000_000.0,
            1_700_000_100.0,
        ),
        (
            Some(1_600_000_000.0),
            1_700_000_100.0,
            1_600_000_000.0,
            1_600_000_000.0,
        ),
        (None, 1_700_000_100.0, 1_700_000_000.0, 1_700_000_100.0),
    ] {
        over.resolved_at = resolved_at;
        let alerts = body(&notification("1", vec![over.clone()]), now);
        assert_eq!(alerts[0]["startsAt"], rfc3339(starts));
        assert_eq!(alerts[0]["endsAt"], rfc3339(ends));
    }
}

/// A finding that became worse has other labels: the alert with the old ones ends.
#[test]
fn alertmanager_is_told_that_the_milder_alert_ends() {
    let mut worse = alert("f1", 7, "/srv/app");
    worse.news = News::Worse;
    worse.before = Some(rank("suspect", "yellow", "P2"));
    let alerts = body(&notification("1", vec![worse]), 1_700_000_100.0);
    assert_eq!(alerts.len(), 2);
    assert_eq!(alerts[0]["labels"]["severity"], "info");
    assert_eq!(alerts[0]["endsAt"], rfc3339(1_700_000_100.0));
    assert_eq!(alerts[1]["labels"]["severity"], "warning");
}

/// Names of other processes do not break out of a label, a variable or a line, and a label of the policy takes no place
/// of ours.
#[test]
fn hostile_names_stay_where_they_belong() {
    for text in HOSTILE {
        let mut hostile = alert("f1", 7, text);
        hostile.comm = text.to_owned();
        hostile.site = text.repeat(500);
        hostile.labels.insert("alertname".to_owned(), "Other".to_owned());
        hostile.labels.insert("service".to_owned(), format!("{text}\0"));
        let notification = notification("1", vec![hostile]);
        for alert in body(&notification, 1_700_000_100.0) {
            assert_eq!(alert["labels"]["alertname"], "LeakAgentFinding");
            for value in alert["labels"].as_object().unwrap().values() {
                let value = value.as_str().unwrap();
                assert!(!value.is_empty() && value.chars().count() <= 1_000, "{value:?}");
                assert!(!value.chars().any(char::is_control), "{value:?}");
            }
        }
        for (name, value) in environment::variables(&notification) {
            assert!(name.starts_with(environment::PREFIX), "{name}");
            assert!(!value.chars().any(char::is_control), "{name}={value:?}");
        }
    }
}

/// A hook learns of finding, process, site, verdict and page from its environment.
#[test]
fn environment_has_what_a_hook_needs() {
    let variables = environment::variables(&notification("n1", vec![alert("f1", 7, "/srv/app")]));
    let value = |name: &str| {
        let name = format!("LEAK_AGENT_FINDING_{name}");
        let found = variables.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, value)| value.as_str())
            .unwrap_or_else(|| panic!("{name}"))
    };
    for (name, expected) in [
        ("NOTIFICATION", "n1"),
        ("STATUS", "firing"),
        ("COUNT", "1"),
        ("ID", "f1"),
        ("PID", "7"),
        ("START_TIME", "2023-11-14T21:56:40.500Z"),
        ("START_BOOTTIME", "7000"),
        ("SITE", "app::serve"),
        ("LOCATION", "src/app.rs:7"),
        ("VERDICT", "leak"),
        ("SEVERITY", "red"),
        ("PRIORITY", "P1"),
        ("LABEL_TEAM", "payments"),
        (
            "RUNBOOK_URL",
            "https://wiki.example/runbooks/LeakAgentTaskLeak.md",
        ),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
}
