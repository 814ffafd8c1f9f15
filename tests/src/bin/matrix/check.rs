//! The check of one program: at every standstill the agent's numbers are those of the program, or the agent says why
//! they are not.

use crate::row::Row;
use leak_agent::report::{Runtime, Site, State};
use leak_agent_tests::compare::{counts, describe, sum};
use leak_agent_tests::programs;
use leak_agent_tests::truth::{Counts, Truth};
use leak_agent_tests::{Agent, Target};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the agent may take to say what is so. Generous: it is not a measurement.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a row ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// Every number equal at every standstill, and called exact.
    Exact,
    /// Some task types are left out, and that is said.
    Partial,
    /// Not followed, and that is said.
    Refused,
    /// A number is wrong, or nothing is said, or the check did not end.
    Wrong,
}

/// What was found out about a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// How it ended.
    pub(crate) verdict: Verdict,
    /// Why it is not exact; `None` = it is.
    pub(crate) reason: Option<String>,
    /// The version as the agent states it.
    pub(crate) version: Option<String>,
    /// How the hooks were found, as the agent states it.
    pub(crate) evidence: Option<String>,
    /// Attach points.
    pub(crate) points: u32,
    /// Of them: on an instruction that the kernel emulates.
    pub(crate) emulated: u32,
    /// Functions of the program of which a site bears the name.
    pub(crate) named: usize,
    /// Functions of the program.
    pub(crate) functions: usize,
    /// Tasks that were compared.
    pub(crate) tasks: u64,
}

impl Outcome {
    /// A row that failed before anything could be compared.
    pub(crate) fn wrong(reason: String) -> Self {
        Self {
            verdict: Verdict::Wrong,
            reason: Some(reason),
            version: None,
            evidence: None,
            points: 0,
            emulated: 0,
            named: 0,
            functions: 0,
            tasks: 0,
        }
    }
}

/// Checks a program: attached before its first task, then attached in the middle of a run.
pub(crate) fn check(row: Row, program: &Path) -> Outcome {
    let early = attached_before(row, program);
    if early.verdict == Verdict::Wrong {
        return early;
    }
    match attached_in_the_middle(row, program) {
        Ok(()) => early,
        Err(wrong) => Outcome {
            verdict: Verdict::Wrong,
            reason: Some(format!("attached in the middle: {wrong}")),
            ..early
        },
    }
}

/// Starts the program, or the host of the library.
fn start(row: Row, program: &Path) -> Target {
    if row.build.library {
        Target::start_with(&programs::library_host(), &[program])
    } else {
        Target::start(program)
    }
}

/// An agent on the program, or on the host of the library.
fn agent_on(row: Row, program: &Path) -> Agent {
    if row.build.library {
        Agent::on(&[&programs::library_host()])
    } else {
        Agent::on(&[program])
    }
}

fn attached_before(row: Row, program: &Path) -> Outcome {
    let agent = agent_on(row, program);
    let mut target = start(row, program);
    if row.build.library {
        // The library is found when it is loaded; its first task comes later.
        let found = wait(|| agent.runtime(target.pid(), "tokio"));
        if let Err(error) = found {
            return Outcome::wrong(error);
        }
    }
    let mut outcome = Outcome {
        verdict: Verdict::Exact,
        reason: None,
        ..Outcome::wrong(String::new())
    };
    for command in [
        "all 20",
        "release",
        "storm 20000",
        "handles-drop",
        "runtimes-drop",
        "local-drop",
        "blocking-park 3",
        "park 5",
        "release",
    ] {
        let truth = target.command(command);
        let mut judged = wait(|| judge(row, &agent.runtime(target.pid(), "tokio")?, &truth));
        if judged.is_ok() {
            // Not for a moment only.
            let _later = agent.next_report();
            judged = agent
                .runtime(target.pid(), "tokio")
                .and_then(|found| judge(row, &found, &truth));
        }
        match judged {
            Err(wrong) => {
                return Outcome {
                    verdict: Verdict::Wrong,
                    reason: Some(format!("after {command:?}: {wrong}")),
                    ..outcome
                };
            }
            Ok((verdict, found)) => {
                outcome = Outcome {
                    verdict,
                    reason: (verdict != Verdict::Exact)
                        .then_some(found.reason.clone())
                        .flatten(),
                    version: found.version.clone(),
                    evidence: found.evidence.clone(),
                    points: found.points,
                    emulated: found.points_emulated,
                    named: truth
                        .sites
                        .iter()
                        .filter(|site| is_named(&found, &site.name))
                        .count(),
                    functions: truth.sites.len(),
                    tasks: truth.spawned,
                };
            }
        }
    }
    outcome
}

