//! Verdicts and findings as the document has them. Times: Unix time, seconds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is thought of a site or a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing grows, or what grows is load.
    Healthy,
    /// It cannot be told yet, or not at all: there is a reason.
    Undecided,
    /// It grows; whether it is a leak needs more time.
    Suspect,
    /// Tasks are created that never end.
    Leak,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Healthy, Self::Undecided, Self::Suspect, Self::Leak];

    /// Its name in the document and in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Undecided => "undecided",
            Self::Suspect => "suspect",
            Self::Leak => "leak",
        }
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It grows slowly, or is only suspected.
    Yellow,
    /// A leak that grows fast, or that reaches a limit soon.
    Red,
}

impl Severity {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Yellow, Self::Red];

    /// Its name in the document and in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Yellow => "yellow",
            Self::Red => "red",
        }
    }
}

/// How urgent a finding is: its severity, seen by the tier of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Priority {
    /// Wake somebody.
    P0,
    /// Today.
    P1,
    /// This week.
    P2,
}

impl Priority {
    /// Its name in the document and in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::P0 => "P0",
            Self::P1 => "P1",
            Self::P2 => "P2",
        }
    }
}

/// Where in its life a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingState {
    /// Suspected.
    Open,
    /// A leak.
    Confirmed,
    /// The site has not grown for a while, has given its tasks back, or is gone.
    Resolved,
    /// It was resolved and is suspected again.
    Reopened,
}

impl FindingState {
    /// Its name in the document and in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Confirmed => "confirmed",
            Self::Resolved => "resolved",
            Self::Reopened => "reopened",
        }
    }
}

/// A claim about one site of one process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Names the finding: the same for all processes that run the same executable from the same path, and after restarts.
    pub fingerprint: String,
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// With `pid` the identity of the process: nanoseconds since the boot.
    pub start_boottime: u64,
    /// Name of its main thread. Not sanitised.
    pub comm: String,
    /// Path of its executable; null = could not be read. Not sanitised.
    pub exe: Option<String>,
    /// The runtime: "thread", "tokio", "go".
    pub runtime: String,
    /// The site's id.
    pub site_id: String,
    /// Its name. Not sanitised.
    pub site: String,
    /// "file:line"; null = not known. Not sanitised.
    pub location: Option<String>,
    /// "suspect" or "leak"; of a finding that is resolved, what it was.
    pub verdict: Verdict,
    /// Where in its life it is.
    pub state: FindingState,
    /// How bad it is.
    pub severity: Severity,
    /// How urgent it is, by the tier in `labels`.
    pub priority: Priority,
    /// 0 to 1.
    pub confidence: f64,
    /// When it was first suspected.
    pub opened_at: f64,
    /// When it was called a leak; null = it was not.
    pub leak_at: Option<f64>,
    /// When it was resolved; null = it is not.
    pub resolved_at: Option<f64>,
    /// Why it was resolved, as half a sentence; null = it is not.
    pub resolution: Option<String>,
    /// How often it came back after it had been resolved.
    pub reopened: u32,
    /// When the growth began, as far as the counts tell; null = not known.
    pub estimated_start: Option<f64>,
    /// Tasks per minute, since it began.
    pub rate_per_min: f64,
    /// Tasks too many.
    pub surplus: u64,
    /// The numbers behind it.
    pub evidence: Evidence,
    /// Who answers for it, as the configuration says.
    pub labels: Labels,
    /// Nobody is told of it; null = somebody is.
    pub suppressed: Option<Suppressed>,
    /// The whole in one sentence. Not sanitised.
    pub sentence: String,
}

impl Finding {
    /// Whether it is not resolved.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state != FindingState::Resolved
    }
}

/// The numbers behind a finding, by detector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// Persistent growth.
    pub growth: Growth,
    /// Tasks that never end.
    pub never_ends: NeverEnds,
    /// The rules that teams already use.
    pub rules: Rules,
    /// Limits of the process that come nearer.
    pub exhaustion: Vec<Exhaustion>,
    /// What else the growth could be: "some_end" (nothing that is known: most tasks end, some do not), "load", "warm_up",
    /// "batch", "pile_up".
    pub alternative: String,
    /// For how long growth must therefore last to be a leak, seconds.
    pub patience_seconds: f64,
    /// How far the counts can be trusted: 1 = exact.
    pub trust: f64,
}

/// Does the live count grow against its own past?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Growth {
    /// What this detector alone thinks.
    pub verdict: Verdict,
    /// Why; null = nothing to say.
    pub reason: Option<String>,
    /// Length of the window that was looked at.
    pub window_seconds: f64,
    /// Least live count at its beginning.
    pub from: f64,
    /// Least live count at its end.
    pub to: f64,
    /// Robust slope of the least counts in the window.
    pub per_minute: f64,
    /// What they may move by chance.
    pub noise: f64,
    /// Share of the steps in which they did not fall.
    pub not_fallen: f64,
    /// Quarters of the window whose least count is above that of the quarter before: of three.
    pub climbs: u64,
    /// How long the rise has lasted.
    pub lasted_seconds: f64,
    /// Live tasks when it began.
    pub level: f64,
    /// Slope of the second half of the rise as a share of that of the first; null = too short to tell.
    pub steadiness: Option<f64>,
    /// Share of the growth that the spawn rate explains.
    pub explained: f64,
    /// Tasks spawned since it began.
    pub spawned: f64,
    /// Tasks ended since it began.
    pub finished: f64,
}

/// What became of the tasks that were spawned in the first half of the rise?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NeverEnds {
    /// What this detector alone thinks.
    pub verdict: Verdict,
    /// Why; null = nothing to say.
    pub reason: Option<String>,
    /// They are older than that.
    pub age_seconds: f64,
    /// How many were spawned.
    pub cohort: f64,
    /// How many of them live, at least.
    pub alive_at_least: f64,
}

/// What do the rules say that teams already use?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rules {
    /// What this detector alone thinks: never "leak".
    pub verdict: Verdict,
    /// Why; null = nothing to say.
    pub reason: Option<String>,
    /// Standard deviation of the live count in the window.
    pub deviation: f64,
    /// Slope in it.
    pub slope_per_second: f64,
    /// Share of the tasks at the same place; null = no dump told.
    pub same_stack_share: Option<f64>,
    /// The rules that hold: "burst", "yellow_growth", "red_growth", "same_stack".
    pub hold: Vec<String>,
}

/// A limit that comes nearer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Exhaustion {
    /// "cgroup_pids", "user_threads", "system_threads", "stack_memory" or "cgroup_memory".
    pub resource: String,
    /// In use.
    pub used: u64,
    /// At most.
    pub limit: u64,
    /// Per minute, in the resource's own unit.
    pub per_minute: f64,
    /// Until it is reached at that rate.
    pub seconds: f64,
}

/// Who answers for a process; empty = the configuration does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Labels {
    /// "production", "staging", …
    pub environment: String,
    /// The team.
    pub team: String,
    /// The service.
    pub service: String,
    /// The tier of its service level agreement.
    pub tier: String,
}

/// Why nobody is told of a finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Suppressed {
    /// What the operator wrote.
    pub reason: String,
    /// Until when.
    pub until: f64,
}
