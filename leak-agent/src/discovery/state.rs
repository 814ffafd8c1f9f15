//! The state machine, the side of processes: what comes in, and when who is looked at.

mod life;
mod settings;

pub use settings::Settings;

use super::action::{Action, Notice, Uncounted};
use super::counters::Counters;
use super::executable::Executables;
use super::filter::Filter;
use super::identity::FileKey;
use super::job::{Answer, Asked, Done, Job, Scan, Work};
use super::look::{Known, Look};
use super::pin::{Pattern, Pin};
use super::process::{Processes, later};
use crate::stack::DebugFiles;
use crate::sys::proc::ProcessId;
use crate::types::{BootTime, ProcessKey};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Something that was put off is tried again after this time.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// How many looks may be on their way; each answer may hold descriptors ([`super::look::OPENED_MAX`]).
const LOOKS_IN_FLIGHT: usize = 16;
/// How many inspections may be on their way.
const INSPECTIONS_IN_FLIGHT: usize = 8;
/// After a job was rejected, none is tried again for this long.
const HOLD: Duration = Duration::from_millis(100);
/// [`Settings::looks_per_second`] is per this.
const BUDGET_PERIOD: Duration = Duration::from_secs(1);
/// A repeated look that comes later than this was put off.
const LATE: Duration = Duration::from_secs(1);

/// The state machine; see the module's picture. It reads no clock, file or thread, and never blocks.
#[derive(Debug)]
pub struct Discovery {
    pub(super) settings: Settings,
    filter: Arc<Filter>,
    pub(super) debug_files: DebugFiles,
    pub(super) known: Known,
    pub(super) processes: Processes,
    pub(super) executables: Executables,
    /// Executables that wait for their inspection, first come first served.
    pub(super) waiting: VecDeque<FileKey>,
    /// Plans that are attached or being attached.
    pub(super) attachments: usize,
    pub(super) pinned: BTreeSet<FileKey>,
    pins: Vec<Pattern>,
    /// Processes that nothing could be read of at the last scan.
    unreadable: u64,
    looks_in_flight: usize,
    pub(super) inspections_in_flight: usize,
    scan: Periodic,
    pin: Periodic,
    /// Repeated looks made since the start of the current second.
    budget: (BootTime, u32),
    /// No job before this time.
    hold: BootTime,
    pub(super) actions: VecDeque<Action>,
    pub(super) counters: Counters,
}

/// Something that is done again and again, one at a time.
#[derive(Debug, Default)]
struct Periodic {
    due: BootTime,
    running: bool,
}

/// How full the tables are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sizes {
    /// Processes that are followed, or may turn out to be.
    pub processes: usize,
    /// Their cap.
    pub processes_max: usize,
    /// Executables of which something is known.
    pub executables: usize,
    /// Their cap.
    pub executables_max: usize,
    /// Plans that are attached or being attached.
    pub attachments: usize,
    /// Their cap.
    pub attachments_max: usize,
    /// Executables that wait for their inspection.
    pub waiting: usize,
    /// Their cap.
    pub waiting_max: usize,
}

impl Discovery {
    /// Knows nobody; the first thing it asks for is a scan.
    #[must_use]
    pub fn new(settings: Settings, now: BootTime) -> Self {
        let mut new = Self {
            filter: Arc::new(settings.filter.clone()),
            debug_files: DebugFiles::new(&settings.host_root, &settings.debug_dirs),
            settings,
            known: Known::default(),
            processes: Processes::default(),
            executables: Executables::default(),
            waiting: VecDeque::new(),
            attachments: 0,
            pinned: BTreeSet::new(),
            pins: Vec::new(),
            unreadable: 0,
            looks_in_flight: 0,
            inspections_in_flight: 0,
            scan: Periodic::default(),
            pin: Periodic::default(),
            budget: (now, 0),
            hold: now,
            actions: VecDeque::new(),
            counters: Counters::default(),
        };
        new.pump(now);
        new
    }

