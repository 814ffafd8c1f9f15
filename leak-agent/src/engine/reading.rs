//! The last reading of the totals: most rows are as they were, and nothing is to be learned of them.
//!
//! A row that is the same for the first time is taken once more: two readings that agree prove what one alone does not
//! (see `baseline`). After that it is passed over, until it changes or its process does. Rows are found again by their place:
//! the kernel gives them in an order that hardly changes, and a row at another place is only dearer.

use crate::types::ProcessKey;
use leak_agent_common::key::SiteKey;
use leak_agent_common::totals::SiteTotals;
use std::collections::BTreeSet;

/// Processes whose rows are taken again; if there are more between two readings, all are.
const STALE_MAX: usize = 4_096;

/// What was read, and how far it was taken in.
#[derive(Debug, Default)]
pub(super) struct LastReading {
    rows: Vec<(SiteKey, SiteTotals)>,
    /// For each row: it was the same in two readings, and taken.
    known: Vec<bool>,
    /// Processes whose rows are to be taken again whatever they are.
    stale: BTreeSet<ProcessKey>,
    /// There are too many of them: all rows are.
    all_stale: bool,
}

/// What the last reading tells of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It was another, or elsewhere.
    Nothing,
    /// It was the same.
    Same,
    /// It was the same twice: there is nothing to be taken.
    Known,
}

impl Told {
    pub(super) fn is_known(self) -> bool {
        self == Self::Known
    }

    pub(super) fn is_same(self) -> bool {
        self != Self::Nothing
    }
}

impl LastReading {
    /// What it tells of a row at this place.
    pub(super) fn told(&self, index: usize, row: &(SiteKey, SiteTotals)) -> Told {
        if self.rows.get(index) != Some(row) {
            Told::Nothing
        } else if self.known.get(index) == Some(&true)
            && !self.all_stale
            && !self.stale.contains(&row.0.process)
        {
            Told::Known
        } else {
            Told::Same
        }
    }

    /// The rows of this process mean something else now: they are to be taken again. Also while a reading is taken: then in
    /// the next one.
    pub(super) fn retake(&mut self, process: ProcessKey) {
        if self.stale.len() < STALE_MAX {
            self.stale.insert(process);
        } else {
            self.all_stale = true;
        }
    }

    /// This is the last reading now.
    pub(super) fn read(&mut self, rows: Vec<(SiteKey, SiteTotals)>, known: Vec<bool>) {
        self.rows = rows;
        self.known = known;
    }
}
