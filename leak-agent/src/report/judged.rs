//! How a judgement becomes part of the document.

use super::findings::{
    Evidence, Exhaustion, Finding, FindingState, Growth, Labels, NeverEnds, Priority, Rules, Severity,
    Suppressed, Verdict,
};
use crate::config::policy;
use crate::detect;

pub(super) fn verdict(of: detect::Verdict) -> Verdict {
    match of {
        detect::Verdict::Healthy => Verdict::Healthy,
        detect::Verdict::Undecided => Verdict::Undecided,
        detect::Verdict::Suspect => Verdict::Suspect,
        detect::Verdict::Leak => Verdict::Leak,
    }
}

pub(super) fn finding(of: &detect::Finding) -> Finding {
    Finding {
        fingerprint: of.fingerprint.clone(),
        pid: of.key.process.tgid,
        start_boottime: of.key.process.start_boottime,
        comm: of.comm.clone(),
        exe: of.exe.clone(),
        runtime: of.runtime.to_owned(),
        site_id: of.key.site.clone(),
        site: of.site.clone(),
        location: of.location.clone(),
        verdict: verdict(of.verdict),
        state: match of.state {
            detect::FindingState::Open => FindingState::Open,
            detect::FindingState::Confirmed => FindingState::Confirmed,
            detect::FindingState::Resolved => FindingState::Resolved,
            detect::FindingState::Reopened => FindingState::Reopened,
        },
        severity: match of.severity {
            detect::Severity::Yellow => Severity::Yellow,
            detect::Severity::Red => Severity::Red,
        },
        priority: match of.priority {
            policy::Priority::P0 => Priority::P0,
            policy::Priority::P1 => Priority::P1,
            policy::Priority::P2 => Priority::P2,
        },
        confidence: rounded(of.confidence, 100.0),
        opened_at: moment(of.opened),
        leak_at: of.leak.map(moment),
        resolved_at: of.resolved.map(moment),
        resolution: of.resolution.map(str::to_owned),
        reopened: of.reopened,
        estimated_start: of.started.map(moment),
        rate_per_min: rounded(of.per_minute, 1_000.0),
        surplus: of.surplus,
        evidence: evidence(&of.evidence),
        labels: Labels {
            environment: of.labels.environment.clone(),
            team: of.labels.team.clone(),
            service: of.labels.service.clone(),
            tier: of.labels.tier.clone(),
        },
        suppressed: of.suppressed.as_ref().map(|suppressed| Suppressed {
            reason: suppressed.reason.clone(),
            until: suppressed.until,
        }),
        sentence: of.sentence.clone(),
    }
}

/// To the millisecond: more nobody measured.
fn moment(of: detect::Moment) -> f64 {
    rounded(of.unix, 1_000.0)
}

/// What is no number becomes 0: JSON has no word for it.
fn rounded(number: f64, parts: f64) -> f64 {
    if number.is_finite() {
        (number * parts).round() / parts
    } else {
        0.0
    }
}

fn evidence(of: &detect::Evidence) -> Evidence {
    let growth = &of.growth;
    Evidence {
        growth: Growth {
            verdict: verdict(growth.opinion.verdict),
            reason: growth.opinion.reason.clone(),
            window_seconds: rounded(growth.window, 1_000.0),
            from: growth.from,
            to: growth.to,
            per_minute: rounded(growth.per_minute, 1_000.0),
            noise: rounded(growth.noise, 1_000.0),
            not_fallen: rounded(growth.not_fallen, 1_000.0),
            climbs: growth.climbs as u64,
            lasted_seconds: rounded(growth.lasted, 1_000.0),
            level: rounded(growth.level, 1_000.0),
            steadiness: growth.steadiness.map(|share| rounded(share, 1_000.0)),
            explained: rounded(growth.explained, 1_000.0),
            spawned: growth.spawned,
            finished: growth.finished,
        },
        never_ends: NeverEnds {
            verdict: verdict(of.never_ends.opinion.verdict),
            reason: of.never_ends.opinion.reason.clone(),
            age_seconds: rounded(of.never_ends.age, 1_000.0),
            cohort: of.never_ends.cohort,
            alive_at_least: rounded(of.never_ends.alive, 1_000.0),
        },
        rules: Rules {
            verdict: verdict(of.rules.opinion.verdict),
            reason: of.rules.opinion.reason.clone(),
            deviation: rounded(of.rules.deviation, 1_000.0),
            slope_per_second: rounded(of.rules.slope_per_second, 1_000.0),
            same_stack_share: of.rules.same_stack_share.map(|share| rounded(share, 1_000.0)),
            hold: of.rules.hold.iter().map(|rule| (*rule).to_owned()).collect(),
        },
        exhaustion: of.exhaustion.iter().map(exhaustion).collect(),
        alternative: of.alternative.label().to_owned(),
        patience_seconds: rounded(of.patience, 1_000.0),
        trust: of.trust,
    }
}

pub(super) fn exhaustion(of: &detect::Exhaustion) -> Exhaustion {
    Exhaustion {
        resource: of.resource.label().to_owned(),
        used: of.used,
        limit: of.limit,
        per_minute: rounded(of.per_minute, 1_000.0),
        seconds: rounded(of.seconds, 1_000.0),
    }
}
