//! The books of a running target, read without the agent around it.

use leak_agent::elf::{Elf, Image};
use leak_agent::source::books::{Budget, Counters, Found, Listing};
use leak_agent::source::{HookPlan, Inspection, ProcessBooks, tokio};
use leak_agent::sys::memory::RemoteMemory;
use leak_agent::sys::present::PrivateMemory;
use leak_agent::sys::proc;
use leak_agent::types::{ExecutableId, FileOffset, Runtime};
use std::path::Path;

/// The plan for an executable with tokio in it.
#[must_use]
pub fn plan(path: &Path) -> HookPlan {
    plan_of(path, tokio::RUNTIME)
}

/// The plan for one runtime in an executable.
#[must_use]
pub fn plan_of(path: &Path, runtime: Runtime) -> HookPlan {
    let data = std::fs::read(path).unwrap();
    leak_agent::source::all()
        .iter()
        .find_map(|source| match source.inspect(&elf(&data)) {
            Inspection::Plan(plan) if plan.runtime == runtime => Some(*plan),
            _ => None,
        })
        .unwrap_or_else(|| panic!("no plan for {} in {}", runtime.label, path.display()))
}

fn elf(data: &[u8]) -> Elf<'_> {
    Elf {
        data,
        id: ExecutableId::BuildId(b"books".to_vec()),
        debug: None,
    }
}

/// The books that one file has in one process.
pub struct Reader {
    /// The process's memory.
    pub memory: RemoteMemory,
    /// The books.
    pub books: Box<dyn ProcessBooks>,
}

impl Reader {
    /// Opens them; finds nothing yet.
    #[must_use]
    pub fn open(pid: u32, path: &Path, plan: &HookPlan) -> Self {
        let id = proc::id_of(pid).unwrap().expect("the target runs");
        let memory = RemoteMemory::open(&id).unwrap();
        let books = plan
            .books
            .as_ref()
            .expect("a plan with books")
            .open(bias(pid, path));
        Self { memory, books }
    }

    /// Searches all of the process's present memory.
    pub fn find(&mut self) -> Found {
        let private = PrivateMemory::of(&self.memory).unwrap();
        self.books
            .find(&self.memory, &private.ranges, &[], &Budget::default())
            .unwrap()
    }

    /// What they count.
    pub fn counters(&mut self) -> Vec<Counters> {
        self.books.counters(&self.memory).unwrap()
    }

    /// All tasks.
    pub fn list(&mut self, limit: usize) -> Listing {
        self.books.list(&self.memory, limit).unwrap()
    }
}

/// Run-time minus file address; 0 if the file has its fixed place.
#[must_use]
pub fn bias(pid: u32, path: &Path) -> u64 {
    use std::os::unix::ffi::OsStrExt;
    let path = std::fs::canonicalize(path).unwrap();
    let data = std::fs::read(&path).unwrap();
    let image = Image::parse(&elf(&data)).unwrap();
    let first = image.vaddr(FileOffset(0)).map_or(0, |vaddr| vaddr.0);
    let mut start = None;
    proc::ProcDir::open(pid)
        .unwrap()
        .expect("the target runs")
        .mappings(|mapping| {
            if mapping.offset == 0 && mapping.path == path.as_os_str().as_bytes() {
                start.get_or_insert(mapping.start);
            }
        })
        .unwrap();
    start.unwrap_or_else(|| panic!("{pid} has not mapped {}", path.display())) - first
}
