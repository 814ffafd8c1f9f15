//! One scenario in one language: its processes from the first to the last, and what they say of themselves.

use super::language::Language;
use super::scenario::{Pace, Scenario};
use super::timeline::Timeline;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A scenario in a language.
#[derive(Clone, Debug)]
pub struct Play {
    /// What is played.
    pub scenario: Scenario,
    /// By whom.
    pub language: Language,
    /// Chance.
    pub seed: u64,
}

/// What is true of a play that is over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Played {
    /// The scenario's name.
    pub scenario: String,
    /// Who played it.
    pub language: Language,
    /// What it leaked; `None` = it was healthy.
    pub leak: Option<Pace>,
    /// Its processes, one after the other.
    pub pids: Vec<u32>,
    /// When and where it began to leak, as the program said.
    pub began: Option<Began>,
    /// Why it is not to be trusted: a program ended before its time.
    pub failed: Option<String>,
}

/// A program says where and when it began to leak.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Began {
    /// Which process.
    pub pid: u32,
    /// What the site is called in the program, or "file:line" of it.
    pub site: String,
    /// "file:line" of its function, if the name may be lost.
    #[serde(default)]
    pub location: Option<String>,
    /// Unix time, seconds.
    pub began: f64,
}

impl Play {
    /// Plays it to its end, `scale` times faster; this folder has the programs, and schedules go to it.
    #[must_use]
    pub fn play(&self, scale: f64, folder: &Path) -> Played {
        let mut played = Played {
            scenario: self.scenario.name.clone(),
            language: self.language,
            leak: self.scenario.leak,
            pids: Vec::new(),
            began: None,
            failed: None,
        };
        let end = Instant::now() + Duration::from_secs_f64(self.scenario.seconds / scale);
        for life in 0.. {
            self.live(life, scale, folder, &mut played);
            if played.failed.is_some() || self.scenario.restart.is_none() || Instant::now() >= end {
                break;
            }
        }
        played
    }

    /// One process.
    fn live(&self, life: u64, scale: f64, folder: &Path, played: &mut Played) {
        let timeline = Timeline::of(&self.scenario, self.seed + (life << 32), scale);
        let path = folder.join(format!("{}-{}.schedule", self.seed, self.language.name()));
        fs::write(&path, timeline.schedule(scale)).unwrap();
        let mut child = Command::new(self.language.copy_in(folder))
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        played.pids.push(child.id());
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let began = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            played.began.get_or_insert(began);
        }
        let status = child.wait().unwrap();
        fs::remove_file(&path).unwrap();
        if !status.success() {
            played.failed = Some(status.to_string());
        }
    }
}
