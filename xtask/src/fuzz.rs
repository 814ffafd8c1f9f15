//! `cargo xtask fuzz`: libFuzzer on stable Rust, without cargo-fuzz.

use crate::{command, workspace};
use anyhow::{Context as _, Result, bail};

/// The fuzz targets: one program each in fuzz/.
pub(crate) const TARGETS: &[&str] = &[
    "record_decode",
    "maps",
    "elf_facts",
    "module_file",
    "tokio_inspect",
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
    for target in TARGETS {
        if options.target.as_deref().is_none_or(|wanted| wanted == *target) {
            command::step(&format!("fuzz {target} for {} s", options.seconds));
            run(target, options.seconds)?;
        }
    }
    Ok(())
}

/// Builds a target and runs it on its corpus, which grows in fuzz/corpus; an input that breaks it is left in
/// fuzz/artifacts.
///
/// # Errors
///
/// As [`main`].
pub(crate) fn run(target: &str, seconds: u32) -> Result<()> {
    let fuzz = workspace::root().join("fuzz");
    let build = workspace::target("fuzz");
    let host = host()?;
    command::run(
        command::cargo()
            .current_dir(&fuzz)
            .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"))
            // Not `--locked`: a dependency that the agent gained is added to the lock file here.
            // With a target given, build scripts and macros are left without instrumentation.
            .args([
                "build",
                "--release",
                "--locked",
                "--target",
                &host,
                "--bin",
                target,
            ])
            .arg("--target-dir")
            .arg(&build),
    )?;
    let program = build.join(&host).join("release").join(target);
    let corpus = fuzz.join("corpus").join(target);
    let artifacts = fuzz.join("artifacts").join(target);
    for folder in [&corpus, &artifacts] {
        std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    command::run(
        std::process::Command::new(&program)
            .arg("--write-seeds")
            .arg(&corpus),
    )?;
    let ran = command::run(
        std::process::Command::new(&program)
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .args(LIMITS)
            .arg("-print_final_stats=1")
            .arg(&corpus)
            .stdin(std::process::Stdio::null()),
    );
    if let Err(error) = ran {
        bail!(
            "{error:#}; the input is in {}, run it with `{} FILE`",
            artifacts.display(),
            program.display()
        );
    }
    Ok(())
}

/// The machine's own target: "x86_64-unknown-linux-gnu".
fn host() -> Result<String> {
    let version = command::output(std::process::Command::new("rustc").arg("-vV"))?;
    version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("rustc -vV names no host")
}