    /// Attaches the files that this path names, and keeps them attached, whether a process executes them or not. Wildcards
    /// are allowed in components (`/srv/*/bin/app`). `false` = such a pattern names no file ahead of its time (it is not
    /// absolute, or has `**` or `..` in it), which is counted.
    pub fn pin(&mut self, pattern: &str, now: BootTime) -> bool {
        let Some(pattern) = Pattern::parse(pattern) else {
            self.counters.pins_refused += 1;
            return false;
        };
        self.pins.push(pattern);
        self.pin.due = now;
        self.pump(now);
        true
    }

    /// Takes a notice.
    pub fn notice(&mut self, notice: Notice, now: BootTime) {
        match notice {
            Notice::Forked { process, parent } => self.forked(&process, &parent, now),
            Notice::Execed { process } => self.execed(&process, now),
            Notice::Exited { process } => {
                let id = ProcessId::of(&process);
                if self.processes.get(&id).is_some() {
                    self.ended(&id, now);
                    self.processes.remove(&id);
                }
            }
            Notice::Counted { process } => {
                let id = ProcessId::of(&process);
                if self.take_up(id, Some(process), now) {
                    self.processes.look_at(&id, now);
                }
            }
        }
        self.pump(now);
    }

    /// Takes the answer to a job.
    pub fn done(&mut self, done: Done, now: BootTime) {
        match done.0 {
            Answer::Scanned { asked, found } => self.scanned(asked, found, now),
            Answer::Looked {
                process,
                round,
                answer,
            } => self.looked(&process, round, answer, now),
            Answer::Inspected { file, answer } => self.inspected(file, answer, now),
            Answer::Pinned(answer) => {
                self.pin.running = false;
                self.named_by_operator(answer, now);
            }
            Answer::Panicked(asked) => {
                self.counters.job_panics += 1;
                match asked {
                    Asked::Scan => self.scan.running = false,
                    Asked::Pin => self.pin.running = false,
                    Asked::File(file) => self.no_answer(file),
                    Asked::Process(process, round) => {
                        if self.look_ended(&process, round) {
                            self.processes.look_again(&process, now);
                        }
                    }
                }
            }
        }
        self.pump(now);
    }

    /// Takes back a job that the pool had no room for; it comes again a little later.
    pub fn rejected(&mut self, job: Job, now: BootTime) {
        self.counters.jobs_rejected += 1;
        self.hold = later(now, HOLD);
        match job.0 {
            Work::Scan(_) => {
                self.scan = Periodic {
                    due: now,
                    running: false,
                }
            }
            Work::Pin(_) => {
                self.pin = Periodic {
                    due: now,
                    running: false,
                }
            }
            Work::Look(look) => {
                if self.look_ended(&look.process, look.round) {
                    self.processes.look_at(&look.process, now);
                }
            }
            Work::Inspect(inspect) => {
                self.inspections_in_flight = self.inspections_in_flight.saturating_sub(1);
                self.waiting.push_front(inspect.key);
            }
        }
    }

    /// The kernel's books were read at `at`; `key` finds a process in them. One that was there before and is not in them is
    /// not counted by the kernel. Cost: a look at each known process.
    pub fn counted_all(&mut self, key: impl Fn(&ProcessId) -> Option<ProcessKey>, at: BootTime) {
        let unsure: Vec<ProcessId> = self
            .processes
            .ids()
            .filter(|(_, process)| process.key.is_none() && process.since < at)
            .map(|(id, _)| *id)
            .collect();
        for id in unsure {
            let found = key(&id);
            if found.is_some() {
                self.take_up(id, found, at);
            } else if let Some(process) = self.processes.get_mut(&id) {
                process.uncounted = true;
            }
        }
    }

