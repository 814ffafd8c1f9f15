//! The state machine, the side of processes: who is there, who is wanted, when is whom looked at.

use super::action::{Action, Notice, Uncounted};
use super::counters::Counters;
use super::executable::Executables;
use super::filter::Filter;
use super::identity::FileKey;
use super::job::{Answer, Asked, Done, Job, Scan, Work};
use super::look::{self, Known, Look, Seen};
use super::pin::{Pattern, Pin};
use super::process::{Processes, later};
use crate::stack::DebugFiles;
use crate::sys::proc::{Found, ProcError, ProcessId};
use crate::types::{BootTime, ProcessKey};
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A new process is given this long to `exec` before it is looked at.
const FORK_SETTLES: Duration = Duration::from_millis(20);
/// Something that was put off is tried again after this time.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// How many looks may be on their way; each answer may hold descriptors ([`look::OPENED_MAX`]).
const LOOKS_IN_FLIGHT: usize = 16;
/// How many inspections may be on their way.
const INSPECTIONS_IN_FLIGHT: usize = 8;
/// After a job was rejected, none is tried again for this long.
const HOLD: Duration = Duration::from_millis(100);
/// [`Settings::looks_per_second`] is per this.
const BUDGET_PERIOD: Duration = Duration::from_secs(1);
/// A repeated look that comes later than this was put off.
const LATE: Duration = Duration::from_secs(1);

/// What the operator wants, and the caps.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who is followed.
    pub filter: Filter,
    /// What `/` means in pinned paths: the host's root as the agent sees it (`/proc/1/root` in a container).
    pub host_root: PathBuf,
    /// Folders in which separate debug files may lie, next to the usual places.
    pub debug_dirs: Vec<PathBuf>,
    /// Processes that are followed at most.
    pub processes_max: usize,
    /// Executables of which an answer is kept.
    pub executables_max: usize,
    /// Executables that may wait for their inspection; each holds a descriptor.
    pub waiting_max: usize,
    /// Plans that may be attached at one time.
    pub attachments_max: usize,
    /// Repeated looks per second.
    pub looks_per_second: u32,
    /// How often `/proc` is scanned for what notices missed, and pins are looked up again.
    pub scan_every: Duration,
    /// How long a file stays attached after its last process: the next one is then followed from its first
    /// instruction, and a process that executes itself anew is not interrupted.
    pub linger: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            filter: Filter::everyone_else(),
            host_root: PathBuf::from("/"),
            debug_dirs: Vec::new(),
            processes_max: 8_192,
            executables_max: 8_192,
            waiting_max: 256,
            attachments_max: 512,
            looks_per_second: 200,
            scan_every: Duration::from_secs(30),
            linger: Duration::from_secs(30),
        }
    }
}

