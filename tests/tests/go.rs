//! Goroutines, against what the program and its runtime count themselves.

use leak_agent_tests::compare::{describe, until_exact};
use leak_agent_tests::golang::{Flavour, GoProbe, check};
use leak_agent_tests::wait::until;
use leak_agent_tests::{Agent, Target, privilege};
use std::time::Duration;

const NEW: GoProbe = GoProbe {
    version: "1.27.3",
    flavour: Flavour::PieStripped,
};

macro_rules! builds {
    ($($name:ident = $version:literal $flavour:ident;)*) => {$(
        /// See [`check::attached_before_start_is_exact`].
        #[test]
        fn $name() {
            if !privilege::privileged() {
                return;
            }
            check::attached_before_start_is_exact(GoProbe {
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

macro_rules! late {
    ($($name:ident = $version:literal $flavour:ident;)*) => {$(
        /// See [`check::parked_before_is_exact`].
        #[test]
        fn $name() {
            if !privilege::privileged() {
                return;
            }
            check::parked_before_is_exact(GoProbe {
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

/// See [`check::coroutines_and_libraries_are_exact`].
#[test]
fn go_coroutines_and_libraries_are_exact() {
    if !privilege::privileged() {
        return;
    }
    check::coroutines_and_libraries_are_exact(NEW);
}

/// See [`check::callbacks_from_c_are_exact`].
#[test]
fn go_callbacks_from_c_are_exact() {
    if !privilege::privileged() {
        return;
    }
    check::callbacks_from_c_are_exact(GoProbe {
        version: "1.27.3",
        flavour: Flavour::Cgo,
    });
}
