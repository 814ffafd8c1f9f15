//! Counting without probes: what the agent reads from memory is what the programs count themselves, and nothing is put
//! into them until their tasks grow.

use leak_agent::report::{CountedBy, Report, Runtime};
use leak_agent_tests::breakpoints::breakpoints;
use leak_agent_tests::compare::{describe, sum};
use leak_agent_tests::programs::{Profile, TokioProbe};
use leak_agent_tests::truth::Truth;
use leak_agent_tests::wait::until;
use leak_agent_tests::watched::{self, OFTEN};
use leak_agent_tests::{Agent, Target, agent, privilege};
use std::path::PathBuf;
use std::process::Command;

fn probe(tokio: &'static str, stripped: bool) -> TokioProbe {
    TokioProbe {
        tokio,
        profile: Profile::Release,
        stripped,
    }
}

/// See [`watched::own_copy`].
fn own(probe: &TokioProbe, test: &str) -> PathBuf {
    watched::own_copy(&probe.path(), test)
}

/// See [`watched::until_watched`]; blocking tasks are in no list, so that no count is called exact.
fn until_watched(agent: &Agent, pid: u32, truth: &Truth) -> Runtime {
    let mut listed = truth.clone();
    listed.sites.retain(|site| site.kind != "blocking");
    listed.live = listed.sites.iter().map(|site| site.live).sum();
    let found = watched::until_watched(agent, pid, "tokio", &listed);
    assert!(!found.exact && found.reason.is_some(), "{}", describe(&found));
    found
}

/// At each standstill, the counts from memory are the program's own, with no probe in it. With BPF the threads are counted as
/// ever, without from `/proc`.
fn watched_is_the_programs_own_numbers(probe: TokioProbe, how: &[&str], threads: CountedBy) {
    if !privilege::privileged() {
        return;
    }
    let path = own(&probe, &format!("{}-{}{}", probe.tokio, probe.stripped, how[0]));
    let exe = path.to_string_lossy().into_owned();
    let mut target = Target::start(&path);
    target.command("all 20");
    let agent = Agent::start(&[how, &OFTEN, &["--exe", &exe]].concat());
    let mut named = 0;
    for command in [
        "park 300",
        "storm 20000",
        "local 3",
        "runtimes 3 7",
        "release",
        "park 5",
        "handles-drop",
        "local-drop",
        "runtimes-drop",
    ] {
        let truth = target.command(command);
        let found = until_watched(&agent, target.pid(), &truth);
        let functions = truth.sites.iter().filter(|site| site.live > 0);
        named += functions
            .filter(|site| found.sites.iter().any(|found| found.name.contains(&site.name)))
            .count();
        // What tokio counts itself covers the tasks of its runtimes, those of a LocalSet not.
        if let (Some(watch), Some(alive)) = (&found.watch, truth.alive) {
            assert!(
                watch.counted.is_none_or(|counted| counted == alive),
                "{watch:?} {truth:?}"
            );
        }
        assert_eq!(breakpoints(target.pid(), &path), 0);
        let counted = agent.runtime(target.pid(), "thread").expect("threads");
        assert_eq!(counted.counted_by, Some(threads));
        let tasks = format!("/proc/{}/task", target.pid());
        let listed = std::fs::read_dir(tasks).expect("it runs").count();
        assert_eq!(counted.live, listed as u64, "{command}: {}", describe(&counted));
    }
    assert!(
        probe.stripped || named > 5,
        "only {named} functions were compared"
    );
}

macro_rules! watched {
    ($($name:ident = $tokio:literal $stripped:literal [$($how:literal),*] $threads:ident;)*) => {$(
        /// See [`watched_is_the_programs_own_numbers`].
        #[test]
        fn $name() {
            watched_is_the_programs_own_numbers(probe($tokio, $stripped), &[$($how),*], CountedBy::$threads);
        }
    )*};
}

watched! {
    watched_tokio_154_is_its_own_numbers = "154" false ["--mode", "watch"] Kernel;
    watched_tokio_154_stripped_is_its_own_numbers = "154" true ["--mode", "watch"] Kernel;
    watched_tokio_147_is_its_own_numbers = "147" false ["--mode", "watch"] Kernel;
    watched_tokio_138_is_its_own_numbers = "138" false ["--mode", "watch"] Kernel;
    watched_tokio_154_without_bpf_is_its_own_numbers = "154" false ["--no-bpf"] Proc;
    watched_tokio_138_without_bpf_is_its_own_numbers = "138" true ["--no-bpf"] Proc;
}

