//! One verdict of all detectors, with a confidence: what grows must grow for long enough, and how long that is depends on
//! what else could look like it.

use super::growth::GrowthEvidence;
use super::never_ends::NeverEndsEvidence;
use super::past::Past;
use super::rules::RulesEvidence;
use super::verdict::Verdict;
use crate::config::policy::Detect;

/// Average life times that have grown by less than that may be a slow-down, not a leak.
const SLOW_DOWN: f64 = 3.0;
/// Share of a rise's spawns that must have ended for most tasks of the site to end.
const MOST: f64 = 0.5;
/// So many ends, at least, tell how tasks of a site end.
const SOME: f64 = 10.0;
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
            Self::PileUp => "pile_up",
        }
    }

    /// As half a sentence.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::SomeEnd => "some of its tasks end and some do not",
            Self::Load => "more work or slower tasks would look the same for a while",
            Self::WarmUp => "a warm-up or a pool that fills would look the same for a while",
            Self::Batch => "a batch would look the same for a while",
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
}

/// What it came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Decision {
    pub(super) verdict: Verdict,
    pub(super) confidence: f64,
    pub(super) alternative: Alternative,
    /// Seconds for which growth must last to be a leak.
    pub(super) patience: f64,
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
            ..Decision::default()
        };
    }
    let alternative = alternative(growth, context, policy);
    let patience = match alternative {
        Alternative::SomeEnd => policy.patience.some_end,
        Alternative::Batch => policy.patience.none_ends,
        Alternative::WarmUp | Alternative::Load => policy.patience.warming_up,
        Alternative::PileUp => policy.patience.stalled,
    };
    let before = LONGER * context.past.longest as f64 / 1e9;
    let patience = patience.as_secs_f64().max(before);
    let now = growth.level + growth.surplus;
    let beyond = now > HIGHER * context.past.highest as f64;
    let steady = growth.opinion.verdict == Verdict::Leak;
    let cohort = match never_ends.opinion.verdict {
        // Where most end, totals cannot tell which do not.
        Verdict::Undecided => {
            alternative == Alternative::SomeEnd || alternative == Alternative::Load || !context.counts_events
        }
        verdict => verdict == Verdict::Leak,
    };
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
    let told = growth.lasted >= policy.patience.suspect.as_secs_f64();
    let explained = growth.opinion.verdict == Verdict::Healthy;
    let verdict = if explained || !beyond || !told {
        Verdict::Healthy
    } else if steady && cohort && waited >= 1.0 && confidence >= SURE {
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
    }
}

/// What else the growth could be.
fn alternative(growth: &GrowthEvidence, context: &Context<'_>, policy: &Detect) -> Alternative {
    let new = growth.began - context.watched_since < policy.warm_up.as_secs_f64();
    let without_ends = if new {
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
