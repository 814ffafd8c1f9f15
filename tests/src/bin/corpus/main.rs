//! Runs the corpus and prints its table: `cargo xtask corpus`, as root. docs/DETECTION.md holds the result.
#![expect(clippy::print_stdout, reason = "this program talks to a person")]
#![allow(clippy::unwrap_used, clippy::expect_used)] // a run that cannot be made fails with the reason

use leak_agent_tests::corpus::language::Language;
use leak_agent_tests::corpus::run::{Order, Outcome, folder, plays, plays_in_turn};
use leak_agent_tests::corpus::scenario::{self, Scenario};
use leak_agent_tests::corpus::score::Score;
use leak_agent_tests::corpus::table;
use std::process::ExitCode;

/// Storms that run at a time.
const STORMS: usize = 2;

/// What was asked for.
struct Options {
    scale: f64,
    ci: bool,
    storms: Option<bool>,
    again: Option<String>,
    page: bool,
    names: Vec<String>,
}

impl Options {
    fn read(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            scale: 1.0,
            ci: false,
            storms: None,
            again: None,
            page: false,
            names: Vec::new(),
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--scale" => {
                    let scale = arguments.next().and_then(|scale| scale.parse().ok());
                    options.scale = scale.ok_or("--scale FACTOR")?;
                }
                "--ci" => options.ci = true,
                "--storms" => options.storms = Some(true),
                "--no-storms" => options.storms = Some(false),
                "--again" => {
                    options.again.get_or_insert_default();
                }
                "--config" => {
                    let path = arguments.next().ok_or("--config FILE")?;
                    let policy =
                        std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
                    options.again = Some(policy);
                }
                "--page" => options.page = true,
                name if name.starts_with('-') => return Err(format!("unknown: {name}")),
                _ => options.names.push(argument),
            }
        }
        Ok(options)
    }

    fn wants(&self, scenario: &Scenario) -> bool {
        let named = self
            .names
            .iter()
            .any(|name| scenario.name.contains(name.as_str()));
        (self.names.is_empty() || named)
            && (!self.ci || scenario.ci)
            && self.storms.is_none_or(|storms| scenario.storm == storms)
    }

    /// Runs, one after the other: all that is calm together, storms a few at a time.
    fn orders(&self) -> Vec<Order> {
        let scenarios: Vec<Scenario> = scenario::all()
            .into_iter()
            .filter(|scenario| self.wants(scenario))
            .collect();
        let (storms, calm): (Vec<Scenario>, Vec<Scenario>) =
            scenarios.into_iter().partition(|scenario| scenario.storm);
        let calm = if self.ci {
            plays_in_turn(&calm)
        } else {
            plays(&calm, &Language::ALL)
        };
        let mut waves = vec![calm];
        let storms = plays(&storms, &Language::ALL);
        waves.extend(storms.chunks(STORMS).map(<[_]>::to_vec));
        let mut orders = Vec::new();
        for (number, plays) in waves.into_iter().enumerate() {
            if !plays.is_empty() {
                orders.push(Order {
                    name: format!("x{}-{number}", self.scale),
                    scale: self.scale,
                    plays,
                    record: true,
                });
            }
        }
        orders
    }
}

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            println!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let mut outcomes = Vec::new();
    for order in options.orders() {
        if options.page || options.again.is_some() {
            match Outcome::read(&folder(&order.name), options.again.as_deref()) {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => println!("left out: {error}"),
            }
            continue;
        }
        assert!(leak_agent_tests::privilege::privileged(), "the corpus needs root");
        let longest = order
            .plays
            .iter()
            .map(|play| play.scenario.seconds + play.scenario.before);
        let longest = longest.fold(0.0, f64::max) / order.scale;
        println!("{} plays side by side, {longest:.0} s", order.plays.len());
        let outcome = order.run();
        print!("{}", table::page(&Score::of([&outcome])));
        outcomes.push(outcome);
    }
    if outcomes.is_empty() {
        println!("error: nothing was played");
        return ExitCode::FAILURE;
    }
    println!("\nAll together:\n\n{}", table::page(&Score::of(&outcomes)));
    ExitCode::SUCCESS
}
