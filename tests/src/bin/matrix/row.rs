//! The rows: which builds of the program are checked.

use std::fmt;

/// A minor version of tokio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tokio {
    /// 38 in 1.38.
    pub(crate) minor: u32,
}

impl Tokio {
    /// Whether the agent follows it at all.
    pub(crate) fn is_followed(self) -> bool {
        self.minor >= 10
    }

    /// The first with `JoinSet`.
    pub(crate) fn has_join_set(self) -> bool {
        self.minor >= 21
    }

    /// Whether a task's vtable tells futures from blocking closures.
    pub(crate) fn tells_kinds(self) -> bool {
        self.minor >= 23
    }
}

impl fmt::Display for Tokio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.minor)
    }
}

/// A way to build the program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Build {
    /// Name in rows: "fat".
    pub(crate) name: &'static str,
    /// What it is, for people.
    pub(crate) what: &'static str,
    /// The profile, as the lines of a Cargo.toml below its head; empty = cargo's own.
    pub(crate) profile: &'static str,
    /// Whether the profile builds on cargo's `dev` rather than `release`.
    pub(crate) dev: bool,
    /// Flags for rustc, separated by blanks.
    pub(crate) flags: &'static str,
    /// Whether all of tokio's features are on.
    pub(crate) full: bool,
    /// Whether it is a shared library, loaded by a C program.
    pub(crate) library: bool,
    /// The versions it is made of.
    versions: &'static [u32],
}

/// The versions with all common builds: what people run, and one before the first that is followed.
pub(crate) const VERSIONS: &[u32] = &[8, 20, 28, 32, 35, 38, 40, 44, 47, 50, 54];
/// Versions at which a task or its vtable got another form, and some between: a release build each.
pub(crate) const BETWEEN: &[u32] = &[10, 14, 17, 18, 21, 22, 23, 25, 29, 39, 42, 46, 52];
/// Of them, with fat LTO too: the forms of vtables that no other version has.
const BETWEEN_FAT: &[u32] = &[10, 17, 22, 39];
/// One of each form of task.
const FORMS: &[u32] = &[20, 28, 38, 54];
/// Fewer, for what has little to do with tokio's version.
const FEW: &[u32] = &[20, 38, 54];

const RELEASE: Build = Build {
    name: "release",
    what: "release",
    profile: "",
    dev: false,
    flags: "",
    full: false,
    library: false,
    versions: VERSIONS,
};

/// A release build of one of each form of task.
const SOME: Build = Build {
    versions: FORMS,
    ..RELEASE
};

/// A release build of few versions.
const RARE: Build = Build {
    versions: FEW,
    ..RELEASE
};

/// Builds of every version.
pub(crate) const COMMON: &[Build] = &[
    RELEASE,
    Build {
        name: "thin",
        what: "thin LTO",
        profile: "lto = \"thin\"",
        ..RELEASE
    },
    Build {
        name: "fat",
        what: "fat LTO",
        profile: "lto = \"fat\"\ncodegen-units = 1",
        ..RELEASE
    },
    Build {
        name: "units",
        what: "1 codegen unit",
        profile: "codegen-units = 1",
        ..RELEASE
    },
    Build {
        name: "opt-s",
        what: "opt-level s",
        profile: "opt-level = \"s\"",
        ..RELEASE
    },
    Build {
        name: "opt-z",
        what: "opt-level z",
        profile: "opt-level = \"z\"",
        ..RELEASE
    },
    Build {
        name: "abort",
        what: "panic = abort",
        profile: "panic = \"abort\"",
        ..RELEASE
    },
    Build {
        name: "debug",
        what: "debug",
        profile: "debug = \"line-tables-only\"",
        dev: true,
        ..RELEASE
    },
];