    /// The processes that the kernel does not count, as they were at their last look.
    pub fn uncounted(&self) -> impl Iterator<Item = Uncounted<'_>> {
        let uncounted = self.processes.ids().filter(|(_, process)| {
            process.uncounted && process.key.is_none() && process.wanted && !process.gone
        });
        uncounted.filter_map(|(id, process)| {
            let (comm, exe) = process.called.as_ref()?;
            Some(Uncounted {
                process: ProcessKey {
                    start_boottime: id.start.begins().0,
                    tgid: id.tgid,
                    pad: 0,
                },
                comm,
                exe: exe.as_deref(),
                threads: process.threads,
            })
        })
    }

    /// Does what has become due. Call it at least once a second, or at [`Discovery::next_wake`].
    pub fn tick(&mut self, now: BootTime) {
        self.pump(now);
    }

    /// The next thing to do; `None` = nothing now. Call it until then after each input.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When something becomes due.
    #[must_use]
    pub fn next_wake(&self) -> BootTime {
        let linger = self
            .executables
            .longest_unused()
            .map(|since| later(since, self.settings.linger));
        let (first, again) = self.processes.next_due();
        let spent = self.budget.1 >= self.settings.looks_per_second;
        let again = again.map(|due| {
            if spent {
                due.max(later(self.budget.0, BUDGET_PERIOD))
            } else {
                due
            }
        });
        // With all looks on their way, an answer is what comes next.
        let room = self.looks_in_flight < LOOKS_IN_FLIGHT;
        let looks = [first, again].into_iter().flatten().filter(|_| room);
        looks
            .chain(linger)
            .chain([self.scan.due])
            .min()
            .unwrap_or_default()
            .max(self.hold)
    }

    /// Whether everything that was there at the first scan has been looked at and inspected, and the pinned
    /// files, too. What is still being attached the caller knows.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.counters.scans > 0
            && !self.scan.running
            && !self.pin.running
            && self.looks_in_flight == 0
            && self.inspections_in_flight == 0
            && self.waiting.is_empty()
            && self.processes.next_due().0.is_none()
            && self.actions.is_empty()
    }

    /// What came in and what was dropped.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether it is known that this process is not wanted. One that nobody has looked at yet may be.
    #[must_use]
    pub fn ignores(&self, process: &ProcessKey) -> bool {
        let known = self.processes.get(&ProcessId::of(process));
        known.is_some_and(|known| !known.wanted)
    }

    /// How full the tables are.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        Sizes {
            processes: self.processes.wanted(),
            processes_max: self.settings.processes_max,
            executables: self.executables.len(),
            executables_max: self.settings.executables_max,
            attachments: self.attachments,
            attachments_max: self.settings.attachments_max,
            waiting: self.waiting.len(),
            waiting_max: self.settings.waiting_max,
        }
    }

    /// Asks for whatever is due and may be asked for.
    fn pump(&mut self, now: BootTime) {
        self.detach_unused(now);
        if now < self.hold {
            return;
        }
        if !self.scan.running && self.scan.due <= now {
            self.scan = Periodic {
                due: later(now, self.settings.scan_every),
                running: true,
            };
            self.pin.due = self.pin.due.min(now);
            let pids = self.filter.pids.iter().copied().collect();
            self.run(Work::Scan(Scan { pids, asked: now }));
        }
        if !self.pin.running && self.pin.due <= now && !self.pins.is_empty() {
            self.pin = Periodic {
                due: later(now, self.settings.scan_every),
                running: true,
            };
            self.run(Work::Pin(Pin {
                patterns: self.pins.clone(),
                root: self.settings.host_root.clone(),
                known: self.known.clone(),
            }));
        }
        self.look_at_due(now);
        while self.inspections_in_flight < INSPECTIONS_IN_FLIGHT {
            let Some(inspect) = self.next_inspection() else {
                break;
            };
            self.inspections_in_flight += 1;
            self.run(Work::Inspect(Box::new(inspect)));
        }
    }

    fn look_at_due(&mut self, now: BootTime) {
        if now.since(self.budget.0) >= BUDGET_PERIOD {
            self.budget = (now, 0);
        }
        while self.looks_in_flight < LOOKS_IN_FLIGHT {
            let repeated = self.budget.1 < self.settings.looks_per_second;
            let Some((id, repeated, due)) = self.processes.take_due(now, repeated) else {
                break;
            };
            self.budget.1 += u32::from(repeated);
            self.counters.looks_put_off += u64::from(repeated && now.since(due) > LATE);
            let Some(process) = self.processes.get_mut(&id) else {
                continue;
            };
            if process.looking {
                continue; // its answer schedules the next
            }
            process.looking = true;
            let look = Look {
                process: id,
                round: process.round,
                filter: self.filter.clone(),
                known: self.known.clone(),
                last: process.digest,
            };
            self.looks_in_flight += 1;
            self.run(Work::Look(look));
        }
    }

    fn run(&mut self, work: Work) {
        self.actions.push_back(Action::Run(Job(work)));
    }
}
