//! A finding: a claim about one site of one process, and its life.

use super::combine::Alternative;
use super::exhaustion::Exhaustion;
use super::growth::GrowthEvidence;
use super::never_ends::NeverEndsEvidence;
use super::observation::SiteKey;
use super::rules::RulesEvidence;
use super::verdict::Verdict;
use crate::config::policy::{Labels, Priority};
use crate::types::BootTime;
use std::sync::Arc;

/// Where in its life a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingState {
    /// Suspected.
    Open,
    /// A leak.
    Confirmed,
    /// The site has not grown for a while, has given its tasks back, or is gone.
    Resolved,
    /// It was resolved and grows again.
    Reopened,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// It grows slowly, or is only suspected.
    Yellow,
    /// A leak that grows fast, or that reaches a limit soon.
    Red,
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Since the boot.
    pub boot: BootTime,
    /// Unix time, seconds, as the wall clock stood then.
    pub unix: f64,
}

/// The numbers behind a finding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Persistent growth.
    pub growth: GrowthEvidence,
    /// Tasks that never end.
    pub never_ends: NeverEndsEvidence,
    /// The rules that teams already use.
    pub rules: RulesEvidence,
    /// Limits of the process that come nearer.
    pub exhaustion: Vec<Exhaustion>,
    /// What else the growth could be.
    pub alternative: Alternative,
    /// For how long growth must last to be a leak, seconds.
    pub patience: f64,
    /// How far the counts can be trusted: 1 = exact.
    pub trust: f64,
}

/// Why nobody is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Suppressed {
    /// What the operator wrote.
    pub reason: String,
    /// Until when: Unix time, seconds.
    pub until: f64,
}

/// A claim about one site of one process.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Which site.
    pub key: SiteKey,
    /// The same for every process of the image.
    pub fingerprint: String,
    /// Name of the runtime.
    pub runtime: &'static str,
    /// Name of the process.
    pub comm: String,
    /// Path of its executable.
    pub exe: Option<String>,
    /// Name of the site.
    pub site: String,
    /// Its place.
    pub location: Option<String>,
    /// Suspect or leak; of one that is resolved, what it was.
    pub verdict: Verdict,
    /// Where in its life it is.
    pub state: FindingState,
    /// How bad.
    pub severity: Severity,
    /// How urgent, by the tier.
    pub priority: Priority,
    /// 0 to 1.
    pub confidence: f64,
    /// When it was first suspected.
    pub opened: Moment,
    /// When it was called a leak.
    pub leak: Option<Moment>,
    /// When it was resolved.
    pub resolved: Option<Moment>,
    /// Why it was, as half a sentence.
    pub resolution: Option<&'static str>,
    /// How often it came back.
    pub reopened: u32,
    /// When the leak began, as far as the counts tell.
    pub started: Option<Moment>,
    /// Growth, tasks per minute.
    pub per_minute: f64,
    /// Tasks too many.
    pub surplus: u64,
    /// The numbers.
    pub evidence: Evidence,
    /// Who answers for it.
    pub labels: Arc<Labels>,
    /// Nobody is told, because …
    pub suppressed: Option<Suppressed>,
    /// The whole in plain English.
    pub sentence: String,
}

impl Finding {
    /// Whether it is not resolved.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state != FindingState::Resolved
    }
}
