//! Flags of `leak-agent replay`.

use super::{FilterArgs, parse_duration};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct ReplayArgs {
    /// The tape; of one in several files the oldest first: FILE.2 FILE.1 FILE
    #[arg(required = true, value_name = "FILE")]
    pub(in crate::cli) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) filter: FilterArgs,
    /// So many times as fast as it was recorded; "max" = as fast as it goes
    #[arg(help_heading = "Replay", long, env = "LEAK_AGENT_SPEED", value_name = "N", default_value = "max",
          value_parser = parse_speed)]
    pub(in crate::cli) speed: Speed,
    /// Print a report for every so much recorded time (like 10s), not only the last one
    #[arg(help_heading = "Replay", long, env = "LEAK_AGENT_EVERY", value_name = "TIME", value_parser = parse_duration)]
    pub(in crate::cli) every: Option<Duration>,
    /// How to print it
    #[arg(
        help_heading = "Replay",
        long,
        env = "LEAK_AGENT_FORMAT",
        value_name = "FORMAT",
        value_enum,
        default_value = "table"
    )]
    pub(in crate::cli) format: ReplayFormat,
    /// Show so many spawn sites per runtime in the table
    #[arg(
        help_heading = "Replay",
        long,
        env = "LEAK_AGENT_SITES",
        value_name = "N",
        default_value = "10"
    )]
    pub(in crate::cli) sites: usize,
}

/// How fast to replay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::cli) enum Speed {
    Max,
    Times(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ReplayFormat {
    /// Aligned text, for people
    Table,
    /// The whole report (docs/report.schema.json), for programs
    Json,
    /// The same, a report per line: every recorded one, or one for --every so much time
    JsonLines,
}

fn parse_speed(text: &str) -> Result<Speed, String> {
    match text.parse::<f64>() {
        _ if text == "max" => Ok(Speed::Max),
        Ok(times) if times.is_finite() && times > 0.0 => Ok(Speed::Times(times)),
        _ => Err(format!("{text} is no number above 0, and not \"max\"")),
    }
}
