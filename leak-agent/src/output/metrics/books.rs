//! What the runtimes' own books said, as metrics. What is not known has no series.

use super::catalogue as names;
use super::family::Family;
use crate::report::Books;

/// The families while they are filled.
pub(super) struct BookFamilies {
    drift: Family,
    agreed: Family,
    checks: Family,
    readings: Family,
    missed_spawns: Family,
    missed_finishes: Family,
    repairs: Family,
    retained: Family,
    retained_handles: Family,
}

impl BookFamilies {
    pub(super) fn new() -> Self {
        Self {
            drift: Family::new(names::DRIFT),
            agreed: Family::new(names::BOOKS_AGREED),
            checks: Family::new(names::BOOKS_CHECKS),
            readings: Family::new(names::BOOKS_READINGS),
            missed_spawns: Family::new(names::MISSED_SPAWNS),
            missed_finishes: Family::new(names::MISSED_FINISHES),
            repairs: Family::new(names::BOOKS_REPAIRS),
            retained: Family::new(names::TASKS_RETAINED),
            retained_handles: Family::new(names::RETAINED_HANDLES),
        }
    }

    /// Adds those of one runtime in one process.
    pub(super) fn push(&mut self, of: [&str; 4], books: &Books) {
        self.checks.push(of, books.checks);
        self.repairs.push(of, books.repairs);
        let [pid, comm, exe, runtime] = of;
        let readings = books.readings;
        for (what, count) in [
            ("counters", readings.counters),
            ("lists", readings.lists),
            ("search", readings.searches),
        ] {
            self.readings.push([pid, comm, exe, runtime, what], count);
        }
        if let Some(missed) = books.missed_spawns {
            self.missed_spawns.push(of, missed);
        }
        if let Some(missed) = books.missed_finishes {
            self.missed_finishes.push(of, missed);
        }
        if let Some(drift) = books.drift {
            self.drift.push(of, drift as f64);
        }
        if let Some(agreed) = books.agreed_at {
            self.agreed.push(of, agreed);
        }
        self.push_retained(of, books.retained);
        if let Some(handles) = books.retained_join_handles {
            self.retained_handles.push(of, handles);
        }
    }

    /// Tasks that ended and are still held, where the counts themselves are from memory.
    pub(super) fn push_retained(&mut self, of: [&str; 4], retained: Option<u64>) {
        if let Some(retained) = retained {
            self.retained.push(of, retained);
        }
    }

    pub(super) fn into_families(self) -> [Family; 9] {
        [
            self.drift,
            self.agreed,
            self.checks,
            self.readings,
            self.missed_spawns,
            self.missed_finishes,
            self.repairs,
            self.retained_handles,
            self.retained,
        ]
    }
}
