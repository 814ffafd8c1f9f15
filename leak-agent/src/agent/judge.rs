//! The detectors within the agent: what they are fed with, and what of their news is logged.

use super::limits::LimitReader;
use crate::config::Policy;
use crate::detect::{Change, Detectors, Facts, Judgement, News, Observation};
use crate::engine::Snapshot;
use crate::sys::clock;
use crate::types::BootTime;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Limits are read this often, at time scale 1.
const LIMITS_EVERY: Duration = Duration::from_secs(10);
/// Of so many processes at once, at most.
const LIMITS_AT_ONCE: usize = 200;

/// The detectors and what they need.
pub(super) struct Judge {
    detectors: Detectors,
    limits: LimitReader,
    limits_at: Option<BootTime>,
    limits_every: Duration,
}

impl Judge {
    /// Starts with nothing known.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    pub(super) fn start(policy: &Arc<Policy>) -> io::Result<Self> {
        let scale = policy.defaults().time_scale;
        Ok(Self {
            detectors: Detectors::new(Arc::clone(policy)),
            limits: LimitReader::spawn()?,
            limits_at: None,
            limits_every: LIMITS_EVERY.div_f64(scale),
        })
    }

    /// Judges a snapshot, and logs what is new.
    pub(super) fn judge(&mut self, snapshot: &Snapshot, lost_counts: u64) -> Judgement {
        let facts = Facts {
            lost_counts,
            limits: self.limits.take(),
            stacks: BTreeMap::new(),
        };
        let due = self
            .limits_at
            .is_none_or(|at| snapshot.at.since(at) >= self.limits_every);
        if due {
            self.limits_at = Some(snapshot.at);
            let mut wanted = self.detectors.wants_limits();
            wanted.truncate(LIMITS_AT_ONCE);
            if !wanted.is_empty() {
                self.limits.ask(wanted, snapshot.at);
            }
        }
        let observation = Observation {
            snapshot,
            unix: clock::boot_unix().as_secs_f64() + Duration::from_nanos(snapshot.at.0).as_secs_f64(),
            facts: &facts,
        };
        let judgement = self.detectors.observe(&observation);
        judgement.news.iter().for_each(log);
        judgement
    }
}

/// One line per change. Names in it are those of other processes: the formatter of the log makes them harmless.
fn log(news: &News) {
    let finding = &news.finding;
    let process = finding.key.process.tgid;
    let (fingerprint, site, sentence) = (&finding.fingerprint, &finding.site, &finding.sentence);
    let (priority, suppressed) = (finding.priority.label(), finding.suppressed.is_some());
    let what = match news.what {
        Change::Opened => "finding opened",
        Change::Reopened => "finding reopened",
        Change::Resolved => "finding resolved",
        Change::Confirmed if suppressed => "leak, suppressed",
        Change::Confirmed => {
            tracing::warn!(process, fingerprint, site, priority, sentence, "leak");
            return;
        }
    };
    tracing::info!(process, fingerprint, site, priority, sentence, "{what}");
}
