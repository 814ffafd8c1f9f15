//! The tuning bench: a corpus of tapes with their truth beside them, replayed as fast as it goes, and how well the detectors
//! did: `cargo xtask bench --tapes DIR`, with `--config FILE` for another policy.
//!
//! Beside NAME.tape lies NAME.toml:
//!
//! ```toml
//! what = "a connection pool that forgets one in ten"
//! # Sites that leak, by the beginning of their id or name; none = nothing on this tape does.
//! [[leak]]
//! site = "pool::keep_alive"
//! since = 12.5            # seconds from the first tick on
//! ```

use leak_agent::agent::Replay;
use leak_agent::config::{FileConfig, Policy};
use leak_agent::report::{Finding, Report, Verdict};
use leak_agent::tape::Reader;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// What is true of a tape.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Truth {
    /// What runs on it.
    what: String,
    #[serde(default)]
    leak: Vec<Leak>,
}

/// A site that leaks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Leak {
    /// How its id or its name begins.
    site: String,
    /// Since when: seconds from the first tick on.
    since: f64,
}

impl Leak {
    fn is(&self, finding: &Finding) -> bool {
        finding.site_id.starts_with(&self.site) || finding.site.starts_with(&self.site)
    }
}

/// What became of one tape.
#[derive(Default)]
struct Outcome {
    /// Seconds from the first tick to the last.
    length: f64,
    /// For each true leak: seconds from its beginning to the verdict; `None` = it was not found.
    found: Vec<Option<f64>>,
    /// Verdicts on sites that do not leak.
    wrong: Vec<String>,
}

/// Takes the command, if it is this one.
pub(crate) fn asked() -> Option<std::process::ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some("tapes") {
        return None;
    }
    let (mut folder, mut policy) = (None, Arc::<Policy>::default());
    while let Some(argument) = arguments.next() {
        if argument == "--config" {
            let path = PathBuf::from(arguments.next().expect("--config FILE"));
            policy = Arc::new(
                FileConfig::read(&path)
                    .unwrap_or_else(|error| panic!("{error}"))
                    .policy,
            );
        } else {
            folder = Some(PathBuf::from(argument));
        }
    }
    run(&folder.expect("a folder with tapes"), &policy);
    Some(std::process::ExitCode::SUCCESS)
}

fn run(folder: &Path, policy: &Arc<Policy>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut tapes: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    tapes.retain(|path| path.extension().is_some_and(|ending| ending == "tape"));
    tapes.sort();
    assert!(!tapes.is_empty(), "no tape in {}", folder.display());
    let begun = Instant::now();
    let (mut right, mut leaks, mut wrong, mut length) = (0, 0, 0, 0.0);
    let mut times = Vec::new();
    for path in &tapes {
        let truth = std::fs::read_to_string(path.with_extension("toml"))
            .unwrap_or_else(|error| panic!("what is true of {}: {error}", path.display()));
        let truth: Truth =
            toml::from_str(&truth).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let outcome = replay(path, &truth, policy);
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let found = outcome.found.iter().flatten().count();
        let verdict = if found == truth.leak.len() && outcome.wrong.is_empty() {
            "ok"
        } else {
            "WRONG"
        };
        println!(
            "   {name:24} {:6.0} s {found} of {} leaks, {} wrong verdicts: {verdict} ({})",
            outcome.length,
            truth.leak.len(),
            outcome.wrong.len(),
            truth.what
        );
        for (leak, found) in truth.leak.iter().zip(&outcome.found) {
            match found {
                Some(time) => println!("      {}: after {time:.0} s", leak.site),
                None => println!("      {}: NOT FOUND", leak.site),
            }
        }
        for site in &outcome.wrong {
            println!("      {site}: called a leak, and is none");
        }
        right += found;
        leaks += truth.leak.len();
        wrong += outcome.wrong.len();
        length += outcome.length;
        times.extend(outcome.found.into_iter().flatten());
    }
    times.sort_by(f64::total_cmp);
    let share = |part: usize, all: usize| {
        if all == 0 {
            "-".to_owned()
        } else {
            format!("{:.1} %", 100.0 * part as f64 / all as f64)
        }
    };
    let took = begun.elapsed().as_secs_f64();
    println!(
        "   recall {}, precision {}",
        share(right, leaks),
        share(right, right + wrong)
    );
    if let Some(median) = times.get(times.len() / 2) {
        println!(
            "   time to verdict: median {median:.0} s, at most {:.0} s",
            times[times.len() - 1]
        );
    }
    println!(
        "   {length:.0} recorded seconds replayed in {took:.1} s: {:.0} times as fast",
        length / took
    );
}

fn replay(path: &Path, truth: &Truth, policy: &Arc<Policy>) -> Outcome {
    let mut outcome = Outcome {
        found: truth.leak.iter().map(|_| None).collect(),
        ..Outcome::default()
    };
    // Each site is judged wrong once per process, however often it is said.
    let mut wrong: BTreeMap<(u32, u64, String), String> = BTreeMap::new();
    let mut first = None;
    let mut tape = Reader::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut replay = Replay::new(Arc::clone(policy));
    let played = replay.play(&mut tape, |_, report: Report| {
        let first = *first.get_or_insert(report.taken_at);
        outcome.length = report.taken_at - first;
        let leaks = report
            .findings
            .iter()
            .filter(|finding| finding.verdict == Verdict::Leak);
        for finding in leaks {
            let place = truth.leak.iter().position(|leak| leak.is(finding));
            match place.filter(|place| outcome.length >= truth.leak[*place].since) {
                Some(place) => {
                    let time = outcome.length - truth.leak[place].since;
                    outcome.found[place].get_or_insert(time);
                }
                None => {
                    let key = (finding.pid, finding.start_boottime, finding.site_id.clone());
                    wrong.insert(key, finding.site.clone());
                }
            }
        }
        ControlFlow::Continue(())
    });
    played.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    outcome.wrong = wrong.into_values().collect();
    outcome
}
