//! What the runtimes' own books said, as metrics. What is not known has no series.

use super::catalogue as names;
use super::family::Family;
use crate::report::Books;

/// The families while they are filled.
pub(super) struct BookFamilies {
    drift: Family,
    agreed: Family,
    checks: Family,
    repairs: Family,
    retained: Family,
}

impl BookFamilies {
    pub(super) fn new() -> Self {
        Self {
            drift: Family::new(names::DRIFT),
            agreed: Family::new(names::BOOKS_AGREED),
            checks: Family::new(names::BOOKS_CHECKS),
            repairs: Family::new(names::BOOKS_REPAIRS),
            retained: Family::new(names::TASKS_RETAINED),
        }
    }

    /// Adds those of one runtime in one process.
    pub(super) fn push(&mut self, of: [&str; 4], books: &Books) {
        self.checks.push(of, books.checks);
        self.repairs.push(of, books.repairs);
        if let Some(drift) = books.drift {
            self.drift.push(of, drift as f64);
        }
        if let Some(agreed) = books.agreed_at {
            self.agreed.push(of, agreed);
        }
        self.push_retained(of, books.retained);
    }

    /// Tasks that ended and are still held, where the counts themselves are from memory.
    pub(super) fn push_retained(&mut self, of: [&str; 4], retained: Option<u64>) {
        if let Some(retained) = retained {
            self.retained.push(of, retained);
        }
    }

    pub(super) fn into_families(self) -> [Family; 5] {
        [self.drift, self.agreed, self.checks, self.repairs, self.retained]
    }
}
