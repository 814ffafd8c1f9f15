//! Creation stacks: the report says who asks for the tasks of a site, by the calls that the program really made.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness fails by panicking, with the reason

use leak_agent::report::{Call, Runtime};
use leak_agent_tests::compare::{describe, until_probed};
use leak_agent_tests::golang::{Flavour, GoProbe};
use leak_agent_tests::programs::{self, Profile, TokioProbe};
use leak_agent_tests::wait::until;
use leak_agent_tests::{Agent, Target, privilege};
use std::path::Path;

/// The creation stack of the site that has `live` tasks, once the agent has told it.
fn creation(agent: &Agent, pid: u32, runtime: &str, live: u64, seen: impl Fn(&[Call]) -> bool) -> Vec<Call> {
    let of = |found: &Runtime| {
        let site = found.sites.iter().find(|site| site.live == live && !site.system);
        site.and_then(|site| site.created_by.clone())
    };
    until("a creation stack", || {
        let found = agent.runtime(pid, runtime)?;
        match of(&found) {
            Some(calls) if seen(&calls) => Ok(calls),
            other => Err(format!("{other:?} in {}", describe(&found))),
        }
    })
}

/// Of 7 parked tasks of a tokio program.
fn parked(path: &Path) -> Vec<Call> {
    let agent = Agent::on(&[path]);
    let mut target = Target::start(path);
    until_probed(&agent, target.pid(), "tokio");
    target.command("park 7");
    creation(&agent, target.pid(), "tokio", 7, |calls| !calls.is_empty())
}

fn functions(calls: &[Call]) -> Vec<&str> {
    calls
        .iter()
        .map(|call| call.function.as_deref().unwrap_or("?"))
        .collect()
}

/// The addresses in the file.
fn addresses(calls: &[Call]) -> Vec<&str> {
    calls
        .iter()
        .map(|call| call.address.rsplit_once(':').unwrap().1)
        .collect()
}

/// The line of the tokio program's source that has this text.
fn line_in(file: &str, text: &str) -> Option<u32> {
    let path = programs::root().join("tests/programs/tokio-probe/src").join(file);
    let source = std::fs::read_to_string(path).unwrap();
    let line = source.lines().position(|line| line.contains(text)).unwrap();
    u32::try_from(line + 1).ok()
}

const fn probe(profile: Profile, stripped: bool) -> TokioProbe {
    TokioProbe {
        tokio: "154",
        profile,
        stripped,
    }
}

/// With symbols the calls have the names of the program's functions, innermost first, and none of tokio's before them; a
/// stripped copy gives the same calls by address.
#[test]
fn tokio_task_is_told_who_spawned_it_by_name_or_by_address() {
    if !privilege::privileged() {
        return;
    }
    let named = parked(&probe(Profile::Release, false).path());
    let functions = functions(&named);
    assert!(functions[0].contains("lab::Lab::"), "{functions:?}");
    assert!(
        functions.iter().any(|name| name.contains("program::run")),
        "{functions:?}"
    );
    assert!(
        functions.iter().all(|name| !name.starts_with("tokio::runtime")),
        "{functions:?}"
    );

    let stripped = parked(&probe(Profile::Release, true).path());
    assert!(
        stripped.iter().all(|call| call.function.is_none()),
        "{stripped:?}"
    );
    let (all, own) = (addresses(&stripped), addresses(&named));
    assert!(
        own.iter().all(|address| all.contains(address)),
        "{own:?} in {all:?}"
    );
}

/// With debug information each call has its line, and calls that the compiler inlined are there.
#[test]
fn tokio_task_is_told_the_line_that_spawned_it() {
    if !privilege::privileged() {
        return;
    }
    let calls = parked(&probe(Profile::Full, false).path());
    let park = calls.iter().find(|call| {
        call.function
            .as_deref()
            .is_some_and(|name| name.ends_with("park"))
    });
    let park = park.unwrap_or_else(|| panic!("{calls:?}"));
    assert_eq!(park.line, line_in("lab.rs", "app::conn::idle("), "{calls:?}");
    assert!(
        park.file.as_deref().is_some_and(|file| file.ends_with("lab.rs")),
        "{calls:?}"
    );
}

