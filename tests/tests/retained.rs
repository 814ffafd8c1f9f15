//! Tasks that ended and whose memory somebody still holds, told apart from those that never end.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness fails by panicking, with the reason

use leak_agent_tests::compare::{describe, until_exact};
use leak_agent_tests::programs::{Profile, TokioProbe};
use leak_agent_tests::truth::Truth;
use leak_agent_tests::wait::until;
use leak_agent_tests::{Agent, Target, http, privilege};
use rustix::process::Signal;

/// Asks for a comparison and waits until so many tasks are retained; what lives is what the program says, all the time.
fn until_retained(agent: &Agent, target: &Target, truth: &Truth, retained: u64) {
    let found = until_exact(agent, target.pid(), "tokio", truth);
    let searches = found.books.map_or(0, |books| books.readings.searches);
    agent.signal(Signal::USR1);
    until("the retained tasks", || {
        let found = agent.runtime(target.pid(), "tokio")?;
        let books = found.books.as_ref().ok_or("no books")?;
        let right = books.readings.searches > searches
            && (books.retained, books.retained_join_handles) == (Some(retained), Some(retained));
        right
            .then_some(())
            .ok_or_else(|| format!("want {retained} retained: {books:?} {}", describe(&found)))
    });
    until_exact(agent, target.pid(), "tokio", truth);
}

/// The handles of tasks that ended are kept, and dropped, and others never end: each number is the program's own, at each
/// function.
fn retained_tasks_are_told_from_living_ones(probe: TokioProbe) {
    if !privilege::privileged() {
        return;
    }
    let path = probe.path();
    let mut target = Target::start(&path);
    target.command("handles 20");
    let truth = target.command("park 30");
    assert_eq!(truth.live, 30);
    let agent = Agent::start(&["--reconcile", "1h", "--exe", path.to_str().unwrap()]);
    until_retained(&agent, &target, &truth, 20);
    let found = agent.runtime(target.pid(), "tokio").unwrap();
    let by_site: Vec<(u64, u64)> = found
        .sites
        .iter()
        .filter(|site| site.live + site.retained.unwrap() > 0 && !site.system)
        .map(|site| (site.live, site.retained.unwrap()))
        .collect();
    assert_eq!(by_site, [(30, 0), (0, 20)], "{}", describe(&found));

    let truth = target.command("handles 7");
    until_retained(&agent, &target, &truth, 27);
    let (_, text) = http::get(agent.address(), "/metrics").unwrap();
    let tells = |name: &str| {
        text.lines()
            .any(|line| line.starts_with(name) && line.ends_with(" 27"))
    };
    assert!(
        tells("leak_agent_tasks_retained{") && tells("leak_agent_site_tasks_retained{"),
        "{text}"
    );

    let truth = target.command("handles-drop");
    until_retained(&agent, &target, &truth, 0);
    let truth = target.command("release");
    until_retained(&agent, &target, &truth, 0);
}

/// The newest tokio, with symbols.
#[test]
fn retained_tasks_of_tokio_154_are_told() {
    retained_tasks_are_told_from_living_ones(TokioProbe {
        tokio: "154",
        profile: Profile::Release,
        stripped: false,
    });
}

/// An older one, in another build, stripped.
#[test]
fn retained_tasks_of_tokio_138_fat_stripped_are_told() {
    retained_tasks_are_told_from_living_ones(TokioProbe {
        tokio: "138",
        profile: Profile::Fat,
        stripped: true,
    });
}
