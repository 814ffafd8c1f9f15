//! Dumps, taken by the agent's library and by its command line.

use crate::agent;
use leak_agent::dump::{self, Dump, DumpError, Group, Request};
use leak_agent::source;
use std::process::Output;

/// A dump of all tasks of a process.
///
/// # Errors
///
/// See [`DumpError`].
pub fn take(pid: u32) -> Result<Dump, DumpError> {
    take_of(pid, &[])
}

/// A dump of the tasks of these runtimes.
///
/// # Errors
///
/// See [`DumpError`].
pub fn take_of(pid: u32, runtimes: &[&str]) -> Result<Dump, DumpError> {
    let request = Request {
        pid,
        runtimes: runtimes.iter().map(|&label| label.to_owned()).collect(),
        bpf: true,
        ..Request::default()
    };
    dump::take(&request, &source::all())
}

/// The groups of the thread of this name: one, if the name is one thread's.
#[must_use]
pub fn named<'dump>(dump: &'dump Dump, name: &str) -> Vec<&'dump Group> {
    let has = |group: &&Group| {
        let mut labels = group.labels.iter().flat_map(|set| &set.labels);
        labels.any(|(key, value)| key == "name" && value == name)
    };
    dump.groups.iter().filter(has).collect()
}

/// `leak-agent dump PID …`.
#[must_use]
pub fn run(pid: u32, arguments: &[&str]) -> Output {
    let pid = pid.to_string();
    agent::run(&[&["dump", pid.as_str()], arguments].concat())
}
