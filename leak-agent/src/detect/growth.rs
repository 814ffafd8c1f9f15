//! Persistent growth: does the live count of a site grow against its own past?
//!
//! Looked at is the *floor*, the least count of a while, because load comes and goes on top of it. It grows if a robust
//! slope over twelve whiles amounts to more than noise, the floor of each quarter is above that of the quarter before,
//! and most steps do not fall. From there the rise is followed back to where it began.

use super::trace::{self, Point, Trace};
use super::verdict::{Opinion, Verdict};
use crate::config::policy;

/// Whiles in the window that is looked at.
pub(super) const WINDOW: usize = 12;
/// Parts of it whose floors must climb.
const PARTS: usize = 4;

/// What growth there is, in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GrowthEvidence {
    /// Healthy: it does not grow, or the spawn rate explains it. Suspect: it grows, but less and less. Leak: it grows
    /// steadily.
    pub opinion: Opinion,
    /// Length of the window, seconds.
    pub window: f64,
    /// Floor at its beginning.
    pub from: f64,
    /// Floor at its end.
    pub to: f64,
    /// Robust slope of the floor in it, tasks per minute.
    pub per_minute: f64,
    /// What the floor may move by chance.
    pub noise: f64,
    /// Share of the steps that did not fall.
    pub not_fallen: f64,
    /// How many of the quarters' floors climbed, of three.
    pub climbs: usize,
    /// How long the rise has lasted, seconds.
    pub lasted: f64,
    /// When it began: seconds since the boot.
    pub began: f64,
    /// Floor when it began.
    pub level: f64,
    /// Tasks added since.
    pub surplus: f64,
    /// Slope of the second half of the rise as a share of that of the first half; `None` = too short to tell.
    pub steadiness: Option<f64>,
    /// Share of the growth that the spawn rate explains.
    pub explained: f64,
    /// How much longer a task lives on average than at the beginning of the rise, if tasks leave as they come.
    pub longer: f64,
    /// Tasks spawned since the rise began.
    pub spawned: f64,
    /// Tasks ended since.
    pub finished: f64,
}

impl GrowthEvidence {
    /// Whether the count grows at all, for whatever reason.
    #[must_use]
    pub fn grows(&self) -> bool {
        self.lasted > 0.0
    }
}

/// Looks at one resolution: the last whiles of a ring, oldest first. `trace` is the whole past, `counts_events` whether
/// spawns and ends are counted.
pub(super) fn judge(
    window: &[Point],
    trace: &Trace,
    counts_events: bool,
    policy: &policy::Growth,
) -> GrowthEvidence {
    let Some(window) = window.len().checked_sub(WINDOW).map(|from| &window[from..]) else {
        return GrowthEvidence {
            opinion: Opinion::undecided("its past is too short"),
            ..GrowthEvidence::default()
        };
    };
    let slope = trace::slope(window);
    let length = trace::length(window);
    let level = window[..WINDOW / PARTS]
        .iter()
        .map(|point| point.floor)
        .sum::<f64>()
        / (WINDOW / PARTS) as f64;
    let rise = slope * (length - window[0].width);
    let noise = trace::scatter(window, slope).max(chance(window, level, counts_events));
    let floors = trace::floors(window, PARTS);
    let mut evidence = GrowthEvidence {
        opinion: Opinion::of(Verdict::Healthy),
        window: length,
        from: window[0].floor,
        to: window[WINDOW - 1].floor,
        per_minute: slope * 60.0,
        noise,
        not_fallen: trace::not_fallen(window),
        climbs: floors.windows(2).filter(|pair| pair[1] > pair[0]).count(),
        ..GrowthEvidence::default()
    };
    let enough = rise >= policy.least_surplus as f64 && rise > policy.times_noise * noise;
    if !enough || evidence.not_fallen < policy.not_fallen || evidence.climbs < PARTS - 1 {
        return evidence;
    }
    follow_back(&mut evidence, slope, noise, trace);
    if evidence.explained > policy.explained {
        let share = 100.0 * evidence.explained;
        evidence.opinion = Opinion::because(
            Verdict::Healthy,
            format!("its spawn rate rises, too, which explains {share:.0} % of the growth"),
        );
    } else if evidence.steadiness.is_some_and(|share| share < policy.steadiness) {
        evidence.opinion = Opinion::because(Verdict::Suspect, "it grows less and less, as while warming up");
    } else {
        evidence.opinion = Opinion::of(Verdict::Leak);
    }
    evidence
}

