//! The project's own tasks: `cargo xtask --help`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this program talks to a person"
)]

mod command;
mod ebpf;
mod workspace;

use clap::Parser;

/// Build, check and measure leak-agent.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Build the BPF object that is committed under leak-agent/bpf, or check that it is what the sources say
    BuildEbpf(ebpf::Options),
}

fn main() -> std::process::ExitCode {
    if let Some(code) = ebpf::run_as_rustc_wrapper() {
        return code;
    }
    let result = match Task::parse() {
        Task::BuildEbpf(options) => ebpf::main(&options),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
