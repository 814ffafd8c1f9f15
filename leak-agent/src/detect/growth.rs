//! Persistent growth: does the live count of a site grow against its own past?
//!
//! Looked at is the *floor*, the least count of a while, because load comes and goes on top of it. It grows if a robust
//! slope over twelve whiles amounts to more than noise, the floor of each quarter is above that of the quarter before,
//! and most steps do not fall. From there the rise is followed back to where it began.

use super::trace::{self, Point, Trace};
use super::verdict::{Opinion, Verdict};
use crate::config::policy;

/// Whiles in the window that is looked at, at most and at least.
pub(super) const WINDOW: usize = 12;
pub(super) const SHORT: usize = 8;
/// Parts of it whose floors must climb, each by this share of what it would be on a straight line.
const PARTS: usize = 4;
const CLIMB: f64 = 0.25;
/// The newest whiles: of so many the noise is measured, of so many the level.
const FINE: usize = 24;
const NEWEST: usize = 5;
/// So many times the noise do not end a rise that is followed back.
const NOISES: f64 = 4.0;
/// How much more than halves thirds of a rise may differ.
const THIRDS: f64 = 1.25;
/// Tasks that are replaced so often within a window, or more often, leave no drift to speak of.
const OFTEN: f64 = 10.0;

/// What growth there is, in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GrowthEvidence {
    /// Healthy: it does not grow, or the spawn rate explains it. Suspect: it grows, but less and less. Leak: it grows
    /// steadily.
    pub opinion: Opinion,
    /// Length of the window, seconds.
    pub window: f64,
    /// It is the shortest that there is.
    pub shortest: bool,
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

    /// Tasks per second since the rise began.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.surplus / self.lasted.max(1e-9)
    }
}

