//! What the runtime's own books said of one plan in one process.

use super::merge::Baseline;
use crate::types::BootTime;

/// What is known from the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookFacts {
    /// What was alive when the probes began.
    pub baseline: Baseline,
    /// When the books and our counts last agreed; `None` = they did not yet.
    pub agreed_at: Option<BootTime>,
    /// Our count minus the books', at the last comparison and before it was repaired; `None` = not compared yet.
    pub drift: Option<i64>,
    /// Comparisons made.
    pub checks: u64,
    /// Comparisons after which the baseline was set anew.
    pub repairs: u64,
    /// Tasks that ended and whose memory somebody still holds, at most; `None` = not known.
    pub retained: Option<u64>,
}

impl Default for BookFacts {
    fn default() -> Self {
        Self {
            baseline: Baseline {
                doubt: Some("the runtime's own books were not read yet".to_owned()),
                ..Baseline::default()
            },
            agreed_at: None,
            drift: None,
            checks: 0,
            repairs: 0,
            retained: None,
        }
    }
}

impl BookFacts {
    /// Tasks that were alive when the probes began.
    #[must_use]
    pub fn sum(&self) -> i64 {
        self.baseline.sum()
    }
}
