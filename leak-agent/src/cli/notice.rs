//! Which processes of a report the person asked for, and what to say on standard error next to it.

use super::NOTHING_MATCHED;
use super::args::FilterArgs;
use super::error::BPF_NEEDS;
use crate::config::AgentConfig;
use crate::report::{ModeName, Report};
use crate::sys::proc::{self, Named, ProcError};
use std::io::{self, Write as _};

/// Leaves only the processes that were asked for.
pub(super) fn keep_wanted(report: &mut Report, config: &AgentConfig) {
    report.processes.retain(|process| {
        (config.pids.is_empty() || config.pids.contains(&process.pid))
            && config.exes.wants(process.exe.as_deref())
    });
}

/// Names the pids that were asked for and are not in the report, and says why.
pub(super) fn tell_missing(report: &Report, filter: &FilterArgs) {
    let there = |pid: &u32| report.processes.iter().any(|process| process.pid == *pid);
    for pid in filter.pids.iter().filter(|pid| !there(pid)) {
        say(&why_missing(*pid, proc::named(*pid)));
    }
}

fn why_missing(pid: u32, named: Result<Named, ProcError>) -> String {
    match named {
        Ok(Named::Nobody) => format!("no process {pid} to follow"),
        Ok(Named::ThreadOf(process)) => format!("{pid} is a thread of process {process}: ask for that"),
        Ok(Named::KernelThread) => format!("process {pid} exists, but is a kernel thread"),
        Ok(Named::Zombie) => format!("process {pid} exists, but has ended: its parent has not waited for it"),
        Ok(Named::Process(_)) => {
            format!(
                "process {pid} exists, but is not followed: it is new, or not among those that --exe names"
            )
        }
        Err(error) => format!("process {pid} exists, but cannot be followed: {error}"),
    }
}

/// Says that nothing matched; returns the exit code of that.
pub(super) fn tell_nothing(filter: &FilterArgs) -> u8 {
    if filter.pids.is_empty() {
        match filter.exes.as_slice() {
            [] => say("no process to follow"),
            patterns => say(&format!("no executable matches {}", patterns.join(", "))),
        }
    }
    NOTHING_MATCHED
}

/// Says why there is less than was asked for, if BPF was.
pub(super) fn tell_degraded(report: &Report, config: &AgentConfig) {
    if config.bpf && report.agent.mode == ModeName::ProcOnly {
        say(&format!(
            "threads were counted from /proc and tasks from memory, without births and ends: BPF could not be used\n  hint: {BPF_NEEDS}"
        ));
    }
}

fn say(text: &str) {
    // Nobody is left to be told if this fails.
    let _ = writeln!(io::stderr(), "leak-agent: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ExeFilter;
    use crate::report::fixture::{process, report};

    /// Who asks for a pid is told what it is, if it is not followed.
    #[test]
    fn pid_that_is_not_followed_is_told_apart_from_one_that_nobody_has() {
        assert_eq!(why_missing(7, Ok(Named::Nobody)), "no process 7 to follow");
        let denied = ProcError::Denied { what: "stat", pid: 1 };
        assert_eq!(
            why_missing(1, Err(denied)),
            "process 1 exists, but cannot be followed: not permitted to read stat of process 1"
        );
        for named in [Named::ThreadOf(3), Named::KernelThread, Named::Zombie] {
            let told = why_missing(7, Ok(named));
            assert!(told.contains('7') && !told.starts_with("no process"), "{told}");
        }
        assert!(why_missing(2, proc::named(2)).ends_with("a kernel thread"));
    }

    /// Only what matches both the pids and the patterns stays.
    #[test]
    fn filter_by_pid_and_pattern_keeps_the_matches() {
        let processes = [(1, "/a/x"), (2, "/a/y"), (3, "/b/x")];
        let all = report(
            1,
            processes.map(|(pid, exe)| process(pid, "p", exe, vec![])).into(),
        );
        let kept = |pids: &[u32], exes: &[&str]| {
            let config = AgentConfig {
                pids: pids.into(),
                exes: ExeFilter::new(exes).unwrap(),
                ..AgentConfig::default()
            };
            let mut report = all.clone();
            keep_wanted(&mut report, &config);
            report
                .processes
                .iter()
                .map(|process| process.pid)
                .collect::<Vec<_>>()
        };
        assert_eq!(kept(&[], &[]), [1, 2, 3]);
        assert_eq!(kept(&[1, 2], &[]), [1, 2]);
        assert_eq!(kept(&[1, 2], &["x"]), [1]);
        assert_eq!(kept(&[], &["/b/*"]), [3]);
    }
}
