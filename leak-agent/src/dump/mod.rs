//! Dumps: the stacks of the live tasks of one process at one moment, grouped. Taken from outside, of a process that runs on.
//!
//! ```text
//! Request → the process's files and memory → stacks of tasks, by their sources → groups → Dump
//! ```
//!
//! Nothing is kept between two dumps, and nothing is written into the process.

mod document;
mod group;
mod process;
mod signature;
mod tasks;
mod threads;

pub use document::{Dump, Frame, Group, LabelSet, VERSION, WaitPlace};
pub use process::DumpError;

use crate::source::Source;
use crate::stack::DebugFiles;
use crate::sys::clock;
use crate::types::Runtime;
use group::Groups;
use process::Opened;

/// Tasks of one runtime that are looked at; further ones are counted.
const TASKS_MAX: usize = 1 << 20;

/// What is wanted.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Of which process: its pid. That of one of its other threads is refused.
    pub pid: u32,
    /// Tasks of these runtimes only, by their labels; empty = of all.
    pub runtimes: Vec<String>,
    /// Tasks of sites only of which the name, the id or the location has this text in it.
    pub site: Option<String>,
    /// Where the debug files of stripped programs are looked for.
    pub debug_files: DebugFiles,
    /// BPF may be used, for the registers of threads.
    pub bpf: bool,
}

impl Request {
    fn wants(&self, runtime: Runtime) -> bool {
        self.runtimes.is_empty() || self.runtimes.iter().any(|label| label == runtime.label)
    }

    fn wants_site(&self, texts: &[&str]) -> bool {
        let wanted = self.site.as_deref();
        wanted.is_none_or(|wanted| texts.iter().any(|text| text.contains(wanted)))
    }
}

/// Takes a dump. Blocks: reads the process's files and memory; some 3 µs of CPU per task.
///
/// # Errors
///
/// See [`DumpError`]. What can be read of a process that ends meanwhile is a dump, which says so.
pub fn take(request: &Request, sources: &[Box<dyn Source>]) -> Result<Dump, DumpError> {
    let (began, taken_at) = (clock::now(), clock::unix());
    let mut process = Opened::open(request, sources)?;
    let mut groups = Groups::default();
    let mut notes = std::mem::take(&mut process.notes);
    tasks::take(&process, request, &mut groups, &mut notes);
    threads::take(&mut process, request, &mut groups, &mut notes);
    let whole = !process.is_gone();
    if !whole {
        notes.push("the process ended meanwhile".to_owned());
    }
    let groups = groups.sorted();
    Ok(Dump {
        version: VERSION,
        pid: process.pid(),
        executable: process.executable.take(),
        taken_at,
        took_s: clock::now().since(began).as_secs_f64(),
        tasks: groups.iter().map(|group| group.count).sum(),
        complete: whole && groups.iter().all(|group| group.complete),
        notes,
        groups,
    })
}
