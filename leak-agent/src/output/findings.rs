//! Findings and verdicts as text.

use super::text::{fit, visible};
use crate::report::{Finding, Report, Verdict};

/// Findings that are shown at once.
const SHOWN: usize = 10;

/// A verdict in one word; of what has ended there is none.
pub(super) fn verdict(alive: bool, verdict: Verdict) -> &'static str {
    if alive { verdict.label() } else { "-" }
}

/// One finding in one line.
///
/// ```text
/// leak P1 red  svc (100), tokio: 412 tasks of app::serve (src/app.rs:2) have been spawned since 14:02 UTC and never ended: …
/// ```
pub(super) fn line(finding: &Finding) -> String {
    let Finding {
        comm, pid, runtime, ..
    } = finding;
    let mut text = format!(
        "{} {} {}  {} ({pid}), {}: {}",
        if finding.is_open() {
            finding.verdict.label()
        } else {
            finding.state.label()
        },
        finding.priority.label(),
        finding.severity.label(),
        visible(comm),
        visible(runtime),
        visible(&finding.sentence),
    );
    if let Some(suppressed) = &finding.suppressed {
        text.push_str(&format!(" [suppressed: {}]", visible(&suppressed.reason)));
    }
    text
}

/// How many leaks there are, and the worst of them; `None` = there is none that anybody is to be told of.
pub(super) fn worst(report: &Report) -> Option<String> {
    let told = |finding: &&Finding| {
        finding.is_open() && finding.suppressed.is_none() && finding.verdict == Verdict::Leak
    };
    let count = report.findings.iter().filter(told).count();
    let worst = report.findings.iter().find(told)?;
    let leaks = if count == 1 { "leak" } else { "leaks" };
    Some(format!(
        "{count} {leaks}: {} ({}): {}",
        worst.comm, worst.pid, worst.sentence
    ))
}

/// The findings of a report, one line each; nothing if there are none.
pub(super) fn lines(out: &mut String, report: &Report, width: usize) {
    for finding in report.findings.iter().take(SHOWN) {
        out.push_str(&fit(&line(finding), width));
        out.push('\n');
    }
    if report.findings.len() > SHOWN {
        out.push_str(&format!("{} more findings\n", report.findings.len() - SHOWN));
    }
}
