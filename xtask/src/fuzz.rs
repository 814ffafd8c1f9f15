//! `cargo xtask fuzz`: libFuzzer on stable Rust, without cargo-fuzz.

use crate::{command, workspace};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The fuzz targets: one program each in fuzz/.
pub(crate) const TARGETS: &[&str] = &[
    "record_decode",
    "maps",
    "elf_facts",
    "module_file",
    "tokio_inspect",
    "books",
    "go",
    "structures",
    "tape",
];

/// Instruments the code for libFuzzer; what cargo-fuzz passes, minus what needs nightly.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions=yes",
    "-Coverflow-checks=yes",
    "--cfg=fuzzing",
];

/// Seconds after which one input counts as a hang, and MiB that one may take.
const LIMITS: [&str; 2] = ["-timeout=10", "-rss_limit_mb=2048"];

/// Options of `cargo xtask fuzz`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// The target; all, one after the other, if none is given
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(TARGETS))]
    target: Option<String>,
}

/// Runs one target, or all.
///
/// # Errors
///
/// A target does not build, or an input made it panic, hang or take too much memory.
pub(crate) fn main(options: &Options) -> Result<()> {
    command::step("build the fuzz targets");
    let programs = build()?;
    for target in TARGETS {
        if options.target.as_deref().is_none_or(|wanted| wanted == *target) {
            command::step(&format!("fuzz {target} for {} s", options.seconds));
            run(&programs, target, options.seconds)?;
        }
    }
    Ok(())
}

/// Builds all targets, instrumented; returns the folder they are in.
///
/// # Errors
///
/// A target does not build.
pub(crate) fn build() -> Result<PathBuf> {
    let target_dir = workspace::target("fuzz");
    let host = host()?;
    command::run(
        command::cargo()
            .current_dir(workspace::root().join("fuzz"))
            .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"))
            // Not `--locked`: a dependency that the agent gained is added to the lock file here.
            // With a target given, build scripts and macros are left without instrumentation.
            .args(["build", "--release", "--bins", "--target", &host])
            .arg("--target-dir")
            .arg(&target_dir),
    )?;
    Ok(target_dir.join(host).join("release"))
}

/// Runs a target on its corpus, which grows in fuzz/corpus; an input that breaks it is left in fuzz/artifacts.
///
/// # Errors
///
/// An input made it panic, hang or take too much memory.
pub(crate) fn run(programs: &Path, target: &str, seconds: u32) -> Result<()> {
    let program = programs.join(target);
    let fuzz = workspace::root().join("fuzz");
    let corpus = fuzz.join("corpus").join(target);
    let artifacts = fuzz.join("artifacts").join(target);
    for folder in [&corpus, &artifacts] {
        std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    command::run(Command::new(&program).arg("--write-seeds").arg(&corpus))?;
    let ran = command::run(
        Command::new(&program)
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .args(LIMITS)
            .args(["-print_final_stats=1", "-verbosity=0"])
            .arg(&corpus)
            .stdin(Stdio::null()),
    );
    ran.with_context(|| {
        format!(
            "the input is in {}, run it with `{} FILE`",
            artifacts.display(),
            program.display()
        )
    })
}

/// The machine's own target: "x86_64-unknown-linux-gnu".
fn host() -> Result<String> {
    let version = command::output(Command::new("rustc").arg("-vV"))?;
    version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("rustc -vV names no host")
}
