//! `cargo xtask test`: everything that can fail, run to the end, summed up in one line.

use crate::summary::{Counts, Summary};
use crate::{command, ebpf, fuzz, licences, matrix, setup, suite, workspace};
use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;

/// The package whose tests need root and a kernel with BPF.
const PRIVILEGED: &str = "leak-agent-tests";

/// Options of `cargo xtask test`.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct Options {
    /// Install missing tools first (Debian packages, bpf-linker); with CI=true in the environment, always
    #[arg(long)]
    install: bool,
    /// Seconds that each fuzz target runs; 0 = leave them out
    #[arg(long, default_value_t = 10)]
    fuzz_seconds: u32,
}

/// Runs all tests.
///
/// # Errors
///
/// Something failed, or no privileged test ran.
pub(crate) fn main(options: &Options) -> Result<()> {
    let mut summary = Summary::default();
    if options.install || setup::in_ci() {
        summary.check("install the tools", setup::main);
    }
    run(options, &mut summary);
    summary.close()
}

/// Runs all tests into a summary.
pub(crate) fn run(options: &Options, summary: &mut Summary) {
    summary.check("build the agent (release)", || {
        command::run(command::cargo().args(["build", "--release", "--package", "leak-agent"]))
    });
    let mut binaries = Vec::new();
    summary.check("build the tests", || {
        let (built, whole) = suite::build()?;
        binaries = built;
        if !whole {
            bail!("not all tests could be built");
        }
        Ok(())
    });
    let agent = workspace::target("release").join("leak-agent");
    let environment: [(&str, PathBuf); 1] = [("LEAK_AGENT", agent)];
    let mut privileged = Counts::default();
    // The privileged ones last: they take longest, and mean little if a unit test fails.
    binaries.sort_by_key(|binary| binary.package == PRIVILEGED);
    for binary in &binaries {
        summary.part(&binary.name, || {
            let counts = binary.run(&environment)?;
            if binary.package == PRIVILEGED {
                privileged += counts;
            }
            Ok(counts)
        });
    }
    let can = privileged.passed + privileged.failed > 0;
    if can {
        summary.part("tokio builds (slice of the matrix)", matrix::slice);
    } else {
        summary.skip("tokio builds (slice of the matrix)", "no privileged test ran");
    }
    summary.part("documentation examples", suite::doc_tests);
    object_check(summary);
    summary.check("licences and sources of the dependencies", licences::main);
    if options.fuzz_seconds > 0 {
        let mut built = None;
        summary.check("build the fuzz targets", || {
            built = Some(fuzz::build()?);
            Ok(())
        });
        if let Some(programs) = built {
            for target in fuzz::TARGETS {
                summary.check(&format!("fuzz {target}"), || {
                    fuzz::run(&programs, target, options.fuzz_seconds)
                });
            }
        }
    }
    summary.check("a privileged test ran", || {
        if privileged.passed + privileged.failed == 0 {
            bail!("no end-to-end test ran: run as root on a kernel with BPF and BTF");
        }
        Ok(())
    });
}

/// The committed object. Without a toolchain it cannot be rebuilt; in CI that is a failure, at home a skip.
fn object_check(summary: &mut Summary) {
    let name = "the committed BPF object is what the sources say";
    match ebpf::Toolchain::find() {
        Err(missing) if !setup::in_ci() => {
            summary.check("the committed BPF object belongs to the sources", || {
                ebpf::check_sources().map(drop)
            });
            summary.skip(name, &missing.to_string());
        }
        _ => summary.check(name, || ebpf::check().context("build-ebpf --check")),
    }
}
