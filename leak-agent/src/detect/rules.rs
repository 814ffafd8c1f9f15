//! The rules that teams already use, with their published parameters: static thresholds on the live count and on stacks.
//! They trip over load, so alone they make nobody a leak.

use super::observation::Stacks;
use super::trace::Point;
use super::verdict::{Opinion, Verdict};
use crate::config::policy;

/// What the rules say, in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RulesEvidence {
    /// Suspect: a rule holds. Undecided: the window is not full yet.
    pub opinion: Opinion,
    /// Standard deviation of the live count in the window.
    pub deviation: f64,
    /// Slope in it, tasks per second, by least squares.
    pub slope_per_second: f64,
    /// The same per minute.
    pub per_minute: f64,
    /// Share of the live tasks at the same place; `None` = no dump told.
    pub same_stack_share: Option<f64>,
    /// Names of the rules that hold: "burst", "yellow_growth", "red_growth", "same_stack".
    pub hold: Vec<&'static str>,
}

/// Looks at the last whiles of the finest resolution.
pub(super) fn judge(
    recent: &[Point],
    live: u64,
    stacks: Option<Stacks>,
    policy: &policy::Rules,
) -> RulesEvidence {
    let mut evidence = RulesEvidence::default();
    if !policy.enabled {
        evidence.opinion = Opinion::undecided("the rules are switched off");
        return evidence;
    }
    evidence.same_stack_share = stacks
        .filter(|stacks| stacks.tasks > 0)
        .map(|stacks| stacks.same as f64 / stacks.tasks as f64);
    if live >= policy.same_stack_tasks
        && evidence
            .same_stack_share
            .is_some_and(|share| share >= policy.same_stack_share)
    {
        evidence.hold.push("same_stack");
    }
    let until = recent.last().map_or(0.0, |point| point.at);
    let from = until - policy.window.as_secs_f64();
    let window = &recent[recent.partition_point(|point| point.at - point.width < from - 1e-9)..];
    let full = recent
        .first()
        .is_some_and(|first| first.at - first.width <= from + 1e-9);
    if full && window.len() >= 2 {
        (evidence.deviation, evidence.slope_per_second) = line(window);
        evidence.per_minute = 60.0 * evidence.slope_per_second;
        if evidence.deviation > policy.deviation && evidence.slope_per_second > policy.slope_per_second {
            evidence.hold.push("burst");
        }
        if evidence.per_minute > policy.red_per_minute {
            evidence.hold.push("red_growth");
        } else if evidence.per_minute >= policy.yellow_per_minute {
            evidence.hold.push("yellow_growth");
        }
    }
    evidence.opinion = match (evidence.hold.is_empty(), full) {
        (false, _) => Opinion::of(Verdict::Suspect),
        (true, true) => Opinion::of(Verdict::Healthy),
        (true, false) => Opinion::undecided("the window of the rules is not full yet"),
    };
    evidence
}

/// Standard deviation and least-squares slope of the last counts.
fn line(window: &[Point]) -> (f64, f64) {
    let count = window.len() as f64;
    let mean = |value: fn(&Point) -> f64| window.iter().map(value).sum::<f64>() / count;
    let (time, live) = (mean(|point| point.at), mean(|point| point.last));
    let (mut spread, mut together, mut square) = (0.0, 0.0, 0.0);
    for point in window {
        let (dt, dl) = (point.at - time, point.last - live);
        spread += dt * dt;
        together += dt * dl;
        square += dl * dl;
    }
    let slope = if spread > 0.0 { together / spread } else { 0.0 };
    ((square / count).sqrt(), slope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::trace::tests::points;

    fn judged(floors: impl IntoIterator<Item = f64>, stacks: Option<(u64, u64)>) -> RulesEvidence {
        let recent = points(floors);
        let live = recent.last().map_or(0.0, |point| point.last);
        let stacks = stacks.map(|(tasks, same)| Stacks {
            tasks,
            same,
            at: crate::types::BootTime(0),
        });
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "small and positive"
        )]
        judge(&recent, live as u64, stacks, &policy::Rules::default())
    }

    /// Each rule holds above its published parameter and not below.
    #[test]
    fn each_rule_holds_beyond_its_parameter() {
        let line = |per_second: f64| (0..121).map(move |n| per_second * f64::from(n));
        assert_eq!(judged(line(5.1), None).hold, ["burst", "red_growth"]);
        assert_eq!(judged(line(4.9), None).hold, ["red_growth"]);
        assert_eq!(judged(line(0.26), None).hold, ["red_growth"]);
        assert_eq!(judged(line(0.2), None).hold, ["yellow_growth"]);
        assert_eq!(judged(line(0.051), None).hold, ["yellow_growth"]);
        let flat = judged(line(0.04), None);
        assert_eq!((flat.hold.len(), flat.opinion.verdict), (0, Verdict::Healthy));
        assert_eq!(judged(line(5.1), None).opinion.verdict, Verdict::Suspect);
    }

    /// Equal stacks count from fifty tasks on, and only if a dump told.
    #[test]
    fn equal_stacks_count_if_many_tasks_share_them() {
        let flat = |live: f64| vec![live; 121];
        assert_eq!(judged(flat(50.0), Some((50, 35))).hold, ["same_stack"]);
        assert!(judged(flat(50.0), Some((50, 34))).hold.is_empty());
        assert!(judged(flat(49.0), Some((49, 49))).hold.is_empty());
        assert!(judged(flat(50.0), Some((0, 0))).hold.is_empty());
        assert_eq!(judged(flat(50.0), None).same_stack_share, None);
    }

    /// Before the window is full nothing is said, and nothing is said by rules that are switched off.
    #[test]
    fn short_window_is_undecided() {
        let short = judged((0..60).map(|n| 10.0 * f64::from(n)), None);
        assert_eq!(short.opinion.verdict, Verdict::Undecided);
        let off = policy::Rules {
            enabled: false,
            ..policy::Rules::default()
        };
        let off = judge(&points((0..200).map(f64::from)), 200, None, &off);
        assert_eq!((off.opinion.verdict, off.hold.len()), (Verdict::Undecided, 0));
    }

    /// A burst needs both its slope and its deviation.
    #[test]
    fn burst_needs_its_deviation_too() {
        let climb = points((0..121).map(|n| 6.0 * f64::from(n)));
        let with = |deviation: f64| policy::Rules {
            deviation,
            ..policy::Rules::default()
        };
        let low = judge(&climb, 720, None, &with(30.0));
        assert_eq!(low.hold, ["burst", "red_growth"]);
        let high = judge(&climb, 720, None, &with(low.deviation + 1.0));
        assert_eq!(high.hold, ["red_growth"]);
    }
}
