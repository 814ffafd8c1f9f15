//! A run: many plays side by side under one agent.

use super::language::Language;
use super::play::{Play, Played};
use super::scenario::Scenario;
use super::told::{Told, Verdicts};
use crate::agent::Agent;
use crate::programs::{copy, scratch};
use crate::wait::until;
use leak_agent::agent::Replay;
use leak_agent::config::FileConfig;
use leak_agent::tape::Reader;
use serde::{Deserialize, Serialize};
use std::error::Error as _;
use std::ffi::OsString;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// The agent reads counts so often, at scale 1.
const TICK: Duration = Duration::from_secs(1);
/// Programs are started one after the other.
const STAGGER: Duration = Duration::from_millis(20);
/// The tape: more than any run needs.
const TAPE_BYTES: &str = "2048MiB";

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Order {
    /// Its name: a folder is called so.
    pub name: String,
    /// How many times faster.
    pub scale: f64,
    /// What is played side by side.
    pub plays: Vec<Play>,
    /// What the agent reads is kept on a tape.
    pub record: bool,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// How many times faster it was than the scenarios say.
    pub scale: f64,
    /// What is true.
    pub plays: Vec<Played>,
    /// What the agent said.
    pub told: Vec<Told>,
}

/// All plays of these scenarios.
#[must_use]
pub fn plays(scenarios: &[Scenario], languages: &[Language]) -> Vec<Play> {
    let mut plays = Vec::new();
    for scenario in scenarios {
        for language in languages {
            if scenario.is_for(*language) {
                let seed = 1 + plays.len() as u64;
                plays.push(Play {
                    scenario: scenario.clone(),
                    language: *language,
                    seed,
                });
            }
        }
    }
    plays
}

/// One play of each of these scenarios, the languages in turn: a third of the work.
#[must_use]
pub fn plays_in_turn(scenarios: &[Scenario]) -> Vec<Play> {
    let mut plays = Vec::new();
    for (number, scenario) in scenarios.iter().enumerate() {
        let mut turn = Language::ALL
            .into_iter()
            .cycle()
            .skip(number)
            .take(Language::ALL.len());
        plays.push(Play {
            scenario: scenario.clone(),
            language: turn.find(|language| scenario.is_for(*language)).unwrap(),
            seed: 1 + number as u64,
        });
    }
    plays
}

impl Order {
    /// Runs it. Takes as long as the longest scenario, by the scale.
    #[must_use]
    pub fn run(&self) -> Outcome {
        let folder = scratch(&format!("corpus-{}", self.name));
        many_files();
        for language in Language::ALL {
            copy(&language.program(), &language.copy_in(&folder));
        }
        let lead = self
            .plays
            .iter()
            .map(|play| play.scenario.before)
            .fold(0.0, f64::max);
        let (early, late): (Vec<&Play>, Vec<&Play>) =
            self.plays.iter().partition(|play| play.scenario.before > 0.0);
        let mut running: Vec<JoinHandle<Played>> = Vec::new();
        for play in early {
            running.push(self.start(play, (lead - play.scenario.before) / self.scale, &folder));
        }
        std::thread::sleep(Duration::from_secs_f64(lead / self.scale));
        let agent = self.agent(&folder);
        for language in Language::ALL {
            meet(&agent, language, &folder);
        }
        for play in late {
            std::thread::sleep(STAGGER);
            running.push(self.start(play, 0.0, &folder));
        }
        let mut verdicts = Verdicts::default();
        while !running.iter().all(JoinHandle::is_finished) {
            std::thread::sleep(TICK);
            // On a machine this busy an answer may take its time.
            verdicts.take(&until("a report", || agent.try_report()));
        }
        verdicts.take(&agent.next_report());
        let plays = running.into_iter().map(|play| play.join().unwrap()).collect();
        drop(agent);
        let outcome = Outcome {
            scale: self.scale,
            plays,
            told: verdicts.told(),
        };
        let text = serde_json::to_string_pretty(&outcome).unwrap();
        fs::write(folder.join("outcome.json"), text).unwrap();
        outcome
    }

    fn start(&self, play: &Play, after: f64, folder: &Path) -> JoinHandle<Played> {
        let (play, scale, folder) = (play.clone(), self.scale, folder.to_owned());
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs_f64(after));
            play.play(scale, &folder)
        })
    }

    fn agent(&self, folder: &Path) -> Agent {
        let config = folder.join("leak-agent.toml");
        fs::write(&config, configuration(self.scale)).unwrap();
        let mut arguments: Vec<OsString> = vec!["--config".into(), config.into()];
        for language in Language::ALL {
            arguments.extend(["--exe".into(), language.copy_in(folder).into()]);
        }
        if self.record {
            arguments.extend(["--record".into(), folder.join("tape").into()]);
            arguments.extend(["--record-max-size".into(), TAPE_BYTES.into()]);
        }
        Agent::start_every(TICK.div_f64(self.scale), &arguments)
    }
}

impl Outcome {
    /// The outcome of a run before, from its folder; with `again` the detectors of now judge what was recorded, with this
    /// policy (TOML; empty = the default one).
    ///
    /// # Errors
    ///
    /// There is none, or what is there is damaged.
    pub fn read(folder: &Path, again: Option<&str>) -> Result<Self, String> {
        let path = folder.join("outcome.json");
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut outcome: Self =
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        if let Some(policy) = again {
            outcome.told = replay(&folder.join("tape"), outcome.scale, policy)?;
        }
        Ok(outcome)
    }
}

fn replay(tape: &Path, scale: f64, policy: &str) -> Result<Vec<Told>, String> {
    let config = tape.with_file_name("again.toml");
    fs::write(&config, configuration(scale) + policy)
        .map_err(|error| format!("{}: {error}", config.display()))?;
    let config = FileConfig::read(&config).map_err(|error| match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    })?;
    let mut verdicts = Verdicts::default();
    let mut replay = Replay::new(Arc::new(config.policy));
    let mut reader = Reader::open(tape).map_err(|error| error.to_string())?;
    let played = replay.play(&mut reader, |_, report| {
        verdicts.take(&report);
        ControlFlow::Continue(())
    });
    played.map_err(|error| error.to_string())?;
    Ok(verdicts.told())
}

/// Has the agent see a program of this language once, so that its executable is known when the plays begin: at ten times the
/// speed, what a busy machine needs for that would be minutes of a scenario.
fn meet(agent: &Agent, language: Language, folder: &Path) {
    let schedule = folder.join("meet.schedule");
    fs::write(&schedule, "600000000 end 0 0\n").unwrap();
    let mut child = Command::new(language.copy_in(folder))
        .arg(&schedule)
        .spawn()
        .unwrap();
    until("the agent counts the program exactly", || {
        let runtime = agent.runtime(child.id(), language.runtime())?;
        if runtime.exact {
            Ok(())
        } else {
            Err("not yet".to_owned())
        }
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The policy is the default one, by a clock that is so many times faster.
fn configuration(scale: f64) -> String {
    format!("detect.time_scale = {scale:?}\n")
}

/// The folder of the run of this name.
#[must_use]
pub fn folder(name: &str) -> PathBuf {
    crate::programs::target()
        .join("scratch")
        .join(format!("corpus-{name}"))
}

/// As many open files as the system allows: the programs inherit that.
fn many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}
