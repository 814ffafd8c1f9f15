//! Programs that ran before the agent came: what was alive then is read from the runtime's own books, while tasks come
//! and go, and is exact from then on.

use leak_agent_tests::compare::{describe, until_exact};
use leak_agent_tests::programs::{self, Profile, TokioProbe};
use leak_agent_tests::truth::Truth;
use leak_agent_tests::wait::until;
use leak_agent_tests::{Agent, Target, privilege};
use rustix::process::Signal;
use std::path::Path;
use std::time::Duration;

fn probe(tokio: &'static str, profile: Profile, stripped: bool) -> TokioProbe {
    TokioProbe {
        tokio,
        profile,
        stripped,
    }
}

/// A program at rest, with tasks on two runtimes and on `LocalSet`s, and then everything ends under our eyes.
fn parked_before_is_exact(probe: TokioProbe) {
    if privilege::privileged() {
        exact_from_the_attach_on(&probe.path());
    }
}

fn exact_from_the_attach_on(path: &Path) -> Option<String> {
    let mut target = Target::start(path);
    target.command("all 20");
    let truth = target.command("park 300");
    let agent = Agent::on(&[path]);
    let found = until_exact(&agent, target.pid(), "tokio", &truth);
    assert_eq!(found.baseline, truth.live, "{}", describe(&found));
    let version = found.version.clone();
    for command in ["all 10", "storm 20000", "release", "local-drop", "runtimes-drop"] {
        let truth = target.command(command);
        let found = until_exact(&agent, target.pid(), "tokio", &truth);
        assert_eq!(
            found.baseline + found.spawned,
            truth.spawned - ended(&found, &truth),
            "{}",
            describe(&found)
        );
    }
    version
}

/// A tokio and a compiler newer than any that is known: what their books look like is tried, and the self-check decides.
#[test]
fn versions_newer_than_any_known_are_exact_if_they_prove_themselves() {
    if !privilege::privileged() {
        return;
    }
    let mut program = std::fs::read(programs::tokio_probe()).unwrap();
    for (known, newer) in [
        ("tokio-1.54.", "tokio-1.99."),
        ("rustc version 1.", "rustc version 9."),
    ] {
        let places: Vec<usize> = memchr::memmem::find_iter(&program, known).collect();
        assert_ne!(places, [] as [usize; 0], "{known} is not in it");
        for at in places {
            program[at..at + known.len()].copy_from_slice(newer.as_bytes());
        }
    }
    let folder = programs::scratch("newer");
    let (text, path) = (folder.join("bytes"), folder.join("probe"));
    std::fs::write(&text, program).unwrap();
    programs::copy(&text, &path);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).unwrap();
    let version = exact_from_the_attach_on(&path);
    assert!(version.is_some_and(|version| version.starts_with("1.99.")));
}

/// Tasks that had ended before we came.
fn ended(found: &leak_agent::report::Runtime, truth: &Truth) -> u64 {
    truth.finished - found.finished
}

macro_rules! parked {
    ($($name:ident = $tokio:literal $profile:ident $stripped:literal;)*) => {$(
        /// See [`parked_before_is_exact`].
        #[test]
        fn $name() {
            parked_before_is_exact(probe($tokio, Profile::$profile, $stripped));
        }
    )*};
}

parked! {
    parked_tokio_154_is_exact = "154" Release false;
    parked_tokio_154_fat_stripped_is_exact = "154" Fat true;
    parked_tokio_147_stripped_is_exact = "147" Release true;
    parked_tokio_138_is_exact = "138" Release false;
}

/// Attached in the middle of a storm on two threads: when it is over, not one task is missing or left.
#[test]
fn attached_in_a_storm_is_exact_when_it_is_over() {
    if !privilege::privileged() {
        return;
    }
    let path = probe("154", Profile::Release, false).path();
    for wait in [0, 90, 200] {
        let mut target = Target::start(&path);
        target.command("park 300");
        target.tell("storm 3000000");
        std::thread::sleep(Duration::from_millis(wait));
        let agent = Agent::on(&[&path]);
        let truth = target.answer();
        until_exact(&agent, target.pid(), "tokio", &truth);
    }
}

/// Attached at any moment to a program that spawns and ends 20,000 tasks per second; several processes at once, each with
/// its own moment.
#[test]
fn attached_at_random_moments_is_off_by_nothing() {
    if !privilege::privileged() {
        return;
    }
    let path = probe("154", Profile::Release, true).path();
    let moments: u64 = std::env::var("TEST_MOMENTS").map_or(6, |text| text.parse().unwrap());
    let mut done = 0;
    while done < moments {
        done += random_moments(&path, done);
        println!("{done} of {moments} moments: 0 off");
    }
}

