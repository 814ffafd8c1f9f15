//! Which processes of a report the person asked for, and what to say on standard error next to it.

use super::NOTHING_MATCHED;
use super::args::FilterArgs;
use super::error::BPF_NEEDS;
use crate::config::AgentConfig;
use crate::report::{ModeName, Report};
use std::io::{self, Write as _};

/// Leaves only the processes that were asked for.
pub(super) fn keep_wanted(report: &mut Report, config: &AgentConfig) {
    report.processes.retain(|process| {
        (config.pids.is_empty() || config.pids.contains(&process.pid))
            && config.exes.wants(process.exe.as_deref())
    });
}

/// Names the pids that were asked for and are not there.
pub(super) fn tell_missing(report: &Report, filter: &FilterArgs) {
    let there = |pid: &u32| report.processes.iter().any(|process| process.pid == *pid);
    for pid in filter.pids.iter().filter(|pid| !there(pid)) {
        say(&format!("no process {pid} to follow"));
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
            "only threads were counted, from /proc: BPF could not be used\n  hint: {BPF_NEEDS}"
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
