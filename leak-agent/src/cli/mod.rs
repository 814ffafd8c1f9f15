//! The command line: flags and environment in, an exit code out. One file per subcommand; the only place that talks
//! to a person.

mod args;
mod bpf_check;
mod config;
mod documents;
mod dump;
mod environment;
mod error;

mod logging;
mod notice;
mod replay;
mod report;
mod run;
mod signals;
mod terminal;
mod top;

use args::{Cli, Command};
use clap::{CommandFactory as _, Parser as _};
use error::CliError;
use std::process::ExitCode;

/// Everything was done.
const SUCCESS: u8 = 0;
/// Something failed; standard error says what.
const FAILURE: u8 = 1;
/// The command line or the environment is wrong. clap uses the same.
const USAGE: u8 = 2;
/// No process matched `--pid` or `--exe`.
const NOTHING_MATCHED: u8 = 3;

/// The program: reads the command line, does what it says, returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    if let Err(error) = environment::check(&Cli::command(), std::env::vars_os()) {
        return error.tell();
    }
    // Ends the program itself on --help, --version and usage errors.
    let cli = Cli::parse();
    match dispatch(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => error.tell(),
    }
}

fn dispatch(cli: Cli) -> Result<u8, CliError> {
    let logs = logging::init(&cli.log);
    match cli.command {
        Command::Run(args) => run::run(&cli.agent, &args),
        Command::Report(args) => report::run(&cli.agent, &args),
        Command::Replay(args) => replay::run(&cli.agent, &args),
        Command::Top(args) => top::run(&cli.agent, &args, &logs),
        Command::Dump(args) => dump::run(&cli.agent, &args),
        Command::Config { what } => config::run(&cli.agent, &what),
        Command::Completions { shell } => documents::completions(shell),
        Command::Man { subcommand } => documents::man(subcommand.as_deref()),
        Command::BpfCheck { object } => bpf_check::run(object.as_deref()),
        Command::Document { what } => documents::generated(what),
    }
}
