//! The target programs: built once, found by name.
//!
//! Everything lands in `target/programs`; a file lock there keeps test binaries that run at the same time
//! from building the same thing twice.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A way to build a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// cargo's release profile.
    Release,
    /// Release with `lto = "fat"` and one codegen unit.
    Fat,
    /// Release with `lto = "thin"`.
    Thin,
    /// Release with `opt-level = "z"`.
    OptZ,
    /// Release with full debug information.
    Full,
    /// Not optimised.
    Debug,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Fat => "fat",
            Self::Thin => "thin",
            Self::OptZ => "optz",
            Self::Full => "full",
            Self::Debug => "dev",
        }
    }

    fn folder(self) -> &'static str {
        if self == Self::Debug { "debug" } else { self.name() }
    }
}

/// A tokio program, as one test sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokioProbe {
    /// "154", "147" or "138".
    pub tokio: &'static str,
    /// How it is built.
    pub profile: Profile,
    /// Whether it has been through `strip`.
    pub stripped: bool,
}

impl TokioProbe {
    /// Every version in release and in fat LTO, with symbols and stripped.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for tokio in ["154", "147", "138"] {
            for profile in [Profile::Release, Profile::Fat] {
                for stripped in [false, true] {
                    all.push(Self {
                        tokio,
                        profile,
                        stripped,
                    });
                }
            }
        }
        all
    }

    /// The version as people write it, without the last part.
    #[must_use]
    pub fn version(self) -> &'static str {
        match self.tokio {
            "154" => "1.54.",
            "147" => "1.47.",
            _ => "1.38.",
        }
    }

    /// Its path; builds it if need be.
    #[must_use]
    pub fn path(self) -> PathBuf {
        let name = format!("tokio-{}", self.tokio);
        let path = cargo(&format!("tokio-probe/{name}"), &name, self.profile);
        if self.stripped { stripped(&path) } else { path }
    }
}

/// The tokio program with the newest tokio, release, with symbols.
#[must_use]
pub fn tokio_probe() -> PathBuf {
    TokioProbe {
        tokio: "154",
        profile: Profile::Release,
        stripped: false,
    }
    .path()
}

/// The same program with `console-subscriber` built in: other people's way to see tasks.
#[must_use]
pub fn tokio_console() -> PathBuf {
    cargo(
        "tokio-probe/tokio-154-console",
        "tokio-154-console",
        Profile::Release,
    )
}

/// The agent itself, not optimised and with full debug information: a large program with tokio in it. The first
/// time takes minutes.
#[must_use]
pub fn large_executable() -> PathBuf {
    let _lock = lock();
    let folder = target().join("large");
    run(
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "-p", "leak-agent", "--target-dir"])
            .arg(&folder)
            .env("CARGO_PROFILE_DEV_DEBUG", "full")
            .env("CARGO_INCREMENTAL", "0") // half the disk space
            .current_dir(root()),
    );
    folder.join("debug").join("leak-agent")
}

/// The shared library with tokio 1.47.
#[must_use]
pub fn tokio_library() -> PathBuf {
    cargo(
        "tokio-probe/tokio-library",
        "libtokio_library.so",
        Profile::Release,
    )
}

/// The C program that loads a shared library with tokio in it.
#[must_use]
pub fn library_host() -> PathBuf {
    c("library-host")
}

/// The threads of Rust's standard library.
#[must_use]
pub fn std_threads() -> PathBuf {
    cargo("std-threads", "std-threads", Profile::Release)
}

/// The C program that creates threads and processes.
#[must_use]
pub fn threads() -> PathBuf {
    c("threads")
}

/// The C program whose threads wait in every way.
#[must_use]
pub fn parked() -> PathBuf {
    c("parked")
}

/// A program of 32 bits that waits for ever; `None` = there is no linker for such.
#[must_use]
pub fn of_32_bits() -> Option<PathBuf> {
    let _lock = lock();
    let path = target().join("of-32-bits");
    let source = target().join("of-32-bits.s");
    // pause() again and again
    let text = ".globl _start\n_start: mov $29, %eax\nint $0x80\njmp _start\n";
    fs::write(&source, text).unwrap();
    let built = Command::new("cc")
        .args(["-m32", "-nostdlib", "-static", "-o"])
        .arg(&path)
        .arg(&source)
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    built.success().then_some(path)
}

