//! What the operator thinks of leaks: thresholds and windows of the detectors, exceptions, labels. Plain values with
//! their defaults; `policy/file.rs` reads them, `policy/check.rs` refuses what contradicts itself.

mod check;
mod file;
mod time;

pub use check::Warning;
pub use file::{EXAMPLE, FileConfig};

use super::ExeFilter;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What is judged how. Every duration is in real time, but divided by [`Detect::time_scale`] once the file is read.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Detect {
    /// Growth that begins within this time after a process was first seen may be its warm-up.
    #[serde(deserialize_with = "time::duration")]
    pub warm_up: Duration,
    /// Sites with fewer live tasks than that are healthy without a look.
    pub least_tasks: u64,
    /// A finding whose site has not grown for this long is resolved.
    #[serde(deserialize_with = "time::duration")]
    pub resolve_after: Duration,
    /// And stays visible for this long afterwards.
    #[serde(deserialize_with = "time::duration")]
    pub keep_resolved: Duration,
    /// Sites of all processes together whose past is kept; those beyond are undecided.
    pub max_sites: usize,
    /// Findings that are kept, resolved ones included.
    pub max_findings: usize,
    /// For tests: everything happens so many times faster.
    pub time_scale: f64,
    /// When a count grows.
    pub growth: Growth,
    /// For how long it must.
    pub patience: Patience,
    /// The rules that teams already use.
    pub rules: Rules,
    /// Limits that are reached.
    pub exhaustion: Exhaustion,
}

/// When a count grows.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Growth {
    /// Tasks that must have been added, at least.
    pub least_surplus: u64,
    /// And so many times the noise of the count.
    pub times_noise: f64,
    /// Share of the steps of the window in which the count must not fall.
    pub not_fallen: f64,
    /// The growth of the second half of a rise, as a share of that of the first, at least: less is a warm-up.
    pub steadiness: f64,
    /// Share of the growth that a rising spawn rate may explain.
    pub explained: f64,
}

/// For how long growth must last until it is a leak.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Patience {
    /// Where most tasks of the site end and some do not.
    #[serde(deserialize_with = "time::duration")]
    pub some_end: Duration,
    /// Where none ends, and the growth began when the process had been watched for longer than the warm-up.
    #[serde(deserialize_with = "time::duration")]
    pub none_ends: Duration,
    /// Where none ends, and the process began or was first seen less than the warm-up before the growth.
    #[serde(deserialize_with = "time::duration")]
    pub warming_up: Duration,
    /// Where tasks used to end and now do not: a pile-up, as behind a dependency that is down.
    #[serde(deserialize_with = "time::duration")]
    pub stalled: Duration,
    /// A suspicion is told after this time.
    #[serde(deserialize_with = "time::duration")]
    pub suspect: Duration,
}

/// The rules that teams already use, with their published parameters.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Whether they are looked at.
    pub enabled: bool,
    /// The window of the first rule.
    #[serde(deserialize_with = "time::duration")]
    pub window: Duration,
    /// Standard deviation of the live count in it, more than.
    pub deviation: f64,
    /// And slope, tasks per second, more than.
    pub slope_per_second: f64,
    /// Growth per minute from which on a finding is yellow.
    pub yellow_per_minute: f64,
    /// Growth per minute above which a finding is red.
    pub red_per_minute: f64,
    /// Live tasks from which on their stacks are compared.
    pub same_stack_tasks: u64,
    /// Share of them that must be at the same place.
    pub same_stack_share: f64,
}

/// Limits that are reached.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Exhaustion {
    /// A limit that is reached in less than that is told, and makes findings of the process red.
    #[serde(deserialize_with = "time::duration")]
    pub within: Duration,
}

/// Who answers for a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Labels {
    /// "production", "staging", …
    pub environment: String,
    /// The team.
    pub team: String,
    /// The service.
    pub service: String,
    /// The tier of its service level agreement: see [`Tier`].
    pub tier: String,
}

/// How urgent findings of a tier are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Of red findings.
    pub red: Priority,
    /// Of yellow ones.
    pub yellow: Priority,
}

/// How urgent a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum Priority {
    /// Wake somebody.
    P0,
    /// Today.
    P1,
    /// This week.
    P2,
}

/// Which sites of which processes; what is not named is not asked for. Globs; a name of a site is matched whole.
#[derive(Clone, Debug, Default)]
pub struct Place {
    exe: ExeFilter,
    site: Option<globset::GlobSet>,
    runtime: Vec<String>,
}

