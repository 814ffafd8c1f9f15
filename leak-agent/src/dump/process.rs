//! The process of a dump: its memory, and what sources know of the files it executes.

use super::Request;
use crate::discovery::{INSPECT_BYTES_MAX, build_id};
use crate::elf::Elf;
use crate::source::{HookPlan, Inspection, Source};
use crate::stack::{ModuleCache, ModuleTable};
use crate::sys::map::MappedFile;
use crate::sys::memory::{MemoryError, RemoteMemory};
use crate::sys::proc::{ProcDir, ProcError, ProcessId};
use crate::types::{ExecutableId, Runtime};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Files of which unwind data is kept during a dump, and how many bytes in all.
const MODULES_MAX: usize = 4096;
const MODULE_BYTES_MAX: usize = 192 << 20;

/// Why there is no dump.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// No process has this pid.
    #[error("no process has the pid {pid}")]
    NoProcess {
        /// Which.
        pid: u32,
    },
    /// It is not the pid of a process.
    #[error("{pid} is a thread of process {process}")]
    Thread {
        /// What was asked for.
        pid: u32,
        /// Whose thread it is.
        process: u32,
    },
    /// `/proc` refuses.
    #[error(transparent)]
    Proc(#[from] ProcError),
    /// Its memory cannot be read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// A process that is being looked at.
pub(super) struct Opened {
    pub(super) id: ProcessId,
    pub(super) memory: RemoteMemory,
    pub(super) table: ModuleTable,
    pub(super) modules: ModuleCache,
    pub(super) executable: Option<String>,
    /// Files with a runtime whose tasks have stacks of their own.
    pub(super) files: Vec<Executable>,
    pub(super) notes: Vec<String>,
}

/// A file that the process executes.
pub(super) struct Executable {
    map: MappedFile,
    id: ExecutableId,
    /// The file as caches know it.
    pub(super) identity: ExecutableId,
    /// Run-time minus file address.
    pub(super) bias: u64,
    pub(super) plans: Vec<HookPlan>,
}

impl Executable {
    /// As sources read it.
    pub(super) fn elf(&self) -> Elf<'_> {
        Elf {
            data: &self.map,
            id: self.id.clone(),
            debug: None,
        }
    }

    /// Its owner cut it off while it was read: what was read is void.
    pub(super) fn is_cut(&self) -> bool {
        self.map.cut()
    }
}

impl Opened {
    /// Opens a process, and asks the sources whose tasks have stacks about its files.
    pub(super) fn open(request: &Request, sources: &[Box<dyn Source>]) -> Result<Self, DumpError> {
        let pid = request.pid;
        let absent = DumpError::NoProcess { pid };
        let Some(directory) = ProcDir::open(pid)? else {
            return Err(absent);
        };
        let Some(stat) = directory.stat()? else {
            return Err(absent);
        };
        match directory.tgid()? {
            None => return Err(absent),
            Some(process) if process != pid => return Err(DumpError::Thread { pid, process }),
            Some(_) => {}
        }
        let id = ProcessId {
            tgid: pid,
            start: stat.start,
        };
        let memory = RemoteMemory::open(&id)?;
        let Some(table) = ModuleTable::of_process(id)? else {
            return Err(absent);
        };
        let executable = directory.exe()?;
        let mut opened = Self {
            id,
            memory,
            table,
            modules: ModuleCache::new(MODULES_MAX, MODULE_BYTES_MAX),
            executable: executable.map(|path| path.to_string_lossy().into_owned()),
            files: Vec::new(),
            notes: Vec::new(),
        };
        opened.look(request, sources);
        Ok(opened)
    }

    /// Its pid.
    pub(super) fn pid(&self) -> u32 {
        self.id.tgid
    }

    /// Whether the process, or the program that it ran, has ended.
    pub(super) fn is_gone(&self) -> bool {
        self.memory.still_there().is_err()
    }

    /// Asks about each executable file once.
    fn look(&mut self, request: &Request, sources: &[Box<dyn Source>]) {
        let asked: Vec<&dyn Source> = sources
            .iter()
            .map(AsRef::as_ref)
            .filter(|source| source.has_stacks())
            .collect();
        let starts: Vec<u64> = self
            .table
            .mappings()
            .list
            .iter()
            .map(|mapping| mapping.start)
            .collect();
        let mut seen = BTreeSet::new();
        for start in starts {
            let Some(module) = self.table.module(start, &mut self.modules) else {
                continue;
            };
            let (identity, bias) = (module.file.identity.clone(), module.bias);
            let id = module.file.id.clone();
            if !seen.insert((identity.clone(), bias)) {
                continue;
            }
            let Some(file) = self.table.open(start) else {
                continue;
            };
            let Ok(map) = MappedFile::map(&file, INSPECT_BYTES_MAX) else {
                continue;
            };
            let mut executable = Executable {
                id: build_id(&map).map_or(id, ExecutableId::BuildId),
                map,
                identity,
                bias,
                plans: Vec::new(),
            };
            for source in &asked {
                self.notes.extend(inspect(*source, &mut executable, request));
            }
            if !executable.plans.is_empty() && !executable.is_cut() {
                self.files.push(executable);
            }
        }
    }
}

/// Takes what a source says of a file; gives what is to be said of it.
fn inspect(source: &dyn Source, executable: &mut Executable, request: &Request) -> Option<String> {
    let told = |runtime: Runtime, reason: &str| {
        request
            .wants(runtime)
            .then(|| format!("{runtime} is not followed: {reason}"))
    };
    let said = catch_unwind(AssertUnwindSafe(|| source.inspect(&executable.elf())));
    match said {
        Ok(Inspection::NotMine) => None,
        Ok(Inspection::Plan(plan)) => {
            executable.plans.push(*plan);
            None
        }
        Ok(Inspection::Unsupported { runtime, reason }) => told(runtime, &reason),
        Err(_) => told(
            source.runtime(),
            "the inspection failed on its file (a defect of the agent)",
        ),
    }
}
