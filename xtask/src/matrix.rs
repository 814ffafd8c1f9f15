//! `cargo xtask matrix`: which builds of tokio, and of Go, the agent counts exactly.

use crate::command;
use crate::summary::Counts;
use crate::workspace;
use anyhow::{Context as _, Result, bail};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

/// Which rows.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Builds of Go instead of tokio: fetches eight toolchains (3 GB), and writes docs/GO.md
    #[arg(long, conflicts_with_all = ["tokio", "build", "slice", "again", "page"])]
    go: bool,
    /// Only this version of tokio: 1.38
    #[arg(long)]
    tokio: Option<String>,
    /// Only this build: release, thin, fat, units, opt-s, opt-z, abort, debug, …
    #[arg(long)]
    build: Option<String>,
    /// Only the few rows that CI runs
    #[arg(long, value_parser = ["ci"])]
    slice: Option<String>,
    /// Check rows again whose agent and program are still those of their result
    #[arg(long)]
    again: bool,
    /// Check nothing: write docs/TOKIO.md from the results that are there
    #[arg(long, conflicts_with_all = ["tokio", "build", "slice", "again"])]
    page: bool,
    /// Compilers at a time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

/// Builds and checks the rows; all of them write docs/TOKIO.md too. What was found out before is kept in
/// target/matrix/results.json, and is not checked again as long as agent and program are the same.
///
/// # Errors
///
/// Something did not build, or a row is wrong.
pub(crate) fn main(options: &Options) -> Result<()> {
    command::step("building the agent");
    command::run(command::cargo().args(["build", "--release", "--package", "leak-agent"]))?;
    let mut arguments = Vec::new();
    for (name, value) in [
        ("--tokio", &options.tokio),
        ("--build", &options.build),
        ("--slice", &options.slice),
    ] {
        if let Some(value) = value {
            arguments.extend([name.to_owned(), value.clone()]);
        }
    }
    for (name, given) in [("--again", options.again), ("--page", options.page)] {
        if given {
            arguments.push(name.to_owned());
        }
    }
    arguments.extend(["--jobs".to_owned(), options.jobs.to_string()]);
    let counts = if options.go {
        run("matrix-go", &[])?
    } else {
        run("matrix", &arguments)?
    };
    if counts.failed > 0 {
        bail!("{} rows are wrong", counts.failed);
    }
    Ok(())
}

/// The few rows of CI; the agent is built.
///
/// # Errors
///
/// The rows could not be checked.
pub(crate) fn slice() -> Result<Counts> {
    run("matrix", &["--slice".to_owned(), "ci".to_owned()])
}

fn run(program: &str, arguments: &[String]) -> Result<Counts> {
    command::run(command::cargo().args(["build", "--package", "leak-agent-tests", "--bin", program]))?;
    let mut child = Command::new(workspace::target("debug").join(program))
        .args(arguments)
        .env("LEAK_AGENT", workspace::target("release").join("leak-agent"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the matrix")?;
    let output = child.stdout.take().context("the matrix has no standard output")?;
    let mut last = String::new();
    for line in BufReader::new(output).lines() {
        last = line.context("reading the matrix's output")?;
        println!("{last}");
    }
    let status = child.wait().context("waiting for the matrix")?;
    closing_line(&last).with_context(|| format!("the matrix ended with {status} before its last row"))
}

/// `6 passed, 0 failed`.
fn closing_line(line: &str) -> Option<Counts> {
    let (passed, rest) = line.split_once(" passed, ")?;
    Some(Counts {
        passed: passed.parse().ok()?,
        failed: rest.strip_suffix(" failed")?.parse().ok()?,
        skipped: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last line is read, and no other.
    #[test]
    fn closing_line_of_the_matrix_is_counted_and_no_other_is() {
        let counts = closing_line("6 passed, 1 failed").map(|counts| (counts.passed, counts.failed));
        assert_eq!(counts, Some((6, 1)));
        assert_eq!(closing_line("5 exact, 1 partial, 0 refused, 1 wrong"), None);
    }
}
