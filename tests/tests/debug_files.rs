//! Stripped programs whose debug files lie somewhere: the names come back, and only from a file that is their own.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness fails by panicking, with the reason

use leak_agent::report::{Runtime, Site};
use leak_agent_tests::compare::until_exact;
use leak_agent_tests::programs::{self, Profile, TokioProbe};
use leak_agent_tests::wait::until;
use leak_agent_tests::{Agent, Target, privilege};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program, and its copy without symbols, with a link to its debug file, which lies nowhere that anybody looks.
struct Split {
    folder: PathBuf,
    whole: PathBuf,
    stripped: PathBuf,
    debug: PathBuf,
}

impl Split {
    fn new(test: &str) -> Self {
        let folder = programs::scratch(test);
        let whole = TokioProbe {
            tokio: "154",
            profile: Profile::Full,
            stripped: false,
        }
        .path();
        fs::create_dir(folder.join("away")).unwrap();
        let debug = folder.join("away").join("probe.debug");
        let stripped = folder.join("probe");
        run(
            "objcopy",
            &["--only-keep-debug".as_ref(), whole.as_ref(), debug.as_ref()],
        );
        run("strip", &["-o".as_ref(), stripped.as_ref(), whole.as_ref()]);
        let link = format!("--add-gnu-debuglink={}", debug.display());
        run("objcopy", &[link.as_ref(), stripped.as_ref()]);
        Self {
            folder,
            whole,
            stripped,
            debug,
        }
    }

    /// Puts the debug file there, below the folder of the program.
    fn put(&self, place: &str) -> PathBuf {
        let path = self.folder.join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(&self.debug, &path).unwrap();
        path
    }

    /// ".build-id/xx/yyyy.debug" of the program.
    fn by_build_id(&self) -> String {
        let bytes = fs::read(&self.stripped).unwrap();
        let id = leak_agent::discovery::build_id(&bytes).expect("the linker gave it a build id");
        let hex: Vec<String> = id.iter().map(|byte| format!("{byte:02x}")).collect();
        format!(".build-id/{}/{}.debug", hex[0], hex[1..].concat())
    }
}

fn run(program: &str, arguments: &[&std::ffi::OsStr]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

/// The sites of both runtimes that had tasks, as an agent sees them that was there first.
fn sites(program: &Path, options: &[&str]) -> Vec<Site> {
    let mut arguments = vec!["--exe", program.to_str().unwrap()];
    arguments.extend(options);
    let agent = Agent::start(&arguments);
    let mut target = Target::start(program);
    let truth = target.command("park 5");
    until("its tasks and threads are named", || {
        let process = agent.process(target.pid())?;
        let sites: Vec<Site> = process
            .runtimes
            .into_iter()
            .flat_map(|runtime| runtime.sites)
            .collect();
        let unresolved = sites.iter().any(|site| site.id == "unresolved");
        let tasks: u64 = sites
            .iter()
            .filter(|site| site.kind == "async")
            .map(|site| site.live)
            .sum();
        if unresolved || tasks < truth.live {
            return Err(format!("{sites:?}"));
        }
        Ok(sites.into_iter().filter(|site| site.spawned > 0).collect())
    })
}

/// What people are shown of them, but for notes.
fn shown(sites: &[Site]) -> BTreeSet<(String, Option<String>, String, u64)> {
    let shown = sites.iter().map(|site| {
        (
            site.name.clone(),
            site.location.clone(),
            site.kind.clone(),
            site.live,
        )
    });
    shown.collect()
}

fn notes(sites: &[Site]) -> String {
    let notes: Vec<&str> = sites.iter().filter_map(|site| site.note.as_deref()).collect();
    notes.join("\n")
}

/// Without symbols the names are others; with the debug file in any of its places they are those of the whole program.
#[test]
fn names_of_a_stripped_program_come_back_from_its_debug_file() {
    if !privilege::privileged() {
        return;
    }
    let split = Split::new("debug-files-found");
    let whole = shown(&sites(&split.whole, &[]));
    let bare = sites(&split.stripped, &[]);
    assert_ne!(shown(&bare), whole, "nothing was stripped");
    assert!(!notes(&bare).contains("debug file"), "{}", notes(&bare));

    let elsewhere = split.folder.join("elsewhere");
    let option = ["--debug-dir", elsewhere.to_str().unwrap()];
    let by_id = format!("elsewhere/{}", split.by_build_id());
    for (place, options) in [
        ("probe.debug", &[][..]),
        (".debug/probe.debug", &[]),
        ("elsewhere/probe.debug", &option),
        (by_id.as_str(), &option),
    ] {
        let put = split.put(place);
        let found = sites(&split.stripped, options);
        // Files of one name and another path: threads are named by functions here, and none by the module.
        assert_eq!(shown(&found), whole, "{place}: {}", notes(&found));
        fs::remove_file(put).unwrap();
    }
}

/// A file in the right place that is not the program's own is not used, and the report says why.
#[test]
fn debug_file_of_another_program_is_refused() {
    if !privilege::privileged() {
        return;
    }
    let split = Split::new("debug-files-refused");
    let bare = shown(&sites(&split.stripped, &[]));

    // The right build id, and not the checksum.
    let put = split.put("probe.debug");
    let mut bytes = fs::read(&put).unwrap();
    bytes.push(0);
    fs::write(&put, &bytes).unwrap();
    let found = sites(&split.stripped, &[]);
    assert_eq!(shown(&found), bare);
    assert!(notes(&found).contains("checksum"), "{}", notes(&found));
    fs::remove_file(put).unwrap();

    // Another program's.
    let put = split.put(&format!("elsewhere/{}", split.by_build_id()));
    let other = TokioProbe {
        tokio: "147",
        profile: Profile::Release,
        stripped: false,
    };
    run(
        "objcopy",
        &["--only-keep-debug".as_ref(), other.path().as_ref(), put.as_ref()],
    );
    let elsewhere = split.folder.join("elsewhere");
    let found = sites(&split.stripped, &["--debug-dir", elsewhere.to_str().unwrap()]);
    assert_eq!(shown(&found), bare);
    assert!(notes(&found).contains("build id"), "{}", notes(&found));
}

/// What an agent says of the tokio of a program that runs already, once its books have agreed.
fn known(program: &Path) -> Runtime {
    let mut target = Target::start(program);
    let truth = target.command("park 5");
    let agent = Agent::on(&[program]);
    until_exact(&agent, target.pid(), "tokio", &truth)
}

/// The report says for each runtime how its points, names and books are known, and when the books agreed: for a program with
/// symbols, without them, and with a separate debug file.
#[test]
fn report_says_how_it_knows() {
    if !privilege::privileged() {
        return;
    }
    let split = Split::new("debug-files-evidence");
    let told = |program: &Path| {
        let found = known(program);
        assert_eq!(found.evidence.as_deref(), Some("structure"));
        let books = found.books_by.as_deref();
        assert_eq!(books, Some("layout of tokio 1.39 and later, by its version"));
        assert!(found.books.and_then(|books| books.agreed_at).is_some());
        found.names_by.unwrap()
    };
    let whole = told(&split.whole);
    assert!(
        whole.starts_with("symbols") && !whole.contains("debug file"),
        "{whole}"
    );
    let bare = told(&split.stripped);
    assert!(
        bare.contains("panic locations") && !bare.contains("symbols"),
        "{bare}"
    );
    split.put("probe.debug");
    let with_debug_file = told(&split.stripped);
    assert!(
        with_debug_file.starts_with("symbols of its debug file"),
        "{with_debug_file}"
    );
}
