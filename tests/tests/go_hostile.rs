//! Go executables that were tampered with, and Go processes in the middle of something.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness fails by panicking, with the reason

use leak_agent_tests::compare::{check_identity, describe, until_exact};
use leak_agent_tests::gobooks::{counted, inspected, reader, with_version};
use leak_agent_tests::golang::{Flavour, GoProbe};
use leak_agent_tests::wait::until;
use leak_agent_tests::{Agent, Target, hostile, privilege, programs};

const NEW: GoProbe = GoProbe {
    version: "1.27.3",
    flavour: Flavour::PieStripped,
};

/// Replaces a text wherever it is.
fn replaced(data: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut data = data.to_vec();
    let places = data
        .windows(from.len())
        .enumerate()
        .filter(|(_, window)| *window == from);
    let places: Vec<usize> = places.map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    for at in places {
        data[at..at + to.len()].copy_from_slice(to);
    }
    data
}

/// Functions of the runtime under other names, as obfuscators give them: refused, with the name that is missing.
#[test]
fn executable_with_renamed_functions_is_refused_with_the_reason() {
    let data = std::fs::read(NEW.path()).unwrap();
    assert!(inspected(&data).is_ok());
    for name in ["runtime.newproc1", "runtime.gdestroy"] {
        let from = [b"\0", name.as_bytes(), b"\0"].concat();
        let to = [b"\0".to_vec(), vec![b'x'; name.len()], b"\0".to_vec()].concat();
        let reason = inspected(&replaced(&data, &from, &to)).unwrap_err();
        assert!(
            reason.contains(name) && reason.contains("names may have been taken away"),
            "{reason}"
        );
    }
    let reason = inspected(&replaced(&data, b"\0runtime.", b"\0garbled.")).unwrap_err();
    assert!(reason.contains("names may have been taken away"), "{reason}");
    // Without the functions whose code tells where the books are, there are none.
    let plan = inspected(&replaced(&data, b"\0runtime.allgadd\0", b"\0runtime.xxxxxxx\0")).unwrap();
    assert!(plan.books.is_none());
}

