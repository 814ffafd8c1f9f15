//! The threads of the Go scheduler (its `M`s), and what they do: read from the list of them in the memory of a process that
//! runs on.
//!
//! The list is found like the other variables of the runtime, by the instructions that use it, and is believed only if each
//! entry's own goroutine leads back to it. Threads that C made and that only run callbacks are in the list, too; they are
//! not the scheduler's, and left out.

use super::goroutine::{self, Goroutine, Status};
use super::layout::Layout;
use super::pclntab::{Function, Table};
use crate::elf::Image;
use crate::source::books::{self, BooksError, ThreadsAtWork};
use crate::sys::memory::{Batch, Memory, MemoryError};
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind};
use std::collections::{BTreeMap, BTreeSet};

/// Threads that are looked at: the Go runtime itself allows 10,000 unless told otherwise.
const THREADS_MAX: usize = 1 << 16;
/// A list that a thread left while it was read is read again, so often.
const ATTEMPTS: u32 = 4;
/// `g.m`, in all versions.
const G_M: u64 = 48;
/// Puts a new thread into the list.
const LISTS: &str = "runtime.mcommoninit";
/// What threads without a processor run for as long as the process lives.
const SERVICES: [&str; 2] = ["runtime.sysmon", "runtime.templateThread"];
/// Bytes of one function that are looked at.
const CODE_MAX: usize = 64 << 10;

/// Functions that are looked for in the table of functions. Those that a version does not have are left out.
pub(super) const FUNCTIONS: [&str; 3] = [LISTS, SERVICES[0], SERVICES[1]];

/// What a thread does: the words of the report, and their order there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Activity {
    Running,
    Syscall,
    Cgo,
    LockedIdle,
    Searching,
    Idle,
    Service,
}

impl Activity {
    const ALL: [Self; 7] = [
        Self::Running,
        Self::Syscall,
        Self::Cgo,
        Self::LockedIdle,
        Self::Searching,
        Self::Idle,
        Self::Service,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Syscall => "syscall",
            Self::Cgo => "cgo",
            Self::LockedIdle => "locked_idle",
            Self::Searching => "searching",
            Self::Idle => "idle",
            Self::Service => "service",
        }
    }
}

/// Offsets of fields of `m`, bytes: measured as those in [`Layout`]. `g0` is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fields {
    procid: usize,
    /// Where `mstartfn` is; `curg` follows.
    starts_with: usize,
    p: usize,
    next: usize,
    lockedg: usize,
    /// This version marks threads that C made (`isextra`).
    marks_extra: bool,
}

impl Fields {
    /// Those of a version; `None` = not known.
    const fn of(minor: u32) -> Option<Self> {
        let (procid, starts_with, p, next, lockedg) = match minor {
            19 | 21 => (72, 184, 208, 336, 352),
            22 | 23 => (72, 184, 208, 328, 344),
            24 => (72, 184, 208, 352, 368),
            25 => (64, 176, 200, 344, 360),
            26 | 27 => (64, 176, 208, 352, 384),
            _ => return None,
        };
        Some(Self {
            procid,
            starts_with,
            p,
            next,
            lockedg,
            marks_extra: minor > 19,
        })
    }

    /// `spinning`, the first of some bytes that are the same in all versions.
    const fn spinning(&self) -> usize {
        self.p + 68
    }

    const fn in_c(&self) -> usize {
        self.p + 72
    }

    const fn extra(&self) -> usize {
        self.p + 73
    }

    const fn size(&self) -> usize {
        self.lockedg + 8
    }
}

/// How the list of threads of one executable is read. Addresses in the file's own numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ThreadList {
    fields: Fields,
    /// `allm`: the newest thread.
    first: u64,
    /// Entries of the functions of [`SERVICES`].
    services: [Option<u64>; 2],
}

