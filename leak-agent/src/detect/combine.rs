//! One verdict of all detectors, with a confidence: what grows must grow for long enough, and how long that is depends on
//! what else could look like it.

use super::growth::GrowthEvidence;
use super::never_ends::NeverEndsEvidence;
use super::past::Past;
use super::rules::RulesEvidence;
use super::verdict::Verdict;
use crate::config::policy::Detect;

/// Average life times that have grown by less than that may be a slow-down, not a leak.
const SLOW_DOWN: f64 = 5.0;
/// Share of a rise's spawns that must have ended for most tasks of the site to end.
const MOST: f64 = 0.5;
/// So many ends, at least, tell how tasks of a site end.
const SOME: f64 = 10.0;
/// Share of a rise's spawns that hang, from which on a dependency may be down.
const MANY: f64 = 0.12;
/// Tasks per second below which patience grows, with the square of what is missing.
const FEW: f64 = 0.8;
/// Below that a few tasks that live long by chance make a rise of many minutes: patience may be so many times as long.
const SLOW: f64 = 0.03;
const SLOW_TIMES: u32 = 6;
/// Share of a rise that its eight largest steps may make up: more is a staircase.
const STAIRS: f64 = 0.72;
/// A rise must look like a leak for this share of its time, so that no chance makes it one: more where some tasks end late.
const HELD: f64 = 0.15;
const HELD_LONGER: f64 = 0.2;
/// A rise must get above what has been given back before by this factor.
const HIGHER: f64 = 1.25;
/// And last longer by this one.
const LONGER: f64 = 2.0;
/// How high the confidence must be for each verdict.
pub(super) const SURE: f64 = 0.8;
const LIKELY: f64 = 0.4;

/// Why growth is waited for: what else it could be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alternative {
    /// Nothing that is known: most tasks of the site end, some do not.
    SomeEnd,
    /// More work, or tasks that take longer.
    Load,
    /// The site never had tasks that end, and the process is new: a warm-up, a pool that fills.
    #[default]
    WarmUp,
    /// The same, but the process is not new: a batch.
    Batch,
    /// Many of its tasks hang while others end: a dependency that is down for some of them.
    PartialOutage,
    /// Its tasks used to end: a pile-up.
    PileUp,
}

impl Alternative {
    /// Its name in the document.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::SomeEnd => "some_end",
            Self::Load => "load",
            Self::WarmUp => "warm_up",
            Self::Batch => "batch",
            Self::PartialOutage => "partial_outage",
            Self::PileUp => "pile_up",
        }
    }

    /// Whether most tasks of the site end meanwhile.
    const fn is_of_ending_tasks(self) -> bool {
        matches!(self, Self::SomeEnd | Self::Load | Self::PartialOutage)
    }

    /// As half a sentence.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::SomeEnd => "some of its tasks end and some do not",
            Self::Load => "more work or slower tasks would look the same for a while",
            Self::WarmUp => "a warm-up or a pool that fills would look the same for a while",
            Self::Batch => "a batch would look the same for a while",
            Self::PartialOutage => {
                "tasks that wait for something that is down would look the same for a while"
            }
            Self::PileUp => "a pile-up that drains later would look the same for a while",
        }
    }
}

/// What is known of a site besides its count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    /// When the process was first seen: seconds since the boot.
    pub(super) watched_since: f64,
    /// What the site has given back before.
    pub(super) past: &'a Past,
    /// Spawned and ended at the site so far, by the end of the rise.
    pub(super) spawned: f64,
    pub(super) finished: f64,
    /// How far the counts can be trusted: 1 = exact.
    pub(super) trust: f64,
    /// Spawns and ends are counted.
    pub(super) counts_events: bool,
    /// For how long it has looked like a leak, whatever the patience, less the time since in which it has not: seconds.
    pub(super) looked: f64,
    /// Since it was last looked at: seconds.
    pub(super) passed: f64,
}

/// What it came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Decision {
    pub(super) verdict: Verdict,
    pub(super) confidence: f64,
    pub(super) alternative: Alternative,
    /// Seconds for which growth must last to be a leak.
    pub(super) patience: f64,
    /// See [`Context::looked`].
    pub(super) looked: f64,
}

