//! Tasks that never end: of those spawned in the first half of a rise, how many are still alive?
//!
//! Only totals are counted, no single tasks. But whoever lives now and was not spawned in the second half was spawned in
//! the first half or before: `live − spawned since` is a lower bound on the tasks that are older. It says nothing where
//! more tasks are spawned in half a rise than live; and where it says something, it needs no assumption about which
//! tasks end first.

use super::growth::GrowthEvidence;
use super::trace::{self, Trace};
use super::verdict::{Opinion, Verdict};

/// Share of a cohort that must be alive at least, for nobody of it to have ended.
const ALL: f64 = 0.8;

/// What became of the tasks of the first half of the rise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NeverEndsEvidence {
    /// Leak: nearly all of them live. Suspect: many. Healthy: most have ended. Undecided: it cannot be told.
    pub opinion: Opinion,
    /// They are older than that, seconds.
    pub age: f64,
    /// How many were spawned.
    pub cohort: f64,
    /// How many of them live, at least.
    pub alive: f64,
}

/// Looks at the rise that `growth` found.
pub(super) fn judge(growth: &GrowthEvidence, trace: &Trace, counts_events: bool) -> NeverEndsEvidence {
    if !growth.grows() {
        return NeverEndsEvidence {
            opinion: Opinion::of(Verdict::Healthy),
            ..NeverEndsEvidence::default()
        };
    }
    if !counts_events {
        return NeverEndsEvidence {
            opinion: Opinion::undecided("spawns and ends are not counted"),
            ..NeverEndsEvidence::default()
        };
    }
    let begin = trace.points.partition_point(|point| point.at <= growth.began);
    let rise = &trace.points[begin..];
    let age = growth.lasted / 2.0;
    let middle = growth.began + age;
    let (old, young) = rise.split_at(rise.partition_point(|point| point.at <= middle));
    let (cohort, _) = trace::events(old);
    let (since, _) = trace::events(young);
    let live = rise.last().map_or(0.0, |point| point.last);
    // Whoever was there when the rise began may be alive, too.
    let alive = live - since - growth.level;
    let opinion = if cohort <= 0.0 {
        Opinion::undecided("nothing was spawned in the first half of the rise")
    } else if alive <= 0.0 {
        Opinion::undecided(format!(
            "{since:.0} tasks were spawned in the last {age:.0} s: any of them may be those that live"
        ))
    } else if alive >= ALL * cohort {
        Opinion::of(Verdict::Leak)
    } else {
        Opinion::of(Verdict::Suspect)
    };
    NeverEndsEvidence {
        opinion,
        age,
        cohort,
        alive: alive.clamp(0.0, cohort),
    }
}
