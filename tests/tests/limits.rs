//! Limits that are reached: sites that do not fit, a ring that is too small. Totals stay exact, and every
//! loss is counted.

use leak_agent_tests::compare::{check_identity, describe, sum, until_equal};
use leak_agent_tests::programs::{self, TokioProbe};
use leak_agent_tests::wait::until;
use leak_agent_tests::{Agent, Target, privilege};

/// More sites than the map of totals has rows: the rest is folded into one, and nothing is lost. A second
/// agent with room enough for all says what all is.
#[test]
fn sites_beyond_the_maps_rows_are_folded_and_totals_stay_exact() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::tokio_probe();
    let exe = path.to_string_lossy().into_owned();
    let whole = Agent::on(&[&path]);
    let folding = Agent::start(&["--max-sites", "8", "--exe", &exe]);
    let mut target = Target::start(&path);
    for command in ["all 20", "release", "storm 20000", "runtimes-drop", "local-drop"] {
        let truth = target.command(command);
        let found = until_equal(&whole, target.pid(), "tokio", truth.counts());
        // What does not fit has lost its site, and with it whether it was tokio's own: compare all there is.
        let want = sum(&found, |_| true);
        let found = until(command, || {
            let found = folding.runtime(target.pid(), "tokio")?;
            if sum(&found, |_| true) == want {
                Ok(found)
            } else {
                Err(format!("want {want:?}: {}", describe(&found)))
            }
        });
        check_identity(&found);
        assert!(
            found.sites.iter().any(|site| site.name.contains("~other")),
            "{}",
            describe(&found)
        );
    }
    let report = folding.next_report();
    assert_eq!(
        report.agent.kernel_counters.get("lost_counts"),
        Some(&0),
        "{:?}",
        report.agent
    );
    assert!(
        report.agent.kernel_counters["folded_sites"] > 0,
        "{:?}",
        report.agent
    );
}

/// Two million spawns with every one streamed through the smallest ring: records are lost, counts are not,
/// and what was to be sent is what was sent and what was lost.
#[test]
fn storm_through_a_ring_too_small_loses_records_and_no_count() {
    if !privilege::privileged() {
        return;
    }
    let path = TokioProbe {
        tokio: "154",
        profile: programs::Profile::Fat,
        stripped: false,
    }
    .path();
    let exe = path.to_string_lossy().into_owned();
    let agent = Agent::start(&["--ring", "4KiB", "--stream-every", "1", "--exe", &exe]);
    let mut target = Target::start(&path);
    let truth = target.command("storm 2000000");
    let found = until_equal(&agent, target.pid(), "tokio", truth.counts());
    assert!(found.exact, "{}", describe(&found));
    let report = agent.next_report();
    let ring = report.agent.hops.iter().find(|hop| hop.name == "ring").unwrap();
    assert_eq!(
        ring.taken,
        ring.passed + ring.dropped.values().sum::<u64>(),
        "{ring:?}"
    );
    assert!(
        ring.dropped["lost_stream_record"] > 0,
        "the ring was not too small: {ring:?}"
    );
    // One record per spawn and per finish of a task, tokio's own included; threads have theirs, too.
    assert!(ring.taken >= truth.spawned + truth.finished, "{ring:?}");
    for lost in [
        "lost_counts",
        "folded_sites",
        "unknown_point",
        "unreadable_header",
    ] {
        assert_eq!(
            report.agent.kernel_counters.get(lost),
            Some(&0),
            "{lost}: {:?}",
            report.agent.kernel_counters
        );
    }
}

/// A hooked site that is counted often has a slot; when its process has ended, the slot is free again.
#[test]
fn slots_of_an_ended_process_are_free_again() {
    if !privilege::privileged() {
        return;
    }
    // An executable that no other test of this file runs: slots are counted for all processes of the node that are followed.
    let path = TokioProbe {
        tokio: "147",
        profile: programs::Profile::Release,
        stripped: false,
    }
    .path();
    let agent = Agent::on(&[&path]);
    let in_use = |agent: &Agent| {
        let report = agent.next_report();
        let fill = report.agent.maps.iter().find(|map| map.name == "SLOTS").unwrap();
        assert!(fill.entries <= fill.capacity, "{fill:?}");
        fill.entries
    };
    assert_eq!(in_use(&agent), 0);
    let mut target = Target::start(&path);
    let truth = target.command("storm 20000");
    until_equal(&agent, target.pid(), "tokio", truth.counts());
    assert!(in_use(&agent) > 0);
    drop(target);
    until("the slots to be freed", || match in_use(&agent) {
        0 => Ok(()),
        still => Err(format!("{still} are in use")),
    });
}

/// A steady load while the agent watches: at the end of it, every task has been counted twice.
#[test]
fn steady_load_is_counted_to_the_task() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::tokio_probe();
    let agent = Agent::on(&[&path]);
    let mut target = Target::start(&path);
    target.command("hold 5000");
    for _ in 0..10 {
        let _later = agent.next_report();
    }
    let truth = target.command("stop");
    assert!(truth.spawned > 0);
    until_equal(&agent, target.pid(), "tokio", truth.counts());
}
