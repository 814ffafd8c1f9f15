//! `cargo xtask bench`: builds the agent and the measurements, optimised, and runs them.

use crate::{command, workspace};
use anyhow::Result;

/// Which measurements.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these; none = all
    #[arg(value_parser = [
        "task", "probe", "goroutine", "web", "goroutines", "storm", "steady", "scan", "thread", "books", "watch",
    ])]
    names: Vec<String>,
}

/// Runs them one after the other; each prints its numbers.
///
/// # Errors
///
/// Something did not build, or a measurement could not be made.
pub(crate) fn main(options: &Options) -> Result<()> {
    command::step("building");
    command::run(command::cargo().args(["build", "--release", "--package", "leak-agent"]))?;
    command::step("measuring");
    command::run(
        command::cargo()
            .args([
                "run",
                "--release",
                "--package",
                "leak-agent-tests",
                "--bin",
                "bench",
                "--",
            ])
            .args(&options.names)
            // Else the newest agent would be measured, which may be an unoptimised one.
            .env("LEAK_AGENT", workspace::target("release").join("leak-agent")),
    )
}
