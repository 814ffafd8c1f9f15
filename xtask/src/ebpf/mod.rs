//! `cargo xtask build-ebpf`: the BPF object that is committed, and the proof that it is what the sources say.

mod manifest;
mod object_file;
mod toolchain;
mod wrapper;

pub(crate) use toolchain::Toolchain;
pub(crate) use wrapper::run as run_as_rustc_wrapper;

use crate::command::{self, step};
use crate::workspace;
use anyhow::{Context as _, Result, bail};
use manifest::Manifest;
pub(crate) use manifest::sha256;
use std::path::{Path, PathBuf};

const CRATE: &str = "leak-agent-ebpf";
const OBJECT: &str = "leak-agent/bpf/leak-agent.bpf.o";
const MANIFEST: &str = "leak-agent/bpf/manifest.json";

/// Flags that do not depend on the machine.
///
/// `v3` is the first BPF instruction set whose atomic operations return the old value (kernel 5.12 runs them;
/// code that does not use them loads on older kernels too). bpf-linker makes the BTF out of the debug information.
const FLAGS: &[&str] = &[
    "-Clinker=bpf-linker",
    "-Clink-arg=--btf",
    "-Cdebuginfo=2",
    "-Ctarget-cpu=v3",
    "--cfg=bpf_target_arch=\"x86_64\"",
];

/// Options of `cargo xtask build-ebpf`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Change nothing: fail unless the committed object is what the sources say
    #[arg(long)]
    check: bool,
}

/// Builds or checks the committed object.
///
/// # Errors
///
/// No toolchain, a failing build, or (with `--check`) an object that the sources do not give.
pub(crate) fn main(options: &Options) -> Result<()> {
    if options.check { check() } else { build() }
}

fn build() -> Result<()> {
    let root = workspace::root();
    let toolchain = Toolchain::find()?;
    step(&format!("build the BPF object with {toolchain}"));
    let object = compile(&toolchain, &root)?;
    let manifest = Manifest {
        wire_version: manifest::wire_version(&root)?,
        object_sha256: sha256(&object),
        tools: toolchain.versions,
        flags: FLAGS.iter().map(|flag| (*flag).to_owned()).collect(),
        // Hashed after the build, which may have written the lock file.
        sources: manifest::sources(&root)?,
    };
    let path = root.join(OBJECT);
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    }
    std::fs::write(&path, &object).with_context(|| format!("writing {}", path.display()))?;
    manifest.write(&root.join(MANIFEST))?;
    println!(
        "{OBJECT}: {} bytes, sha256 {}",
        object.len(),
        manifest.object_sha256
    );
    Ok(())
}

/// Checks that the committed object is what the sources say, by building it again.
///
/// # Errors
///
/// It is not, or there is no toolchain to build it with.
pub(crate) fn check() -> Result<()> {
    let root = workspace::root();
    let (manifest, committed) = check_sources()?;
    let toolchain =
        Toolchain::find().context("the object belongs to the sources, but could not be rebuilt")?;
    step(&format!("rebuild it with {toolchain}"));
    let rebuilt = compile(&toolchain, &root)?;
    let other_tools = toolchain::differences(&toolchain.versions, &manifest.tools);
    if !other_tools.is_empty() {
        println!("    other tools than the manifest's, so the bytes may differ:");
        other_tools.iter().for_each(|line| println!("    {line}"));
        return load(&rebuilt);
    }
    if rebuilt != committed {
        let kept = workspace::target("bpf").join("rebuilt.bpf.o");
        std::fs::write(&kept, &rebuilt).with_context(|| format!("writing {}", kept.display()))?;
        bail!(
            "the same tools and sources gave another object than {OBJECT}; it is in {}",
            kept.display()
        );
    }
    println!("    equal, byte for byte ({} bytes)", committed.len());
    Ok(())
}

/// Checks the committed object as far as it goes without a toolchain: it is the manifest's, and the manifest's
/// sources are those here.
///
/// # Errors
///
/// It is not, or a file cannot be read.
pub(crate) fn check_sources() -> Result<(Manifest, Vec<u8>)> {
    let root = workspace::root();
    let manifest = Manifest::read(&root.join(MANIFEST))?;
    let path = root.join(OBJECT);
    let committed = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;

    step("the committed BPF object belongs to its manifest and to the sources");
    let mut wrong = manifest::differences(&manifest::sources(&root)?, &manifest.sources);
    if manifest.object_sha256 != sha256(&committed) {
        wrong.push(format!("{OBJECT} is not the object of {MANIFEST}"));
    }
    if manifest.wire_version != manifest::wire_version(&root)? {
        wrong.push("the version of the wire contract has changed".to_owned());
    }
    if manifest.flags != FLAGS {
        wrong.push("the compiler flags have changed".to_owned());
    }
    if !wrong.is_empty() {
        bail!(
            "the committed BPF object is not made of these sources (run `cargo xtask build-ebpf`):\n  - {}",
            wrong.join("\n  - ")
        );
    }
    Ok((manifest, committed))
}

