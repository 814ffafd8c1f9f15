//! The processes that discovery knows of: who they are, when they are looked at again, and which files they execute.

use super::identity::FileKey;
use crate::sys::proc::ProcessId;
use crate::types::{BootTime, ProcessKey};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// After a look, the next one comes this much later: libraries are opened soon after the start, or rarely.
const AGAIN: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

/// The same for a process that the kernel does not count.
const AGAIN_UNCOUNTED: Duration = Duration::from_secs(1);

/// One process.
#[derive(Debug)]
pub(super) struct Process {
    /// With the exact start time; `None` = only `/proc` told of it so far.
    pub key: Option<ProcessKey>,
    /// When it was taken up.
    pub since: BootTime,
    /// The number of its image among all: the answer to a look at another image is stale.
    pub round: u32,
    /// It has ended; the entry waits for the notice or the next scan to say so.
    pub gone: bool,
    /// A look is on its way.
    pub looking: bool,
    /// When it is looked at next, and whether that may be put off.
    due: Option<(bool, BootTime)>,
    /// Looks at this image that were answered.
    pub looks: u32,
    /// A process that is not wanted is remembered, so that a scan does not take it up again.
    pub wanted: bool,
    /// What the last look found.
    pub digest: Option<u64>,
    /// What it was called at the last look.
    pub called: Option<(String, Option<String>)>,
    /// How many threads it had at the last look.
    pub threads: u64,
    /// The kernel's books were read since it was taken up, and did not have it.
    pub uncounted: bool,
    /// `called` was said.
    pub described: bool,
    /// Files that matter among those it executes.
    pub files: BTreeSet<FileKey>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Processes {
    table: HashMap<ProcessId, Process>,
    /// First looks: never put off.
    first: BTreeSet<(BootTime, ProcessId)>,
    /// Repeated looks.
    again: BTreeSet<(BootTime, ProcessId)>,
    wanted: usize,
    rounds: u32,
}

impl Processes {
    /// A number for a new image, different from that of any other whose look may still be on its way.
    pub(super) fn next_round(&mut self) -> u32 {
        self.rounds = self.rounds.wrapping_add(1);
        self.rounds
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// How many are wanted, or may turn out to be.
    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    pub(super) fn get(&self, id: &ProcessId) -> Option<&Process> {
        self.table.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &ProcessId) -> Option<&mut Process> {
        self.table.get_mut(id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = (&ProcessId, &Process)> {
        self.table.iter()
    }

    pub(super) fn insert(&mut self, id: ProcessId, now: BootTime) -> &mut Process {
        let round = self.next_round();
        self.table.entry(id).or_insert_with(|| {
            self.wanted += 1;
            Process {
                key: None,
                since: now,
                round,
                gone: false,
                looking: false,
                due: None,
                looks: 0,
                wanted: true,
                digest: None,
                called: None,
                threads: 0,
                uncounted: false,
                described: false,
                files: BTreeSet::new(),
            }
        })
    }

    pub(super) fn remove(&mut self, id: &ProcessId) -> Option<Process> {
        self.unschedule(id);
        let process = self.table.remove(id)?;
        self.wanted -= usize::from(process.wanted);
        Some(process)
    }

    /// Whether it is wanted. One that is not is not looked at until it is again.
    pub(super) fn want(&mut self, id: &ProcessId, wanted: bool) {
        let Some(process) = self.table.get_mut(id) else {
            return;
        };
        match (process.wanted, wanted) {
            (true, false) => self.wanted -= 1,
            (false, true) => self.wanted += 1,
            _ => {}
        }
        process.wanted = wanted;
        if !wanted {
            self.unschedule(id);
        }
    }

    /// A look that nobody may put off, at this time or earlier.
    pub(super) fn look_at(&mut self, id: &ProcessId, when: BootTime) {
        let Some(process) = self.table.get(id) else { return };
        let when = match process.due {
            Some((true, earlier)) => earlier.min(when),
            _ => when,
        };
        self.schedule(id, true, when);
    }

    /// The next repeated look, later each time.
    pub(super) fn look_again(&mut self, id: &ProcessId, now: BootTime) {
        let Some(process) = self.table.get(id) else { return };
        if process.due.is_some() {
            return; // somebody wants it sooner
        }
        let index = usize::try_from(process.looks.saturating_sub(1)).unwrap_or(usize::MAX);
        let delay = match process.key {
            Some(_) => AGAIN.get(index).or(AGAIN.last()).copied().unwrap_or_default(),
            // Nothing but looks tells how many threads it has.
            None => AGAIN_UNCOUNTED,
        };
        self.schedule(id, false, later(now, delay));
    }

    /// Takes the next process whose look is due off the schedule: first looks first, repeated ones if `repeated`. Says
    /// which of the two it is, and when it was due.
    pub(super) fn take_due(&mut self, now: BootTime, repeated: bool) -> Option<(ProcessId, bool, BootTime)> {
        let head =
            |queue: &BTreeSet<(BootTime, ProcessId)>| queue.first().filter(|(due, _)| *due <= now).copied();
        let (due, id, is_repeated) = match (head(&self.first), head(&self.again)) {
            (Some((due, id)), _) => (due, id, false),
            (None, Some((due, id))) if repeated => (due, id, true),
            _ => return None,
        };
        self.unschedule(&id);
        Some((id, is_repeated, due))
    }

    /// When the next first look and the next repeated look are due.
    pub(super) fn next_due(&self) -> (Option<BootTime>, Option<BootTime>) {
        let head = |queue: &BTreeSet<(BootTime, ProcessId)>| queue.first().map(|(when, _)| *when);
        (head(&self.first), head(&self.again))
    }

    fn schedule(&mut self, id: &ProcessId, first: bool, when: BootTime) {
        self.unschedule(id);
        if let Some(process) = self.table.get_mut(id) {
            process.due = Some((first, when));
            let queue = if first { &mut self.first } else { &mut self.again };
            queue.insert((when, *id));
        }
    }

    /// No look is due any more.
    pub(super) fn unschedule(&mut self, id: &ProcessId) {
        if let Some((first, when)) = self.table.get_mut(id).and_then(|process| process.due.take()) {
            let queue = if first { &mut self.first } else { &mut self.again };
            queue.remove(&(when, *id));
        }
    }
}

/// This much later.
pub(super) fn later(now: BootTime, delay: Duration) -> BootTime {
    BootTime(
        now.0
            .saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX)),
    )
}
