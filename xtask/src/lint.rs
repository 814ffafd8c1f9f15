//! `cargo xtask lint`: form, clippy and documentation, for the workspace and for what stands beside it.

use crate::summary::Summary;
use crate::{command, ebpf, workspace};
use anyhow::Result;

/// Checks everything.
///
/// # Errors
///
/// A check failed.
pub(crate) fn main() -> Result<()> {
    let mut summary = Summary::default();
    run(&mut summary);
    summary.close()
}

/// Runs the checks into a summary.
pub(crate) fn run(summary: &mut Summary) {
    summary.check("rustfmt", || {
        command::run(command::cargo().args(["fmt", "--all", "--check"]))
    });
    for beside in ["leak-agent-ebpf", "fuzz"] {
        summary.check(&format!("rustfmt of {beside}"), || {
            let manifest = workspace::root().join(beside).join("Cargo.toml");
            command::run(
                command::cargo()
                    .args(["fmt", "--check", "--manifest-path"])
                    .arg(manifest),
            )
        });
    }
    summary.check("clippy", || {
        command::run(command::cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ]))
    });
    match ebpf::Toolchain::find() {
        Ok(toolchain) => summary.check("clippy of the BPF programs", || ebpf::lint(&toolchain)),
        Err(missing) => summary.skip("clippy of the BPF programs", &missing.to_string()),
    }
    summary.check("rustdoc", || {
        command::run(command::cargo().env("RUSTDOCFLAGS", "-D warnings").args([
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
            "--quiet",
        ]))
    });
    summary.check("layers", || {
        command::run(command::cargo().args(["test", "--workspace", "--test", "layers", "--quiet"]))
    });
}