/// Runs clippy on the BPF programs, or the compiler if the toolchain has no clippy; warnings are errors.
///
/// # Errors
///
/// There are warnings.
pub(crate) fn lint(toolchain: &Toolchain) -> Result<()> {
    let mut flags: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
    flags.push("-Dwarnings".to_owned());
    command::run(
        toolchain
            .clippy(&flags)
            .current_dir(workspace::root().join(CRATE))
            .args(["--release", "--locked"])
            .args(toolchain.build_args())
            .arg("--target-dir")
            .arg(workspace::target("bpf-lint")),
    )
}

/// Has the agent's own loader load an object into the kernel, when the bytes cannot be compared.
fn load(object: &[u8]) -> Result<()> {
    let path = workspace::target("bpf").join("rebuilt.bpf.o");
    std::fs::write(&path, object).with_context(|| format!("writing {}", path.display()))?;
    step("load the rebuilt object into the kernel");
    command::run(
        command::cargo()
            .args(["run", "--quiet", "--package", "leak-agent", "--", "bpf-check"])
            .arg(&path),
    )
}

/// Compiles the BPF crate below `root` and returns the finished object.
fn compile(toolchain: &Toolchain, root: &Path) -> Result<Vec<u8>> {
    let crate_dir = root.join(CRATE);
    let target_dir = workspace::target("bpf");
    if crate_dir.join("Cargo.lock").is_file() {
        fetch(toolchain, &crate_dir)?;
    }
    let folders = remapped(toolchain, root, &target_dir);
    let mut flags: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
    for (from, to) in &folders {
        flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    }
    let mut cargo = toolchain.cargo(&flags);
    wrapper::install(&mut cargo)?;
    command::run(
        cargo
            .current_dir(&crate_dir)
            .args(["build", "--release"])
            .args(toolchain.build_args())
            .arg("--target-dir")
            .arg(&target_dir),
    )?;
    let built = target_dir.join(toolchain::TARGET).join("release").join(CRATE);
    let bytes = std::fs::read(&built).with_context(|| format!("reading {}", built.display()))?;
    let object = object_file::without_dwarf(&bytes)?;
    let mut forbidden: Vec<String> = folders
        .iter()
        .map(|(from, _)| from.display().to_string())
        .collect();
    forbidden.extend(std::env::var("HOME"));
    let found = object_file::machine_paths(&object, &forbidden);
    if !found.is_empty() {
        bail!(
            "the object contains folders of this machine: {}",
            found.join(", ")
        );
    }
    Ok(object)
}

/// Downloads the dependencies first: only then is it known in which folders their sources are.
fn fetch(toolchain: &Toolchain, crate_dir: &Path) -> Result<()> {
    command::run(
        toolchain
            .cargo(&[])
            .current_dir(crate_dir)
            .args(["fetch", "--locked", "--quiet"]),
    )
}

/// Every folder of this machine that could get into the object, and what stands for it there.
///
/// rustc applies the last prefix that fits. The names on the right are relative to the BPF crate, so that the
/// compiler still finds our own sources and puts their lines into the BTF, where the verifier's log shows them.
fn remapped(toolchain: &Toolchain, root: &Path, target_dir: &Path) -> Vec<(PathBuf, String)> {
    let mut folders = vec![
        (root.to_path_buf(), "..".to_owned()),
        (root.join(CRATE), ".".to_owned()),
        (target_dir.to_path_buf(), "target".to_owned()),
    ];
    if let Some(registries) = command::cargo_home().map(|home| home.join("registry/src")) {
        let found = std::fs::read_dir(&registries).into_iter().flatten().flatten();
        folders.push((registries, "crates".to_owned()));
        folders.extend(found.map(|entry| (entry.path(), "crates".to_owned())));
    }
    if let Some(core) = toolchain.core_sources() {
        folders.push((core, "rust".to_owned()));
    }
    folders
}
