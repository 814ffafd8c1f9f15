//! The detectors within the agent: what they are fed with, and what of their news is logged.

use super::limits::LimitReader;
use super::line::Line;
use crate::config::Policy;
use crate::detect::{Change, Facts, Judgement, News};
use crate::types::BootTime;
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

/// Limits are read this often, at time scale 1.
const LIMITS_EVERY: Duration = Duration::from_secs(10);
/// Of so many processes at once, at most.
const LIMITS_AT_ONCE: usize = 200;

/// What the detectors are told besides the snapshots.
pub(super) struct Judge {
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
    pub(super) fn start(policy: &Policy) -> io::Result<Self> {
        let scale = policy.defaults().time_scale;
        Ok(Self {
            limits: LimitReader::spawn()?,
            limits_at: None,
            limits_every: LIMITS_EVERY.div_f64(scale),
        })
    }

    /// What is to be told at a tick; asks for more, if it is time.
    pub(super) fn facts(&mut self, line: &Line, at: BootTime, lost_counts: u64) -> Facts {
        let facts = Facts {
            lost_counts,
            limits: self.limits.take(),
            stacks: BTreeMap::new(),
        };
        if self
            .limits_at
            .is_none_or(|before| at.since(before) >= self.limits_every)
        {
            self.limits_at = Some(at);
            let mut wanted = line.detectors().wants_limits();
            wanted.truncate(LIMITS_AT_ONCE);
            if !wanted.is_empty() {
                self.limits.ask(wanted, at);
            }
        }
        facts
    }
}

/// Logs what is new.
pub(super) fn log(judgement: &Judgement) {
    judgement.news.iter().for_each(tell);
}

/// One line per change. Names in it are those of other processes: the formatter of the log makes them harmless.
fn tell(news: &News) {
    let finding = &news.finding;
    let process = finding.key.process.tgid;
    let (fingerprint, site, sentence) = (&finding.fingerprint, &finding.site, &finding.sentence);
    let (priority, suppressed) = (finding.priority.label(), finding.suppressed.is_some());
    let what = match news.what {
        Change::Opened => "finding opened",
        Change::Reopened => "finding reopened",
        Change::Resolved => "finding resolved",
        Change::Confirmed if suppressed => "leak, suppressed",
        // Whoever is to be told is told by the receivers, the log among them.
        Change::Confirmed => "leak",
    };
    tracing::info!(process, fingerprint, site, priority, sentence, "{what}");
}
