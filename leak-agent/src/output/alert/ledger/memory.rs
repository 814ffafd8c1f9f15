//! What is remembered over a restart of the agent: whom the receiver was told of, so that it is not told again, and is told
//! when it is over.

use super::{Key, Ledger, MISSING_AFTER_RESTART, Moment, SUBJECTS_MAX, Subject};
use crate::output::alert::notification::{Alert, Rank};
use crate::types::BootTime;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A finding that was told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::output::alert) struct Remembered {
    group: String,
    rank: Rank,
    /// When it was last told: Unix time, seconds.
    told_at: f64,
    alert: Alert,
}

impl Ledger {
    /// What is to be remembered.
    pub(in crate::output::alert) fn remember(&self, now: Moment) -> Vec<Remembered> {
        let told = self.subjects.values().filter_map(|subject| {
            let (rank, at) = subject.told.as_ref()?;
            Some(Remembered {
                group: subject.group.clone(),
                rank: rank.clone(),
                told_at: now.unix - now.boot.since(*at).as_secs_f64(),
                alert: subject.alert.clone(),
            })
        });
        told.collect()
    }

    /// Takes what was remembered, before the first report.
    pub(in crate::output::alert) fn recall(&mut self, remembered: Vec<Remembered>, now: Moment) {
        for Remembered {
            group,
            rank,
            told_at,
            alert,
        } in remembered.into_iter().take(SUBJECTS_MAX)
        {
            let key = Key {
                fingerprint: alert.fingerprint.clone(),
                process: (alert.pid, alert.start_boottime),
            };
            // A wall clock that went back would make it told in the future.
            let ago = Duration::try_from_secs_f64(now.unix - told_at).unwrap_or_default();
            let ago = u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX);
            let subject = Subject {
                alert,
                group,
                told: Some((rank, BootTime(now.boot.0.saturating_sub(ago)))),
                news: None,
                seen: now.boot,
                patience: MISSING_AFTER_RESTART,
            };
            self.subjects.insert(key, subject);
        }
    }
}
