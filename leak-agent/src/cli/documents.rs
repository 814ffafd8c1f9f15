//! What is generated from the definitions: completions, the manual page, the documents in docs/.

use super::SUCCESS;
use super::args::{Cli, Document};
use super::error::CliError;
use crate::output::metrics::catalogue_markdown;
use crate::report::schema_json;
use clap::CommandFactory as _;
use clap_mangen::roff::{Roff, bold, roman};
use std::io::{self, Write as _};

pub(super) fn completions(shell: clap_complete::Shell) -> Result<u8, CliError> {
    // clap_complete panics when it cannot write, a buffer cannot fail.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "leak-agent", &mut text);
    print(&text)
}

/// The manual page of the program, or of one subcommand: in section 1, with the twins in the environment.
///
/// # Errors
///
/// There is no such subcommand.
pub(super) fn man(subcommand: Option<&str>) -> Result<u8, CliError> {
    let mut command = Cli::command();
    command.build();
    let described = match subcommand {
        None => command,
        Some(name) => {
            let found = command
                .get_subcommands()
                .find(|sub| sub.get_name() == name && !sub.is_hide_set());
            // What is the same everywhere is described once, on the page of the program.
            let found = found.map(|sub| {
                sub.clone()
                    .mut_args(|arg| if arg.is_global_set() { arg.hide(true) } else { arg })
            });
            found.ok_or_else(|| CliError::usage(format!("there is no subcommand {name:?}")))?
        }
    };
    let title = match subcommand {
        None => "leak-agent".to_owned(),
        Some(name) => format!("leak-agent-{name}"),
    };
    let mut twins = Roff::new();
    twins.control("SH", ["ENVIRONMENT"]);
    twins.text([roman(
        "A flag wins over its variable. Any other variable that begins with LEAK_AGENT_ is an error.",
    )]);
    for arg in described.get_arguments().filter(|arg| !arg.is_hide_set()) {
        if let (Some(flag), Some(variable)) = (arg.get_long(), arg.get_env()) {
            twins.control("TP", []);
            twins.text([bold(variable.to_string_lossy())]);
            twins.text([roman(format!("--{flag}"))]);
        }
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(described).title(title).render(&mut text)?;
    twins.to_writer(&mut text)?;
    print(&text)
}

pub(super) fn generated(what: Document) -> Result<u8, CliError> {
    match what {
        Document::Metrics => print(catalogue_markdown().as_bytes()),
        Document::ReportSchema => print(schema_json().as_bytes()),
    }
}

fn print(text: &[u8]) -> Result<u8, CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text)?;
    out.flush()?;
    Ok(SUCCESS)
}
