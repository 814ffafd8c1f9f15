//! tokio tasks of every build, against what the program counts itself.

use leak_agent::report::State;
use leak_agent_tests::compare::{compare_sites, describe, sum, until_equal, until_equal_since};
use leak_agent_tests::programs::{Profile, TokioProbe};
use leak_agent_tests::{Agent, Target, privilege};

/// Attached before the program starts: every number is exact at every standstill, from the first task on.
fn attached_before_start_is_exact(probe: TokioProbe) {
    if !privilege::privileged() {
        return;
    }
    let path = probe.path();
    let agent = Agent::on(&[&path]);
    let mut target = Target::start(&path);
    for command in [
        "all 20",
        "release",
        "storm 20000",
        "handles-drop",
        "runtimes-drop",
        "local-drop",
        "blocking-park 3",
        "park 5",
    ] {
        let truth = target.command(command);
        let found = until_equal(&agent, target.pid(), "tokio", truth.counts());
        assert_eq!(found.state, State::Followed, "{}", describe(&found));
        assert!(found.exact, "{}", describe(&found));
        assert_eq!(found.baseline, 0, "{}", describe(&found));
        if !probe.stripped {
            let named = compare_sites(&found, &truth);
            assert!(
                named * 4 >= truth.sites.len() * 3,
                "{named} named: {}",
                describe(&found)
            );
        }
        if command == "park 5" {
            // The workers of the one runtime that is left, and nothing else, are tokio's own.
            assert_eq!(sum(&found, |site| site.system).live, 2, "{}", describe(&found));
            assert!(
                found
                    .version
                    .as_deref()
                    .is_some_and(|version| version.starts_with(probe.version()))
            );
        }
    }
}

/// Attached in the middle of a run, while tasks come and go: what happened since is exact.
fn attached_in_the_middle_is_exact_from_then_on(probe: TokioProbe) {
    if !privilege::privileged() {
        return;
    }
    let path = probe.path();
    let mut target = Target::start(&path);
    target.command("all 20");
    let begin = target.command("park 7");
    let agent = Agent::on(&[&path]);
    for command in [
        "all 10",
        "storm 20000",
        "release",
        "handles-drop",
        "local-drop",
        "runtimes-drop",
    ] {
        let truth = target.command(command);
        let found = until_equal_since(&agent, target.pid(), "tokio", &begin, &truth);
        assert_ne!(found.state, State::Unsupported, "{}", describe(&found));
    }
}

macro_rules! builds {
    ($($early:ident $middle:ident = $tokio:literal $profile:ident $stripped:literal;)*) => {$(
        /// See [`attached_before_start_is_exact`].
        #[test]
        fn $early() {
            attached_before_start_is_exact(TokioProbe {
                tokio: $tokio,
                profile: Profile::$profile,
                stripped: $stripped,
            });
        }

        /// See [`attached_in_the_middle_is_exact_from_then_on`].
        #[test]
        fn $middle() {
            attached_in_the_middle_is_exact_from_then_on(TokioProbe {
                tokio: $tokio,
                profile: Profile::$profile,
                stripped: $stripped,
            });
        }
    )*};
}

builds! {
    tokio_154_release_from_its_start_is_exact tokio_154_release_in_its_middle_is_exact = "154" Release false;
    tokio_154_release_stripped_from_its_start_is_exact tokio_154_release_stripped_in_its_middle_is_exact = "154" Release true;
    tokio_154_fat_from_its_start_is_exact tokio_154_fat_in_its_middle_is_exact = "154" Fat false;
    tokio_154_fat_stripped_from_its_start_is_exact tokio_154_fat_stripped_in_its_middle_is_exact = "154" Fat true;
    tokio_154_thin_from_its_start_is_exact tokio_154_thin_in_its_middle_is_exact = "154" Thin false;
    tokio_154_opt_z_from_its_start_is_exact tokio_154_opt_z_in_its_middle_is_exact = "154" OptZ false;
    tokio_154_debug_from_its_start_is_exact tokio_154_debug_in_its_middle_is_exact = "154" Debug false;
    tokio_147_release_from_its_start_is_exact tokio_147_release_in_its_middle_is_exact = "147" Release false;
    tokio_147_release_stripped_from_its_start_is_exact tokio_147_release_stripped_in_its_middle_is_exact = "147" Release true;
    tokio_147_fat_from_its_start_is_exact tokio_147_fat_in_its_middle_is_exact = "147" Fat false;
    tokio_147_fat_stripped_from_its_start_is_exact tokio_147_fat_stripped_in_its_middle_is_exact = "147" Fat true;
    tokio_138_release_from_its_start_is_exact tokio_138_release_in_its_middle_is_exact = "138" Release false;
    tokio_138_release_stripped_from_its_start_is_exact tokio_138_release_stripped_in_its_middle_is_exact = "138" Release true;
    tokio_138_fat_from_its_start_is_exact tokio_138_fat_in_its_middle_is_exact = "138" Fat false;
    tokio_138_fat_stripped_from_its_start_is_exact tokio_138_fat_stripped_in_its_middle_is_exact = "138" Fat true;
}
