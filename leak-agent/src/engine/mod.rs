//! The engine: pure state. Events, plans and totals in, snapshots out; it reads no clock, file, map or thread.
//!
//! Totals are absolute: every tick the caller hands over all rows of the kernel's maps, and the engine keeps
//! the newest value of each. What happened between two ticks needs no event.

mod baseline;
mod books;
mod bound;
mod callers;
mod creations;
pub mod growth;
mod input;
pub mod merge;
mod plan;
mod process;
mod reading;
mod rows;
mod runtime;
mod scanned;
mod schedulers;
mod seen;
mod sites;
pub mod snapshot;
mod threads;
mod tick;
mod uncounted;
mod watch;

pub use books::{BookFacts, Readings, Retained};
pub use input::{Input, Totals};
pub use plan::{PlanFacts, Probes};
pub use scanned::Scanned;
pub use schedulers::ThreadFacts;
pub use seen::Seen;
pub use snapshot::Snapshot;
pub use uncounted::Uncounted;
pub use watch::{Counted, WatchFacts};

use crate::event::Event;
use crate::source::{Creation, Maker, SiteInfo};
use crate::types::label::{self, Label};
use crate::types::{BootTime, ExecId, PlanId, ProcessKey, Runtime, shared};
use leak_agent_common::key::SiteKey;
use process::{Birth, Process};
use reading::LastReading;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// How long an ended process stays: long enough for the counts of its last threads to arrive and for every
/// output to show it once more.
const KEEP_ENDED: Duration = Duration::from_secs(2);

/// Sites of all plans whose names are asked for; further ones are shown by their numbers.
const ASKED_MAX: usize = 1 << 18;

/// A runtime that is followed by kernel hooks in every process.
#[derive(Clone, Debug)]
pub struct KernelRuntime {
    /// Which.
    pub runtime: Runtime,
    /// How it is followed, for people.
    pub evidence: &'static str,
    /// Names of its reserved site numbers.
    pub reserved: fn(u64) -> SiteInfo,
    /// Who made the tasks of a site.
    pub maker: fn(&SiteInfo) -> Maker,
}

impl KernelRuntime {
    /// Of an engine that comes from a tape, until it is told.
    fn nobody() -> Self {
        Self {
            runtime: Runtime { wire: 0, label: "" },
            evidence: "",
            reserved: |number| SiteInfo {
                id: number.to_string(),
                name: number.to_string(),
                location: None,
                kind: "",
                system: false,
                ambiguous: false,
                created_by: None,
                note: None,
            },
            maker: |_| Maker::Unknown,
        }
    }
}

/// What the engine no longer needs, for the caller to clear.
#[derive(Debug, Default)]
pub struct Garbage {
    /// Rows of totals that nothing will count in any more.
    pub rows: Vec<SiteKey>,
    /// Processes that are forgotten.
    pub processes: Vec<ProcessKey>,
}

/// All that is known of all processes. It can be written on a tape, but for what it has to say to its caller.
#[derive(Debug, Serialize, Deserialize)]
pub struct Engine {
    #[serde(skip, default = "KernelRuntime::nobody")]
    kernel: KernelRuntime,
    processes: BTreeMap<ProcessKey, Process>,
    #[serde(with = "shared::values")]
    plans: HashMap<PlanId, Arc<PlanFacts>>,
    uncounted: Vec<Uncounted>,
    /// The last scan, if `/proc` is where threads are counted.
    #[serde(default)]
    scanned: Option<Vec<Scanned>>,
    max_processes: usize,
    #[serde(with = "label::keys")]
    counters: BTreeMap<Label, u64>,
    #[serde(skip)]
    garbage: Garbage,
    #[serde(skip)]
    unknown: Vec<ProcessKey>,
    /// Children since the last totals, and their parents: what a parent had spawned by then shows in the next ones.
    #[serde(default)]
    forks: Vec<(ProcessKey, ProcessKey)>,
    /// Sites whose names are to be asked for, and those that were.
    #[serde(skip)]
    unnamed: BTreeSet<(PlanId, u64)>,
    asked: HashSet<(PlanId, u64)>,
    lost_counts: u64,
    #[serde(skip)]
    last: LastReading,
}

impl Engine {
    /// An engine that knows nothing yet. `kernel` is the runtime whose tasks carry the processes: a process
    /// without any has ended.
    #[must_use]
    pub fn new(kernel: KernelRuntime, max_processes: usize) -> Self {
        Self {
            kernel,
            processes: BTreeMap::new(),
            plans: HashMap::new(),
            uncounted: Vec::new(),
            scanned: None,
            max_processes,
            counters: BTreeMap::new(),
            garbage: Garbage::default(),
            unknown: Vec::new(),
            forks: Vec::new(),
            unnamed: BTreeSet::new(),
            asked: HashSet::new(),
            lost_counts: 0,
            last: LastReading::default(),
        }
    }

    /// Goes on from a state that a tape had, in the place of its own.
    pub fn restore(&mut self, state: Self) {
        let kernel = self.kernel.clone();
        *self = Self { kernel, ..state };
    }

