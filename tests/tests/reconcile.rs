//! Comparisons of our counts with tokio's own books: on demand, and what becomes of a difference.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness fails by panicking, with the reason

use leak_agent::report::{Books, Report, Runtime};
use leak_agent::source::Role;
use leak_agent_tests::agent::run;
use leak_agent_tests::books::plan;
use leak_agent_tests::compare::{describe, until_exact};
use leak_agent_tests::programs::{Profile, TokioProbe, tokio_probe};
use leak_agent_tests::silence::Silence;
use leak_agent_tests::truth::Truth;
use leak_agent_tests::wait::until;
use leak_agent_tests::{Agent, Target, http, privilege};
use rustix::process::Signal;

/// What the newest report says of the books of this process's tokio.
fn books(agent: &Agent, pid: u32) -> Result<Books, String> {
    let found = agent.runtime(pid, "tokio")?;
    found
        .books
        .ok_or_else(|| "its books are not compared yet".to_owned())
}

/// A signal has a running agent compare at once, as often as it comes, and nothing else does within the hour.
#[test]
fn signal_has_the_books_compared_at_once() {
    if !privilege::privileged() {
        return;
    }
    let path = tokio_probe();
    let agent = Agent::start(&["--reconcile", "1h", "--exe", path.to_str().unwrap()]);
    let mut target = Target::start(&path);
    target.command("park 30");
    until("it is followed", || agent.runtime(target.pid(), "tokio"));
    assert!(
        books(&agent, target.pid()).is_err(),
        "compared before anybody asked"
    );
    let mut checks = 0;
    for _ in 0..3 {
        agent.signal(Signal::USR1);
        let now = until("a comparison", || {
            let books = books(&agent, target.pid())?;
            (books.checks > checks)
                .then_some(books.clone())
                .ok_or_else(|| format!("{books:?}"))
        });
        assert_eq!((now.checks, now.drift), (checks + 1, Some(0)), "{now:?}");
        assert!(now.agreed_at.is_some(), "{now:?}");
        checks = now.checks;
    }
}

/// A report that is to compare first says so of every process, also of those that need several readings to be known.
#[test]
fn report_that_compares_first_has_agreed_with_every_process() {
    if !privilege::privileged() {
        return;
    }
    let path = tokio_probe();
    let mut targets: Vec<Target> = (0..3).map(|_| Target::start(&path)).collect();
    for target in &mut targets {
        target.command("park 30");
    }
    let exe = path.to_string_lossy();
    let output = run(&[
        "report",
        "--format",
        "json",
        "--for",
        "0s",
        "--reconcile-now",
        "--exe",
        &exe,
    ]);
    assert!(output.status.success(), "{output:?}");
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    for target in &targets {
        let process = report
            .processes
            .iter()
            .find(|process| process.pid == target.pid());
        let runtimes = &process.expect("it is reported").runtimes;
        let tokio = runtimes
            .iter()
            .find(|runtime| runtime.runtime == "tokio")
            .unwrap();
        let books = tokio.books.clone().expect("its books were compared");
        assert!(tokio.exact && tokio.baseline == 30, "{tokio:?}");
        assert!(books.agreed_at.is_some() && books.drift == Some(0), "{books:?}");
    }
}

/// What was repaired, and what is said of it.
struct Repaired {
    found: Runtime,
    books: Books,
}

/// Waits for one more repair, after which all counts are those of the program again.
fn repaired(agent: &Agent, target: &Target, truth: &Truth, repairs: u64) -> Repaired {
    until("a repair", || {
        let books = books(agent, target.pid())?;
        (books.repairs >= repairs)
            .then_some(())
            .ok_or_else(|| format!("{books:?}"))
    });
    let found = until_exact(agent, target.pid(), "tokio", truth);
    let books = found.books.clone().unwrap();
    assert_eq!(books.repairs, repairs, "{books:?}");
    for site in &books.repair.as_ref().unwrap().sites {
        assert!(
            found.sites.iter().any(|known| known.id == site.id),
            "{site:?}: {}",
            describe(&found)
        );
    }
    Repaired { found, books }
}