fn random_moments(path: &Path, seed: u64) -> u64 {
    let mut targets: Vec<Target> = (0..3).map(|_| Target::start(path)).collect();
    for (index, target) in (0_u64..).zip(&mut targets) {
        target.command(&format!("park {}", 40 + 17 * index));
        target.command("hold 20000");
    }
    std::thread::sleep(Duration::from_micros(
        (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % 20_000,
    ));
    let agent = Agent::on(&[path]);
    for target in &targets {
        // Known to be exact while the load goes on, not only when it is over.
        until("an exact count under load", || {
            let found = agent.runtime(target.pid(), "tokio")?;
            if found.exact {
                Ok(())
            } else {
                Err(describe(&found))
            }
        });
    }
    for target in &mut targets {
        let truth = target.command("stop");
        until_exact(&agent, target.pid(), "tokio", &truth);
    }
    targets.len() as u64
}

/// Counts and books are compared again and again, and agree.
#[test]
fn books_are_compared_again_and_agree() {
    if !privilege::privileged() {
        return;
    }
    let path = probe("154", Profile::Release, false).path();
    let exe = path.to_string_lossy().into_owned();
    let agent = Agent::start(&["--reconcile", "200ms", "--exe", &exe]);
    let mut target = Target::start(&path);
    let _holding = target.command("hold 2000");
    until("ten comparisons", || {
        let found = agent.runtime(target.pid(), "tokio")?;
        let books = found.books.clone().ok_or("no books")?;
        assert!(books.drift.unwrap_or(0) == 0 && books.repairs == 0, "{books:?}");
        if books.checks >= 10 && books.agreed_at.is_some() {
            Ok(())
        } else {
            Err(format!("{books:?}"))
        }
    });
    let truth = target.command("stop");
    until_exact(&agent, target.pid(), "tokio", &truth);
}

/// Two copies of tokio in one process, each with its own runtimes and ids, attached late while the program's copy is under load
/// and the library's has tasks, has none, and has them again: their sum is exact, or not called so, and never wrong.
#[test]
fn two_tokios_attached_under_load_are_exact() {
    if !privilege::privileged() {
        return;
    }
    let (path, library) = (programs::tokio_probe(), programs::tokio_library());
    let mut target = Target::start(&path);
    target.command(&format!("load {}", library.display()));
    target.command("park 30");
    target.command("library multi 50");
    let parked = target.command("library park 20").live;
    target.command("hold 5000");
    let agent = Agent::start(&["--reconcile", "500ms", "--pid", &target.pid().to_string()]);
    until("an exact count under load", || {
        let found = agent.runtime(target.pid(), "tokio")?;
        found.exact.then_some(()).ok_or_else(|| describe(&found))
    });
    let mut own = target.command("stop");
    let both = |target: &Target, library: u64, own: u64| {
        let truth = Truth {
            live: own + library,
            ..Truth::default()
        };
        let found = until_exact(&agent, target.pid(), "tokio", &truth);
        let books = found.books.expect("its books were compared");
        assert_eq!(
            (books.repairs, books.missed_spawns.unwrap_or(0)),
            (0, 0),
            "{books:?}"
        );
    };
    both(&target, parked, own.live);
    let loaded = target.command("library release").live;
    both(&target, loaded, own.live);
    // Searched while the library's runtimes are empty: by their shape alone they may be anybody's.
    compared(&agent, &target);
    target.command("hold 5000");
    let loaded = target.command("library storm 20000").live;
    own = target.command("stop");
    both(&target, loaded, own.live);
    let loaded = target.command("library park 5").live;
    both(&target, loaded, own.live);
    compared(&agent, &target);
    own = target.command("release");
    both(&target, loaded, own.live);
}

/// Asks for a comparison and waits until it has come to a result.
fn compared(agent: &Agent, target: &Target) {
    let books = || {
        agent
            .runtime(target.pid(), "tokio")?
            .books
            .ok_or_else(|| "no books".to_owned())
    };
    let before = books().map_or(0, |books| books.readings.searches);
    agent.signal(Signal::USR1);
    until("a comparison with a search", || {
        let books = books()?;
        let done = books.readings.searches > before && books.trouble.is_none();
        done.then_some(()).ok_or_else(|| format!("{books:?}"))
    });
}

/// Closures on the blocking pool are in no list: with some from before the agent the number is not called exact, with those that
/// began under its eyes it is, and it becomes exact once the old ones have ended.
#[test]
fn blocking_tasks_from_before_are_said_and_later_known() {
    if !privilege::privileged() {
        return;
    }
    let path = probe("154", Profile::Release, false).path();
    let mut target = Target::start(&path);
    target.command("park 10");
    target.command("blocking-park 3");
    let agent = Agent::start(&["--reconcile", "300ms", "--exe", &path.to_string_lossy()]);
    until("its lists are read, and the closures are said", || {
        let found = agent.runtime(target.pid(), "tokio")?;
        assert!(!found.exact, "{}", describe(&found));
        let read = found
            .books
            .as_ref()
            .is_some_and(|books| books.agreed_at.is_some());
        let said = found
            .reason
            .as_ref()
            .is_some_and(|reason| reason.contains("up to 3 blocking"));
        (read && said).then_some(()).ok_or_else(|| describe(&found))
    });
    // As many that begin as end must not hide them.
    target.command("blocking 500");
    let _later = agent.next_report();
    let found = agent.runtime(target.pid(), "tokio").expect("it is followed");
    assert!(!found.exact, "{}", describe(&found));
    let truth = target.command("release");
    until_exact(&agent, target.pid(), "tokio", &truth);
    let truth = target.command("blocking-park 2");
    until_exact(&agent, target.pid(), "tokio", &truth);
}
