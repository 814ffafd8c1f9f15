//! `leak-agent config`: checks a configuration file, or prints one.

use super::SUCCESS;
use super::args::{AgentArgs, ConfigCommand};
use super::error::CliError;
use crate::config::FileConfig;
use crate::config::policy::EXAMPLE;
use std::io::{self, Write as _};

pub(super) fn run(agent: &AgentArgs, what: &ConfigCommand) -> Result<u8, CliError> {
    let mut out = io::stdout().lock();
    match what {
        ConfigCommand::Example => out.write_all(EXAMPLE.as_bytes())?,
        ConfigCommand::Check { file } => {
            let path = file.as_deref().or(agent.config_file()).ok_or_else(|| {
                CliError::usage("no configuration file is named")
                    .hint("leak-agent config check FILE, or --config FILE, or LEAK_AGENT_CONFIG")
            })?;
            let read = FileConfig::read(path)?;
            for warning in &read.warnings {
                writeln!(out, "warning: {warning}")?;
            }
            writeln!(out, "{}: in order", path.display())?;
        }
    }
    out.flush()?;
    Ok(SUCCESS)
}
