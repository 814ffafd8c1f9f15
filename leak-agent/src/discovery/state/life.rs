//! What becomes of one process, from the first notice of it to its end.

use super::Discovery;
use crate::discovery::action::Action;
use crate::discovery::look::{self, Seen};
use crate::discovery::process::later;
use crate::sys::proc::{Found, ProcError, ProcessId};
use crate::types::{BootTime, ProcessKey};
use std::collections::HashSet;
use std::time::Duration;

/// A new process is given this long to `exec` before it is looked at.
const FORK_SETTLES: Duration = Duration::from_millis(20);
/// Processes that are remembered as not wanted, at most.
const NOT_WANTED_MAX: usize = 65_536;

impl Discovery {
    pub(super) fn forked(&mut self, process: &ProcessKey, parent: &ProcessKey, now: BootTime) {
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

    pub(super) fn execed(&mut self, key: &ProcessKey, now: BootTime) {
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
    pub(super) fn take_up(&mut self, id: ProcessId, key: Option<ProcessKey>, now: BootTime) -> bool {
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

    pub(super) fn scanned(&mut self, asked: BootTime, found: Result<Found, ProcError>, now: BootTime) {
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
    pub(super) fn look_ended(&mut self, id: &ProcessId, round: u32) -> bool {
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

    pub(super) fn looked(&mut self, id: &ProcessId, round: u32, answer: look::Answer, now: BootTime) {
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

    pub(super) fn seen(&mut self, id: &ProcessId, seen: Seen, now: BootTime) {
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
    pub(super) fn describe(&mut self, id: &ProcessId) {
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
    pub(super) fn introduce(&mut self, id: &ProcessId) {
        self.describe(id);
        let files = self.processes.get(id).map(|process| process.files.clone());
        for file in files.into_iter().flatten() {
            self.announce(id, &file);
        }
    }

    /// We found out by ourselves that a process has ended.
    pub(super) fn gone(&mut self, id: &ProcessId, now: BootTime) {
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
    pub(super) fn ended(&mut self, id: &ProcessId, now: BootTime) {
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
}
