//! Go processes that ran before the agent came, whenever it comes, and whatever they did before.

use leak_agent::source::go;
use leak_agent_tests::books::plan_of;
use leak_agent_tests::compare::{describe, sum, until_exact};
use leak_agent_tests::golang::{Flavour, GoProbe};
use leak_agent_tests::wait::until;
use leak_agent_tests::{Agent, Target, privilege};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Reports that are waited for an exact count while the load goes on.
const REPORTS: u32 = 40;

fn program() -> PathBuf {
    let newest = GoProbe {
        version: "1.27.3",
        flavour: Flavour::PieStripped,
    };
    newest.path()
}

/// Every point of a plan is on an instruction that the kernel emulates: a single step would cost a goroutine 30 times as much.
#[test]
fn go_points_are_all_emulated() {
    for version in ["1.21.13", "1.27.3"] {
        for flavour in [Flavour::Default, Flavour::PieStripped] {
            let plan = plan_of(&GoProbe { version, flavour }.path(), go::RUNTIME);
            let emulated = plan.points.iter().filter(|point| point.emulated).count();
            assert_eq!((plan.points.len(), emulated), (2, 2), "{version} {flavour:?}");
        }
    }
}

/// The instructions under the points of a running process are single-byte pushes or jumps, whatever the plan calls them: the
/// report says the same of the process.
#[test]
fn go_points_of_a_process_are_emulated_in_its_report() {
    if !privilege::privileged() {
        return;
    }
    let path = program();
    let agent = Agent::on(&[&path]);
    let target = Target::start(&path);
    let found = until_exact(&agent, target.pid(), "go", &target.start);
    assert_eq!(
        (found.points, found.points_emulated),
        (2, 2),
        "{}",
        describe(&found)
    );
}

/// Attached after a million goroutines that began and ended, of which 50,000 lived at a time: what is alive then is exact, and
/// stays it.
#[test]
fn go_attached_after_a_million_is_exact() {
    if !privilege::privileged() {
        return;
    }
    let path = program();
    let mut target = Target::start(&path);
    target.command("churn 960000 4");
    target.command("park 50000");
    target.command("release");
    let before = target.command("park 123");
    assert!(before.finished > 1_000_000);
    let agent = Agent::on(&[&path]);
    let found = until_exact(&agent, target.pid(), "go", &before);
    assert_eq!(found.baseline, before.live, "{}", describe(&found));
    for command in ["churn 20000 4", "park 50", "release"] {
        let truth = target.command(command);
        let found = until_exact(&agent, target.pid(), "go", &truth);
        let since = truth.since(&before);
        let counted = (found.spawned, found.finished);
        assert_eq!(
            counted,
            (since.spawned, since.finished),
            "{command}: {}",
            describe(&found)
        );
    }
}

/// Attached while the runtime's list of all goroutines grows to 200,000 and is moved again and again.
#[test]
fn go_attached_while_its_list_moves_is_exact() {
    if !privilege::privileged() {
        return;
    }
    let path = program();
    let mut target = Target::start(&path);
    target.tell("park 200000");
    let agent = Agent::on(&[&path]);
    let truth = target.answer();
    until_exact(&agent, target.pid(), "go", &truth);
    let truth = target.command("release");
    until_exact(&agent, target.pid(), "go", &truth);
}

/// Attached at any moment to a program that starts and ends 20,000 goroutines per second; several processes at once, each with
/// its own moment.
#[test]
fn go_attached_at_random_moments_is_off_by_nothing() {
    if !privilege::privileged() {
        return;
    }
    let path = program();
    let moments: u64 = std::env::var("TEST_MOMENTS").map_or(6, |text| text.parse().unwrap());
    let (mut done, mut soon) = (0, 0);
    while done < moments {
        let (attached, exact) = random_moments(&path, done);
        (done, soon) = (done + attached, soon + exact);
        println!("{done} of {moments} moments: 0 off; exact under load already: {soon}");
    }
    // A machine that is busy with other things always has a thread that is between its probe and the books.
    assert!(soon > 0, "nothing was exact before the load was over");
}

/// How many processes there were, and for how many the count was exact while the load went on.
fn random_moments(path: &Path, seed: u64) -> (u64, u64) {
    let mut targets: Vec<Target> = (0..3).map(|_| Target::start(path)).collect();
    for (index, target) in (0_u64..).zip(&mut targets) {
        target.command(&format!("park {}", 40 + 17 * index));
        target.tell("hold 20000");
    }
    std::thread::sleep(Duration::from_micros(
        (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % 20_000,
    ));
    let agent = Agent::on(&[path]);
    let mut exact = 0;
    for (index, target) in (0_u64..).zip(&targets) {
        until("what rests is known", || {
            let found = agent.runtime(target.pid(), "go")?;
            let parked = sum(&found, |site| site.name == "main.park").live;
            (parked == 40 + 17 * index)
                .then_some(())
                .ok_or_else(|| describe(&found))
        });
        let is_exact = || {
            let _later = agent.next_report();
            agent.runtime(target.pid(), "go").is_ok_and(|found| found.exact)
        };
        exact += u64::from((0..REPORTS).any(|_| is_exact()));
    }
    for target in &mut targets {
        target.tell("unhold");
        while target.answer().phase != "unhold" {}
        let truth = target.command("truth");
        let found = until_exact(&agent, target.pid(), "go", &truth);
        // What was called exact before was not put right later.
        let books = found.books.as_ref().expect("its books were read");
        assert_eq!(
            (books.repairs, books.repair.as_ref()),
            (0, None),
            "{}",
            describe(&found)
        );
    }
    (targets.len() as u64, exact)
}