/// One `m`, as it was at one moment, or torn between two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Thread {
    at: u64,
    own: u64,
    id: u64,
    starts_with: u64,
    runs: u64,
    processor: u64,
    spinning: bool,
    in_c: bool,
    extra: bool,
    next: u64,
    locked: u64,
}

impl Thread {
    fn read(at: u64, bytes: &[u8], fields: &Fields) -> Option<Self> {
        let word = |offset: usize| Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?));
        let flag = |offset: usize| Some(*bytes.get(offset)? != 0);
        Some(Self {
            at,
            own: word(0)?,
            id: word(fields.procid)?,
            starts_with: word(fields.starts_with)?,
            runs: word(fields.starts_with + 8)?,
            processor: word(fields.p)?,
            spinning: flag(fields.spinning())?,
            in_c: flag(fields.in_c())?,
            extra: fields.marks_extra && flag(fields.extra())?,
            next: word(fields.next)?,
            locked: word(fields.lockedg)?,
        })
    }

    /// What it does. `goroutine`: the one that it runs; `service`: it was started with one of the runtime's own loops.
    /// `None` = it is none of the scheduler's.
    fn activity(&self, goroutine: Option<&Goroutine>, service: bool) -> Option<Activity> {
        if self.extra || self.id == 0 {
            return None; // made by C, or not started yet
        }
        if let Some(goroutine) = goroutine {
            if goroutine.statement == 0 && goroutine.function == 0 {
                return None; // a callback from C, on its thread
            }
            return Some(match goroutine.status {
                _ if self.in_c => Activity::Cgo,
                Some(Status::Syscall) => Activity::Syscall,
                _ => Activity::Running,
            });
        }
        Some(match self {
            _ if service => Activity::Service,
            Self { locked: 1.., .. } => Activity::LockedIdle,
            Self { spinning: true, .. } | Self { processor: 1.., .. } => Activity::Searching,
            _ => Activity::Idle,
        })
    }
}

impl ThreadList {
    /// Finds it; `None` = not for certain, or the version's layout is not known. `functions`: those of [`FUNCTIONS`].
    pub(super) fn find(
        image: &Image<'_>,
        table: &Table<'_>,
        functions: &BTreeMap<&'static str, Function>,
        minor: u32,
    ) -> Option<Self> {
        let fields = Fields::of(minor)?;
        let first = list_head(image, table, *functions.get(LISTS)?)?;
        Some(Self {
            fields,
            first,
            services: SERVICES.map(|name| functions.get(name).map(|function| function.entry)),
        })
    }

