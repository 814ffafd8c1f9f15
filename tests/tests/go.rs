//! Goroutines, against what the program and its runtime count themselves.

use leak_agent::report::State;
use leak_agent_tests::compare::{compare_sites, describe, sum, until_equal};
use leak_agent_tests::golang::{Flavour, GoProbe};
use leak_agent_tests::{Agent, Target, privilege};

/// Attached before the program starts: every number is exact at every standstill, and the runtime's own goroutines are
/// told from the program's.
fn attached_before_start_is_exact(probe: GoProbe) {
    if !privilege::privileged() {
        return;
    }
    let path = probe.path();
    let agent = Agent::on(&[&path]);
    let mut target = Target::start(&path);
    for command in [
        "park 300",
        "churn 20000 4",
        "panic 20",
        "goexit 20",
        "goexit-in-panic 20",
        "locked 20",
        "after 20",
        "nested 20",
        "gc 3",
        "finalizers 5",
        "procs 8",
        "procs 2",
        "release",
        "park 5",
    ] {
        let truth = target.command(command);
        let found = until_equal(&agent, target.pid(), "go", truth.counts());
        assert_eq!(found.state, State::Followed, "{}", describe(&found));
        assert!(found.exact, "{}", describe(&found));
        assert_eq!(found.baseline, 0, "{}", describe(&found));
        let named = compare_sites(&found, &truth);
        assert_eq!(named, truth.sites.len(), "{}", describe(&found));
        assert_eq!(
            found.version.as_deref(),
            Some(probe.version),
            "{}",
            describe(&found)
        );
        let park = found.sites.iter().find(|site| site.name == "main.park");
        let statement = park.and_then(|park| park.location.as_deref());
        assert!(
            statement.is_some_and(|statement| statement.contains("ends.go:")),
            "{}",
            describe(&found)
        );
        let own = sum(&found, |site| site.system);
        assert!((4..30).contains(&own.live), "{}", describe(&found));
    }
}

macro_rules! builds {
    ($($name:ident = $version:literal $flavour:ident;)*) => {$(
        /// See [`attached_before_start_is_exact`].
        #[test]
        fn $name() {
            attached_before_start_is_exact(GoProbe {
                version: $version,
                flavour: Flavour::$flavour,
            });
        }
    )*};
}

builds! {
    go_127_from_its_start_is_exact = "1.27.3" Default;
    go_127_pie_stripped_from_its_start_is_exact = "1.27.3" PieStripped;
    go_121_from_its_start_is_exact = "1.21.13" Default;
    go_121_pie_stripped_from_its_start_is_exact = "1.21.13" PieStripped;
}