/// Findings that nobody is to be told of.
#[derive(Clone, Debug)]
pub struct Suppression {
    /// Where.
    pub place: Place,
    /// Why.
    pub reason: String,
    /// Until when: Unix time, seconds.
    pub until: f64,
}

/// Sites whose tasks are expected to live long.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Where.
    pub place: Place,
    /// Up to so many; `None` = however many.
    pub at_most: Option<u64>,
    /// Why.
    pub reason: String,
}

/// Other values for some executables.
#[derive(Clone, Debug)]
struct Override {
    exe: ExeFilter,
    detect: Arc<Detect>,
    labels: Arc<Labels>,
}

/// All of it, checked.
#[derive(Clone, Debug)]
pub struct Policy {
    detect: Arc<Detect>,
    labels: Arc<Labels>,
    tiers: BTreeMap<String, Tier>,
    overrides: Vec<Override>,
    /// Findings that nobody is to be told of.
    pub suppressions: Vec<Suppression>,
    /// Sites whose tasks are expected to live long.
    pub expected: Vec<Expected>,
}

impl Policy {
    /// What holds for processes of this executable: of the overrides that match it, the first.
    #[must_use]
    pub fn of(&self, exe: Option<&str>) -> (Arc<Detect>, Arc<Labels>) {
        let found = self.overrides.iter().find(|each| each.exe.wants(exe));
        match found {
            Some(found) => (Arc::clone(&found.detect), Arc::clone(&found.labels)),
            None => (Arc::clone(&self.detect), Arc::clone(&self.labels)),
        }
    }

    /// What holds where nothing else is said.
    #[must_use]
    pub fn defaults(&self) -> &Detect {
        &self.detect
    }

    /// How urgent findings of processes with this tier are.
    #[must_use]
    pub fn tier(&self, name: &str) -> Tier {
        self.tiers.get(name).copied().unwrap_or_default()
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            detect: Arc::default(),
            labels: Arc::default(),
            tiers: file::default_tiers(),
            overrides: Vec::new(),
            suppressions: Vec::new(),
            expected: Vec::new(),
        }
    }
}

impl Place {
    /// Whether this site is meant.
    #[must_use]
    pub fn matches(&self, exe: Option<&str>, runtime: &str, site: &str) -> bool {
        self.exe.wants(exe)
            && (self.runtime.is_empty() || self.runtime.iter().any(|wanted| wanted == runtime))
            && self.site.as_ref().is_none_or(|set| set.is_match(site))
    }
}

impl Default for Tier {
    fn default() -> Self {
        Self {
            red: Priority::P1,
            yellow: Priority::P2,
        }
    }
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

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

impl Default for Detect {
    fn default() -> Self {
        Self {
            warm_up: minutes(5),
            least_tasks: 5,
            resolve_after: minutes(15),
            keep_resolved: minutes(60),
            max_sites: 20_000,
            max_findings: 1_000,
            time_scale: 1.0,
            growth: Growth::default(),
            patience: Patience::default(),
            rules: Rules::default(),
            exhaustion: Exhaustion::default(),
        }
    }
}

impl Default for Growth {
    fn default() -> Self {
        Self {
            least_surplus: 12,
            times_noise: 4.0,
            not_fallen: 0.6,
            steadiness: 0.65,
            explained: 0.5,
        }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            some_end: Duration::from_secs(40),
            none_ends: minutes(3),
            warming_up: minutes(10),
            stalled: minutes(20),
            suspect: Duration::from_secs(30),
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            enabled: true,
            window: minutes(2),
            deviation: 30.0,
            slope_per_second: 5.0,
            yellow_per_minute: 3.0,
            red_per_minute: 15.0,
            same_stack_tasks: 50,
            same_stack_share: 0.7,
        }
    }
}

impl Default for Exhaustion {
    fn default() -> Self {
        Self { within: minutes(60) }
    }
}

impl Detect {
    /// The same, if everything happens [`Self::time_scale`] times faster.
    fn scaled(mut self) -> Self {
        let scale = self.time_scale;
        let durations = [
            &mut self.warm_up,
            &mut self.resolve_after,
            &mut self.keep_resolved,
            &mut self.patience.some_end,
            &mut self.patience.none_ends,
            &mut self.patience.warming_up,
            &mut self.patience.stalled,
            &mut self.patience.suspect,
            &mut self.rules.window,
            &mut self.exhaustion.within,
        ];
        for duration in durations {
            *duration = duration.div_f64(scale);
        }
        for rate in [
            &mut self.rules.slope_per_second,
            &mut self.rules.yellow_per_minute,
            &mut self.rules.red_per_minute,
        ] {
            *rate *= scale;
        }
        self
    }
}

#[cfg(test)]
mod tests;