    /// What the threads do now; `None` = the list did not hold still, or is none. Costs about 1 µs per thread.
    ///
    /// # Errors
    ///
    /// The memory could not be read at all.
    pub(super) fn read(
        &self,
        memory: &dyn Memory,
        layout: &Layout,
        bias: u64,
    ) -> Result<Option<ThreadsAtWork>, BooksError> {
        for _ in 0..ATTEMPTS {
            let walked = self.walk(memory, bias).and_then(|threads| match threads {
                Some(threads) if is_list(memory, &threads)? => {
                    self.look_at(memory, &threads, layout, bias).map(Some)
                }
                _ => Ok(None),
            });
            match walked {
                Ok(Some(work)) => return Ok(Some(work)),
                Ok(None) | Err(BooksError::Memory(MemoryError::NotMapped { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Follows the list to its end; `None` = it has none.
    fn walk(&self, memory: &dyn Memory, bias: u64) -> Result<Option<Vec<Thread>>, BooksError> {
        let mut bytes = vec![0; self.fields.size()];
        let mut word = [0; 8];
        memory.read(self.first.wrapping_add(bias), &mut word)?;
        let mut at = u64::from_le_bytes(word);
        let mut threads = Vec::new();
        while at != 0 {
            memory.read(at, &mut bytes)?;
            let Some(thread) = Thread::read(at, &bytes, &self.fields) else {
                return Ok(None);
            };
            if threads.len() >= THREADS_MAX {
                return Ok(None);
            }
            at = thread.next;
            threads.push(thread);
        }
        Ok(Some(threads))
    }

    fn look_at(
        &self,
        memory: &dyn Memory,
        threads: &[Thread],
        layout: &Layout,
        bias: u64,
    ) -> Result<ThreadsAtWork, BooksError> {
        let mut batch = Batch::default();
        let mut push = |at: u64, size: usize| (at != 0).then(|| batch.push(at, size));
        let reads: Vec<_> = threads
            .iter()
            .map(|thread| {
                (
                    push(thread.runs, goroutine::size(layout)),
                    push(thread.starts_with, 8),
                )
            })
            .collect();
        memory.read_many(&mut batch)?;
        let mut counts = BTreeMap::new();
        let mut bound = 0;
        for (thread, (runs, begins)) in threads.iter().zip(reads) {
            let bytes = |number: Option<usize>| number.and_then(|number| batch.get(number));
            let runs = bytes(runs).and_then(|bytes| Goroutine::read(bytes, layout));
            let begins = bytes(begins).and_then(<[u8]>::first_chunk);
            let begins = begins.map(|bytes| u64::from_le_bytes(*bytes).wrapping_sub(bias));
            let service = begins.is_some() && self.services.contains(&begins);
            if let Some(activity) = thread.activity(runs.as_ref(), service) {
                *counts.entry(activity).or_insert(0) += 1;
                bound += u64::from(thread.locked != 0);
            }
        }
        Ok(ThreadsAtWork {
            activities: Activity::ALL
                .iter()
                .map(|activity| books::Activity {
                    name: activity.label(),
                    threads: counts.get(activity).copied().unwrap_or(0),
                })
                .collect(),
            bound,
        })
    }
}

/// Whether each is a thread: the goroutine that its scheduler runs on belongs to it. A list that came to something else
/// while it was followed is not.
fn is_list(memory: &dyn Memory, threads: &[Thread]) -> Result<bool, BooksError> {
    let mut batch = Batch::default();
    for thread in threads {
        batch.push(thread.own.wrapping_add(G_M), 8);
    }
    memory.read_many(&mut batch)?;
    let owner = |number: usize| Some(u64::from_le_bytes(*batch.get(number)?.first_chunk()?));
    let mut all = threads.iter().enumerate();
    Ok(!threads.is_empty() && all.all(|(number, thread)| owner(number) == Some(thread.at)))
}

/// The one variable of the function that is read whole into a register, and whose address is taken.
fn list_head(image: &Image<'_>, table: &Table<'_>, function: Function) -> Option<u64> {
    let size = usize::try_from(function.end.saturating_sub(function.entry)).ok()?;
    let bytes = image.bytes_from(function.entry)?;
    let bytes = bytes.get(..size.min(CODE_MAX)).unwrap_or(bytes);
    let (mut taken, mut loaded) = (BTreeSet::new(), BTreeSet::new());
    for instruction in Decoder::with_ip(64, bytes, function.entry, DecoderOptions::NONE) {
        let Some(at) = variable(&instruction).filter(|at| table.function_of(*at).is_none()) else {
            continue;
        };
        match instruction.mnemonic() {
            Mnemonic::Lea => {
                taken.insert(at);
            }
            Mnemonic::Mov
                if instruction.op0_kind() == OpKind::Register && instruction.memory_size().size() == 8 =>
            {
                loaded.insert(at);
            }
            _ => {}
        }
    }
    let mut both = taken.intersection(&loaded);
    let first = both.next()?;
    both.next().is_none().then_some(*first)
}

/// The address of a memory operand that is given relative to the instruction.
fn variable(instruction: &Instruction) -> Option<u64> {
    let memory = (0..instruction.op_count()).any(|index| instruction.op_kind(index) == OpKind::Memory);
    (memory && instruction.is_ip_rel_memory_operand()).then(|| instruction.ip_rel_memory_address())
}

#[cfg(test)]
mod tests;
