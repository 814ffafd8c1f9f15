//! The comparison that the tests are about: the agent's counts against the program's own.

use crate::agent::Agent;
use crate::truth::{Counts, Truth};
use crate::wait::until;
use leak_agent::report::{Runtime, Site};

/// What the report says of a runtime.
#[must_use]
pub fn counts(runtime: &Runtime) -> Counts {
    Counts {
        spawned: runtime.spawned,
        finished: runtime.finished,
        live: runtime.live,
    }
}

/// The sum over the sites for which `of` holds.
#[must_use]
pub fn sum(runtime: &Runtime, of: impl Fn(&Site) -> bool) -> Counts {
    runtime
        .sites
        .iter()
        .filter(|site| of(site))
        .fold(Counts::default(), |sum, site| {
            sum + Counts {
                spawned: site.spawned,
                finished: site.finished,
                live: site.live,
            }
        })
}

/// Waits until this runtime of a process has probes: on a busy machine an agent that is ready may still be attaching.
pub fn until_probed(agent: &Agent, pid: u32, runtime: &str) {
    until("probes", || {
        let found = agent.runtime(pid, runtime)?;
        found.probes.as_ref().map(|_| ()).ok_or_else(|| describe(&found))
    });
}

/// Waits until the report says `want` of this runtime of a process that stands still, and makes sure that it
/// goes on to say so.
pub fn until_equal(agent: &Agent, pid: u32, runtime: &str, want: Counts) -> Runtime {
    let compare = || {
        let found = agent.runtime(pid, runtime)?;
        if counts(&found) == want {
            Ok(found)
        } else {
            Err(format!("want {want:?}, got {}", describe(&found)))
        }
    };
    until(&format!("{runtime} of process {pid}"), compare);
    let _later = agent.next_report();
    compare().unwrap_or_else(|wrong| panic!("was equal for a moment only: {wrong}"))
}

/// As [`until_equal`], for what happened since `begin`; what was alive then may or may not be known. Exact
/// must not be claimed wrongly, and an inexact number must be a lower bound.
pub fn until_equal_since(agent: &Agent, pid: u32, runtime: &str, begin: &Truth, now: &Truth) -> Runtime {
    let want = now.since(begin);
    let compare = || {
        let found = agent.runtime(pid, runtime)?;
        if (found.spawned, found.finished) == (want.spawned, want.finished) {
            Ok(found)
        } else {
            Err(format!("want {want:?}, got {}", describe(&found)))
        }
    };
    until(&format!("{runtime} of process {pid}"), compare);
    let _later = agent.next_report();
    let found = compare().unwrap_or_else(|wrong| panic!("was equal for a moment only: {wrong}"));
    if found.exact {
        assert_eq!(found.live, now.live, "claims to be exact: {}", describe(&found));
    } else {
        assert!(found.live <= now.live, "no lower bound: {}", describe(&found));
        assert!(
            found.reason.is_some(),
            "inexact without a reason: {}",
            describe(&found)
        );
    }
    found
}

/// Compares each function's tasks with the sites that bear its name. Sites whose name is marked as possibly
/// that of another with equal code are compared in sum. Gives the number of functions with a name of their own.
#[must_use]
pub fn compare_sites(runtime: &Runtime, truth: &Truth) -> usize {
    let mut named = 0;
    for site in &truth.sites {
        let mine = |found: &Site| found.name.contains(&site.name);
        let uncertain = runtime.sites.iter().any(|found| mine(found) && found.ambiguous);
        if uncertain || !runtime.sites.iter().any(mine) {
            continue;
        }
        assert_eq!(
            sum(runtime, mine),
            truth.site(&site.name),
            "{}: {}",
            site.name,
            describe(runtime)
        );
        named += 1;
    }
    named
}

/// The identity of the counts, for the runtime and each of its sites.
pub fn check_identity(runtime: &Runtime) {
    let holds = |live, baseline, spawned, finished| live + finished == baseline + spawned;
    for site in &runtime.sites {
        assert!(
            holds(site.live, site.baseline, site.spawned, site.finished),
            "{site:?}"
        );
    }
    assert!(
        holds(runtime.live, runtime.baseline, runtime.spawned, runtime.finished),
        "{}",
        describe(runtime)
    );
    assert_eq!(
        counts(runtime),
        sum(runtime, |site| !site.system),
        "{}",
        describe(runtime)
    );
}

/// A runtime in a few lines, for failures.
#[must_use]
pub fn describe(runtime: &Runtime) -> String {
    let mut text = format!(
        "{} {:?} exact {} live {} spawned {} finished {} baseline {} version {:?} reason {:?}",
        runtime.runtime,
        runtime.state,
        runtime.exact,
        runtime.live,
        runtime.spawned,
        runtime.finished,
        runtime.baseline,
        runtime.version,
        runtime.reason
    );
    for site in &runtime.sites {
        text += &format!(
            "\n  {} {}{}: live {} spawned {} finished {} baseline {} {:?}",
            site.kind,
            if site.system { "(system) " } else { "" },
            site.name,
            site.live,
            site.spawned,
            site.finished,
            site.baseline,
            site.location
        );
    }
    text
}

/// Waits until the report knows exactly what is alive, and makes sure that it is the truth, in sum and for each function,
/// and that it goes on to be. The program stands still; it may have run before the agent came.
pub fn until_exact(agent: &Agent, pid: u32, runtime: &str, truth: &Truth) -> Runtime {
    let compare = || {
        let found = agent.runtime(pid, runtime)?;
        if found.exact && found.live == truth.live {
            Ok(found)
        } else {
            Err(format!(
                "want exactly {} alive, got {}",
                truth.live,
                describe(&found)
            ))
        }
    };
    until(&format!("{runtime} of process {pid}"), compare);
    let _later = agent.next_report();
    let found = compare().unwrap_or_else(|wrong| panic!("was exact for a moment only: {wrong}"));
    for site in &truth.sites {
        let mine = |found: &Site| found.name.contains(&site.name);
        let uncertain = found.sites.iter().any(|site| mine(site) && site.ambiguous);
        if !uncertain && found.sites.iter().any(mine) {
            let live = sum(&found, mine).live;
            let want = truth.site(&site.name).live;
            assert_eq!(live, want, "{}: {}", site.name, describe(&found));
        }
    }
    found
}