    /// Takes what happened. There is no other way in, so that a tape of all inputs has everything the engine knows.
    pub fn take(&mut self, input: Input) {
        match input {
            Input::Event(event) => self.apply(&event),
            Input::Passed { events } => self.add("events", events),
            Input::PlanArmed { plan, facts } => self.plan_armed(plan, *facts),
            Input::PlanDropped { plan } => self.plan_dropped(plan),
            Input::Named { plan, sites } => self.named(plan, sites),
            Input::Follow { process, plan } => self.follow(process, plan),
            Input::Unfollow { process, plan } => self.unfollow(process, plan),
            Input::Booked { process, plan, facts } => self.booked(process, plan, *facts),
            Input::Watched { process, plan, facts } => self.watched(process, plan, *facts),
            Input::Refuse {
                process,
                runtime,
                reason,
            } => self.refuse(process, runtime, &reason),
            Input::Describe { process, comm, exe } => self.describe(process, &comm, exe.as_deref()),
            Input::Unlisted { process } => self.unlisted(process),
            Input::Uncounted(processes) => self.uncounted(processes),
            Input::Scanned(processes) => self.scanned = Some(processes),
            Input::Resolve {
                process,
                exec,
                number,
                site,
            } => self.resolve(process, exec, number, &site),
            Input::Created {
                process,
                exec,
                plan,
                number,
                creation,
            } => self.created(process, exec, plan, number, creation),
            Input::Totals(totals) => self.totals(totals),
            Input::Sweep { at } => self.sweep(at),
        }
    }

    /// Takes one event of the ring.
    fn apply(&mut self, event: &Event) {
        self.count("events");
        if let Event::Forked { process, .. } | Event::Execed { process, .. } = event {
            self.last.retake(*process);
        }
        match event {
            Event::Forked {
                process,
                parent,
                exec,
                comm,
                at,
            } => {
                let inherited = self.processes.get(parent).is_none_or(Process::may_have_tasks);
                let birth = Birth::Forked { at: *at, inherited };
                match self.entry(*process) {
                    Some(entry) => {
                        entry.born(birth, *exec, comm);
                        if !inherited {
                            self.forks.push((*process, *parent));
                        }
                    }
                    None => self.count("events_over_limit"),
                }
            }
            Event::Execed {
                process,
                exec,
                comm,
                at,
            } => match self.entry(*process) {
                Some(entry) => entry.execed(*exec, comm, *at),
                None => self.count("events_over_limit"),
            },
            Event::Exited { process, at } => {
                if let Some(entry) = self.known(*process) {
                    entry.ended.get_or_insert(*at);
                }
            }
            Event::Stack(_) | Event::Task { .. } => {}
        }
    }

    /// A plan is attached and counts since `facts.armed_at`.
    fn plan_armed(&mut self, plan: PlanId, facts: PlanFacts) {
        self.plans.insert(plan, Arc::new(facts));
        // Its sites may have been read before it was known.
        self.last = LastReading::default();
        self.plan_changed(plan);
    }

    /// A plan is detached.
    fn plan_dropped(&mut self, plan: PlanId) {
        self.plans.remove(&plan);
        self.plan_changed(plan);
        self.unnamed.retain(|(of, _)| *of != plan);
        self.asked.retain(|(of, _)| *of != plan);
    }

    /// The name of a site, as far as it is known; `None` = the plan has no such site.
    #[must_use]
    pub fn site_name(&self, plan: PlanId, number: u64) -> Option<String> {
        let info = self.plans.get(&plan)?.site(number)?;
        Some(info.name.clone())
    }

    /// Takes the names of sites that [`Self::take_unnamed`] gave.
    fn named(&mut self, plan: PlanId, sites: Vec<(u64, SiteInfo)>) {
        if let Some(facts) = self.plans.get_mut(&plan) {
            Arc::make_mut(facts).named(sites);
            self.plan_changed(plan);
        }
    }

    /// Sites that are seen for the first time and that have no name so far; each is given once.
    pub fn take_unnamed(&mut self) -> BTreeSet<(PlanId, u64)> {
        std::mem::take(&mut self.unnamed)
    }

    fn see(&mut self, plan: PlanId, number: u64) {
        let unnamed = self
            .plans
            .get(&plan)
            .is_some_and(|facts| facts.is_unnamed(number));
        if !unnamed || self.asked.contains(&(plan, number)) {
            return;
        }
        if self.asked.len() >= ASKED_MAX {
            self.count("sites_not_named");
            return;
        }
        self.asked.insert((plan, number));
        self.unnamed.insert((plan, number));
    }

    /// This image of a process has mapped a file with this plan.
    fn follow(&mut self, process: ProcessKey, plan: PlanId) {
        if let Some(process) = self.known(process) {
            process.follow(plan);
        }
    }

    /// Whether tasks of this plan may have been alive in the process when its points began to count.
    #[must_use]
    pub fn ran_before(&self, process: ProcessKey, plan: PlanId) -> bool {
        match (self.processes.get(&process), self.plans.get(&plan)) {
            (Some(process), Some(facts)) => process.late(facts).is_some(),
            _ => true,
        }
    }

