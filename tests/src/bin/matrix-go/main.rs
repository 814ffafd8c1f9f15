//! Which builds of Go the agent counts exactly: `cargo xtask matrix --go`, as root. docs/GO.md holds the result.
#![expect(clippy::print_stdout, reason = "this program talks to a person")]
#![allow(clippy::unwrap_used, clippy::expect_used)] // a matrix that cannot be made fails with the reason

mod page;

use leak_agent::report::State;
use leak_agent_tests::golang::{Flavour, GoProbe, check};
use leak_agent_tests::wait::until;
use leak_agent_tests::{Agent, Target};
use std::panic::catch_unwind;
use std::process::ExitCode;

/// The newest release of each version that is followed.
const VERSIONS: [&str; 8] = [
    "1.19.8", "1.21.13", "1.22.10", "1.23.9", "1.24.11", "1.25.5", "1.26.6", "1.27.3",
];

/// What came out for one build.
pub(crate) struct Row {
    pub(crate) probe: GoProbe,
    pub(crate) verdict: Verdict,
}

/// How good the agent's numbers were.
pub(crate) enum Verdict {
    /// Every one of them was the truth.
    Exact,
    /// It said that it cannot follow this build, and why.
    Refused(String),
    /// Anything else.
    Wrong(String),
}

fn main() -> ExitCode {
    assert!(leak_agent_tests::privilege::privileged(), "the matrix needs root");
    let only: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |probe: &GoProbe| {
        let name = format!("{} {}", probe.version, probe.flavour.name());
        only.iter().all(|part| name.contains(part.as_str()))
    };
    let mut rows = Vec::new();
    for version in VERSIONS {
        for flavour in Flavour::ALL {
            let probe = GoProbe { version, flavour };
            // Profiles are used from 1.21 on.
            if !wanted(&probe) || (flavour == Flavour::Profile && probe.minor() < 21) {
                continue;
            }
            let verdict = check(probe);
            let text = match &verdict {
                Verdict::Exact => "exact".to_owned(),
                Verdict::Refused(reason) => format!("refused: {reason}"),
                Verdict::Wrong(reason) => format!("WRONG: {reason}"),
            };
            println!("{version} {}: {text}", flavour.name());
            rows.push(Row { probe, verdict });
        }
    }
    if only.is_empty() {
        let path = leak_agent_tests::programs::root().join("docs/GO.md");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(&path, page::with_table(&text, &rows)).unwrap();
        println!("written: {}", path.display());
    }
    let wrong = rows
        .iter()
        .filter(|row| matches!(row.verdict, Verdict::Wrong(_)))
        .count();
    println!("{} passed, {wrong} failed", rows.len() - wrong);
    if wrong > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Whether the agent refuses the build, else everything that is checked of it; the first thing that is wrong.
fn check(probe: GoProbe) -> Verdict {
    let path = probe.path();
    let agent = Agent::on(&[&path]);
    let target = Target::start(&path);
    let state = until("the program is in the report", || {
        agent.runtime(target.pid(), "go")
    });
    if state.state == State::Unsupported {
        return Verdict::Refused(state.reason.unwrap_or_default());
    }
    drop((agent, target));
    match all(probe) {
        Ok(()) => Verdict::Exact,
        Err(reason) => Verdict::Wrong(reason),
    }
}

fn all(probe: GoProbe) -> Result<(), String> {
    let checks: [fn(GoProbe); 3] = [
        check::attached_before_start_is_exact,
        check::parked_before_is_exact,
        check::coroutines_and_libraries_are_exact,
    ];
    for check in checks {
        attempt(check, probe)?;
    }
    if probe.flavour.with_c() {
        attempt(check::callbacks_from_c_are_exact, probe)?;
    }
    Ok(())
}

fn attempt(check: fn(GoProbe), probe: GoProbe) -> Result<(), String> {
    catch_unwind(move || check(probe)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let text = text.unwrap_or_else(|| "no reason was given".to_owned());
        text.lines().next().unwrap_or_default().to_owned()
    })
}
