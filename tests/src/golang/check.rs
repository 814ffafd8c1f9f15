//! What is checked of each build of the Go program: the agent's counts against the program's own.

use super::GoProbe;
use crate::compare::{compare_sites, describe, sum, until_equal, until_exact};
use crate::{Agent, Target, Truth};
use leak_agent::report::{Runtime, State};

/// Attached before the program starts: every number is exact at every standstill, and the runtime's own goroutines are
/// told from the program's.
pub fn attached_before_start_is_exact(probe: GoProbe) {
    let path = probe.path();
    let agent = Agent::on(&[&path]);
    let mut target = Target::start(&path);
    for command in [
        "park 300",
        "churn 20000 4",
        "panic 20",
        "goexit 20",
        "goexit-in-panic 20",
        "locked 20",
        "after 20",
        "literal 20",
        "nested 20",
        "gc 3",
        "finalizers 5",
        "procs 8",
        "procs 2",
        "release",
        "park 5",
    ] {
        let truth = target.command(command);
        let found = until_equal(&agent, target.pid(), "go", truth.counts());
        assert_eq!(found.state, State::Followed, "{}", describe(&found));
        assert!(found.exact, "{}", describe(&found));
        assert_eq!(found.baseline, 0, "{}", describe(&found));
        let named = compare_sites(&found, &truth);
        assert_eq!(named, truth.sites.len(), "{}", describe(&found));
        assert_eq!(
            found.version.as_deref(),
            Some(probe.version),
            "{}",
            describe(&found)
        );
        let park = found.sites.iter().find(|site| site.name == "main.park");
        let statement = park.and_then(|park| park.location.as_deref());
        assert!(
            statement.is_some_and(|statement| statement.contains("ends.go:")),
            "{}",
            describe(&found)
        );
        let own = sum(&found, |site| site.system);
        assert!((4..30).contains(&own.live), "{}", describe(&found));
    }
}

/// A program that ran before the agent came: its goroutines are read from the runtime's own list, and then everything
/// ends under our eyes.
pub fn parked_before_is_exact(probe: GoProbe) {
    let path = probe.path();
    let mut target = Target::start(&path);
    target.command("churn 20000 4");
    target.command("gc 2");
    let truth = target.command("park 300");
    let agent = Agent::on(&[&path]);
    let found = until_exact(&agent, target.pid(), "go", &truth);
    assert_eq!(found.baseline, truth.live, "{}", describe(&found));
    assert_eq!(
        compare_sites_alive(&found, &truth),
        truth.sites.len(),
        "{}",
        describe(&found)
    );
    for command in ["churn 20000 4", "locked 20", "park 50", "finalizers 5", "release"] {
        let truth = target.command(command);
        until_exact(&agent, target.pid(), "go", &truth);
    }
}

/// Compares how many of each function's goroutines are alive; the number of functions that were compared.
fn compare_sites_alive(found: &Runtime, truth: &Truth) -> usize {
    for site in &truth.sites {
        let live = sum(found, |found| found.name.contains(&site.name)).live;
        assert_eq!(live, site.live, "{}: {}", site.name, describe(found));
    }
    truth.sites.len()
}

/// Coroutines that run out, are stopped, or were never asked, and a library that says `go` on behalf of others.
pub fn coroutines_and_libraries_are_exact(probe: GoProbe) {
    let path = probe.path();
    let agent = Agent::on(&[&path]);
    let mut target = Target::start(&path);
    let mut commands = vec!["after 20"];
    if probe.minor() >= 23 {
        commands.extend([
            "pull 20",
            "pull-stop 20",
            "pull-unused 20",
            "pull-keep 20",
            "pull-drop",
        ]);
    }
    if probe.minor() >= 25 {
        commands.push("group 20");
    }
    for command in commands {
        let truth = target.command(command);
        let found = until_equal(&agent, target.pid(), "go", truth.counts());
        assert!(found.exact, "{}", describe(&found));
        assert_eq!(
            compare_sites(&found, &truth),
            truth.sites.len(),
            "{}",
            describe(&found)
        );
    }
}

/// Goroutines that callbacks from C's own threads start, in a program of Go and C; attached before and after.
pub fn callbacks_from_c_are_exact(probe: GoProbe) {
    let path = probe.path();
    let agent = Agent::on(&[&path]);
    let mut target = Target::start(&path);
    for command in ["callback 20", "park 20", "locked 20", "callback 3"] {
        let truth = target.command(command);
        let found = until_equal(&agent, target.pid(), "go", truth.counts());
        assert!(found.exact, "{}", describe(&found));
    }
    drop(agent);
    let agent = Agent::on(&[&path]);
    for command in ["truth", "callback 20", "release"] {
        let truth = target.command(command);
        until_exact(&agent, target.pid(), "go", &truth);
    }
}