/// A program that begins under our eyes is watched, too, and what comes and goes never makes a count exact that is not.
#[test]
fn watched_in_motion_never_claims_more_than_it_saw() {
    if !privilege::privileged() {
        return;
    }
    let path = own(&probe("154", false), "motion");
    let exe = path.to_string_lossy().into_owned();
    let agent = Agent::start(&[&["--mode", "watch"][..], &OFTEN, &["--exe", &exe]].concat());
    let mut target = Target::start(&path);
    let truth = target.command("park 200");
    until_watched(&agent, target.pid(), &truth);
    target.command("hold 5000");
    for _ in 0..20 {
        let found = agent.next_report();
        let process = found.processes.iter().find(|process| process.pid == target.pid());
        let tokio =
            process.and_then(|process| process.runtimes.iter().find(|found| found.runtime == "tokio"));
        let tokio = tokio.unwrap_or_else(|| panic!("{found:?}"));
        assert!(tokio.live >= 200 && !tokio.exact, "{}", describe(tokio));
        let parked = sum(tokio, |site| site.name.contains("conn::idle"));
        assert_eq!(parked.live, 200, "{}", describe(tokio));
    }
    let truth = target.command("stop");
    until_watched(&agent, target.pid(), &truth);
    assert_eq!(breakpoints(target.pid(), &path), 0);
}

/// A process whose tasks grow gets probes and is exact from then on; others of other executables stay without.
#[test]
fn auto_traces_the_executable_of_a_process_that_grows() {
    if !privilege::privileged() {
        return;
    }
    let path = own(&probe("154", false), "auto");
    let other = own(&probe("147", false), "auto-calm");
    let exes = [
        path.to_string_lossy().into_owned(),
        other.to_string_lossy().into_owned(),
    ];
    let mut target = Target::start(&path);
    let mut calm = Target::start(&other);
    let mut truth = target.command("park 100");
    let calm_truth = calm.command("park 100");
    let auto = ["--mode", "auto", "--exe", &exes[0], "--exe", &exes[1]];
    let agent = Agent::start(&[&auto[..], &OFTEN].concat());
    until_watched(&agent, target.pid(), &truth);
    until_watched(&agent, calm.pid(), &calm_truth);
    assert_eq!(
        (breakpoints(target.pid(), &path), breakpoints(calm.pid(), &other)),
        (0, 0)
    );

    // Load that comes and goes gives no reason.
    for _ in 0..10 {
        target.command("storm 1000");
    }
    let found = until("growth to be seen", || {
        truth = target.command("park 2");
        let found = agent.runtime(target.pid(), "tokio")?;
        match found.counted_by {
            Some(CountedBy::Probes) => Ok(found),
            _ => Err(describe(&found)),
        }
    });
    let reason = found
        .probes
        .as_ref()
        .and_then(|probes| probes.reason.clone())
        .unwrap();
    assert!(reason.contains("app::conn::idle grew from"), "{reason}");
    assert!(breakpoints(target.pid(), &path) > 0);
    watched::traced_from_here(
        &agent,
        (&mut target, &path),
        "tokio",
        truth,
        &["all 10", "storm 20000", "release"],
        "all 5",
    );

    until_watched(&agent, calm.pid(), &calm_truth);
    assert_eq!(breakpoints(calm.pid(), &other), 0);
}

/// What `leak-agent report` without BPF says of this process, run without these capabilities.
fn reported_without(capabilities: &str, pid: u32) -> Report {
    let dropped: Vec<String> = capabilities.split(' ').map(|name| format!("-{name}")).collect();
    let output = Command::new("setpriv")
        .args([format!("--bounding-set={}", dropped.join(","))])
        .arg(agent::binary())
        .args(["report", "--no-bpf", "--for", "0s", "--format", "json", "--pid"])
        .arg(pid.to_string())
        .output()
        .expect("setpriv of util-linux");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    serde_json::from_slice(&output.stdout).expect("a report")
}

/// Of root's capabilities, to read the memory takes CAP_SYS_PTRACE alone: with the others dropped the counts are right.
#[test]
fn watched_with_no_capability_but_ptrace_is_right() {
    const OTHERS: &str = "sys_admin checkpoint_restore bpf perfmon dac_read_search dac_override";
    if !privilege::privileged() {
        return;
    }
    let path = own(&probe("154", false), "ptrace-only");
    let mut target = Target::start(&path);
    let truth = target.command("park 123");
    let report = reported_without(OTHERS, target.pid());
    let runtimes = &report.processes[0].runtimes;
    let tokio = runtimes.iter().find(|found| found.runtime == "tokio");
    let tokio = tokio.unwrap_or_else(|| panic!("{report:?}"));
    assert_eq!(tokio.live, truth.live, "{}", describe(tokio));
    assert!(
        tokio.watch.as_ref().is_some_and(|watch| watch.agreed),
        "{tokio:?}"
    );
}

/// A process whose memory may not be read has its threads, no other count, and the reason.
#[test]
fn unreadable_memory_is_told_with_what_it_takes() {
    if !privilege::privileged() {
        return;
    }
    let path = own(&probe("154", false), "unreadable");
    let mut target = Target::start(&path);
    target.command("park 5");
    let report = reported_without("sys_ptrace", target.pid());
    let [threads] = &report.processes[0].runtimes[..] else {
        panic!("{report:?}");
    };
    assert_eq!(threads.live, 3, "{}", describe(threads));
    let reason = threads.reason.as_deref().unwrap_or_default();
    assert!(reason.contains("CAP_SYS_PTRACE"), "{reason}");
}
