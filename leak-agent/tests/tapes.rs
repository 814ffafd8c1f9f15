//! Tapes of real runs, made by older builds of the agent: they stay readable, and are judged as what is true of them says.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be read fails the test")]

use leak_agent::agent::Replay;
use leak_agent::report::{Report, Verdict};
use leak_agent::tape::{End, Reader};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/tapes");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut tapes: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    tapes.retain(|path| path.extension().is_some_and(|ending| ending == "tape"));
    tapes.sort();
    tapes
}

/// All reports of a tape.
fn replay(path: &Path) -> Vec<Report> {
    let mut tape = Reader::open(path).unwrap();
    let mut reports = Vec::new();
    let mut replay = Replay::new(Arc::default());
    let played = replay.play(&mut tape, |_, report| {
        reports.push(report);
        ControlFlow::Continue(())
    });
    played.unwrap();
    assert_eq!(tape.end(), Some(End::Whole), "{}", path.display());
    reports
}

/// Each fixture is replayed to its end, twice the same, and the sites that are called leaks are those that leak.
#[test]
fn verdicts_on_real_runs_are_what_is_true_of_them() {
    let tapes = fixtures();
    assert!(tapes.len() >= 2, "the fixtures are gone");
    for path in tapes {
        let truth = std::fs::read_to_string(path.with_extension("toml")).unwrap();
        let truth: toml::Table = toml::from_str(&truth).unwrap();
        let leaks = truth.get("leak").and_then(toml::Value::as_array);
        let leaks: BTreeSet<String> = leaks
            .into_iter()
            .flatten()
            .map(|leak| leak["site"].as_str().unwrap().to_owned())
            .collect();
        let reports = replay(&path);
        let found = reports.iter().flat_map(|report| &report.findings);
        let found = found.filter(|finding| finding.verdict == Verdict::Leak);
        let found: BTreeSet<String> = found.map(|finding| finding.site.clone()).collect();
        assert_eq!(found, leaks, "{}", path.display());
        let bytes = |reports: &[Report]| serde_json::to_vec(reports).unwrap();
        assert_eq!(bytes(&reports), bytes(&replay(&path)), "{}", path.display());
    }
}
