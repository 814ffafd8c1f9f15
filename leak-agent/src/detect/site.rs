//! What is kept of one site in one process: its newest counts, and its past if it ever moved.

use super::past::Past;
use super::ring::{Reading, Ring};
use super::trace::{Point, Trace};
use crate::engine::snapshot::Counts;

/// Widths of the buckets of each resolution, nanoseconds at time scale 1.
pub(super) const WIDTHS: [u64; 6] = [
    4_000_000_000,
    15_000_000_000,
    60_000_000_000,
    300_000_000_000,
    1_800_000_000_000,
    7_200_000_000_000,
];

/// A site.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// When it was first looked at; before that it had too few tasks to be.
    pub(super) since: u64,
    /// The newest reading.
    pub(super) at: u64,
    pub(super) counts: Counts,
    /// `None` = the count has stood still ever since.
    moved: Option<Box<Moved>>,
}

/// The past of a site whose count has moved.
#[derive(Clone, Debug)]
struct Moved {
    past: Past,
    rings: [Ring; WIDTHS.len()],
}

/// What taking a reading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Nothing to look at.
    Nothing,
    /// A bucket of the finest resolution is complete.
    Bucket,
    /// It moves, and there is no room for its past.
    NoRoom,
    /// The clock or a counter ran backwards: nothing was taken, the past begins anew.
    Backwards,
}

impl Site {
    pub(super) fn new(at: u64, counts: Counts) -> Self {
        Self {
            since: at,
            at,
            counts,
            moved: None,
        }
    }

    /// A site that has had at most `few` tasks since `since`, and now has these.
    pub(super) fn risen(since: u64, at: u64, counts: Counts, few: u64, scale: f64) -> Self {
        let mut moved = Moved::new(since, at.saturating_sub(1), few, scale);
        for ring in &mut moved.rings {
            ring.take(Reading {
                at,
                live: counts.live(),
                spawned: 0,
                finished: 0,
            });
        }
        Self {
            since,
            at,
            counts,
            moved: Some(Box::new(moved)),
        }
    }

    /// Takes the next reading. `least` is the rise that counts as one, `scale` how many times faster than usual time runs,
    /// `room` whether a past may be begun.
    pub(super) fn take(&mut self, at: u64, counts: Counts, least: u64, scale: f64, room: bool) -> Taken {
        let before = self.counts;
        if at < self.at || counts.spawned < before.spawned || counts.finished < before.finished {
            *self = Self::new(at, counts);
            return Taken::Backwards;
        }
        let (live_before, live) = (before.live(), counts.live());
        let from = self.at;
        (self.at, self.counts) = (at, counts);
        let moved = match &mut self.moved {
            Some(moved) => moved,
            None if live == live_before => return Taken::Nothing,
            None if !room => return Taken::NoRoom,
            None => self
                .moved
                .insert(Box::new(Moved::new(self.since, from, live_before, scale))),
        };
        let reading = Reading {
            at,
            live,
            spawned: counts.spawned - before.spawned,
            finished: counts.finished - before.finished,
        };
        let mut completed = false;
        for (number, ring) in moved.rings.iter_mut().enumerate() {
            completed |= ring.take(reading) && number == 0;
        }
        if completed && let Some((end, bucket)) = moved.rings[0].buckets().next_back() {
            moved.past.take(end, bucket.least.into(), least);
        }
        if completed { Taken::Bucket } else { Taken::Nothing }
    }

    /// Whether a past is kept.
    pub(super) fn has_moved(&self) -> bool {
        self.moved.is_some()
    }

    /// What it has given back before; `None` = it never moved.
    pub(super) fn past(&self) -> Option<&Past> {
        self.moved.as_ref().map(|moved| &moved.past)
    }

    /// The complete buckets of one resolution; `None` = it never moved.
    pub(super) fn ring(&self, resolution: usize) -> Option<&Ring> {
        self.moved.as_ref()?.rings.get(resolution)
    }

