//! `cargo xtask corpus`: builds the agent, optimised, and lets it judge the corpus of leaking and of busy programs.

use crate::{command, workspace};
use anyhow::Result;
use std::path::PathBuf;

/// Which programs, and how.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only scenarios whose name contains one of these; none = all
    names: Vec<String>,
    /// Play everything so many times faster
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Only what CI plays, each scenario in one language
    #[arg(long)]
    ci: bool,
    /// Only those that spawn tens of thousands per second
    #[arg(long, conflicts_with = "no_storms")]
    storms: bool,
    /// Without those
    #[arg(long)]
    no_storms: bool,
    /// Play nothing: let the detectors judge again what the last run of this scale recorded
    #[arg(long)]
    again: bool,
    /// With the policy of this configuration file
    #[arg(long, value_name = "FILE", requires = "again")]
    config: Option<PathBuf>,
    /// Play nothing: print the table of the last run of this scale
    #[arg(long, conflicts_with = "again")]
    page: bool,
}

/// Plays, about an hour at scale 1, and prints the table.
///
/// # Errors
///
/// Something did not build, or a program could not be played.
pub(crate) fn main(options: &Options) -> Result<()> {
    command::step("building");
    command::run(command::cargo().args(["build", "--release", "--workspace"]))?;
    command::step("playing");
    let mut run = command::cargo();
    run.args([
        "run",
        "--release",
        "--package",
        "leak-agent-tests",
        "--bin",
        "corpus",
        "--",
    ]);
    run.args(["--scale", &options.scale.to_string()]);
    for (flag, given) in [
        ("--ci", options.ci),
        ("--storms", options.storms),
        ("--no-storms", options.no_storms),
        ("--again", options.again),
        ("--page", options.page),
    ] {
        if given {
            run.arg(flag);
        }
    }
    if let Some(config) = &options.config {
        run.arg("--config").arg(config);
    }
    command::run(
        run.args(&options.names)
            // Else the newest agent would judge, which may be an unoptimised one.
            .env("LEAK_AGENT", workspace::target("release").join("leak-agent")),
    )
}
