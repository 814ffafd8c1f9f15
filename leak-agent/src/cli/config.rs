//! `leak-agent config`: checks a configuration file, or prints one.

use super::args::{AgentArgs, ConfigCommand};
use super::error::CliError;
use super::{FAILURE, SUCCESS};
use crate::config::policy::EXAMPLE;
use crate::config::{FileConfig, NotifyConfig};
use crate::output::alert;
use std::io::{self, Write as _};

pub(super) fn run(agent: &AgentArgs, what: &ConfigCommand) -> Result<u8, CliError> {
    let mut out = io::stdout().lock();
    match what {
        ConfigCommand::Example => out.write_all(EXAMPLE.as_bytes())?,
        ConfigCommand::Check { file } => {
            let path = file.as_deref().or(agent.config_file()).ok_or_else(no_file)?;
            let read = FileConfig::read(path)?;
            for warning in &read.warnings {
                writeln!(out, "warning: {warning}")?;
            }
            writeln!(out, "{}: in order", path.display())?;
        }
        ConfigCommand::TestNotify { receiver } => {
            let path = agent.config_file().ok_or_else(no_file)?;
            let notify = FileConfig::read(path)?.notify;
            return test_notify(&notify, receiver.as_deref(), &mut out);
        }
    }
    out.flush()?;
    Ok(SUCCESS)
}

fn no_file() -> CliError {
    CliError::usage("no configuration file is named")
        .hint("leak-agent config check FILE, or --config FILE, or LEAK_AGENT_CONFIG")
}

/// Prints a line per receiver; a failure if one was not told.
fn test_notify(notify: &NotifyConfig, only: Option<&str>, out: &mut impl io::Write) -> Result<u8, CliError> {
    let trials = alert::trial(notify, only).map_err(CliError::failure)?;
    if trials.is_empty() {
        return Err(CliError::usage(match only {
            Some(name) => format!("the file has no receiver {name:?}"),
            None => "the file has no receiver".to_owned(),
        }));
    }
    let mut code = SUCCESS;
    for trial in trials {
        let told = match &trial.told {
            Ok(()) => "told",
            Err(why) => {
                code = FAILURE;
                why
            }
        };
        writeln!(out, "{} ({}): {told}", trial.receiver, trial.kind)?;
    }
    out.flush()?;
    Ok(code)
}