    /// What the runtime's own books say of this plan in this process.
    fn booked(&mut self, process: ProcessKey, plan: PlanId, facts: BookFacts) {
        let sites = facts.baseline.sites.keys().copied();
        for number in sites.chain(facts.seen.sites()) {
            self.see(plan, number);
        }
        if let Some(process) = self.known(process) {
            process.booked(plan, facts);
        }
    }

    /// What the runtime's own books say of this plan, which has no probes, in this process.
    fn watched(&mut self, process: ProcessKey, plan: PlanId, facts: WatchFacts) {
        let sites = facts.sites.keys().copied();
        for number in sites.chain(facts.seen.sites()) {
            self.see(plan, number);
        }
        if let Some(process) = self.known(process) {
            process.watched(plan, facts);
        }
    }

    /// The image has the file no longer mapped.
    fn unfollow(&mut self, process: ProcessKey, plan: PlanId) {
        if let Some(process) = self.known(process) {
            process.unfollow(plan);
        }
    }

    /// A process has a runtime that is not followed.
    fn refuse(&mut self, process: ProcessKey, runtime: Runtime, reason: &str) {
        if let Some(process) = self.known(process) {
            process.refuse(runtime, reason);
        }
    }

    /// What discovery read of a process. One that was never described is not wanted: it is counted, not shown.
    fn describe(&mut self, process: ProcessKey, comm: &str, exe: Option<&str>) {
        if let Some(process) = self.known(process) {
            process.describe(comm, exe);
        }
    }

    /// A process was there before its first task was counted.
    fn unlisted(&mut self, process: ProcessKey) {
        if let Some(process) = self.known(process) {
            process.unlisted = true;
        }
    }

    /// The processes that are wanted and that the kernel does not count, all of them.
    fn uncounted(&mut self, processes: Vec<Uncounted>) {
        self.uncounted = processes;
    }

    /// The key of the process with this id that began at one of these times (nanoseconds of the boot clock).
    #[must_use]
    pub fn key(&self, tgid: u32, started: std::ops::Range<u64>) -> Option<ProcessKey> {
        let bound = |start_boottime| ProcessKey {
            start_boottime,
            tgid: 0,
            pad: 0,
        };
        let mut keys = self.processes.range(bound(started.start)..bound(started.end));
        keys.find_map(|(key, _)| (key.tgid == tgid).then_some(*key))
    }

    /// The kernel runtime's site number of this image leads to this site.
    fn resolve(&mut self, process: ProcessKey, exec: ExecId, number: u64, site: &Arc<SiteInfo>) {
        if let Some(process) = self.known(process) {
            process.threads.resolve(exec, number, site);
        }
    }

    /// This creation stack of an image was that of a task of this site of a plan.
    fn created(&mut self, process: ProcessKey, exec: ExecId, plan: PlanId, number: u64, by: Creation) {
        let full = match self.known(process) {
            Some(process) => !process.creations.insert((exec, plan, number), by),
            None => false,
        };
        if full {
            self.count("creation_stacks_over_limit");
        }
    }

    /// Processes that the totals know and no event has told of: for discovery to look at.
    pub fn take_unknown(&mut self) -> Vec<ProcessKey> {
        std::mem::take(&mut self.unknown)
    }

    /// Forgets processes that ended a while before `now`.
    fn sweep(&mut self, now: BootTime) {
        let over: Vec<ProcessKey> = self
            .processes
            .iter()
            .filter(|(_, process)| process.ended.is_some_and(|ended| now.since(ended) >= KEEP_ENDED))
            .map(|(key, _)| *key)
            .collect();
        for key in over {
            self.last.retake(key);
            if let Some(process) = self.processes.remove(&key) {
                self.garbage
                    .rows
                    .extend(process.all_rows(key, self.kernel.runtime.wire));
                self.garbage.processes.push(key);
            }
        }
    }

    /// What can be cleared since this was last asked: rows that are done, and what belonged to processes that are forgotten.
    pub fn take_garbage(&mut self) -> Garbage {
        std::mem::take(&mut self.garbage)
    }

    /// The process, to be changed; `None` = it is not known.
    fn known(&mut self, key: ProcessKey) -> Option<&mut Process> {
        let process = self.processes.get_mut(&key)?;
        process.shown = None;
        Some(process)
    }

    /// What is shown of a plan's processes is no longer true.
    fn plan_changed(&mut self, plan: PlanId) {
        let processes = self.processes.values_mut();
        let users = processes.filter(|process| process.plans.contains(&plan));
        users.for_each(|process| process.shown = None);
    }

    /// The process's entry, made if there is room.
    fn entry(&mut self, key: ProcessKey) -> Option<&mut Process> {
        if self.processes.len() >= self.max_processes && !self.processes.contains_key(&key) {
            self.count("processes_over_limit");
            return None;
        }
        let process = self.processes.entry(key).or_default();
        process.shown = None;
        Some(process)
    }

    fn count(&mut self, counter: &'static str) {
        self.add(counter, 1);
    }

    fn add(&mut self, counter: &'static str, count: u64) {
        let counter = self.counters.entry(counter).or_default();
        *counter = counter.saturating_add(count);
    }
}

#[cfg(test)]
mod tests;
