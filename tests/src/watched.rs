//! Counting without probes, compared with what the programs count themselves.

use crate::agent::Agent;
use crate::compare::{check_identity, counts, describe, sum, until_exact};
use crate::programs;
use crate::target::Target;
use crate::truth::Truth;
use crate::wait::until;
use leak_agent::report::{CountedBy, Runtime, Site};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Has the agent read as often as the machine can.
pub const OFTEN: [&str; 4] = ["--watch-interval", "100ms", "--books-share", "50"];

/// A copy for one test alone: probes that another test has put into a file are in all processes of it.
#[must_use]
pub fn own_copy(program: &Path, test: &str) -> PathBuf {
    let copy = programs::scratch(&format!("watch-{test}")).join(program.file_name().expect("a file"));
    programs::copy(program, &copy);
    copy
}

/// Waits until the agent has read what the program says, in sum and for each function, and makes sure that it goes on to, and
/// that it claims no more than what can be read.
pub fn until_watched(agent: &Agent, pid: u32, runtime: &str, truth: &Truth) -> Runtime {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs_f64();
    let compare = || {
        let found = agent.runtime(pid, runtime)?;
        let wrong = |what: &str| {
            Err(format!(
                "{what}; want {truth:?}, got {} {:?}",
                describe(&found),
                found.watch
            ))
        };
        let Some(watch) = &found.watch else {
            return wrong("it is not watched");
        };
        if watch.as_of.is_none_or(|as_of| as_of < now) {
            return wrong("that was read before");
        }
        if !watch.agreed || found.live != truth.live {
            return wrong("live tasks");
        }
        for site in &truth.sites {
            let mine = |found: &Site| found.name.contains(&site.name);
            let uncertain = found.sites.iter().any(|site| mine(site) && site.ambiguous);
            // Without symbols, and without any task alive, nothing bears the name.
            let named = found.sites.iter().any(mine);
            if named && !uncertain && sum(&found, mine).live != site.live {
                return wrong(&site.name);
            }
        }
        Ok(found)
    };
    until(&truth.phase, compare);
    let _later = agent.next_report();
    let found = compare().unwrap_or_else(|wrong| panic!("was equal for a moment only: {wrong}"));
    check_identity(&found);
    assert_eq!(found.counted_by, Some(CountedBy::Memory));
    assert_eq!((found.spawned, found.finished, found.points), (0, 0, 0));
    found
}

/// A process that has got probes while it ran: what begins and ends from now on is exact, command by command, and so is the next
/// process of its executable from its first instruction. `truth`: what the process says now. `next`: what the next one does.
pub fn traced_from_here(
    agent: &Agent,
    (target, path): (&mut Target, &Path),
    runtime: &str,
    truth: Truth,
    commands: &[&str],
    next: &str,
) {
    let before = until_exact(agent, target.pid(), runtime, &truth);
    let begin = truth;
    for command in commands {
        let truth = target.command(command);
        let found = until_exact(agent, target.pid(), runtime, &truth);
        let since = truth.since(&begin);
        let grown = (found.spawned - before.spawned, found.finished - before.finished);
        assert_eq!(
            grown,
            (since.spawned, since.finished),
            "{command}: {}",
            describe(&found)
        );
        assert!(found.watch.is_none() && found.points > 0);
    }
    let mut other = Target::start(path);
    let truth = other.command(next);
    let found = until_exact(agent, other.pid(), runtime, &truth);
    assert_eq!(counts(&found), truth.counts(), "{}", describe(&found));
}
