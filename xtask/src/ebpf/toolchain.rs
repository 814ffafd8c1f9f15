//! The tools that build the BPF object: a Rust with `core` for the BPF target, and bpf-linker.

use crate::command;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target of the object.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// A toolchain that is complete.
#[derive(Debug)]
pub(crate) struct Toolchain {
    /// How the target's `core` comes to be.
    core: Core,
    cargo: PathBuf,
    rustc: PathBuf,
    linker: PathBuf,
    /// The versions that decide the bytes of the object.
    pub(crate) versions: Versions,
}

/// The versions of the tools, as they stand in the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Versions {
    /// `rustc --version`.
    pub(crate) rustc: String,
    /// `bpf-linker --version`.
    pub(crate) bpf_linker: String,
    /// The LLVM that bpf-linker runs on: it generates the code.
    pub(crate) linker_llvm: String,
    /// Where `core` comes from.
    pub(crate) core: Core,
}

/// Where the target's `core` comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Core {
    /// It is in the toolchain, as in Debian's rustc-web.
    Prebuilt,
    /// Built from the toolchain's sources, as with rustup's nightly.
    BuildStd,
}

/// What there is not: one line for each way to get a toolchain.
#[derive(Debug)]
pub(crate) struct Missing(Vec<String>);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no BPF toolchain:")?;
        self.0.iter().try_for_each(|line| write!(f, "\n  - {line}"))
    }
}

impl std::error::Error for Missing {}

impl Toolchain {
    /// Takes the first complete toolchain: a rustc that has `core` for the target, else rustup's nightly.
    ///
    /// # Errors
    ///
    /// [`Missing`], saying what to install.
    pub(crate) fn find() -> Result<Self, Missing> {
        let mut missing = Vec::new();
        let linker = command::find_program("bpf-linker");
        if linker.is_none() {
            missing.push(
                "bpf-linker is not in PATH: `cargo install bpf-linker --version =0.13.0 --locked` with an LLVM as new as \
                 rustc's (Debian: package llvm-22-dev, LLVM_PREFIX=/usr/lib/llvm-22, --no-default-features \
                 --features llvm-22)"
                    .to_owned(),
            );
        }
        let rust = prebuilt().or_else(nightly);
        if rust.is_none() {
            missing.push(format!(
                "no Rust with `core` for {TARGET}: on Debian the packages rustc-web, cargo-web, rust-web-src and \
                 libstd-rust-web-dev-bpf; elsewhere `rustup toolchain install nightly --component rust-src`"
            ));
        }
        let (Some((core, cargo, rustc)), Some(linker)) = (rust, linker) else {
            return Err(Missing(missing));
        };
        let versions =
            versions(core, &rustc, &linker).map_err(|error| Missing(vec![format!("{error:#}")]))?;
        Ok(Self {
            core,
            cargo,
            rustc,
            linker,
            versions,
        })
    }

    /// A cargo command of this toolchain, free of what the calling cargo or the user's shell set for the
    /// workspace's toolchain.
    pub(crate) fn cargo(&self, flags: &[String]) -> Command {
        let mut command = Command::new(&self.cargo);
        for (name, _) in std::env::vars_os() {
            let inherited = name.to_string_lossy();
            let belongs_to_caller = inherited.starts_with("CARGO") && inherited != "CARGO_HOME"
                || inherited.starts_with("RUST") && !inherited.starts_with("RUSTUP_HOME");
            if belongs_to_caller {
                command.env_remove(&name);
            }
        }
        // rustc starts the linker by its bare name, so that its path is in no hash of the flags.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let linker_dir = self.linker.parent().map(Path::to_path_buf);
        if let Ok(path) = std::env::join_paths(linker_dir.into_iter().chain(std::env::split_paths(&path))) {
            command.env("PATH", path);
        }
        command
            .env("RUSTC", &self.rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
            .stdin(std::process::Stdio::null());
        command
    }

    /// `cargo clippy` of this toolchain, or `cargo check` if it has no clippy.
    pub(crate) fn clippy(&self, flags: &[String]) -> Command {
        let plain = self.cargo(flags);
        let clippy = self.cargo.with_file_name("cargo-clippy");
        if !clippy.is_file() {
            let mut check = plain;
            check.arg("check");
            return check;
        }
        // Started by its path: cargo itself would prefer the one that rustup has put into cargo's folder.
        let mut command = Command::new(clippy);
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("CARGO", &self.cargo).arg("clippy");
        command
    }

    /// The arguments of `cargo build` that this toolchain needs.
    pub(crate) fn build_args(&self) -> &'static [&'static str] {
        match self.core {
            Core::Prebuilt => &["--target", TARGET],
            Core::BuildStd => &["--target", TARGET, "-Zbuild-std=core"],
        }
    }

