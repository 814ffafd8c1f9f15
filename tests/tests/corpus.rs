//! The corpus in small: leaking and busy programs in tokio, Go and C, each scenario in one of them, ten times faster than life, under
//! one agent whose clock of the detectors is as fast. `cargo xtask corpus` plays all of it in real time.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness fails by panicking, with the reason

use leak_agent_tests::corpus::run::{Order, plays_in_turn};
use leak_agent_tests::corpus::scenario::{self, Scenario};
use leak_agent_tests::corpus::score::Score;
use leak_agent_tests::corpus::table;
use leak_agent_tests::privilege;

/// How many times faster.
const SCALE: f64 = 10.0;

/// Leaks are told at their sites, and what is only busy is not.
#[test]
fn leaks_are_told_and_busy_programs_are_not() {
    if !privilege::privileged() {
        return;
    }
    let scenarios: Vec<Scenario> = scenario::all().into_iter().filter(|each| each.ci).collect();
    let order = Order {
        name: "ci".to_owned(),
        scale: SCALE,
        plays: plays_in_turn(&scenarios),
        record: false,
    };
    let outcome = order.run();
    let score = Score::of([&outcome]);
    let page = table::page(&score);
    println!("{page}");
    assert_eq!(score.failed().count(), 0, "{page}");
    let leaks = scenarios
        .iter()
        .filter(|scenario| scenario.leak.is_some())
        .count();
    assert!(leaks >= 9 && scenarios.len() - leaks >= 12, "{page}");
    // At ten times the speed a machine that stands still for a second takes ten from a leak: one may be told too late.
    let (told, all) = score.recall();
    assert!(all == leaks && told + 1 >= leaks, "{page}");
    assert_eq!(score.precision(), (told, told), "{page}");
    assert_eq!((score.loud().0, score.wrong_sites()), (0, 0), "{page}");
}
