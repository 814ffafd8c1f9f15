//! Goroutines, against what the program and its runtime count themselves.

use leak_agent::report::{Runtime, State};
use leak_agent_tests::compare::{compare_sites, describe, sum, until_equal, until_exact};
use leak_agent_tests::golang::{Flavour, GoProbe};
use leak_agent_tests::wait::until;
use leak_agent_tests::{Agent, Target, Truth, privilege};
use std::time::Duration;

const NEW: GoProbe = GoProbe {
    version: "1.27.3",
    flavour: Flavour::PieStripped,
};

/// Attached before the program starts: every number is exact at every standstill, and the runtime's own goroutines are
/// told from the program's.
fn attached_before_start_is_exact(probe: GoProbe) {
    if !privilege::privileged() {
        return;
    }
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

macro_rules! builds {
    ($($name:ident = $version:literal $flavour:ident;)*) => {$(
        /// See [`attached_before_start_is_exact`].
        #[test]
        fn $name() {
            attached_before_start_is_exact(GoProbe {
                version: $version,
                flavour: Flavour::$flavour,
            });
        }
    )*};
}

builds! {
    go_127_from_its_start_is_exact = "1.27.3" Default;
    go_127_pie_stripped_from_its_start_is_exact = "1.27.3" PieStripped;
    go_121_from_its_start_is_exact = "1.21.13" Default;
    go_121_pie_stripped_from_its_start_is_exact = "1.21.13" PieStripped;
}

/// A program that ran before the agent came: its goroutines are read from the runtime's own list, and then everything
/// ends under our eyes.
fn parked_before_is_exact(probe: GoProbe) {
    if !privilege::privileged() {
        return;
    }
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

macro_rules! late {
    ($($name:ident = $version:literal $flavour:ident;)*) => {$(
        /// See [`parked_before_is_exact`].
        #[test]
        fn $name() {
            parked_before_is_exact(GoProbe {
                version: $version,
                flavour: Flavour::$flavour,
            });
        }
    )*};
}

late! {
    go_127_parked_before_is_exact = "1.27.3" PieStripped;
    go_121_parked_before_is_exact = "1.21.13" Default;
}

/// Attached in the middle of a storm: when it is over, not one goroutine is missing or left.
#[test]
fn go_attached_in_a_storm_is_exact_when_it_is_over() {
    if !privilege::privileged() {
        return;
    }
    let path = NEW.path();
    for wait in [0, 90, 200] {
        let mut target = Target::start(&path);
        target.command("park 300");
        target.tell("churn 3000000 2");
        std::thread::sleep(Duration::from_millis(wait));
        let agent = Agent::on(&[&path]);
        let truth = target.answer();
        until_exact(&agent, target.pid(), "go", &truth);
    }
}

/// Attached to a program that starts and ends 20,000 goroutines per second: what rests is known at once, and in the end
/// nothing is missing or left.
#[test]
fn go_attached_under_load_is_exact() {
    if !privilege::privileged() {
        return;
    }
    let path = NEW.path();
    let mut target = Target::start(&path);
    target.command("park 300");
    target.tell("hold 20000");
    std::thread::sleep(Duration::from_millis(200));
    let agent = Agent::on(&[&path]);
    until("an exact count under load", || {
        let found = agent.runtime(target.pid(), "go")?;
        if found.exact {
            Ok(())
        } else {
            Err(describe(&found))
        }
    });
    target.tell("unhold");
    while target.answer().phase != "unhold" {}
    let truth = target.command("truth");
    until_exact(&agent, target.pid(), "go", &truth);
}

/// Coroutines that run out, are stopped, or were never asked, and a library that says `go` on behalf of others.
#[test]
fn go_coroutines_and_libraries_are_exact() {
    if !privilege::privileged() {
        return;
    }
    let path = NEW.path();
    let agent = Agent::on(&[&path]);
    let mut target = Target::start(&path);
    for command in [
        "pull 20",
        "pull-stop 20",
        "pull-unused 20",
        "pull-keep 20",
        "group 20",
        "pull-drop",
    ] {
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
#[test]
fn go_callbacks_from_c_are_exact() {
    if !privilege::privileged() {
        return;
    }
    let path = GoProbe {
        version: "1.27.3",
        flavour: Flavour::Cgo,
    }
    .path();
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
