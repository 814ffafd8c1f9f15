//! What was read from memory without probes, as metrics. What is not known has no series.

use super::catalogue as names;
use super::family::Family;
use crate::report::Watch;

/// The families while they are filled.
pub(super) struct WatchFamilies {
    time: Family,
    agreed: Family,
    counted: Family,
    added: Family,
}

impl WatchFamilies {
    pub(super) fn new() -> Self {
        Self {
            time: Family::new(names::WATCH_TIME),
            agreed: Family::new(names::WATCH_AGREED),
            counted: Family::new(names::WATCH_COUNTED),
            added: Family::new(names::WATCH_ADDED),
        }
    }

    /// Adds those of one runtime in one process.
    pub(super) fn push(&mut self, of: [&str; 4], watch: &Watch) {
        self.agreed.push(of, watch.agreed);
        if let Some(at) = watch.as_of {
            self.time.push(of, at);
        }
        if let Some(counted) = watch.counted {
            self.counted.push(of, counted);
        }
        if let Some(added) = watch.added {
            self.added.push(of, added);
        }
    }

    pub(super) fn into_families(self) -> [Family; 4] {
        [self.time, self.agreed, self.counted, self.added]
    }
}
