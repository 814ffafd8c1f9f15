//! This program as cargo's rustc wrapper: gives each crate the same symbol names on every machine.
//!
//! Cargo tells rustc a hash (`-C metadata`) that goes into symbol names, and for a path dependency outside the
//! workspace, as leak-agent-common is for the BPF crate, it hashes the absolute path (cargo 1.96,
//! `SourceId::stable_hash`). The object would differ from clone to clone.

use std::ffi::{OsStr, OsString};
use std::process::{Command, ExitCode};

/// Set in the environment when cargo starts this program as its wrapper.
const MARK: &str = "LEAK_AGENT_XTASK_RUSTC_WRAPPER";

/// Has cargo call this program in front of rustc.
pub(crate) fn install(cargo: &mut Command) -> std::io::Result<()> {
    cargo
        .env("RUSTC_WRAPPER", std::env::current_exe()?)
        .env(MARK, "1");
    Ok(())
}

/// Runs rustc in cargo's stead; `None` if this program was not started as a wrapper.
pub(crate) fn run() -> Option<ExitCode> {
    std::env::var_os(MARK)?;
    let mut args = std::env::args_os().skip(1);
    let rustc = args.next()?;
    let args: Vec<OsString> = args.collect();
    let identity = format!(
        "{}-{}",
        std::env::var("CARGO_PKG_NAME").unwrap_or_default(),
        std::env::var("CARGO_PKG_VERSION").unwrap_or_default()
    );
    let args = with_stable_metadata(args, super::toolchain::TARGET, &identity);
    let failed = |error: std::io::Error| {
        eprintln!("starting {}: {error}", rustc.display());
        ExitCode::FAILURE
    };
    Some(match Command::new(&rustc).args(args).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => failed(error),
    })
}

/// Replaces the hash by the crate's name and version, for crates of the target only: crates of the host (build
/// scripts, macros) are not in the object.
fn with_stable_metadata(mut args: Vec<OsString>, target: &str, identity: &str) -> Vec<OsString> {
    let for_target = args
        .windows(2)
        .any(|pair| pair == [OsStr::new("--target"), OsStr::new(target)]);
    if for_target {
        for arg in &mut args {
            if arg.to_string_lossy().starts_with("metadata=") {
                *arg = format!("metadata={identity}").into();
            }
        }
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(args: &[&str]) -> Vec<OsString> {
        args.iter().map(Into::into).collect()
    }

    /// A crate of the target gets its name as metadata.
    #[test]
    fn metadata_of_the_target_is_replaced() {
        let args = strings(&["--target", "bpf", "-C", "metadata=0123", "src/lib.rs"]);
        assert_eq!(
            with_stable_metadata(args, "bpf", "x-1.0"),
            strings(&["--target", "bpf", "-C", "metadata=x-1.0", "src/lib.rs"])
        );
    }

    /// A crate of the host keeps cargo's hash.
    #[test]
    fn metadata_of_the_host_is_kept() {
        let args = strings(&["-C", "metadata=0123", "build.rs"]);
        assert_eq!(with_stable_metadata(args.clone(), "bpf", "x-1.0"), args);
    }
}
