//! What a command finds in its environment: the first finding of the notification, for scripts that need no more.

use super::{rfc3339, shown};
use crate::output::alert::notification::Notification;

/// Every variable begins with this. The command line lets such variables pass, so that a hook may run leak-agent.
pub const PREFIX: &str = "LEAK_AGENT_FINDING_";

/// Names and values. What is not known is empty.
pub(in crate::output::alert) fn variables(notification: &Notification) -> Vec<(String, String)> {
    let variable = |name: &str, value: String| (format!("{PREFIX}{name}"), value.replace('\0', "\u{fffd}"));
    let mut variables = vec![
        variable("NOTIFICATION", notification.id.clone()),
        variable("NODE", shown(&notification.node)),
        variable("COUNT", notification.alerts.len().to_string()),
        variable("STATUS", notification.status.label().to_owned()),
    ];
    let Some(alert) = notification.alerts.first() else {
        return variables;
    };
    variables.extend([
        variable("ID", alert.fingerprint.clone()),
        variable("PID", alert.pid.to_string()),
        variable("START_TIME", rfc3339(alert.start_time)),
        variable("START_BOOTTIME", alert.start_boottime.to_string()),
        variable("COMM", shown(&alert.comm)),
        variable("EXE", shown(alert.exe.as_deref().unwrap_or(""))),
        variable("RUNTIME", alert.runtime.clone()),
        variable("SITE", shown(&alert.site)),
        variable("SITE_ID", shown(&alert.site_id)),
        variable("LOCATION", shown(alert.location.as_deref().unwrap_or(""))),
        variable("VERDICT", alert.rank.verdict.clone()),
        variable("SEVERITY", alert.rank.severity.clone()),
        variable("PRIORITY", alert.rank.priority.clone()),
        variable("CONFIDENCE", format!("{:.2}", alert.confidence)),
        variable("RATE_PER_MIN", format!("{:.1}", alert.rate_per_min)),
        variable("SURPLUS", alert.surplus.to_string()),
        variable("OPENED_AT", rfc3339(alert.opened_at)),
        variable("SENTENCE", shown(&alert.sentence)),
        variable("RUNBOOK_URL", alert.runbook_url.clone().unwrap_or_default()),
    ]);
    for (name, value) in &alert.labels {
        variables.push(variable(&format!("LABEL_{}", name.to_uppercase()), shown(value)));
    }
    variables
}
