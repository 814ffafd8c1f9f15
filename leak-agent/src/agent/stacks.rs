//! The thread that reads creation stacks: it resolves those of threads to sites, teaches the kernel the frames it has learned,
//! and names the calls that led to other tasks.

use super::message::{Created, Message, Resolution};
use crate::bpf::maps::Frames;
use crate::event::StackEvent;
use crate::source::thread::{Outcome, Resolved, Resolver};
use crate::stack::{DebugFiles, RawStack};
use crate::types::{ExecId, ProcessKey};
use leak_agent_common::key::FrameKey;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Stacks that wait at most, 16 KiB each.
const WAITING: usize = 1024;
/// Stacks that share what is read of symbols; then that is given back.
const BATCH: usize = 64;

enum Work {
    Stack(Box<StackEvent>),
    Forget(ProcessKey, Option<ExecId>),
}

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Stacks {
    sender: Sender<Work>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: AtomicUsize,
    counters: Mutex<BTreeMap<&'static str, u64>>,
}

impl Stacks {
    /// Hands over a stack; `false`: too many wait, it is dropped.
    pub(super) fn submit(&self, stack: Box<StackEvent>) -> bool {
        if self.shared.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.sender.send(Work::Stack(stack)).is_ok()
    }

    /// Forgets a process, or all its images but this one.
    pub(super) fn forget(&self, process: ProcessKey, but: Option<ExecId>) {
        // A thread that is gone has nothing to forget.
        let _ = self.sender.send(Work::Forget(process, but));
    }

    /// How many stacks wait, and how many may.
    pub(super) fn fill(&self) -> (usize, usize) {
        (self.shared.waiting.load(Ordering::Relaxed), WAITING)
    }

    /// What was resolved, and what the caches dropped.
    pub(super) fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.shared
            .counters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Starts the thread; it ends when [`Stacks`] is dropped, after the work it is on.
///
/// # Errors
///
/// No thread could be started.
pub(super) fn spawn(
    frames: Frames,
    debug_files: DebugFiles,
    inbox: SyncSender<Message>,
) -> io::Result<Stacks> {
    let (sender, work) = channel();
    let shared = Arc::new(Shared::default());
    let stacks = Stacks {
        sender,
        shared: Arc::clone(&shared),
    };
    let mut teacher = Teacher {
        frames,
        taught: HashMap::new(),
        refused: 0,
    };
    std::thread::Builder::new()
        .name("stacks".to_owned())
        .spawn(move || {
            let mut resolver = Resolver::new(debug_files);
            while let Some(answers) = serve(&mut resolver, &mut teacher, &work, &shared.waiting) {
                let mut counters = resolver.counters();
                counters.insert("frames_refused_by_kernel_map", teacher.refused);
                *shared.counters.lock().unwrap_or_else(PoisonError::into_inner) = counters;
                for answer in answers {
                    if inbox.send(answer).is_err() {
                        return;
                    }
                }
            }
        })?;
    Ok(stacks)
}

/// Waits for work, and does what has gathered, up to a batch. `None`: there will be no more.
fn serve(
    resolver: &mut Resolver,
    teacher: &mut Teacher,
    work: &Receiver<Work>,
    waiting: &AtomicUsize,
) -> Option<Vec<Message>> {
    let first = work.recv().ok()?;
    let mut answers = Vec::new();
    let mut forget = Vec::new();
    let mut batch = resolver.batch();
    for work in std::iter::once(first).chain(work.try_iter()).take(BATCH) {
        match work {
            Work::Stack(event) => {
                waiting.fetch_sub(1, Ordering::Relaxed);
                let StackEvent {
                    process, exec, site, ..
                } = *event;
                let stack = raw(*event);
                if site.plan != 0 {
                    let creation = batch.creation(process, exec, &stack);
                    answers.extend(creation.map(|creation| Message::Created(Created::new(&site, creation))));
                } else if let Outcome::Resolved(resolved) = batch.resolve(process, exec, site.site, &stack) {
                    let resolutions = teacher.learn(process, exec, site.site, *resolved);
                    answers.extend(resolutions.map(Message::Resolved));
                }
            }
            Work::Forget(process, but) => forget.push((process, but)),
        }
    }
    drop(batch);
    for (process, but) in forget {
        teacher.forget(process, but);
        resolver.forget(process, but);
    }
    Some(answers)
}

/// The copied stack of an event.
pub(super) fn raw(event: StackEvent) -> RawStack {
    let (ip, sp, bp) = event.registers;
    RawStack {
        ip,
        sp,
        bp,
        start: event.start,
        bytes: event.bytes,
        cut: event.cut,
    }
}

/// The kernel's map of learned frames, and which entries of it belong to which image.
struct Teacher {
    frames: Frames,
    taught: HashMap<(ProcessKey, ExecId), BTreeSet<u64>>,
    refused: u64,
}

impl Teacher {
    /// Puts what a stack taught into the kernel's map; the numbers that lead to its site.
    fn learn(
        &mut self,
        process: ProcessKey,
        exec: ExecId,
        number: u64,
        resolved: Resolved,
    ) -> impl Iterator<Item = Resolution> + use<> {
        for pc in resolved.forgotten {
            self.remove(process, exec, pc);
        }
        for (pc, size) in resolved.learned {
            match self.frames.learn(&frame_key(process, exec, pc), size) {
                Ok(()) => {
                    self.taught.entry((process, exec)).or_default().insert(pc);
                }
                // The map is full: the kernel goes on giving tickets.
                Err(error) => {
                    self.refused += 1;
                    tracing::debug!(%error, "teach a frame");
                }
            }
        }
        let resolution = move |number, site| Resolution {
            process,
            exec,
            number,
            site: Arc::new(site),
        };
        let later = resolved.number.filter(|(given, _)| *given != number);
        let later = later.map(|(given, site)| resolution(given, site));
        std::iter::once(resolution(number, resolved.site)).chain(later)
    }

    fn forget(&mut self, process: ProcessKey, but: Option<ExecId>) {
        let gone: Vec<ExecId> = self
            .taught
            .keys()
            .filter(|(key, exec)| *key == process && Some(*exec) != but)
            .map(|(_, exec)| *exec)
            .collect();
        for exec in gone {
            for pc in self.taught.remove(&(process, exec)).unwrap_or_default() {
                self.remove(process, exec, pc);
            }
        }
    }

    fn remove(&mut self, process: ProcessKey, exec: ExecId, pc: u64) {
        if let Err(error) = self.frames.forget(&frame_key(process, exec, pc)) {
            tracing::debug!(%error, "forget a frame");
        }
    }
}

fn frame_key(process: ProcessKey, exec: ExecId, pc: u64) -> FrameKey {
    FrameKey {
        process,
        pc,
        exec_id: exec.0,
        pad: 0,
    }
}
