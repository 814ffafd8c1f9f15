//! What a debugger reads in a process: tokio's own books, by the names of its types; and the stacks of its threads.

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
    let said = gdb(pid, "owned_tasks.py");
    let books: Vec<OwnedTasks> = said.lines().filter_map(books).collect();
    assert!(!books.is_empty(), "gdb: {said}");
    books
}

/// A frame as gdb has it; inlined functions are frames of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The function; "?" = it has no name.
    pub function: String,
    /// "file:line"; "?" = there is none.
    pub place: String,
}

/// The stack of a thread as gdb has it, innermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// The thread.
    pub tid: u32,
    /// Its name.
    pub name: String,
    /// At most 600.
    pub frames: Vec<Frame>,
}

/// Attaches gdb and reads the stack of each thread; the process stands still meanwhile.
///
/// # Panics
///
/// There is no gdb, or it failed; what it said is told.
#[must_use]
pub fn stacks(pid: u32) -> Vec<Stack> {
    let said = gdb(pid, "stacks.py");
    let mut stacks: Vec<Stack> = Vec::new();
    for line in said.lines() {
        if let Some((tid, name)) = line.strip_prefix("thread ").and_then(|rest| rest.split_once(' ')) {
            stacks.push(Stack {
                tid: tid.parse().unwrap(),
                name: name.to_owned(),
                frames: Vec::new(),
            });
        } else if let Some((function, place)) =
            line.strip_prefix("frame ").and_then(|rest| rest.rsplit_once(' '))
        {
            stacks.last_mut().unwrap().frames.push(Frame {
                function: function.to_owned(),
                place: place.to_owned(),
            });
        }
    }
    assert!(!stacks.is_empty(), "gdb: {said}");
    stacks
}

/// What a script of `gdb/` prints, run by gdb attached to a process.
fn gdb(pid: u32, script: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("gdb").join(script);
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
    assert!(
        output.status.success(),
        "gdb: {}\n{said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    said
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
