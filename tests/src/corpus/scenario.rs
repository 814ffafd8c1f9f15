//! Scenarios: what programs do, as `tests/corpus/*.toml` describe it. All times are seconds of the scenario, from its start on.

use super::language::Language;
use serde::{Deserialize, Serialize};

const LEAKS: &str = include_str!("../../corpus/leaks.toml");
const BUSY: &str = include_str!("../../corpus/busy.toml");

/// What one program does.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// In a few words; no two have the same.
    pub name: String,
    /// For how long it runs.
    pub seconds: f64,
    /// It runs for so long before the agent starts, out of `seconds`.
    #[serde(default)]
    pub before: f64,
    /// It is ended and started anew so often.
    pub restart: Option<f64>,
    /// What it leaks; none = it is healthy.
    pub leak: Option<Pace>,
    /// It spawns so many that only few programs can run at a time.
    #[serde(default)]
    pub storm: bool,
    /// Whether it is short, calm and certain enough for a run of some minutes, in CI.
    #[serde(default)]
    pub ci: bool,
    /// Languages that play it; none = all.
    #[serde(default)]
    pub only: Vec<Language>,
    /// Tasks that come by chance.
    #[serde(default)]
    pub flow: Vec<Flow>,
    /// Tasks whose number follows a curve.
    #[serde(default)]
    pub held: Vec<Held>,
    /// Tasks that are spawned to be lost.
    #[serde(default)]
    pub drip: Vec<Drip>,
}

/// How fast a program leaks: what is promised depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// One per second or more, while other tasks of the site end.
    Fast,
    /// The same, and nothing of the site ends.
    FastPure,
    /// One per second or more under 50,000 per second that end.
    Storm,
    /// One per 30 seconds, by the clock or by chance.
    Slow,
}

/// Tasks that come by chance and, most of them, end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Where; "crowd" = each of the crowd's first `sites` sites.
    pub site: String,
    /// How many sites of the crowd.
    #[serde(default = "whole_crowd")]
    pub sites: usize,
    /// Per second.
    pub rate: f64,
    /// The rate stays what it is when everything else is made faster.
    #[serde(default)]
    pub unscaled: bool,
    /// Mean life time.
    pub life: f64,
    /// How life times are distributed.
    #[serde(default)]
    pub dist: Dist,
    /// `pareto`: its exponent.
    #[serde(default = "one")]
    pub alpha: f64,
    /// `pareto`: longest life time.
    pub cap: Option<f64>,
    /// When they come.
    #[serde(default)]
    pub from: f64,
    /// Until when; none = the end.
    pub to: Option<f64>,
    /// The rate swings by this share of itself …
    #[serde(default)]
    pub swing: f64,
    /// … with this period.
    #[serde(default = "one")]
    pub period: f64,
    /// The rate is `times` as high for `lasts` seconds every `every` seconds.
    pub spikes: Option<Spikes>,
    /// The rate grows by this factor …
    #[serde(default = "one")]
    pub grows: f64,
    /// … life times by this one …
    #[serde(default = "one")]
    pub slows: f64,
    /// … during this time.
    pub during: Option<[f64; 2]>,
    /// Share that is lost.
    #[serde(default)]
    pub lost: f64,
    /// Since when.
    #[serde(default)]
    pub lost_from: f64,
    /// Until when; none = the end.
    pub lost_to: Option<f64>,
    /// Who comes during this time waits for its end, or `timeout`.
    pub outage: Option<[f64; 2]>,
    /// Share of them.
    #[serde(default = "one")]
    pub hit: f64,
    /// For so long at most.
    pub timeout: Option<f64>,
    /// Share that is forgotten, and cleaned up every `sweep` seconds.
    #[serde(default)]
    pub stale: f64,
    /// See `stale`.
    #[serde(default = "one")]
    pub sweep: f64,
}

/// A rate that is higher now and then.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spikes {
    /// How often, seconds.
    pub every: f64,
    /// For how long.
    pub lasts: f64,
    /// By which factor.
    pub times: f64,
}

/// How life times are distributed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dist {
    /// Exponentially.
    #[default]
    Exp,
    /// All the same.
    Const,
    /// As many services answer: the logarithm is normal, with deviation 1.
    Lognormal,
    /// With a heavy tail.
    Pareto,
}

/// Tasks whose number follows a curve: the oldest end when it falls.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// Where.
    pub site: String,
    /// The curve.
    pub shape: Shape,
    /// How high it gets; `stairs`: a step.
    pub size: f64,
    /// How long it takes, or its period.
    #[serde(default = "one")]
    pub time: f64,
    /// When it begins.
    #[serde(default)]
    pub from: f64,
    /// `batch`, `spikes`: how long it stays up. `stairs`: how many steps.
    #[serde(default = "one")]
    pub stays: f64,
    /// Share of the tasks that is replaced per second.
    #[serde(default)]
    pub churn: f64,
}

/// A curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Rises for `time`, falls at once.
    Saw,
    /// Up and down within `time`.
    Sine,
    /// Approaches `size`; two thirds are there after `time`.
    Plateau,
    /// Rises for `time` and stays.
    Pool,
    /// Rises within three seconds and stays.
    Step,
    /// A step every `time`.
    Stairs,
    /// Every `time`: so many at once, which end one by one within `stays`.
    Batch,
    /// Every `time`: so many, for `stays`.
    Spikes,
    /// Begins at `size` and falls for `time`.
    Drain,
}

/// Tasks that are spawned to be lost.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drip {
    /// Where.
    pub site: String,
    /// Per second.
    pub rate: f64,
    /// By chance, not by the clock.
    #[serde(default)]
    pub random: bool,
    /// So many at once.
    #[serde(default = "one")]
    pub burst: f64,
    /// Since when.
    #[serde(default)]
    pub from: f64,
    /// Until when; none = the end.
    pub to: Option<f64>,
}

fn one() -> f64 {
    1.0
}

fn whole_crowd() -> usize {
    200
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    scenario: Vec<Scenario>,
}

impl Scenario {
    /// Whether this language plays it.
    #[must_use]
    pub fn is_for(&self, language: Language) -> bool {
        self.only.is_empty() || self.only.contains(&language)
    }

    /// The site that leaks, as the scenario calls it.
    #[must_use]
    pub fn leaking_site(&self) -> Option<&str> {
        let drip = self.drip.iter().map(|drip| &drip.site);
        let flow = self
            .flow
            .iter()
            .filter(|flow| flow.lost > 0.0)
            .map(|flow| &flow.site);
        drip.chain(flow).next().map(String::as_str)
    }
}

/// All scenarios: those that leak first.
#[must_use]
pub fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    for (name, text) in [("leaks.toml", LEAKS), ("busy.toml", BUSY)] {
        let file: File = toml::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        all.extend(file.scenario);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenarios have names of their own, and those that lose tasks say that they leak, at one site.
    #[test]
    fn scenarios_are_consistent() {
        let all = all();
        for (index, scenario) in all.iter().enumerate() {
            let name = &scenario.name;
            assert!(
                all[..index].iter().all(|other| other.name != *name),
                "{name}: twice"
            );
            assert_eq!(
                scenario.leaking_site().is_some(),
                scenario.leak.is_some(),
                "{name}"
            );
            let restarts = scenario.restart.is_none() || (scenario.leak.is_none() && scenario.before == 0.0);
            assert!(restarts, "{name}: what restarts has no single beginning");
        }
    }
}
