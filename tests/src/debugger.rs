//! What a debugger reads in a process: tokio's own books, by the names of its types.

use std::path::Path;
use std::process::{Command, Stdio};

/// The books of one multi-thread runtime (`OwnedTasks`): tasks bound to it, without blocking ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnedTasks {
    /// Alive.
    pub count: u64,
    /// Ever added.
    pub added: u64,
}

/// Attaches gdb and reads the books of each multi-thread runtime; the process stands still meanwhile. It must have full debug
/// information and tokio 1.39 or newer.
///
/// # Panics
///
/// There is no gdb, or it failed; what it said is told.
#[must_use]
pub fn owned_tasks(pid: u32) -> Vec<OwnedTasks> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("gdb/owned_tasks.py");
    let output = Command::new("gdb")
        .args([
            "-nx",
            "-batch",
            "-iex",
            "set auto-load off",
            "-iex",
            "set debuginfod enabled off",
            "-p",
        ])
        .arg(pid.to_string())
        .arg("-x")
        .arg(script)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("gdb is needed (cargo xtask setup installs it): {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let books: Vec<OwnedTasks> = said.lines().filter_map(books).collect();
    assert!(
        output.status.success() && !books.is_empty(),
        "gdb: {}\n{said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    books
}

/// `owned-tasks 1 41 52`: id, count, added.
fn books(line: &str) -> Option<OwnedTasks> {
    let mut numbers = line.strip_prefix("owned-tasks ")?.split(' ').skip(1);
    let mut number = || numbers.next()?.parse().ok();
    Some(OwnedTasks {
        count: number()?,
        added: number()?,
    })
}
