//! Verdicts and findings as metrics. Findings that are resolved have no series of their own.

use super::catalogue as names;
use super::collect::{EXE_CHARS, SITE_NAME_CHARS};
use super::family::Family;
use crate::output::text::{capped, visible};
use crate::report::{Exhaustion, Finding, Report, Severity, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// The families of one report's findings.
pub(super) fn families(report: &Report) -> Vec<Family> {
    let mut finding = Family::new(names::FINDING);
    let mut rate = Family::new(names::FINDING_RATE);
    let mut surplus = Family::new(names::FINDING_SURPLUS);
    let mut confidence = Family::new(names::FINDING_CONFIDENCE);
    let mut counts = counts();
    let mut seen = BTreeSet::new();
    for each in report.findings.iter().filter(|finding| finding.is_open()) {
        if !seen.insert((each.pid, &each.runtime, &each.site_id)) {
            continue;
        }
        let key = (each.verdict, each.severity, each.suppressed.is_some());
        *counts.entry(key).or_default() += 1;
        series(&mut finding, each);
        let of = Names::of(each);
        let labels = [
            of.pid.as_str(),
            &of.comm,
            &of.exe,
            &each.runtime,
            &of.site,
            &of.site_name,
            &each.fingerprint,
        ];
        rate.push(labels, each.rate_per_min);
        surplus.push(labels, each.surplus);
        confidence.push(labels, each.confidence);
    }
    let mut open = Family::new(names::FINDINGS);
    for ((verdict, severity, suppressed), count) in counts {
        let suppressed = if suppressed { "true" } else { "false" };
        open.push([verdict.label(), severity.label(), suppressed], count);
    }
    let mut opened = Family::new(names::FINDINGS_OPENED);
    opened.push([], report.agent.findings_opened);
    let mut resolved = Family::new(names::FINDINGS_RESOLVED);
    resolved.push([], report.agent.findings_resolved);
    vec![finding, rate, surplus, confidence, open, opened, resolved]
}

/// Adds the limits that come nearer to one process.
pub(super) fn push_exhaustion(family: &mut Family, [pid, comm, exe]: [&str; 3], ahead: &[Exhaustion]) {
    let mut seen = BTreeSet::new();
    for each in ahead.iter().filter(|each| seen.insert(each.resource.as_str())) {
        family.push([pid, comm, exe, &each.resource], each.seconds);
    }
}

/// Every combination, so that a series does not vanish when its last finding is resolved.
fn counts() -> BTreeMap<(Verdict, Severity, bool), usize> {
    let mut counts = BTreeMap::new();
    for verdict in [Verdict::Suspect, Verdict::Leak] {
        for severity in Severity::ALL {
            for suppressed in [false, true] {
                counts.insert((verdict, severity, suppressed), 0);
            }
        }
    }
    counts
}

/// Names of a finding, made harmless.
struct Names {
    pid: String,
    comm: String,
    exe: String,
    site: String,
    site_name: String,
}

impl Names {
    fn of(finding: &Finding) -> Self {
        let exe = visible(finding.exe.as_deref().unwrap_or("")).into_owned();
        let name = visible(&finding.site).into_owned();
        Self {
            pid: finding.pid.to_string(),
            comm: visible(&finding.comm).into_owned(),
            exe: capped(&exe, EXE_CHARS).into_owned(),
            site: visible(&finding.site_id).into_owned(),
            site_name: capped(&name, SITE_NAME_CHARS).into_owned(),
        }
    }
}

fn series(family: &mut Family, finding: &Finding) {
    let of = Names::of(finding);
    let suppressed = if finding.suppressed.is_some() {
        "true"
    } else {
        "false"
    };
    let labels = &finding.labels;
    let [environment, team, service, tier] =
        [&labels.environment, &labels.team, &labels.service, &labels.tier].map(|label| visible(label));
    family.push(
        [
            &of.pid,
            &of.comm,
            &of.exe,
            &finding.runtime,
            &of.site,
            &of.site_name,
            &finding.fingerprint,
            finding.verdict.label(),
            finding.severity.label(),
            finding.priority.label(),
            finding.state.label(),
            suppressed,
            &environment,
            &team,
            &service,
            &tier,
        ],
        1_u64,
    );
}