/// Processes that are remembered as not wanted, at most.
const NOT_WANTED_MAX: usize = 65_536;

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

    fn forked(&mut self, process: &ProcessKey, parent: &ProcessKey, now: BootTime) {
        let id = ProcessId::of(process);
        // Until it executes something else, a child is what its parent is.
        let wanted = self
            .processes
            .get(&ProcessId::of(parent))
            .is_none_or(|parent| parent.wanted);
        if self.take_up(id, Some(*process), now) {
            if wanted {
                self.processes.look_at(&id, later(now, FORK_SETTLES));
            } else {
                self.processes.want(&id, false);
            }
        }
    }

    fn execed(&mut self, key: &ProcessKey, now: BootTime) {
        let id = ProcessId::of(key);
        self.take_up(id, Some(*key), now);
        let full = self.processes.wanted() >= self.settings.processes_max;
        let round = self.processes.next_round();
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        if !process.wanted && full {
            self.counters.refused_too_many_processes += 1;
            return;
        }
        process.round = round;
        process.looking = false;
        process.looks = 0;
        process.digest = None;
        process.described = false;
        process.gone = false;
        let old = std::mem::take(&mut process.files);
        self.processes.want(&id, true);
        for file in old {
            self.leave(&id, file, true, now);
        }
        self.processes.look_at(&id, now);
    }

    /// Takes a process up, or learns its key; `true` = it is new.
    fn take_up(&mut self, id: ProcessId, key: Option<ProcessKey>, now: BootTime) -> bool {
        if !self.filter.wants_pid(id.tgid) {
            return false;
        }
        if let Some(process) = self.processes.get_mut(&id) {
            if let (None, Some(key)) = (process.key, key) {
                process.key = Some(key);
                if std::mem::take(&mut process.uncounted) {
                    self.actions.push_back(Action::Unlisted { process: key });
                }
                self.introduce(&id);
            }
            return false;
        }
        let not_wanted = self.processes.len() - self.processes.wanted();
        if self.processes.wanted() >= self.settings.processes_max || not_wanted >= NOT_WANTED_MAX {
            self.counters.refused_too_many_processes += 1;
            return false;
        }
        self.counters.processes_seen += 1;
        self.processes.insert(id, now).key = key;
        true
    }

    fn scanned(&mut self, asked: BootTime, found: Result<Found, ProcError>, now: BootTime) {
        self.scan.running = false;
        self.counters.scans += 1;
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                self.counters.scans_failed += 1;
                tracing::warn!(%error, "cannot scan processes");
                return;
            }
        };
        // Those of the scan before are still among them: only more of them are news.
        let more = found.unreadable.saturating_sub(self.unreadable);
        self.unreadable = found.unreadable;
        self.counters.refused_unreadable_process += more;
        let found = found.processes;
        let alive: HashSet<ProcessId> = found.iter().copied().collect();
        let gone: Vec<ProcessId> = self
            .processes
            .ids()
            .filter(|(id, process)| process.since < asked && !alive.contains(id))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.gone(&id, now);
            self.counters.exits_unnoticed += 1;
            self.processes.remove(&id);
        }
        for id in found {
            if self.take_up(id, None, now) {
                self.processes.look_at(&id, now);
            }
        }
    }

    /// Notes that a look ended; `false` = its answer is of no use.
    fn look_ended(&mut self, id: &ProcessId, round: u32) -> bool {
        self.looks_in_flight = self.looks_in_flight.saturating_sub(1);
        let Some(process) = self.processes.get_mut(id) else {
            return false;
        };
        if process.round != round || process.gone {
            return false;
        }
        process.looking = false;
        true
    }

    fn looked(&mut self, id: &ProcessId, round: u32, answer: look::Answer, now: BootTime) {
        self.counters.looks += 1;
        if !self.look_ended(id, round) {
            return;
        }
        match answer {
            look::Answer::Gone => {
                self.gone(id, now); // the notice, or the next scan, removes the entry
                return;
            }
            look::Answer::NotWanted => {
                self.counters.processes_not_wanted += 1;
                if let Some(process) = self.processes.get_mut(id) {
                    let files = std::mem::take(&mut process.files);
                    for file in files {
                        self.leave(id, file, true, now);
                    }
                }
                self.processes.want(id, false);
                return;
            }
            look::Answer::Unchanged { threads } => {
                self.counters.looks_unchanged += 1;
                if let Some(process) = self.processes.get_mut(id) {
                    process.threads = threads;
                }
            }
            look::Answer::Failed(error) => {
                let first = self.processes.get(id).is_some_and(|process| process.looks == 0);
                self.counters.refused_unreadable_process += u64::from(first);
                tracing::debug!(pid = id.tgid, %error, "cannot look at process");
            }
            look::Answer::Seen(seen) => self.seen(id, seen, now),
        }
        if let Some(process) = self.processes.get_mut(id) {
            process.looks = process.looks.saturating_add(1);
        }
        self.processes.look_again(id, now);
    }

    fn seen(&mut self, id: &ProcessId, seen: Seen, now: BootTime) {
        self.counters.refused_unreachable_file += seen.lost.unreachable;
        self.counters.refused_beyond_cap += seen.lost.beyond_cap;
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        process.digest = Some(seen.digest);
        process.threads = seen.threads;
        let called = Some((seen.comm, seen.exe));
        if process.called != called {
            process.called = called;
            process.described = false;
        }
        self.describe(id);
        self.executes(id, seen.files, now);
    }

    /// Says who a process is, if that is known and was not said yet.
    fn describe(&mut self, id: &ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        if let (Some(key), Some((comm, exe)), false) = (process.key, &process.called, process.described) {
            process.described = true;
            self.actions.push_back(Action::Describe {
                process: key,
                comm: comm.clone(),
                exe: exe.clone(),
            });
        }
    }

    /// Says everything of a process whose exact key has just become known.
    fn introduce(&mut self, id: &ProcessId) {
        self.describe(id);
        let files = self.processes.get(id).map(|process| process.files.clone());
        for file in files.into_iter().flatten() {
            self.announce(id, &file);
        }
    }

    /// We found out by ourselves that a process has ended.
    fn gone(&mut self, id: &ProcessId, now: BootTime) {
        let process = self
            .processes
            .get(id)
            .filter(|process| process.wanted && !process.gone);
        if let Some(process) = process.and_then(|process| process.key) {
            self.actions.push_back(Action::Gone { process });
        }
        self.ended(id, now);
    }

    /// A process has ended: counts how far we had come with it, and lets its files go.
    fn ended(&mut self, id: &ProcessId, now: BootTime) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        if std::mem::replace(&mut process.gone, true) {
            return;
        }
        let before_look = process.wanted && process.looks == 0;
        let files = std::mem::take(&mut process.files);
        self.processes.unschedule(id);
        if before_look {
            self.counters.vanished_before_look += 1;
        } else if files.iter().any(|file| self.is_waiting(file)) {
            self.counters.vanished_before_inspection += 1;
        } else if files.iter().any(|file| self.is_attaching(file)) {
            self.counters.missed_short_lived += 1;
        }
        for file in files {
            self.leave(id, file, false, now);
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
