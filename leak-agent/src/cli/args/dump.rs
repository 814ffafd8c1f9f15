//! Flags of `leak-agent dump`.

use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

const AFTER: &str = "\
Examples:
  sudo leak-agent dump 1234                          goroutines and threads, the largest group first
  sudo leak-agent dump 1234 --runtime go --site main.serve
  sudo leak-agent dump 1234 --format json --output stuck.json
  sudo leak-agent dump 1234 --format folded | inferno-flamegraph > stuck.svg

The process runs on. A task that never rests while it is read is told without a stack. A dump tells where a program
is, and has the names of its functions and its labels, but no values: what it prints is nevertheless for the eyes of those
only who may see the program.

Exit codes: 0 done; 1 failed; 2 wrong flags or environment; 3 no such process, or none of its tasks was asked for.";

#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct DumpArgs {
    /// The process
    #[arg(value_name = "PID", value_parser = RangedU64ValueParser::<u32>::new().range(1..=4_194_304))]
    pub(in crate::cli) pid: u32,
    /// Only tasks of this runtime (thread, go); may be repeated, or a list with commas
    #[arg(
        help_heading = "Dump",
        long = "runtime",
        env = "LEAK_AGENT_RUNTIME",
        value_name = "RUNTIME",
        value_delimiter = ','
    )]
    pub(in crate::cli) runtimes: Vec<String>,
    /// Only tasks of spawn sites whose name, id or location has this text in it
    #[arg(help_heading = "Dump", long, env = "LEAK_AGENT_SITE", value_name = "TEXT",
          value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(in crate::cli) site: Option<String>,
    /// How to print it
    #[arg(
        help_heading = "Dump",
        long,
        env = "LEAK_AGENT_FORMAT",
        value_name = "FORMAT",
        value_enum,
        default_value = "text"
    )]
    pub(in crate::cli) format: DumpFormat,
    /// Write it to this file instead, which only its owner may read
    #[arg(
        help_heading = "Dump",
        long,
        short = 'o',
        env = "LEAK_AGENT_OUTPUT",
        value_name = "FILE"
    )]
    pub(in crate::cli) output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum DumpFormat {
    /// A paragraph per group, for people
    Text,
    /// The whole dump (docs/DUMPS.md), for programs
    Json,
    /// A line per group, for tools that draw flame graphs
    Folded,
}
