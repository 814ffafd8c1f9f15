//! Building a row's program: a package is generated per tokio version, the sources are those of tokio-probe.

use crate::row::{Build, Row, Tokio};
use leak_agent_tests::programs;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A target must be named, else flags such as those for static linking would reach build scripts too.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// `target/matrix`, created if need be.
pub(crate) fn folder() -> PathBuf {
    let path = programs::target().with_file_name("matrix");
    fs::create_dir_all(&path).unwrap();
    path
}

/// A row's program, built if need be.
///
/// # Errors
///
/// What cargo or strip says.
pub(crate) fn program(row: Row, jobs: usize) -> Result<PathBuf, String> {
    let symbols = with_symbols(row.tokio, row.build, jobs)?;
    if !row.stripped {
        return Ok(symbols);
    }
    let stripped = symbols.with_extension("stripped");
    if !stripped.exists() {
        let part = symbols.with_extension("part");
        run(Command::new("strip").arg("-o").arg(&part).arg(&symbols))?;
        fs::rename(part, &stripped).map_err(|error| error.to_string())?;
    }
    Ok(stripped)
}

/// Removes what cargo needed to build a version; the programs stay.
pub(crate) fn forget_intermediate(tokio: Tokio) {
    // It may not be there.
    let _ = fs::remove_dir_all(target(tokio));
}

fn target(tokio: Tokio) -> PathBuf {
    folder().join(format!("tokio-{tokio}")).join("target")
}

/// The program of a build before `strip`. Its file's name says what went into it, so one that is there is up to date.
fn with_symbols(tokio: Tokio, build: &Build, jobs: usize) -> Result<PathBuf, String> {
    let package = folder().join(format!("tokio-{tokio}")).join("package");
    let manifest = manifest(tokio, build);
    let lock = lock_file(tokio, build, &manifest, &package)?;
    let mut hasher = DefaultHasher::new();
    (&manifest, build.flags, &lock, ingredients()).hash(&mut hasher);
    let programs = folder().join("programs");
    fs::create_dir_all(&programs).unwrap();
    let path = programs.join(format!(
        "tokio-{}-{}-{:016x}",
        tokio.minor,
        build.name,
        hasher.finish()
    ));
    if path.exists() {
        return Ok(path);
    }
    write_package(&package, &manifest)?;
    fs::write(package.join("Cargo.lock"), &lock).map_err(|error| error.to_string())?;
    run(Command::new("nice")
        .args(["-n", "19"])
        .arg(cargo())
        .args([
            "build",
            "--quiet",
            "--locked",
            "--profile=row",
            "--target",
            TARGET,
        ])
        .arg(format!("-j{jobs}"))
        .arg("--target-dir")
        .arg(target(tokio))
        .env("RUSTFLAGS", build.flags)
        .env("CARGO_INCREMENTAL", "0")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .current_dir(&package))?;
    let file = if build.library { "libprobe.so" } else { "probe" };
    let built = target(tokio).join(TARGET).join("row").join(file);
    let part = path.with_extension("part");
    fs::copy(&built, &part)
        .and_then(|_| fs::rename(&part, &path))
        .map_err(|error| format!("{}: {error}", built.display()))?;
    Ok(path)
}

/// The lock file that is kept with the sources, so that the same row gives the same program; made if there is none.
fn lock_file(tokio: Tokio, build: &Build, manifest: &str, package: &Path) -> Result<String, String> {
    let features = if build.full { "-full" } else { "" };
    let kept = sources()
        .join("locks")
        .join(format!("tokio-{tokio}{features}.lock"));
    if !kept.exists() {
        write_package(package, manifest)?;
        // It may be that of another build.
        let _ = fs::remove_file(package.join("Cargo.lock"));
        run(Command::new(cargo())
            .args(["generate-lockfile", "--quiet"])
            .current_dir(package))?;
        fs::create_dir_all(kept.parent().unwrap()).unwrap();
        fs::copy(package.join("Cargo.lock"), &kept).map_err(|error| error.to_string())?;
    }
    fs::read_to_string(&kept).map_err(|error| format!("{}: {error}", kept.display()))
}

fn write_package(package: &Path, manifest: &str) -> Result<(), String> {
    fs::create_dir_all(package).map_err(|error| error.to_string())?;
    fs::write(package.join("Cargo.toml"), manifest).map_err(|error| error.to_string())
}

fn manifest(tokio: Tokio, build: &Build) -> String {
    let sources = sources();
    let sources = sources.display();
    let target = if build.library {
        format!("[lib]\npath = \"{sources}/tokio-library/lib.rs\"\ncrate-type = [\"cdylib\"]")
    } else {
        format!("[[bin]]\nname = \"probe\"\npath = \"{sources}/src/main.rs\"")
    };
    let default = if tokio.has_join_set() {
        ""
    } else {
        "\"without-join-set\""
    };
    let features = if build.full {
        "\"full\""
    } else {
        "\"rt-multi-thread\", \"sync\", \"time\""
    };
    let inherits = if build.dev { "dev" } else { "release" };
    format!(
        "[workspace]\n\n[package]\nname = \"probe\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n{target}\n\n\
         [features]\ndefault = [{default}]\nalive = []\nwithout-join-set = []\n\n\
         [dependencies]\nlibc = \"0.2\"\ntokio = {{ version = \"~{tokio}.0\", features = [{features}] }}\n\n\
         [profile.row]\ninherits = \"{inherits}\"\n{}\n",
        build.profile
    )
}

/// What goes into every program: the sources and the compiler.
fn ingredients() -> &'static str {
    static ALL: OnceLock<String> = OnceLock::new();
    ALL.get_or_init(|| {
        let rustc = Command::new("rustc").arg("-vV").output().unwrap();
        let mut all = String::from_utf8_lossy(&rustc.stdout).into_owned();
        let mut files: Vec<PathBuf> = [sources().join("src"), sources().join("tokio-library")]
            .iter()
            .flat_map(|folder| fs::read_dir(folder).unwrap())
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
            .collect();
        files.sort();
        for file in files {
            all += &fs::read_to_string(file).unwrap();
        }
        all
    })
}

fn sources() -> PathBuf {
    programs::root().join("tests/programs/tokio-probe")
}

fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} ended with {}: {errors}", output.status))
}
