//! The body of Alertmanager's `POST /api/v2/alerts` (checked against its OpenAPI description, version 0.25): one alert per
//! finding and process. It ends by itself when it is not sent again in time.

use super::{rfc3339, shown};
use crate::output::alert::notification::{Alert, Notification, Rank, Status};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The alert's name, always.
pub(in crate::output::alert) const ALERTNAME: &str = "LeakAgentFinding";
/// An alert ends by itself when so many repeats did not come.
const REPEATS_MISSED: f64 = 4.0;

/// One alert.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PostableAlert {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
}

/// The body, if it is sent at `now` and repeated after `repeat`.
pub(in crate::output::alert) fn body(
    notification: &Notification,
    repeat: Duration,
    now: f64,
) -> serde_json::Result<Vec<u8>> {
    let mut alerts = Vec::new();
    for alert in &notification.alerts {
        // Other labels are another alert: the one that is worse now has to end.
        if let Some(before) = &alert.before {
            alerts.push(postable(notification, alert, before, now, now));
        }
        let ends_at = match alert.status {
            Status::Firing => now + REPEATS_MISSED * repeat.as_secs_f64(),
            // Never in the future, else it would be taken for one that stands.
            Status::Resolved => alert.resolved_at.unwrap_or(now).min(now),
        };
        alerts.push(postable(notification, alert, &alert.rank, ends_at, now));
    }
    serde_json::to_vec(&alerts)
}

/// The severity that the rules in deploy/prometheus give an alert of this priority.
fn urgency(rank: &Rank) -> &'static str {
    match rank.priority.as_str() {
        "P0" => "critical",
        "P1" => "warning",
        _ => "info",
    }
}

fn postable(
    notification: &Notification,
    alert: &Alert,
    rank: &Rank,
    ends_at: f64,
    now: f64,
) -> PostableAlert {
    let mut labels: BTreeMap<String, String> = alert
        .labels
        .iter()
        .map(|(name, value)| (name.clone(), shown(value)))
        .collect();
    // Ours last: no label of the policy takes their place.
    labels.extend(
        [
            ("alertname", ALERTNAME.to_owned()),
            ("severity", urgency(rank).to_owned()),
            ("growth", rank.severity.clone()),
            ("priority", rank.priority.clone()),
            ("verdict", rank.verdict.clone()),
            ("fingerprint", alert.fingerprint.clone()),
            ("instance", shown(&notification.node)),
            ("pid", alert.pid.to_string()),
            ("comm", shown(&alert.comm)),
            ("exe", shown(alert.exe.as_deref().unwrap_or(""))),
            ("runtime", alert.runtime.clone()),
            ("site", shown(&alert.site_id)),
            ("site_name", shown(&alert.site)),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    // A label without a value is as good as none, and some versions refuse it.
    labels.retain(|_, value| !value.is_empty());
    let mut annotations = BTreeMap::from([
        (
            "summary",
            shown(&format!("{} in {} ({})", alert.site, alert.comm, alert.pid)),
        ),
        ("sentence", shown(&alert.sentence)),
        ("location", shown(alert.location.as_deref().unwrap_or(""))),
        ("confidence", format!("{:.2}", alert.confidence)),
        ("rate_per_min", format!("{:.1}", alert.rate_per_min)),
        ("surplus", alert.surplus.to_string()),
        ("process_start_time", rfc3339(alert.start_time)),
        (
            "estimated_start",
            alert.estimated_start.map_or(String::new(), rfc3339),
        ),
        (
            "resolution",
            shown(
                alert
                    .resolution
                    .as_deref()
                    .or(alert.over.as_deref())
                    .unwrap_or(""),
            ),
        ),
        ("runbook_url", alert.runbook_url.clone().unwrap_or_default()),
    ]);
    annotations.retain(|_, value| !value.is_empty());
    // It must not end before it began, whatever the clocks did.
    let starts_at = alert.opened_at.min(ends_at).min(now);
    PostableAlert {
        labels,
        annotations,
        starts_at: rfc3339(starts_at),
        ends_at: rfc3339(ends_at),
    }
}
