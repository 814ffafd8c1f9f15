//! Goroutines that libraries begin on behalf of others: told apart by who asked for them.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness fails by panicking, with the reason

use leak_agent::report::{Caller, Site};
use leak_agent_tests::compare::{describe, until_probed};
use leak_agent_tests::golang::{Flavour, GoProbe};
use leak_agent_tests::wait::until;
use leak_agent_tests::{Agent, Target, privilege};
use std::path::PathBuf;

fn program(version: &'static str, flavour: Flavour) -> PathBuf {
    GoProbe { version, flavour }.callers()
}

/// The site of this name prefix, once so many of its goroutines were seen to begin and as many callers have names.
fn site(agent: &Agent, pid: u32, name: &str, spawned: u64, callers: usize) -> Site {
    until("callers of a library", || {
        let found = agent.runtime(pid, "go")?;
        let site = found.sites.iter().find(|site| site.name.starts_with(name));
        // At first they are addresses.
        let named = |caller: &Caller| {
            let function = caller.function.as_deref();
            function.is_some_and(|function| function.starts_with("main."))
        };
        let all = |site: &Site| site.callers.len() == callers && site.callers.iter().all(named);
        match site {
            Some(site) if site.spawned == spawned && all(site) => Ok(site.clone()),
            other => Err(format!("{other:?} in {}", describe(&found))),
        }
    })
}

/// Function and count of each caller.
fn told<'a>(callers: &'a [Caller]) -> Vec<(&'a str, u64)> {
    let one = |caller: &'a Caller| (caller.function.as_deref().unwrap_or("others"), caller.spawned);
    callers.iter().map(one).collect()
}

fn are_told_apart(version: &'static str, flavour: Flavour) {
    if !privilege::privileged() {
        return;
    }
    let path = program(version, flavour);
    let agent = Agent::on(&[&path]);
    let mut target = Target::start(&path);
    until_probed(&agent, target.pid(), "go");
    target.command("crawl errgroup 40");
    target.command("index errgroup 7");
    target.command("crawl errgroup 2");
    let group = "golang.org/x/sync/errgroup.(*Group).Go";
    // `index` asks twice each time.
    let go = site(&agent, target.pid(), group, 49, 2);
    assert_eq!(
        told(&go.callers),
        [("main.crawlErrgroup", 42), ("main.indexErrgroup", 7)]
    );
    assert!(
        go.callers.iter().all(|caller| caller
            .location
            .as_deref()
            .is_some_and(|location| location.contains("main.go:"))),
        "{go:?}"
    );
    let tried = site(
        &agent,
        target.pid(),
        "golang.org/x/sync/errgroup.(*Group).TryGo",
        7,
        1,
    );
    assert_eq!(told(&tried.callers), [("main.indexErrgroup", 7)]);

    target.command("crawl context 5");
    target.command("index context 3");
    // Through two functions of the library.
    let watched = site(&agent, target.pid(), "context.", 8, 2);
    assert_eq!(
        told(&watched.callers),
        [("main.crawlContext", 5), ("main.indexContext", 3)]
    );
    assert_eq!(watched.live, 8);
}

macro_rules! builds {
    ($($name:ident = $version:literal $flavour:ident;)*) => {$(
        /// See [`are_told_apart`].
        #[test]
        fn $name() {
            are_told_apart($version, Flavour::$flavour);
        }
    )*};
}

builds! {
    callers_of_libraries_are_told_apart_in_go_127 = "1.27.3" Default;
    callers_of_libraries_are_told_apart_in_go_127_pie_stripped = "1.27.3" PieStripped;
    callers_of_libraries_are_told_apart_in_go_125_unoptimised = "1.25.5" Unoptimised;
    callers_of_libraries_are_told_apart_in_go_121_stripped = "1.21.13" Stripped;
}

/// What was asked for before the probes is in nobody's count; from then on each one is.
#[test]
fn callers_of_a_wait_group_are_told_from_the_attach_on() {
    if !privilege::privileged() {
        return;
    }
    let path = program("1.27.3", Flavour::Stripped);
    let mut target = Target::start(&path);
    target.command("crawl waitgroup 30");
    let agent = Agent::on(&[&path]);
    until("the baseline", || {
        let found = agent.runtime(target.pid(), "go")?;
        if found.exact {
            Ok(())
        } else {
            Err(describe(&found))
        }
    });
    let group = "sync.(*WaitGroup).Go";
    assert_eq!(site(&agent, target.pid(), group, 0, 0).live, 30);
    target.command("index waitgroup 12");
    target.command("crawl waitgroup 1");
    let after = site(&agent, target.pid(), group, 13, 2);
    assert_eq!(
        told(&after.callers),
        [("main.indexWaitgroup", 12), ("main.crawlWaitgroup", 1)]
    );
    assert_eq!(after.live, 43);
    target.command("end");
    let over = site(&agent, target.pid(), group, 13, 2);
    until("their end", || {
        let over = site(&agent, target.pid(), group, 13, 2);
        if over.live == 0 {
            Ok(())
        } else {
            Err(format!("{over:?}"))
        }
    });
    assert_eq!(over.callers, after.callers);
}