/// Probes that did not fire for a while: the difference is found, told with its cause, and repaired; counts are those of the
/// program again, in sum and at every site.
fn lost_probes_are_found_told_and_repaired(probe: TokioProbe, late: bool) {
    if !privilege::privileged() {
        return;
    }
    let path = probe.path();
    let plan = plan(&path);
    let start = |target: &mut Target| target.command("park 30");
    let follow = || Agent::start(&["--reconcile", "300ms", "--exe", path.to_str().unwrap()]);
    let (mut target, agent);
    if late {
        target = Target::start(&path);
        start(&mut target);
        agent = follow();
    } else {
        agent = follow();
        target = Target::start(&path);
        start(&mut target);
    }
    let begin = target.command("truth");
    let found = until_exact(&agent, target.pid(), "tokio", &begin);
    assert_eq!(found.baseline, if late { 30 } else { 0 });
    until("the books have agreed", || {
        let books = books(&agent, target.pid())?;
        assert_eq!((books.repairs, books.drift.unwrap_or(0)), (0, 0), "{books:?}");
        books.agreed_at.ok_or_else(|| format!("{books:?}"))
    });

    // Ends are missed.
    let silence = Silence::of(target.pid(), &path, &plan, Role::Finish);
    let truth = target.command("multi 10");
    drop(silence);
    let ends = repaired(&agent, &target, &truth, 1);
    assert_eq!(cause(&ends), (20, Some((0, 20))), "{:?}", ends.books);
    assert_eq!(ends.found.finished, 20, "{}", describe(&ends.found));
    let changes: Vec<i64> = sites(&ends).iter().map(|(_, change)| *change).collect();
    assert_eq!(changes, [-10, -10], "{:?}", ends.books);

    // Spawns are missed, of tasks that live on.
    let silence = Silence::of(target.pid(), &path, &plan, Role::Spawn);
    let truth = target.command("park 15");
    drop(silence);
    let spawns = repaired(&agent, &target, &truth, 2);
    assert_eq!(cause(&spawns), (-15, Some((15, 0))), "{:?}", spawns.books);
    let changes: Vec<i64> = sites(&spawns).iter().map(|(_, change)| *change).collect();
    assert_eq!(changes, [15], "{:?}", spawns.books);

    // Both are missed: what lives is right all the time, and still it is told.
    let silence = [Role::Spawn, Role::Finish].map(|role| Silence::of(target.pid(), &path, &plan, role));
    let truth = target.command("multi 10");
    drop(silence);
    let both = repaired(&agent, &target, &truth, 3);
    assert_eq!(cause(&both), (0, Some((20, 20))), "{:?}", both.books);
    assert_eq!(
        (both.books.missed_spawns, both.books.missed_finishes),
        (Some(35), Some(40))
    );
    metrics_tell(&agent, &both.books);

    // And all of it ends under our eyes.
    let truth = target.command("release");
    let found = until_exact(&agent, target.pid(), "tokio", &truth);
    assert_eq!(found.live, 0);
    until("the books have agreed again", || {
        let books = books(&agent, target.pid())?;
        assert_eq!(books.repairs, 3, "{books:?}");
        (books.checks > both.books.checks && books.drift == Some(0))
            .then_some(())
            .ok_or_else(|| format!("{books:?}"))
    });
}

/// Drift, and spawns and ends that were missed, of the last repair.
fn cause(repaired: &Repaired) -> (i64, Option<(u64, u64)>) {
    let repair = repaired.books.repair.as_ref().unwrap();
    let numbers: Vec<u64> = repair
        .reason
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    (
        repair.drift,
        <[u64; 2]>::try_from(numbers)
            .ok()
            .map(|[spawns, ends]| (spawns, ends)),
    )
}

fn sites(repaired: &Repaired) -> Vec<(String, i64)> {
    let repair = repaired.books.repair.as_ref().unwrap();
    repair
        .sites
        .iter()
        .map(|site| (site.id.clone(), site.live))
        .collect()
}

/// The same numbers are in the metrics.
fn metrics_tell(agent: &Agent, books: &Books) {
    let (_, text) = http::get(agent.address(), "/metrics").unwrap();
    let value = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with(name) && line.contains("runtime=\"tokio\""));
        let line = line.unwrap_or_else(|| panic!("no {name}"));
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(
        Some(value("leak_agent_missed_spawns_total{")),
        books.missed_spawns
    );
    assert_eq!(
        Some(value("leak_agent_missed_finishes_total{")),
        books.missed_finishes
    );
    assert_eq!(value("leak_agent_books_repairs_total{"), books.repairs);
    assert_eq!(value("leak_agent_drift_tasks{"), 0);
}

/// In a process that ran before the agent came.
#[test]
fn lost_probes_of_an_older_process_are_repaired() {
    lost_probes_are_found_told_and_repaired(
        TokioProbe {
            tokio: "154",
            profile: Profile::Release,
            stripped: false,
        },
        true,
    );
}

/// In a process that was followed from its first task on.
#[test]
fn lost_probes_of_a_process_followed_from_its_start_are_repaired() {
    lost_probes_are_found_told_and_repaired(
        TokioProbe {
            tokio: "147",
            profile: Profile::Fat,
            stripped: true,
        },
        false,
    );
}