/// A task that a task spawns is told so, with the line, also where the compiler put the spawning task into tokio's own code.
#[test]
fn tokio_task_of_a_task_is_told_its_parent() {
    if !privilege::privileged() {
        return;
    }
    let path = probe(Profile::Full, false).path();
    let agent = Agent::on(&[&path]);
    let mut target = Target::start(&path);
    until_probed(&agent, target.pid(), "tokio");
    target.command("nested 20");
    let calls = until("the creation stack of the grandchild", || {
        let found = agent.runtime(target.pid(), "tokio")?;
        let mut sites = found.sites.iter();
        let site = sites.find(|site| site.name.contains("nested::grandchild"));
        let calls = site.and_then(|site| site.created_by.clone());
        calls.ok_or_else(|| describe(&found))
    });
    assert_eq!(
        calls[0].line,
        line_in("app.rs", "tokio::spawn(grandchild("),
        "{calls:?}"
    );
}

/// A process that ran before the agent tells who spawns from then on.
#[test]
fn tokio_task_after_the_attach_is_told_who_spawned_it() {
    if !privilege::privileged() {
        return;
    }
    let path = probe(Profile::Release, false).path();
    let mut target = Target::start(&path);
    target.command("park 3");
    let agent = Agent::on(&[&path]);
    until_probed(&agent, target.pid(), "tokio");
    target.command("park 4");
    let calls = creation(&agent, target.pid(), "tokio", 7, |calls| !calls.is_empty());
    assert!(functions(&calls)[0].contains("lab::Lab::"), "{calls:?}");
}

/// Goroutines are told the whole way from their `go` statement to the program's beginning, also by a stripped program: from
/// the stack of the goroutine that said `go`.
fn goroutine_is_told_who_started_it(version: &'static str, flavour: Flavour) {
    if !privilege::privileged() {
        return;
    }
    let path = GoProbe { version, flavour }.path();
    let agent = Agent::on(&[&path]);
    let mut target = Target::start(&path);
    until_probed(&agent, target.pid(), "go");
    target.command("park 7");
    // The statement's function alone is known without a stack.
    let calls = creation(&agent, target.pid(), "go", 7, |calls| {
        calls
            .iter()
            .any(|call| call.function.as_deref() == Some("main.main"))
    });
    assert!(functions(&calls)[0].starts_with("main.init"), "{calls:?}");
    assert_eq!(functions(&calls).last(), Some(&"main.main"), "{calls:?}");
    assert!(
        calls[0]
            .file
            .as_deref()
            .is_some_and(|file| file.ends_with("ends.go")),
        "{calls:?}"
    );
    assert!(calls.iter().all(|call| call.line.is_some()), "{calls:?}");

    target.command("nested 5");
    until("the creation stack of the children", || {
        let found = agent.runtime(target.pid(), "go")?;
        let child = found.sites.iter().find(|site| site.name == "main.child");
        let calls = child
            .and_then(|child| child.created_by.as_deref())
            .unwrap_or_default();
        match functions(calls).as_slice() {
            ["main.parent", ..] => Ok(()),
            _ => Err(describe(&found)),
        }
    });
    // Timers say `go` on a thread's own stack: there is no more to know than the function that does.
    target.command("after 3");
    until("the statement of timers", || {
        let found = agent.runtime(target.pid(), "go")?;
        let timed = found.sites.iter().find(|site| site.name == "main.timedOut");
        let calls = timed
            .and_then(|timed| timed.created_by.as_deref())
            .unwrap_or_default();
        match functions(calls).as_slice() {
            ["time.goFunc"] => Ok(()),
            _ => Err(describe(&found)),
        }
    });
}

macro_rules! go {
    ($($name:ident = $version:literal $flavour:ident;)*) => {$(
        /// See [`goroutine_is_told_who_started_it`].
        #[test]
        fn $name() {
            goroutine_is_told_who_started_it($version, Flavour::$flavour);
        }
    )*};
}

go! {
    goroutine_of_go_127_is_told_who_started_it = "1.27.3" Default;
    goroutine_of_go_127_pie_stripped_is_told_who_started_it = "1.27.3" PieStripped;
    goroutine_of_go_125_is_told_who_started_it = "1.25.5" Stripped;
    goroutine_of_go_121_pie_stripped_is_told_who_started_it = "1.21.13" PieStripped;
}
