//! Counts of a site whose baseline is not known: a lower bound of it, that grows with what is seen.

use super::books::Missed;
use super::snapshot::Counts;
use leak_agent_common::totals::SiteTotals;
use serde::{Deserialize, Serialize};

/// The newest totals of a site, and what they prove about the time before them.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Row {
    now: SiteTotals,
    /// At least so many tasks were alive when we began: more have ended than were created.
    floor: u64,
}

impl Row {
    /// Takes newer totals.
    ///
    /// A reading is no snapshot: a finish may be read whose spawn was not. So the finishes of the reading
    /// *before* are compared with the spawns of this one: every task in the former is in the latter, if it
    /// was created under our eyes at all.
    pub(super) fn update(&mut self, newer: SiteTotals) {
        let before = signed(self.now.finished);
        let surplus = before.saturating_sub(signed(newer.spawned));
        self.floor = self.floor.max(u64::try_from(surplus).unwrap_or(0));
        self.now = newer;
    }

    /// The counts. `before`: at least so many tasks were alive when we began, besides those that the kernel itself
    /// found; `None` = none were. `missed`: what no probe saw, and the runtime's own books tell.
    pub(super) fn counts(&self, before: Option<u64>, missed: Missed) -> Counts {
        let before = before.map_or(0, |known| known.max(self.floor.saturating_sub(missed.spawned)));
        let baseline = self.now.baseline.saturating_add(before);
        let mut counts = Counts {
            baseline,
            spawned: self.now.spawned.wrapping_add(missed.spawned),
            finished: self.now.finished.wrapping_add(missed.finished),
        };
        // An end that was taken back before it was read (exec by a thread that is not the leader).
        if signed(counts.finished) < 0 {
            counts.spawned = counts.spawned.wrapping_sub(counts.finished);
            counts.finished = 0;
        }
        counts.finished = counts
            .finished
            .min(counts.baseline.saturating_add(counts.spawned));
        counts
    }

    /// Whether nothing of it is alive, as far as it was seen.
    pub(super) fn at_rest(&self) -> bool {
        self.now.baseline.wrapping_add(self.now.spawned) == self.now.finished
    }

    /// At least so many more have ended than began.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// Whether anything was created here.
    pub(super) fn has_spawned(&self) -> bool {
        self.now.spawned != 0 || self.floor != 0
    }
}

fn signed(count: u64) -> i64 {
    count as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(spawned: u64, finished: u64) -> SiteTotals {
        SiteTotals {
            spawned,
            finished,
            baseline: 0,
        }
    }

    /// Ends without a beginning prove a baseline; the counts stay consistent.
    #[test]
    fn floor_of_ends_without_beginning_is_their_surplus() {
        let mut row = Row::default();
        row.update(totals(2, 5));
        assert_eq!(row.counts(Some(0), Missed::default()).live(), 0);
        row.update(totals(2, 5));
        assert_eq!(
            row.counts(Some(0), Missed::default()),
            Counts {
                baseline: 3,
                spawned: 2,
                finished: 5
            }
        );
        row.update(totals(9, 5));
        assert_eq!(row.counts(Some(0), Missed::default()).live(), 7);
    }

    /// A finish that was read before its spawn proves nothing.
    #[test]
    fn floor_of_a_torn_reading_stays_zero() {
        let mut row = Row::default();
        row.update(totals(10, 11));
        row.update(totals(11, 11));
        assert_eq!(
            row.counts(Some(0), Missed::default()),
            Counts {
                baseline: 0,
                spawned: 11,
                finished: 11
            }
        );
    }

    /// Spawns that the books told of are no tasks from before, though their ends were seen.
    #[test]
    fn counts_with_missed_spawns_have_no_other_baseline() {
        let mut row = Row::default();
        for _ in 0..2 {
            row.update(totals(10, 12));
        }
        let missed = Missed {
            spawned: 2,
            finished: 0,
        };
        let counts = row.counts(Some(0), missed);
        assert_eq!((counts.baseline, counts.spawned, counts.live()), (0, 12, 0));
    }

    /// Ends that the books told of are not alive any more.
    #[test]
    fn counts_with_missed_ends_are_less() {
        let mut row = Row::default();
        row.update(totals(10, 3));
        let missed = Missed {
            spawned: 0,
            finished: 4,
        };
        let counts = row.counts(Some(1), missed);
        assert_eq!((counts.finished, counts.live()), (7, 4));
    }

    /// An end that is taken back before it came leaves one task alive.
    #[test]
    fn counts_of_a_negative_end_are_a_beginning() {
        let mut row = Row::default();
        row.update(totals(0, u64::MAX));
        assert_eq!(row.counts(None, Missed::default()).live(), 1);
    }
}
