//! The project's own tasks: `cargo xtask --help`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this program talks to a person"
)]

mod bench;
mod ci;
mod command;
mod corpus;
mod dist;
mod docs;
mod ebpf;
mod fuzz;
mod licences;
mod lint;
mod matrix;
mod setup;
mod suite;
mod summary;
mod test;
mod workspace;

use clap::Parser;

/// Build, check and measure leak-agent.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Build the BPF object that is committed under leak-agent/bpf, or check that it is what the sources say
    BuildEbpf(ebpf::Options),
    /// Run every test, as root: unit, documentation, layers, end to end, BPF object, licences, fuzz targets
    Test(test::Options),
    /// Check form, clippy and documentation of everything
    Lint,
    /// Write docs/METRICS.md and docs/report.schema.json from the code
    Docs(docs::Options),
    /// Feed the parsers of untrusted input with hostile input
    Fuzz(fuzz::Options),
    /// Measure what the agent costs, as root: docs/OVERHEAD.md says how to read the numbers
    Bench(bench::Options),
    /// Let the agent judge leaking and busy programs, as root: docs/DETECTION.md holds the result
    Corpus(corpus::Options),
    /// Build and check every tokio build that people run, as root: docs/TOKIO.md holds the result
    Matrix(matrix::Options),
    /// Check the licences and sources of all dependencies against deny.toml
    Licences,
    /// Build the static agent with checksums, completions and manual page into target/dist
    Dist,
    /// Install the tools that the other tasks need (Debian, as root)
    Setup,
    /// What CI runs: setup, lint and test, with one closing line
    Ci(test::Options),
}

fn main() -> std::process::ExitCode {
    if let Some(code) = ebpf::run_as_rustc_wrapper() {
        return code;
    }
    let result = match Task::parse() {
        Task::BuildEbpf(options) => ebpf::main(&options),
        Task::Test(options) => test::main(&options),
        Task::Lint => lint::main(),
        Task::Docs(options) => docs::main(&options),
        Task::Fuzz(options) => fuzz::main(&options),
        Task::Bench(options) => bench::main(&options),
        Task::Corpus(options) => corpus::main(&options),
        Task::Matrix(options) => matrix::main(&options),
        Task::Licences => licences::main(),
        Task::Dist => dist::main(),
        Task::Setup => setup::main(),
        Task::Ci(options) => ci::main(&options),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        // The task itself has closed with a line that is to stay the last.
        Err(error) if error.is::<summary::Failed>() => std::process::ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