/// Builds of some versions.
pub(crate) const SPECIAL: &[Build] = &[
    Build {
        name: "smallest",
        what: "opt-level z, fat LTO, panic = abort",
        profile: "opt-level = \"z\"\nlto = \"fat\"\ncodegen-units = 1\npanic = \"abort\"",
        ..SOME
    },
    Build {
        name: "v0",
        what: "symbol mangling v0",
        flags: "-Csymbol-mangling-version=v0",
        ..SOME
    },
    Build {
        name: "static",
        what: "static glibc",
        flags: "-Ctarget-feature=+crt-static",
        ..SOME
    },
    Build {
        name: "fixed",
        what: "not position independent",
        flags: "-Crelocation-model=static",
        ..SOME
    },
    Build {
        name: "fixed-fat",
        what: "not position independent, static glibc, fat LTO",
        profile: "lto = \"fat\"\ncodegen-units = 1",
        flags: "-Crelocation-model=static -Ctarget-feature=+crt-static",
        ..SOME
    },
    Build {
        name: "native",
        what: "AVX2 and newer instructions (target-cpu x86-64-v3)",
        flags: "-Ctarget-cpu=x86-64-v3",
        ..SOME
    },
    Build {
        name: "full",
        what: "all features of tokio",
        full: true,
        ..SOME
    },
    Build {
        name: "unstable",
        what: "tokio_unstable",
        flags: "--cfg tokio_unstable",
        ..SOME
    },
    Build {
        name: "library",
        what: "in a shared library, loaded by a C program",
        library: true,
        ..SOME
    },
    Build {
        name: "frame-pointers",
        what: "frame pointers",
        flags: "-Cforce-frame-pointers=yes",
        ..RARE
    },
    Build {
        name: "no-tables",
        what: "panic = abort, no unwind tables of its own",
        profile: "panic = \"abort\"",
        flags: "-Cforce-unwind-tables=no",
        ..RARE
    },
    Build {
        name: "checked",
        what: "debug assertions and overflow checks",
        profile: "debug-assertions = true\noverflow-checks = true",
        ..RARE
    },
    Build {
        name: "opt-1",
        what: "opt-level 1",
        profile: "opt-level = 1",
        ..RARE
    },
    Build {
        name: "opt-2-fat",
        what: "opt-level 2, fat LTO",
        profile: "opt-level = 2\nlto = \"fat\"\ncodegen-units = 1",
        ..RARE
    },
    Build {
        name: "relr",
        what: "linked by GNU ld with packed relocations",
        flags: "-Clinker-features=-lld -Clink-arg=-Wl,-z,pack-relative-relocs",
        ..RARE
    },
    Build {
        name: "debug-opt",
        what: "debug with optimised dependencies",
        profile: "debug = \"line-tables-only\"\n[profile.row.package.\"*\"]\nopt-level = 3",
        dev: true,
        ..RARE
    },
];

/// One program to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) tokio: Tokio,
    pub(crate) build: &'static Build,
    pub(crate) stripped: bool,
}

impl Row {
    /// "1.38/fat/stripped".
    pub(crate) fn name(self) -> String {
        let symbols = if self.stripped { "stripped" } else { "symbols" };
        format!("{}/{}/{symbols}", self.tokio, self.build.name)
    }
}

/// Every row, builds in their order, both forms of a build next to each other.
pub(crate) fn all() -> Vec<Row> {
    let mut minors = [VERSIONS, BETWEEN].concat();
    minors.sort_unstable();
    let mut rows = Vec::new();
    for minor in minors {
        for build in COMMON.iter().chain(SPECIAL).filter(|build| is_made(build, minor)) {
            rows.extend([false, true].map(|stripped| Row {
                tokio: Tokio { minor },
                build,
                stripped,
            }));
        }
    }
    rows
}

/// Whether this build is made of this version.
fn is_made(build: &Build, minor: u32) -> bool {
    if BETWEEN.contains(&minor) {
        return build.name == "release" || (build.name == "fat" && BETWEEN_FAT.contains(&minor));
    }
    build.versions.contains(&minor)
}

/// A few rows: those that differ most from what the end-to-end tests build anyway, and that once were wrong.
pub(crate) fn slice_for_ci() -> Vec<Row> {
    let wanted = [
        "1.20/release/stripped",
        "1.20/fixed-fat/stripped",
        "1.28/fixed-fat/symbols",
        "1.54/smallest/stripped",
    ];
    all()
        .into_iter()
        .filter(|row| wanted.contains(&row.name().as_str()))
        .collect()
}
