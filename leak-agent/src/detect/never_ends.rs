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

/// Where there is no rise there is no cohort.
pub(super) fn nothing() -> NeverEndsEvidence {
    NeverEndsEvidence {
        opinion: Opinion::of(Verdict::Healthy),
        ..NeverEndsEvidence::default()
    }
}

/// Looks at the rise that `growth` found.
pub(super) fn judge(growth: &GrowthEvidence, trace: &Trace, counts_events: bool) -> NeverEndsEvidence {
    if !growth.grows() {
        return nothing();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::trace::tests::points;

    /// A rise of `seconds` in each of which so many tasks are spawned and ended.
    fn judged(seconds: u32, spawned: f64, finished: f64) -> NeverEndsEvidence {
        let mut rise = points((1..=seconds).map(|second| f64::from(second) * (spawned - finished)));
        for point in &mut rise {
            (point.spawned, point.finished) = (spawned, finished);
        }
        let growth = GrowthEvidence {
            lasted: f64::from(seconds),
            ..GrowthEvidence::default()
        };
        judge(&growth, &Trace { points: rise }, true)
    }

    /// If nothing ends, all tasks of the first half live.
    #[test]
    fn tasks_of_which_none_ends_never_end() {
        let evidence = judged(40, 3.0, 0.0);
        assert_eq!(evidence.opinion.verdict, Verdict::Leak);
        assert_eq!(
            (evidence.age, evidence.cohort, evidence.alive),
            (20.0, 60.0, 60.0)
        );
        assert_eq!(judged(40, 3.0, 0.3).opinion.verdict, Verdict::Leak);
    }

    /// If a good part ends, it may be that of the first half: no proof. If most end, nothing is known of them.
    #[test]
    fn tasks_that_end_leave_less_to_prove() {
        let some = judged(40, 3.0, 1.0);
        assert_eq!((some.opinion.verdict, some.alive), (Verdict::Suspect, 20.0));
        let most = judged(40, 30.0, 27.0);
        assert_eq!((most.opinion.verdict, most.alive), (Verdict::Undecided, 0.0));
        assert!(most.opinion.reason.unwrap().contains("600 tasks"));
    }

    /// Without a rise there is nothing to ask, and without counted spawns there is no answer.
    #[test]
    fn no_rise_is_healthy_and_no_counts_are_undecided() {
        let trace = Trace::default();
        let still = judge(&GrowthEvidence::default(), &trace, true);
        assert_eq!(still.opinion.verdict, Verdict::Healthy);
        let rise = GrowthEvidence {
            lasted: 10.0,
            ..GrowthEvidence::default()
        };
        assert_eq!(judge(&rise, &trace, false).opinion.verdict, Verdict::Undecided);
        assert_eq!(judge(&rise, &trace, true).opinion.verdict, Verdict::Undecided);
    }

    /// Those that were there before the rise are none of those of its first half.
    #[test]
    fn older_tasks_are_not_of_the_cohort() {
        let mut rise = points((1..=40).map(|second| 100.0 + 0.5 * f64::from(second)));
        for point in &mut rise {
            (point.spawned, point.finished) = (3.0, 2.5);
        }
        let growth = GrowthEvidence {
            lasted: 40.0,
            level: 100.0,
            ..GrowthEvidence::default()
        };
        let evidence = judge(&growth, &Trace { points: rise }, true);
        assert_eq!(
            (evidence.opinion.verdict, evidence.alive),
            (Verdict::Undecided, 0.0)
        );
    }
}
