//! What became of the notifications, per receiver: written by those who send, read by those who make reports.

use super::ledger::LedgerCounts;
use super::queue::Queue;
use crate::report::ReceiverFacts;
use std::sync::{Arc, Mutex, PoisonError};

/// The counters of all receivers. A clone is the same books.
#[derive(Clone, Debug, Default)]
pub struct AlertBooks(Arc<Mutex<Vec<ReceiverFacts>>>);

impl AlertBooks {
    /// Opens the books of these receivers: name, kind, dry run.
    pub(super) fn of(receivers: impl Iterator<Item = (String, &'static str, bool)>) -> Self {
        let facts = receivers.map(|(name, kind, dry_run)| ReceiverFacts {
            name,
            kind,
            dry_run,
            ..ReceiverFacts::default()
        });
        Self(Arc::new(Mutex::new(facts.collect())))
    }

    /// What they say now, for the report.
    #[must_use]
    pub fn facts(&self) -> Vec<ReceiverFacts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes something down about one receiver.
    pub(super) fn note(&self, receiver: usize, note: impl FnOnce(&mut ReceiverFacts)) {
        let mut facts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(facts) = facts.get_mut(receiver) {
            note(facts);
        }
    }

    /// Takes over what a queue says of itself.
    pub(super) fn queue(&self, receiver: usize, queue: &Queue) {
        self.note(receiver, |facts| {
            let counts = queue.counts();
            facts.taken = counts.taken;
            facts.dropped.clone_from(&counts.dropped);
            facts.disk_errors = counts.disk_errors;
            facts.waiting = queue.len() as u64;
            facts.waiting_bytes = queue.bytes();
            facts.on_disk = queue.is_safe();
        });
    }

    /// Takes over what a ledger says of itself.
    pub(super) fn ledger(&self, receiver: usize, counts: LedgerCounts) {
        self.note(receiver, |facts| {
            facts.settled = counts.settled;
            facts.over_limit = counts.over_limit;
            facts.held = counts.held;
        });
    }
}