/// Compares the totals, the kinds and the functions.
fn judge(row: Row, found: &Runtime, truth: &Truth) -> Result<(Verdict, Runtime), String> {
    let want = truth.counts();
    let wrong = |what: &str| Err(format!("{what}: want {want:?}, got {}", describe(found)));
    if !row.build.library && !found.version.as_deref().is_none_or(|text| is_version(row, text)) {
        return wrong("another version");
    }
    if found.state != State::Followed && found.reason.is_none() {
        return wrong("no reason is given");
    }
    match found.state {
        State::Unsupported if counts(found) == Counts::default() && !found.exact => {
            return Ok((Verdict::Refused, found.clone()));
        }
        State::Followed if counts(found) != want => return wrong("other counts"),
        State::Followed if !found.exact && !row.build.library => return wrong("not called exact"),
        State::Partial if !is_below(counts(found), want) => return wrong("more than there is"),
        State::Partial if found.exact => return wrong("called exact"),
        State::Followed | State::Partial => {}
        State::Unsupported => return wrong("numbers where nothing is followed"),
    }
    for site in &truth.sites {
        let mine = |each: &Site| each.name.contains(&site.name);
        if is_named(found, &site.name) && sum(found, mine) != truth.site(&site.name) {
            return wrong(&site.name);
        }
    }
    let blocking = sum(found, |site| !site.system && site.kind == "blocking");
    let of_kind = truth.sites.iter().filter(|site| site.kind == "blocking");
    let want_blocking = of_kind.fold(Counts::default(), |all, site| all + truth.site(&site.name));
    if row.tokio.tells_kinds() {
        if found.state == State::Followed && blocking != want_blocking {
            return wrong("other counts of blocking tasks");
        }
        if !is_below(blocking, want_blocking) {
            return wrong("more blocking tasks than there are");
        }
    }
    let verdict = if found.state == State::Followed {
        Verdict::Exact
    } else {
        Verdict::Partial
    };
    Ok((verdict, found.clone()))
}

/// Attached in the middle, while tasks are alive: what happened since is exact, what was before is a lower bound.
fn attached_in_the_middle(row: Row, program: &Path) -> Result<(), String> {
    let mut target = start(row, program);
    target.command("all 20");
    let begin = target.command("park 7");
    let agent = agent_on(row, program);
    for command in [
        "all 10",
        "storm 20000",
        "release",
        "handles-drop",
        "local-drop",
        "runtimes-drop",
    ] {
        let truth = target.command(command);
        let want = truth.since(&begin);
        let compare = || {
            let found = agent.runtime(target.pid(), "tokio")?;
            let wrong = |what: &str| {
                Err(format!(
                    "after {command:?}, {what}: want {want:?}, got {}",
                    describe(&found)
                ))
            };
            match found.state {
                State::Unsupported => return Ok(()),
                State::Followed if (found.spawned, found.finished) != (want.spawned, want.finished) => {
                    return wrong("other counts");
                }
                State::Partial if found.spawned > want.spawned || found.finished > want.finished => {
                    return wrong("more than there is");
                }
                State::Followed | State::Partial => {}
            }
            if found.exact && found.live != want.live {
                return wrong("called exact");
            }
            if !found.exact && (found.live > want.live || found.reason.is_none()) {
                return wrong("no lower bound, or no reason");
            }
            Ok(())
        };
        wait(compare)?;
        let _later = agent.next_report();
        compare()?;
    }
    Ok(())
}

fn is_version(row: Row, text: &str) -> bool {
    text.starts_with(&format!("{}.", row.tokio))
}

fn is_below(part: Counts, whole: Counts) -> bool {
    part.spawned <= whole.spawned && part.finished <= whole.finished && part.live <= whole.live
}

/// Whether the sites of a function can be told by its name.
fn is_named(runtime: &Runtime, function: &str) -> bool {
    let mut mine = runtime
        .sites
        .iter()
        .filter(|site| site.name.contains(function))
        .peekable();
    mine.peek().is_some() && mine.all(|site| !site.ambiguous)
}

/// Asks until the answer is good; the last answer else.
fn wait<T>(mut ask: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let end = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
            answer => return answer,
        }
    }
}