/// Decides on a site whose count grows, or not.
pub(super) fn decide(
    growth: &GrowthEvidence,
    never_ends: &NeverEndsEvidence,
    rules: &RulesEvidence,
    context: &Context<'_>,
    policy: &Detect,
) -> Decision {
    if !growth.grows() {
        return Decision {
            verdict: Verdict::Healthy,
            confidence: 1.0,
            looked: (context.looked - context.passed).max(0.0),
            ..Decision::default()
        };
    }
    let alternative = alternative(growth, context, policy);
    let times = &policy.patience;
    let rate = growth.per_second() / policy.time_scale;
    let slowly = rate < SLOW && alternative.is_of_ending_tasks();
    let patience = match alternative {
        _ if slowly => times.warming_up * SLOW_TIMES,
        // Few tasks at a low rate tell as little as a short time.
        Alternative::SomeEnd => times
            .some_end
            .mul_f64((FEW / rate).powi(2).clamp(1.0, 1e6))
            .min(times.warming_up),
        Alternative::Batch | Alternative::PartialOutage if !is_new(growth, context, policy) => {
            times.none_ends
        }
        Alternative::PartialOutage | Alternative::Batch | Alternative::WarmUp | Alternative::Load => {
            times.warming_up
        }
        Alternative::PileUp => times.stalled,
    };
    let before = LONGER * context.past.longest as f64 / 1e9;
    let patience = patience.as_secs_f64().max(before);
    let now = growth.level + growth.surplus;
    let beyond = now > HIGHER * context.past.highest as f64;
    // A short window that climbs from quarter to quarter is no staircase.
    let slope = growth.shortest || context.past.in_steps() <= STAIRS;
    let steady = growth.opinion.verdict == Verdict::Leak && slope;
    // Where most end, totals cannot tell which do not; where no events are counted, nothing can.
    let cohort = alternative.is_of_ending_tasks()
        || !context.counts_events
        || never_ends.opinion.verdict == Verdict::Leak;
    let waited = (growth.lasted / patience).min(1.0);
    // A rule that holds says that teams would want to know; it is no evidence of its own.
    let wanted = if rules.hold.is_empty() { 0.0 } else { 0.05 };
    let mut confidence = match (steady, cohort) {
        (true, true) => 0.45 + 0.45 * waited,
        (true, false) | (false, true) => 0.3 + 0.3 * waited,
        (false, false) => 0.2 + 0.2 * waited,
    };
    if never_ends.opinion.verdict == Verdict::Leak {
        confidence += 0.04;
    }
    if !beyond {
        confidence = confidence.min(0.3);
    }
    if waited < 1.0 {
        confidence = confidence.min(SURE - 0.06);
    }
    confidence = (confidence + wanted).min(0.99) * context.trust;
    let looks = steady && cohort && beyond;
    let passed = if looks { context.passed } else { -context.passed };
    let looked = (context.looked + passed).clamp(0.0, growth.lasted);
    let hold = if alternative == Alternative::SomeEnd {
        HELD_LONGER
    } else {
        HELD
    };
    let held = growth.shortest || looked >= hold * growth.lasted;
    let told = growth.lasted >= policy.patience.suspect.as_secs_f64();
    let explained = growth.opinion.verdict == Verdict::Healthy;
    let verdict = if explained || !beyond || !told {
        Verdict::Healthy
    } else if looks && held && waited >= 1.0 && confidence >= SURE {
        Verdict::Leak
    } else if confidence >= LIKELY {
        Verdict::Suspect
    } else {
        Verdict::Healthy
    };
    Decision {
        verdict,
        confidence,
        alternative,
        patience,
        looked,
    }
}

/// What else the growth could be.
fn alternative(growth: &GrowthEvidence, context: &Context<'_>, policy: &Detect) -> Alternative {
    let without_ends = if is_new(growth, context, policy) {
        Alternative::WarmUp
    } else {
        Alternative::Batch
    };
    if !context.counts_events {
        return without_ends;
    }
    let ended = growth.finished / growth.spawned.max(1.0);
    if ended >= MOST && growth.finished >= SOME {
        return if growth.longer < SLOW_DOWN || growth.explained > 0.2 {
            Alternative::Load
        } else if ended < 1.0 - MANY {
            Alternative::PartialOutage
        } else {
            Alternative::SomeEnd
        };
    }
    let spawned = context.spawned - growth.spawned;
    let finished = context.finished - growth.finished;
    if finished >= SOME && finished >= MOST * spawned {
        Alternative::PileUp
    } else {
        without_ends
    }
}

/// Whether the growth began when the process was new to us.
fn is_new(growth: &GrowthEvidence, context: &Context<'_>, policy: &Detect) -> bool {
    growth.began - context.watched_since < policy.warm_up.as_secs_f64()
}

#[cfg(test)]
mod tests;
