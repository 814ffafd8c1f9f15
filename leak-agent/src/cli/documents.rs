//! What is generated from the definitions: completions, the manual page, the documents in docs/.

use super::SUCCESS;
use super::args::{Cli, Document};
use super::error::CliError;
use crate::output::metrics::catalogue_markdown;
use crate::report::schema_json;
use clap::CommandFactory as _;
use std::io::{self, Write as _};

pub(super) fn completions(shell: clap_complete::Shell) -> Result<u8, CliError> {
    // clap_complete panics when it cannot write, a buffer cannot fail.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "leak-agent", &mut text);
    print(&text)
}

/// The page of the program, then those of its subcommands.
pub(super) fn man() -> Result<u8, CliError> {
    let mut text = Vec::new();
    let mut command = Cli::command();
    command.build();
    clap_mangen::Man::new(command.clone()).render(&mut text)?;
    for subcommand in command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
    {
        let page =
            clap_mangen::Man::new(subcommand.clone()).title(format!("leak-agent {}", subcommand.get_name()));
        page.render(&mut text)?;
    }
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