/// Cut, corrupted and lying executables of Go: each gets an answer, and points that are in the file.
#[test]
fn hostile_executables_of_go_get_an_answer() {
    let good = NEW.path();
    let folder = programs::scratch("hostile-go");
    for path in hostile::files(&good, &folder) {
        if std::fs::metadata(&path).unwrap().len() > 1 << 30 {
            continue; // the agent maps such a file; here it would be read
        }
        let data = std::fs::read(&path).unwrap();
        if let Ok(plan) = inspected(&data) {
            let inside = |offset: u64| offset < data.len() as u64;
            assert!(
                plan.points.iter().all(|point| inside(point.offset.0)),
                "{}",
                path.display()
            );
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// Such executables, named on the command line beside a good one.
#[test]
fn hostile_executables_of_go_do_not_keep_the_agent_from_others() {
    if !privilege::privileged() {
        return;
    }
    let good = NEW.path();
    let folder = programs::scratch("hostile-go-named");
    let files = hostile::files(&good, &folder);
    let mut arguments = vec!["--exe".to_owned(), good.to_string_lossy().into_owned()];
    for file in &files {
        arguments.extend(["--exe".to_owned(), file.to_string_lossy().into_owned()]);
    }
    let mut target = Target::start(&good);
    let agent = Agent::start(&arguments);
    let truth = target.command("park 20");
    until_exact(&agent, target.pid(), "go", &truth);
    std::fs::remove_dir_all(folder).unwrap();
}

/// A process is looked at by another executable than it runs, as if its file had been exchanged: refused.
#[test]
fn books_by_another_executable_are_refused() {
    if !privilege::privileged() {
        return;
    }
    let mine = NEW.path();
    let target = Target::start(&mine);
    let old = GoProbe {
        version: "1.21.13",
        flavour: Flavour::PieStripped,
    };
    let data = std::fs::read(old.path()).unwrap();
    for data in [with_version(&data, "go1.99.1"), data] {
        assert!(counted(&target, &mine, &data).is_err());
    }
}

/// The list of goroutines is moved to a larger place again and again while it is read: no reading is wrong, each has at least what
/// was there before it and at most what is there after it, and the last one has all.
#[test]
fn list_that_grows_while_it_is_read_is_read_right() {
    if !privilege::privileged() {
        return;
    }
    let path = NEW.path();
    let plan = inspected(&std::fs::read(&path).unwrap()).unwrap();
    let mut target = Target::start(&path);
    let mut reader = reader(&target, &path, &plan).unwrap();
    let user = |listing: &leak_agent::source::books::Listing| listing.groups[0].walked;
    let mut readings = 0;
    let mut last = 0;
    for round in 1..=20_u64 {
        target.tell("park 5000");
        // The first reading of all finds a process that grows already.
        while reader.find().groups.is_empty() {}
        for _ in 0..10 {
            let listing = reader.list(0);
            assert_eq!(listing.refused, [] as [String; 0]);
            assert!(user(&listing) >= last, "{} after {last}", user(&listing));
            last = user(&listing);
            readings += 1;
        }
        let truth = target.answer();
        assert_eq!(truth.live, 1 + 5000 * round);
        let listing = reader.list(0);
        let counted = reader.counters();
        assert!(listing.groups[0].complete, "{listing:?}");
        // Those of the runtime itself are in both.
        assert_eq!(counted[0].live, user(&listing));
        assert!(
            (4..30).contains(&(user(&listing) - truth.live)),
            "{} {truth:?}",
            user(&listing)
        );
    }
    assert_eq!(readings, 200);
}

/// A child that C forked off and that runs no Go: it has a copy of all goroutines, none of which lives. Its parent's numbers are
/// not touched, and its own are not called exact.
#[test]
fn child_without_exec_is_not_called_exact_and_does_not_change_its_parent() {
    if !privilege::privileged() {
        return;
    }
    let path = GoProbe {
        version: "1.27.3",
        flavour: Flavour::Cgo,
    }
    .path();
    for (how, late) in [("trace", false), ("trace", true), ("watch", true)] {
        let exe = path.to_string_lossy().into_owned();
        let start = || Agent::start(&["--mode", how, "--watch-interval", "100ms", "--exe", &exe]);
        let agent = (!late).then(start);
        let mut target = Target::start(&path);
        target.command("park 30");
        target.command("fork");
        let agent = agent.unwrap_or_else(start);
        let truth = target.command("park 12");
        let alive = |agent: &Agent| {
            let found = agent.runtime(target.pid(), "go")?;
            if found.live == truth.live {
                Ok(found)
            } else {
                Err(describe(&found))
            }
        };
        until("the parent", || alive(&agent));
        let children = format!("/proc/{0}/task/{0}/children", target.pid());
        let child = until("the child", || {
            let report = agent.try_report()?;
            let others = report
                .processes
                .iter()
                .filter(|process| process.alive && process.pid != target.pid());
            let child = others
                .into_iter()
                .find(|process| process.exe.as_deref() == Some(exe.as_str()));
            child
                .map(|child| child.pid)
                .ok_or_else(|| format!("no child: {children}"))
        });
        let found = until("the child's goroutines", || {
            let found = agent.runtime(child, "go")?;
            assert!(!found.exact, "{how}: {}", describe(&found));
            let told = |reason: &String| reason.contains("forked without exec");
            if found.reason.as_ref().is_some_and(told) {
                Ok(found)
            } else {
                Err(describe(&found))
            }
        });
        check_identity(&found);
        let found = alive(&agent).unwrap();
        check_identity(&found);
        let threads = agent.runtime(child, "thread").unwrap();
        assert_eq!(threads.live, 1, "{}", describe(&threads));
    }
}
