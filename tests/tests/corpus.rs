//! The corpus in small: leaking and busy programs in tokio, Go and C, ten times faster than life, under one agent whose clock
//! of the detectors is as fast. `cargo xtask corpus` plays all of it in real time.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness fails by panicking, with the reason

use leak_agent_tests::corpus::language::Language;
use leak_agent_tests::corpus::run::{Order, plays};
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
        plays: plays(&scenarios, &Language::ALL),
        record: false,
    };
    let outcome = order.run();
    let score = Score::of([&outcome]);
    let page = table::page(&score);
    println!("{page}");
    assert_eq!(score.failed().count(), 0, "{page}");
    let (told, leaks) = score.recall();
    assert!(leaks >= 30 && told * 100 >= leaks * 95, "{page}");
    let (right, verdicts) = score.precision();
    assert!(right * 100 >= verdicts * 98, "{page}");
    assert_eq!((score.loud().0, score.wrong_sites()), (0, 0), "{page}");
}
