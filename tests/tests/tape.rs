//! Tapes of real runs: what is replayed is what the agent reported, however its run ended.

use leak_agent::report::Report;
use leak_agent_tests::wait::until;
use leak_agent_tests::{Agent, Target, agent, privilege, programs};
use rustix::process::Signal;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a test records.
fn place(test: &str) -> PathBuf {
    let path = programs::scratch(&format!("tape-{test}")).join("run.tape");
    let _ = std::fs::remove_file(&path);
    path
}

/// An agent that follows these programs and records.
fn recording(path: &Path, programs: &[&Path]) -> Agent {
    let mut arguments: Vec<OsString> = vec!["--record".into(), path.into()];
    for program in programs {
        arguments.extend(["--exe".into(), program.into()]);
    }
    Agent::start(&arguments)
}

/// Waits until what was reported before is on the disk: for two more flushes.
fn written(path: &Path) {
    let size = || std::fs::metadata(path).map_or(0, |file| file.len());
    for _ in 0..2 {
        let before = size();
        until("more is on the disk", || {
            (size() > before).then_some(()).ok_or("not yet")
        });
    }
}

/// What `replay` prints of all ticks, and what it says.
fn replay(path: &Path) -> (String, String) {
    let path = path.as_os_str().to_owned();
    let done = agent::run(&["replay".into(), "--format".into(), "json-lines".into(), path]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}");
    (String::from_utf8(done.stdout).expect("text"), said)
}

fn reports(lines: &str) -> Vec<Report> {
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("a report"))
        .collect()
}

/// The reports that the agent served are on its tape, each to the last digit; two replays give the same bytes.
#[test]
fn replay_of_a_real_run_gives_the_reports_of_the_run() {
    if !privilege::privileged() {
        return;
    }
    let path = place("run");
    let (threads, tokio) = (programs::threads(), programs::tokio_probe());
    let mut early = Target::start(&threads);
    early.command("park 5");
    let mut agent = recording(&path, &[&threads, &tokio]);
    let mut late = Target::start(&tokio);
    let mut served = Vec::new();
    for command in ["park 7", "joined 20"] {
        early.command(command);
        served.push(agent.next_report());
    }
    late.command("park 30");
    until("the tasks are followed", || {
        let runtime = agent.runtime(late.pid(), "tokio")?;
        served.push(agent.report());
        if runtime.live > 0 {
            Ok(())
        } else {
            Err("none yet".to_owned())
        }
    });
    late.kill();
    for _ in 0..3 {
        served.push(agent.next_report());
    }
    assert!(agent.end_in_time(Signal::TERM).success());
    let (lines, said) = replay(&path);
    assert!(!said.contains("tape"), "{said}");
    assert_eq!(replay(&path).0, lines, "two replays differ");
    let replayed = reports(&lines);
    for report in served
        .into_iter()
        .filter(|report| report.agent.counters.contains_key("tape_bytes"))
    {
        let same = replayed.iter().find(|other| other.taken_at == report.taken_at);
        let same = same.unwrap_or_else(|| panic!("no report of {}", report.taken_at));
        assert_eq!(*same, report);
    }
}

/// An agent that is killed leaves a tape that has all but the end.
#[test]
fn replay_after_a_kill_has_all_but_the_end() {
    if !privilege::privileged() {
        return;
    }
    let path = place("killed");
    let threads = programs::threads();
    let mut target = Target::start(&threads);
    target.command("park 9");
    let mut agent = recording(&path, &[&threads]);
    let seen = agent.next_report();
    written(&path);
    agent.signal(Signal::KILL);
    agent.ended();
    let (lines, said) = replay(&path);
    assert!(said.contains("no end mark") || said.contains("cut off"), "{said}");
    let replayed = reports(&lines);
    assert!(replayed.contains(&seen), "{}", replayed.len());
}

/// A folder on a disk of a few kilobytes; unmounted at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new() -> Self {
        let path = programs::scratch("tape-small-disk").join("disk");
        std::fs::create_dir_all(&path).expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "leak-agent-test"])
            .arg(&path)
            .status();
        assert!(mounted.expect("mount").success());
        Self(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A full disk ends the tape, is said once and counted; the agent goes on, and what is on the tape can be replayed.
#[test]
fn tape_on_a_full_disk_ends_and_the_agent_goes_on() {
    if !privilege::privileged() {
        return;
    }
    let disk = SmallDisk::new();
    let path = disk.0.join("run.tape");
    let threads = programs::threads();
    let mut target = Target::start(&threads);
    let agent = Agent::start(&[
        OsString::from("--record"),
        path.clone().into(),
        "--exe".into(),
        threads.into(),
    ]);
    written(&path);
    // All that is left but the rest of the tape's last page.
    let filled = std::fs::write(disk.0.join("filler"), vec![1; 64 << 10]);
    assert!(filled.is_err(), "the disk is larger than it should be");
    until("the tape has ended", || {
        target.command("joined 20");
        let counters = agent.report().agent.counters;
        (counters["tape_stopped"] == 1)
            .then_some(())
            .ok_or(format!("{counters:?}"))
    });
    target.command("park 3");
    let report = agent.next_report();
    assert!(report.agent.counters["tape_entries_lost"] > 0);
    let said = agent.log();
    assert_eq!(said.matches("nothing is recorded any more").count(), 1, "{said}");
    let (lines, _) = replay(&path);
    assert!(!reports(&lines).is_empty());
}