/// The corpus's program in tokio.
#[must_use]
pub fn corpus_tokio() -> PathBuf {
    cargo("corpus-tokio", "corpus-tokio", Profile::Release)
}

/// The corpus's program in C.
#[must_use]
pub fn corpus_c() -> PathBuf {
    c("corpus-c")
}

/// The C program that maps its arguments executable.
#[must_use]
pub fn mapper() -> PathBuf {
    c("mapper")
}

/// mini-redis's server with tokio 1.54, on the port given as argument.
#[must_use]
pub fn mini_redis() -> PathBuf {
    cargo("mini-redis", "mini-redis-now", Profile::Release)
}

/// The same with full debug information.
#[must_use]
pub fn mini_redis_with_debug_information() -> PathBuf {
    cargo("mini-redis", "mini-redis-now", Profile::Full)
}

/// An executable of a published crate, installed as its users do (with the crate's own lock file, so that the
/// same version gives the same program). The first time takes minutes.
#[must_use]
pub fn installed(package: &str, version: &str, executable: &str, options: &[&str]) -> PathBuf {
    let _lock = lock();
    let root = target().join("third-party").join(format!("{package}-{version}"));
    let path = root.join("bin").join(executable);
    if !path.exists() {
        run(clean(Command::new("nice").arg("cargo"))
            .args(["install", "--quiet", "--locked", "--version", version, "--root"])
            .arg(&root)
            .arg("--target-dir")
            .arg(target().join("third-party-build"))
            .args(options)
            .arg(package)
            .current_dir(target()));
    }
    path
}

fn c(name: &str) -> PathBuf {
    let _lock = lock();
    let source = sources().join(name).join(name).with_extension("c");
    let path = target().join(name);
    if newer(&source, &path) {
        let part = path.with_extension("part");
        run(Command::new("cc")
            .args(["-O2", "-g", "-Wall", "-Wextra", "-pthread", "-o"])
            .arg(&part)
            .arg(&source));
        fs::rename(part, &path).unwrap();
    }
    path
}

/// A copy without symbols.
#[must_use]
pub fn stripped(path: &Path) -> PathBuf {
    let _lock = lock();
    let profile = path.parent().and_then(Path::file_name).unwrap();
    let folder = target().join("stripped").join(profile);
    fs::create_dir_all(&folder).unwrap();
    let copy = folder.join(path.file_name().unwrap());
    if newer(path, &copy) {
        let part = copy.with_extension("part");
        run(Command::new("strip").arg("-o").arg(&part).arg(path));
        fs::rename(part, &copy).unwrap();
    }
    copy
}

/// An empty folder for one test, in the target folder; what an earlier run left in it is removed.
#[must_use]
pub fn scratch(test: &str) -> PathBuf {
    let path = target().join("scratch").join(test);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// Copies a program that is to be started: by another process, because a descriptor open for writing in this one
/// would be inherited by what other tests start at this moment, and the copy then be too busy to execute.
pub fn copy(program: &Path, place: &Path) {
    let status = Command::new("cp").arg(program).arg(place).status().unwrap();
    assert!(status.success(), "cp to {}: {status}", place.display());
}

/// `target/programs`, created if need be.
#[must_use]
pub fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let path = target.join("programs");
    fs::create_dir_all(&path).unwrap();
    path
}

/// The workspace.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs")
}

fn cargo(package: &str, file: &str, profile: Profile) -> PathBuf {
    let _lock = lock();
    let path = target().join(profile.folder()).join(file);
    let folder = sources().join(package);
    run(
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args([
                "build",
                "--quiet",
                "--locked",
                "--profile",
                profile.name(),
                "--target-dir",
            ])
            .arg(target())
            .current_dir(folder),
    );
    path
}

/// The tests' own build must not leak into the targets: they are to look like other people's.
fn clean(command: &mut Command) -> &mut Command {
    command
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
}

pub(crate) fn lock() -> File {
    let file = File::create(target().join(".lock")).unwrap();
    file.lock().unwrap();
    file
}

pub(crate) fn newer(source: &Path, product: &Path) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    time(product).is_none_or(|product| time(source).unwrap() > product)
}

pub(crate) fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}