    /// The folder in which this toolchain has the sources of `core`.
    pub(crate) fn core_sources(&self) -> Option<PathBuf> {
        sysroot(&self.rustc).map(|sysroot| sysroot.join("lib/rustlib/src/rust"))
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = match self.core {
            Core::Prebuilt => "its own core",
            Core::BuildStd => "core built from rust-src",
        };
        let Versions {
            rustc,
            bpf_linker,
            linker_llvm,
            ..
        } = &self.versions;
        write!(
            f,
            "{rustc} ({}), {core}; {bpf_linker} on LLVM {linker_llvm}",
            self.rustc.display()
        )
    }
}

/// A rustc that brings `core` for the target: Debian's, or any in `PATH`.
fn prebuilt() -> Option<(Core, PathBuf, PathBuf)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    [PathBuf::from("/usr/bin")]
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|dir| (dir.join("cargo"), dir.join("rustc")))
        .find(|(cargo, rustc)| {
            cargo.is_file()
                && sysroot(rustc).is_some_and(|root| {
                    root.join("lib/rustlib").join(TARGET).join("lib").is_dir() && has_core_sources(&root)
                })
        })
        .map(|(cargo, rustc)| (Core::Prebuilt, cargo, rustc))
}

/// rustup's nightly, if it has the component rust-src.
fn nightly() -> Option<(Core, PathBuf, PathBuf)> {
    let which = |program| {
        let found =
            command::output(Command::new("rustup").args(["which", "--toolchain", "nightly", program]));
        found.ok().map(|path| PathBuf::from(path.trim()))
    };
    let (cargo, rustc) = (which("cargo")?, which("rustc")?);
    has_core_sources(&sysroot(&rustc)?).then_some((Core::BuildStd, cargo, rustc))
}

/// The compiler copies source lines of `core` into the BTF where it finds the sources, so their presence decides
/// the bytes of the object.
fn has_core_sources(sysroot: &Path) -> bool {
    sysroot
        .join("lib/rustlib/src/rust/library/core/src/lib.rs")
        .is_file()
}

fn sysroot(rustc: &Path) -> Option<PathBuf> {
    let printed = command::output(rustc_command(rustc).args(["--print", "sysroot"])).ok()?;
    Some(PathBuf::from(printed.trim()))
}

/// A rustc to be asked about itself: not about the toolchain that rustup chose for the calling cargo.
fn rustc_command(rustc: &Path) -> Command {
    let mut command = Command::new(rustc);
    command.env_remove("RUSTUP_TOOLCHAIN");
    command
}

fn versions(core: Core, rustc: &Path, linker: &Path) -> Result<Versions> {
    let first_line = |text: String| text.lines().next().unwrap_or_default().trim().to_owned();
    Ok(Versions {
        rustc: command::output(rustc_command(rustc).arg("--version")).map(first_line)?,
        bpf_linker: command::output(Command::new(linker).arg("--version")).map(first_line)?,
        linker_llvm: linker_llvm(linker)?,
        core,
    })
}

/// Asks the LLVM inside bpf-linker for its version; bpf-linker itself does not tell it.
fn linker_llvm(linker: &Path) -> Result<String> {
    let said = command::output(Command::new(linker).args([
        "--target",
        TARGET,
        "--llvm-args=--version",
        "--output",
        "/dev/null",
        "/dev/null",
    ]))?;
    said.lines()
        .find_map(|line| line.split_once("LLVM version "))
        .map(|(_, version)| version.trim().to_owned())
        .with_context(|| format!("{} does not tell its LLVM version: {said}", linker.display()))
}

/// What differs between two sets of versions, one line each: "rustc: 1.96 here, 1.95 in the manifest".
pub(crate) fn differences(here: &Versions, manifest: &Versions) -> Vec<String> {
    let fields = |versions: &Versions| -> BTreeMap<String, serde_json::Value> {
        serde_json::to_value(versions)
            .and_then(serde_json::from_value)
            .unwrap_or_default()
    };
    let manifest = fields(manifest);
    fields(here)
        .into_iter()
        .filter(|(name, value)| manifest.get(name) != Some(value))
        .map(|(name, value)| {
            let recorded = manifest.get(&name).cloned().unwrap_or_default();
            format!("{name}: {value} here, {recorded} in the manifest")
        })
        .collect()
}
