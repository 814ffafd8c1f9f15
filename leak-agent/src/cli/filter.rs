//! Which processes of a report the person asked for, and what to say when there are none.

use super::NOTHING_MATCHED;
use super::args::FilterArgs;
use crate::config::AgentConfig;
use crate::report::Report;
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
        let _ = writeln!(io::stderr(), "leak-agent: no process {pid} to follow");
    }
}

/// Says that nothing matched; returns the exit code of that.
pub(super) fn tell_nothing(filter: &FilterArgs) -> u8 {
    if filter.pids.is_empty() {
        let patterns = filter.exes.join(", ");
        let what = if patterns.is_empty() {
            String::new()
        } else {
            format!(": no executable matches {patterns}")
        };
        let _ = writeln!(io::stderr(), "leak-agent: no process to follow{what}");
    }
    NOTHING_MATCHED
}