/// By how much the floor may move by chance while tasks come and go independently of each other: never by more than the
/// spread of the events, nor than that of two independent counts.
fn chance(window: &[Point], level: f64, counts_events: bool) -> f64 {
    let (spawned, finished) = trace::events(window);
    let coming_and_going = 2.0 * spawned.min(finished);
    let independent = 2.0 * level;
    if counts_events {
        coming_and_going.min(independent).sqrt()
    } else {
        0.0
    }
}

/// Follows the rise back to its beginning: the latest moment before which the floor lay above the line that the rise draws.
fn follow_back(evidence: &mut GrowthEvidence, slope: f64, noise: f64, trace: &Trace) {
    let points = &trace.points;
    let Some(last) = points.last() else { return };
    let mut began = points.len() - 1;
    for (index, point) in points.iter().enumerate().rev() {
        let line = last.floor - slope * (last.at - point.at);
        // A fifth of what has been followed so far, and noise, do not end it: a rise is not exactly a line.
        let slack = (0.2 * slope * (last.at - point.at)).max(2.0 * noise).max(2.0);
        if point.floor > line + slack {
            break;
        }
        began = index;
    }
    let rise = &points[began..];
    evidence.began = rise[0].at - rise[0].width;
    evidence.lasted = last.at - evidence.began;
    evidence.level = rise[0]
        .floor
        .max(last.floor - 1.5 * slope * evidence.lasted)
        .max(0.0);
    evidence.surplus = (last.floor - evidence.level).max(0.0);
    (evidence.spawned, evidence.finished) = trace::events(rise);
    evidence.steadiness = steadiness(rise);
    evidence.explained = explained(rise);
    evidence.longer = longer(rise);
}

/// Slope of the second half, in time, by that of the first.
fn steadiness(rise: &[Point]) -> Option<f64> {
    let (first, last) = (rise.first()?, rise.last()?);
    let middle = f64::midpoint(first.at, last.at);
    let split = rise.partition_point(|point| point.at <= middle);
    let (early, late) = rise.split_at(split);
    if early.len() < 4 || late.len() < 4 {
        return None;
    }
    let early = trace::slope(early);
    (early > 0.0).then(|| trace::slope(late) / early)
}

/// First and last third of a rise.
fn ends(rise: &[Point]) -> (&[Point], &[Point]) {
    let third = (rise.len() / 3).max(1).min(rise.len());
    (&rise[..third], &rise[rise.len() - third..])
}

fn mean_floor(points: &[Point]) -> f64 {
    points.iter().map(|point| point.floor).sum::<f64>() / points.len().max(1) as f64
}

fn rate(points: &[Point]) -> f64 {
    let time: f64 = points.iter().map(|point| point.width).sum();
    points.iter().map(|point| point.spawned).sum::<f64>() / time.max(1e-9)
}

/// Tasks that end leave live ≈ rate × life time: what a higher rate explains of the growth between the first and the last
/// third.
fn explained(rise: &[Point]) -> f64 {
    let (early, late) = ends(rise);
    let (before, after) = (mean_floor(early), mean_floor(late));
    let (slow, fast) = (rate(early), rate(late));
    if slow <= 0.0 || after <= before {
        return 0.0;
    }
    let expected = before * (fast / slow);
    ((expected - before) / (after - before)).clamp(0.0, 1.0)
}

/// By which factor the average life time has grown between the first and the last third.
fn longer(rise: &[Point]) -> f64 {
    let (early, late) = ends(rise);
    let life = |points: &[Point]| {
        let rate = rate(points);
        (rate > 0.0).then(|| mean_floor(points).max(1.0) / rate)
    };
    match (life(early), life(late)) {
        (Some(before), Some(after)) => after / before,
        _ => f64::INFINITY,
    }
}
