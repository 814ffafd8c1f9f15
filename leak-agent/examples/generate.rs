//! Prints what is generated from the code: `cargo xtask docs` writes it to docs/.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::process::ExitCode;

fn main() -> ExitCode {
    let text = match std::env::args().nth(1).as_deref() {
        Some("metrics") => leak_agent::output::metrics::catalogue_markdown(),
        Some("report-schema") => leak_agent::report::schema_json(),
        _ => return ExitCode::FAILURE,
    };
    print!("{text}");
    ExitCode::SUCCESS
}