    /// The whole past that is kept, at the best resolution there is for each time.
    pub(super) fn trace(&self) -> Trace {
        let mut points = Vec::new();
        let mut end = 0;
        let rings = self.moved.iter().flat_map(|moved| &moved.rings);
        // From coarse to fine: of each, what is older than all that the next finer one has.
        let mut rings: Vec<&Ring> = rings.collect();
        rings.reverse();
        for (number, ring) in rings.iter().enumerate() {
            let finer = rings.get(number + 1).and_then(|finer| {
                let (end, _) = finer.buckets().next()?;
                Some(end.saturating_sub(finer.width()))
            });
            for (ends, bucket) in ring.buckets() {
                if ends <= end || finer.is_some_and(|finer| ends > finer) {
                    continue;
                }
                // What a finer bucket does not reach back to is missing between the two, which only makes a gap.
                points.push(Point {
                    at: ends as f64 / 1e9,
                    width: ring.width() as f64 / 1e9,
                    floor: f64::from(bucket.least),
                    last: f64::from(bucket.last),
                    spawned: f64::from(bucket.spawned),
                    finished: f64::from(bucket.finished),
                });
                end = ends;
            }
        }
        Trace { points }
    }
}

impl Moved {
    fn new(since: u64, from: u64, live: u64, scale: f64) -> Self {
        let mut past = Past::new(since, live);
        past.low_at = from;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and some hours of nanoseconds"
        )]
        let width = |width: u64| (width as f64 / scale) as u64;
        let rings = WIDTHS.map(|of| {
            let width = width(of);
            // What stood still until now fills as much of the ring as there was.
            let oldest = from.saturating_sub(width.saturating_mul(super::ring::CAPACITY as u64 + 1));
            let mut ring = Ring::new(width, since.max(oldest), live);
            ring.take(Reading {
                at: from,
                live,
                spawned: 0,
                finished: 0,
            });
            ring
        });
        Self { past, rings }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn counts(spawned: u64, finished: u64) -> Counts {
        Counts {
            baseline: 10,
            spawned,
            finished,
        }
    }

    /// A site that stands still keeps nothing, and its stillness is known once it moves.
    #[test]
    fn still_site_keeps_no_past() {
        let mut site = Site::new(0, counts(0, 0));
        for second in 1..100 {
            assert_eq!(
                site.take(second * S, counts(second, second), 12, 1.0, true),
                Taken::Nothing
            );
        }
        assert!(site.past().is_none());
        site.take(100 * S, counts(105, 100), 12, 1.0, true);
        let floors: Vec<f64> = site.trace().points.iter().map(|point| point.floor).collect();
        assert!(
            floors.len() >= 24 && floors.iter().all(|floor| *floor == 10.0),
            "{floors:?}"
        );
    }

    /// A counter or a clock that runs backwards begins a new past, and is no fall or rise.
    #[test]
    fn counter_that_runs_backwards_begins_anew() {
        let mut site = Site::new(0, counts(5, 0));
        site.take(S, counts(50, 0), 12, 1.0, true);
        assert!(site.past().is_some());
        assert_eq!(site.take(2 * S, counts(49, 0), 12, 1.0, true), Taken::Backwards);
        assert!(site.past().is_none() && site.since == 2 * S);
        assert_eq!(site.take(S, counts(60, 0), 12, 1.0, true), Taken::Backwards);
    }

    /// The trace has each time once, oldest first, coarse where it is long ago.
    #[test]
    fn trace_has_each_time_once() {
        let mut site = Site::new(0, counts(0, 0));
        for second in 1..40_000_u64 {
            site.take(second * S, counts(second, 0), 12, 1.0, true);
        }
        let points = site.trace().points;
        assert!(points.is_sorted_by(|a, b| a.at < b.at));
        assert!(points.len() < 6 * super::super::ring::CAPACITY);
        let spawned: f64 = points.iter().map(|point| point.spawned).sum();
        assert!(spawned > 35_000.0 && spawned <= 40_000.0, "{spawned}");
        assert!(points[0].width > 1_000.0 && points[points.len() - 1].width < 5.0);
    }
}
