//! Goroutines without probes: what the agent reads from memory is what the programs count themselves, and nothing is put
//! into them until their goroutines grow.

use leak_agent::report::CountedBy;
use leak_agent::source::go;
use leak_agent_tests::breakpoints::breakpoints_of;
use leak_agent_tests::compare::{describe, sum};
use leak_agent_tests::golang::{Flavour, GoProbe};
use leak_agent_tests::wait::until;
use leak_agent_tests::watched::{OFTEN, own_copy, traced_from_here, until_watched};
use leak_agent_tests::{Agent, Target, privilege};

/// At each standstill, the counts from memory are the program's own, with no probe in it; the runtime's own goroutines are
/// left out of them.
fn watched_is_the_programs_own_numbers(version: &'static str, flavour: Flavour, how: &[&str]) {
    if !privilege::privileged() {
        return;
    }
    let program = GoProbe { version, flavour }.path();
    let path = own_copy(&program, &format!("go-{version}-{}{}", flavour.name(), how[0]));
    let exe = path.to_string_lossy().into_owned();
    let mut target = Target::start(&path);
    target.command("churn 20000 4");
    let agent = Agent::start(&[how, &OFTEN, &["--exe", &exe]].concat());
    let (mut named, mut counted) = (0, 0);
    for command in [
        "park 300",
        "churn 20000 4",
        "locked 20",
        "gc 2",
        "finalizers 5",
        "procs 5",
        "release",
        "park 5",
    ] {
        let truth = target.command(command);
        let found = until_watched(&agent, target.pid(), "go", &truth);
        // Every goroutine is in the runtime's list: its count says the same.
        let (watch, own) = (
            found.watch.as_ref().expect("it is watched"),
            sum(&found, |site| site.system),
        );
        let all = truth.live + own.live;
        assert!(watch.counted.is_none_or(|counted| counted == all), "{watch:?}");
        counted += u32::from(watch.counted.is_some());
        let functions = truth.sites.iter().filter(|site| site.live > 0);
        named += functions
            .filter(|site| found.sites.iter().any(|found| found.name.contains(&site.name)))
            .count();
        assert!(own.live >= 4, "{}", describe(&found));
        assert_eq!(breakpoints_of(target.pid(), &path, go::RUNTIME), 0);
    }
    assert!(named > 5, "only {named} functions were compared");
    assert!(counted > 0, "the runtime's own count was never read");
}

macro_rules! watched {
    ($($name:ident = $version:literal $flavour:ident [$($how:literal),*];)*) => {$(
        /// See [`watched_is_the_programs_own_numbers`].
        #[test]
        fn $name() {
            watched_is_the_programs_own_numbers($version, Flavour::$flavour, &[$($how),*]);
        }
    )*};
}

watched! {
    go_127_watched_is_its_own_numbers = "1.27.3" PieStripped ["--mode", "watch"];
    go_121_watched_is_its_own_numbers = "1.21.13" Default ["--mode", "watch"];
    go_127_watched_without_bpf_is_its_own_numbers = "1.27.3" Default ["--no-bpf"];
}

/// Watched while 20,000 goroutines per second begin and end: what rests is right in each report, and none is called exact but
/// one of a moment in which the list agreed with what the runtime counts.
#[test]
fn go_watched_in_motion_never_claims_more_than_it_saw() {
    if !privilege::privileged() {
        return;
    }
    let path = own_copy(&newest().path(), "go-motion");
    let exe = path.to_string_lossy().into_owned();
    let agent = Agent::start(&[&["--mode", "watch"][..], &OFTEN, &["--exe", &exe]].concat());
    let mut target = Target::start(&path);
    let truth = target.command("park 200");
    until_watched(&agent, target.pid(), "go", &truth);
    target.tell("hold 20000");
    for _ in 0..20 {
        let report = agent.next_report();
        let process = report
            .processes
            .iter()
            .find(|process| process.pid == target.pid());
        let runtimes = process.map(|process| process.runtimes.iter());
        let found = runtimes.and_then(|mut runtimes| runtimes.find(|found| found.runtime == "go"));
        let found = found.unwrap_or_else(|| panic!("{report:?}"));
        let agreed = found.watch.as_ref().is_some_and(|watch| watch.agreed);
        assert!(
            found.live >= 201 && (agreed || !found.exact),
            "{}",
            describe(found)
        );
        let parked = sum(found, |site| site.name == "main.park");
        assert_eq!(parked.live, 200, "{}", describe(found));
    }
    target.tell("unhold");
    while target.answer().phase != "unhold" {}
    let truth = target.command("truth");
    until_watched(&agent, target.pid(), "go", &truth);
    assert_eq!(breakpoints_of(target.pid(), &path, go::RUNTIME), 0);
}

fn newest() -> GoProbe {
    GoProbe {
        version: "1.27.3",
        flavour: Flavour::PieStripped,
    }
}

/// A Go process whose goroutines grow gets probes and is exact from then on; another whose number goes up and down stays
/// without.
#[test]
fn go_auto_traces_the_executable_of_a_process_that_grows() {
    if !privilege::privileged() {
        return;
    }
    let program = newest().path();
    let path = own_copy(&program, "go-auto");
    let other = own_copy(&program, "go-auto-calm");
    let exes = [
        path.to_string_lossy().into_owned(),
        other.to_string_lossy().into_owned(),
    ];
    let mut target = Target::start(&path);
    let mut calm = Target::start(&other);
    let mut truth = target.command("park 100");
    let mut calm_truth = calm.command("park 100");
    let auto = ["--mode", "auto", "--exe", &exes[0], "--exe", &exes[1]];
    let agent = Agent::start(&[&auto[..], &OFTEN].concat());
    until_watched(&agent, target.pid(), "go", &truth);
    until_watched(&agent, calm.pid(), "go", &calm_truth);
    let probed = |pid, path| breakpoints_of(pid, path, go::RUNTIME);
    assert_eq!((probed(target.pid(), &path), probed(calm.pid(), &other)), (0, 0));

    let found = until("growth to be seen", || {
        calm.command("park 50");
        calm.command("release");
        calm_truth = calm.command("park 100");
        truth = target.command("park 2");
        let found = agent.runtime(target.pid(), "go")?;
        match found.counted_by {
            Some(CountedBy::Probes) => Ok(found),
            _ => Err(describe(&found)),
        }
    });
    let probes = found.probes.as_ref();
    let reason = probes.and_then(|probes| probes.reason.clone()).unwrap();
    assert!(reason.contains("main.park grew from"), "{reason}");
    assert!(probed(target.pid(), &path) > 0);
    traced_from_here(
        &agent,
        (&mut target, &path),
        "go",
        truth,
        &["churn 20000 4", "locked 10", "release"],
        "park 5",
    );

    until_watched(&agent, calm.pid(), "go", &calm_truth);
    assert_eq!(probed(calm.pid(), &other), 0);
}
