//! `cargo xtask bench`: builds the agent and the measurements, optimised, and runs them.

use crate::{command, workspace};
use anyhow::Result;
use std::ffi::OsString;
use std::path::PathBuf;

/// Which measurements.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these; none = all
    #[arg(value_parser = [
        "task", "probe", "goroutine", "web", "goroutines", "storm", "steady", "scan", "thread", "books", "engine", "watch",
    ])]
    names: Vec<String>,
    /// Instead of measuring, replay all tapes of this folder and say how well the detectors did
    #[arg(long, value_name = "DIR", conflicts_with = "names")]
    tapes: Option<PathBuf>,
    /// With the policy of this configuration file
    #[arg(long, value_name = "FILE", requires = "tapes")]
    config: Option<PathBuf>,
}

/// Runs them one after the other; each prints its numbers.
///
/// # Errors
///
/// Something did not build, or a measurement could not be made.
pub(crate) fn main(options: &Options) -> Result<()> {
    let mut arguments: Vec<OsString> = options.names.iter().map(OsString::from).collect();
    if let Some(tapes) = &options.tapes {
        arguments.extend(["tapes".into(), tapes.into()]);
        if let Some(config) = &options.config {
            arguments.extend(["--config".into(), config.into()]);
        }
    } else {
        command::step("building");
        command::run(command::cargo().args(["build", "--release", "--package", "leak-agent"]))?;
    }
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
            .args(&arguments)
            // Else the newest agent would be measured, which may be an unoptimised one.
            .env("LEAK_AGENT", workspace::target("release").join("leak-agent")),
    )
}