/// Looks at one resolution: the last whiles of a ring, oldest first. `trace` gives the whole past, which most looks do not
/// need; `low_at` is when the count was last near its low, seconds since the boot; `counts_events` whether spawns and ends
/// are counted.
pub(super) fn judge<'a>(
    window: &[Point],
    trace: impl FnOnce() -> &'a Trace,
    low_at: f64,
    counts_events: bool,
    policy: &policy::Growth,
) -> GrowthEvidence {
    let window = &window[window.len().saturating_sub(WINDOW)..];
    if window.len() < SHORT {
        return GrowthEvidence {
            opinion: Opinion::undecided("its past is too short"),
            ..GrowthEvidence::default()
        };
    }
    let quarter = window.len() / PARTS;
    let risen = mean_floor(&window[window.len() - quarter..]) - mean_floor(&window[..quarter]);
    // On a line it is three quarters of the rise.
    if risen < 0.5 * policy.least_surplus as f64 {
        return GrowthEvidence {
            opinion: Opinion::of(Verdict::Healthy),
            window: trace::length(window),
            from: window[0].floor,
            to: window[window.len() - 1].floor,
            ..GrowthEvidence::default()
        };
    }
    let slope = trace::slope(window);
    let length = trace::length(window);
    let level = mean_floor(&window[..SHORT / PARTS]);
    let rise = slope * (length - window[0].width);
    let noise = trace::scatter(window, slope).max(chance(window, level, counts_events));
    let floors = trace::floors(window, PARTS);
    let mut evidence = GrowthEvidence {
        opinion: Opinion::of(Verdict::Healthy),
        window: length,
        from: window[0].floor,
        to: window[window.len() - 1].floor,
        per_minute: slope * 60.0,
        noise,
        not_fallen: trace::not_fallen(window),
        climbs: floors
            .windows(2)
            .filter(|pair| pair[1] - pair[0] > CLIMB * rise / PARTS as f64)
            .count(),
        ..GrowthEvidence::default()
    };
    let enough = rise >= policy.least_surplus as f64 && rise > policy.times_noise * noise;
    if !enough || evidence.not_fallen < policy.not_fallen || evidence.climbs < PARTS - 1 {
        return evidence;
    }
    follow_back(&mut evidence, slope, noise, trace(), low_at);
    if evidence.surplus < policy.least_surplus as f64 || evidence.surplus < policy.times_noise * noise {
        // It has grown, but does not any more.
        evidence.lasted = 0.0;
        return evidence;
    }
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

/// By how much the floor may move by chance while tasks come and go independently of each other. A count whose tasks are
/// replaced many times within the window moves quickly, which its scatter shows; one whose tasks live long drifts, and the
/// events of the window, or the count itself, tell how far.
fn chance(window: &[Point], level: f64, counts_events: bool) -> f64 {
    if !counts_events {
        return 0.0;
    }
    let (spawned, finished) = trace::events(window);
    let pairs = spawned.min(finished);
    let replaced = pairs / level.max(1.0);
    (2.0 * pairs.min(level)).sqrt() * (OFTEN / replaced.max(OFTEN))
}

/// Follows the rise back to its beginning: the latest moment before which the floor lay above the line that the rise draws.
fn follow_back(evidence: &mut GrowthEvidence, slope: f64, noise: f64, trace: &Trace, low_at: f64) {
    let points = &trace.points;
    let Some(last) = points.last() else { return };
    let recent = &points[points.len().saturating_sub(FINE)..];
    let noise = trace::scatter(recent, slope).max(noise);
    let newest = &recent[recent.len().saturating_sub(NEWEST)..];
    let mut levels: Vec<f64> = newest
        .iter()
        .map(|point| point.floor + slope * (last.at - point.at))
        .collect();
    let top = trace::median(&mut levels);
    let mut began = points.len() - 1;
    for (index, point) in points.iter().enumerate().rev() {
        let ago = last.at - point.at;
        // A fifth of what has been followed so far, and noise, do not end it: a rise is not exactly a line.
        let slack = (0.2 * slope * ago).max(NOISES * noise).max(2.0);
        if point.floor > top - slope * ago + slack || point.at <= low_at {
            break;
        }
        began = index;
    }
    let rise = &points[began..];
    evidence.began = rise[0].at - rise[0].width;
    evidence.lasted = last.at - evidence.began;
    evidence.level = rise[0].floor.max(top - 1.5 * slope * evidence.lasted).max(0.0);
    evidence.surplus = (top - evidence.level).max(0.0);
    (evidence.spawned, evidence.finished) = trace::events(rise);
    evidence.steadiness = steadiness(rise, &points[..began], slope, low_at);
    evidence.explained = explained(rise);
    evidence.longer = longer(rise, evidence.level);
}

/// Slope of the second half, in time, by that of the first; or that of the rise by that of what was before it, since the
/// count was low; or, where tasks end, that of the last third by that of the first: the least of them. A count that warms
/// up, and one whose tasks now and then live very long, grow less and less.
fn steadiness(rise: &[Point], before: &[Point], slope: f64, low_at: f64) -> Option<f64> {
    let halves = later_by_earlier(rise, 1.0 / 2.0)?;
    let (_, finished) = trace::events(rise);
    // Thirds hold fewer tasks: they may differ by more.
    let thirds = later_by_earlier(rise, 1.0 / 3.0)
        .filter(|_| finished > 0.0)
        .map_or(halves, |thirds| THIRDS * thirds);
    let before = &before[before.partition_point(|point| point.at <= low_at)..];
    let climbed = if before.len() < 4 {
        0.0
    } else {
        trace::slope(before)
    };
    let whole = if climbed > 0.0 { slope / climbed } else { halves };
    Some(halves.min(thirds).min(whole))
}

/// Slope of the last part of a rise, in time, by that of an equal first part.
fn later_by_earlier(rise: &[Point], part: f64) -> Option<f64> {
    let (first, last) = (rise.first()?, rise.last()?);
    let begin = first.at - first.width;
    let length = part * (last.at - begin);
    let early = &rise[..rise.partition_point(|point| point.at <= begin + length)];
    let late = &rise[rise.partition_point(|point| point.at - point.width < last.at - length - 1e-6)..];
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

/// By which factor the average life time has grown from the beginning of the rise, at this level, to its last third.
fn longer(rise: &[Point], level: f64) -> f64 {
    let (early, late) = ends(rise);
    let (before, after) = (rate(early), rate(late));
    if before <= 0.0 || after <= 0.0 {
        return f64::INFINITY;
    }
    (mean_floor(late) / after) / (level.max(1.0) / before)
}

#[cfg(test)]
mod tests;
