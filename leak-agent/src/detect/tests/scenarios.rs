//! The scenario files: leaks that must be told in time and at the right site, and load of which nothing may be told.

use super::simulator::{Run, Scenario};
use crate::config::Policy;
use crate::detect::{Change, Detectors};
use std::sync::Arc;

const LEAKS: &str = include_str!("leaks.toml");
const SILENT: &str = include_str!("silent.toml");
/// Each scenario is played with so many different chances; SCENARIO_SEEDS asks for more.
const SEEDS: u64 = 1;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    scenario: Vec<Scenario>,
}

/// What one play of a scenario came to.
#[derive(Debug, Default)]
struct Played {
    /// Seconds from the start of the leak to the verdict; of each site that was called a leak.
    leaks: Vec<(String, f64)>,
    suspects: usize,
    sentence: Option<String>,
}

fn scenarios(text: &str) -> Vec<Scenario> {
    let all = toml::from_str::<File>(text).unwrap().scenario;
    let wanted = std::env::var("SCENARIO").unwrap_or_default();
    all.into_iter()
        .filter(|scenario| scenario.name.contains(&wanted))
        .collect()
}

fn play(scenario: &Scenario, seed: u64) -> Played {
    let mut run = Run::new(scenario, seed, Detectors::new(Arc::new(Policy::default())));
    let mut played = Played::default();
    for second in 0..scenario.seconds {
        for news in run.second(second).news {
            match news.what {
                Change::Confirmed => {
                    let took = f64::from(second) - scenario.since;
                    played.leaks.push((news.finding.key.site.clone(), took));
                    played.sentence = Some(news.finding.sentence);
                }
                Change::Opened | Change::Reopened => played.suspects += 1,
                Change::Resolved => {}
            }
        }
    }
    played
}

fn seeds() -> u64 {
    let seeds = std::env::var("SCENARIO_SEEDS").ok();
    seeds.and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS)
}

/// Every leak is told, within its time, and at the site that leaks.
#[test]
fn every_leak_is_told_in_time_at_its_site() {
    let mut wrong = Vec::new();
    for scenario in scenarios(LEAKS) {
        let site = format!("feed:{:#x}", scenario.leaks.unwrap());
        let mut times = Vec::new();
        for seed in 1..=seeds() {
            let played = play(&scenario, seed);
            let [(at, took)] = played.leaks.as_slice() else {
                wrong.push(format!("{} (seed {seed}): {played:?}", scenario.name));
                continue;
            };
            if *at != site || *took > scenario.within || *took < 0.0 {
                wrong.push(format!("{} (seed {seed}): {played:?}", scenario.name));
            }
            times.push(*took);
        }
        times.sort_by(f64::total_cmp);
        println!("{:60} {times:?}", scenario.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whatever load does, it is no leak.
#[test]
fn load_is_never_a_leak() {
    let mut wrong = Vec::new();
    for scenario in scenarios(SILENT) {
        let mut suspects = 0;
        for seed in 1..=seeds() {
            let played = play(&scenario, seed);
            suspects += played.suspects;
            if !played.leaks.is_empty() {
                wrong.push(format!("{} (seed {seed}): {played:?}", scenario.name));
            }
        }
        println!("{:60} suspects {suspects}", scenario.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
