//! What runtimes' schedulers do with threads, as metrics. What is not known has no series.

use super::catalogue as names;
use super::family::Family;
use crate::output::text::visible;
use crate::report::Scheduler;

/// The families while they are filled.
pub(super) struct SchedulerFamilies {
    threads: Family,
    bound: Family,
    time: Family,
}

impl SchedulerFamilies {
    pub(super) fn new() -> Self {
        Self {
            threads: Family::new(names::SCHEDULER_THREADS),
            bound: Family::new(names::SCHEDULER_BOUND),
            time: Family::new(names::SCHEDULER_TIME),
        }
    }

    /// Adds those of one runtime in one process.
    pub(super) fn push(&mut self, of: [&str; 4], scheduler: &Scheduler) {
        let [pid, comm, exe, runtime] = of;
        for each in &scheduler.activities {
            let activity = visible(&each.activity);
            self.threads
                .push([pid, comm, exe, runtime, &activity], each.threads);
        }
        if let Some(bound) = scheduler.bound {
            self.bound.push(of, bound);
        }
        if let Some(at) = scheduler.as_of {
            self.time.push(of, at);
        }
    }

    pub(super) fn into_families(self) -> [Family; 3] {
        [self.threads, self.bound, self.time]
    }
}
