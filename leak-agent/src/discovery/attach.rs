//! The state machine, the side of executables: what is inspected, what is attached, who follows it.

use super::action::{Action, AttachmentKey};
use super::executable::{Link, Stage};
use super::identity::FileKey;
use super::inspect::{self, DebugUse, Inspect, Trouble};
use super::look::SeenFile;
use super::pin;
use super::process::later;
use super::state::{Discovery, RETRY};
use crate::sys::proc::ProcessId;
use crate::types::BootTime;
use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;

impl Discovery {
    /// Tells how an [`Action::Attach`] ended. Then the processes of that file are followed, or told why not.
    pub fn attached(&mut self, attachment: &AttachmentKey, result: Result<(), String>, now: BootTime) {
        let Some(entry) = self.executables.touch(&attachment.file) else {
            return;
        };
        let Stage::Known { verdict, links } = &mut entry.stage else {
            return;
        };
        let index = verdict
            .plans
            .iter()
            .position(|plan| plan.runtime == attachment.runtime);
        let Some(link) = index.and_then(|index| links.get_mut(index)) else {
            return;
        };
        if *link != Link::Attaching {
            return; // nobody asked
        }
        *link = match result {
            Ok(()) => Link::Attached,
            Err(reason) => {
                self.attachments = self.attachments.saturating_sub(1);
                self.counters.refused_attach_failed += 1;
                Link::Failed(reason)
            }
        };
        if !links.contains(&Link::Attaching) {
            entry.file = None;
        }
        let users: Vec<ProcessId> = entry.users.keys().copied().collect();
        for user in users {
            self.announce_one(&user, attachment);
        }
        self.executables.note_use(&attachment.file, now);
    }

    /// Takes what a look found: `files` replaces what the process executed before.
    pub(super) fn executes(&mut self, id: &ProcessId, files: Vec<SeenFile>, now: BootTime) {
        let before = self
            .processes
            .get(id)
            .map(|process| process.files.clone())
            .unwrap_or_default();
        let now_executed: BTreeSet<FileKey> = files.iter().map(|file| file.key).collect();
        for old in before.difference(&now_executed) {
            self.leave(id, *old, true, now);
        }
        for file in files {
            let key = file.key;
            if before.contains(&key) && !self.is_detached(&key) {
                continue;
            }
            if !self.meet(key, &file.path, file.file) {
                self.look_at_later(id, now);
                continue;
            }
            let Some(entry) = self.executables.touch(&key).filter(|entry| entry.matters()) else {
                continue;
            };
            entry.users.insert(*id, file.path);
            if let Some(process) = self.processes.get_mut(id) {
                process.files.insert(key);
            }
            self.executables.note_use(&key, now);
            self.attach(&key);
            self.announce(id, &key);
            if self.is_detached(&key) {
                self.look_at_later(id, now); // let go while the look was under way: the next one opens it
            }
        }
    }

    /// Makes sure that there is an entry for this file; `false` = not now.
    fn meet(&mut self, key: FileKey, path: &str, file: Option<Arc<File>>) -> bool {
        if let Some(entry) = self.executables.touch(&key) {
            self.counters.cache_hits += 1;
            if entry.file.is_none() {
                entry.file = file; // taken off again unless it is attached now
            }
            return true;
        }
        let Some(file) = file else {
            return false; // its answer was dropped while the look was under way
        };
        if self.waiting.len() >= self.settings.waiting_max || !self.make_room() {
            self.counters.inspections_put_off += 1;
            return false;
        }
        self.counters.cache_misses += 1;
        self.executables.insert(key, path.to_owned(), file);
        self.known.set(key, true);
        self.waiting.push_back(key);
        true
    }

    fn make_room(&mut self) -> bool {
        if self.executables.len() < self.settings.executables_max {
            return true;
        }
        let Some(victim) = self.executables.victim() else {
            return false;
        };
        self.executables.remove(&victim);
        self.known.set(victim, false);
        self.counters.cache_evictions += 1;
        true
    }

    fn look_at_later(&mut self, id: &ProcessId, now: BootTime) {
        if let Some(process) = self.processes.get_mut(id) {
            process.digest = None;
        }
        self.processes.look_at(id, later(now, RETRY));
    }

    /// The next file that waits for its inspection.
    pub(super) fn next_inspection(&mut self) -> Option<Inspect> {
        loop {
            let key = self.waiting.pop_front()?;
            let entry = self.executables.get(&key);
            if let Some((entry, file)) = entry.and_then(|entry| Some((entry, entry.file.clone()?))) {
                return Some(Inspect {
                    key,
                    file,
                    path: entry.path.clone(),
                    process: entry.users.keys().next().copied(),
                    debug_files: self.debug_files.clone(),
                });
            }
        }
    }

    pub(super) fn inspected(&mut self, key: FileKey, answer: inspect::Answer, now: BootTime) {
        let verdict = match answer {
            inspect::Answer::Verdict(verdict) => verdict,
            inspect::Answer::Later(trouble) => {
                match trouble {
                    Trouble::Changed => self.counters.inspections_file_changed += 1,
                    Trouble::Unreadable => self.counters.inspections_unreadable += 1,
                }
                self.no_answer(key);
                return;
            }
        };
        self.inspections_in_flight = self.inspections_in_flight.saturating_sub(1);
        self.counters.inspections += 1;
        self.counters.inspection_panics += verdict.panics;
        self.counters.debug_files_used += u64::from(verdict.debug == DebugUse::Used);
        self.counters.debug_files_refused += u64::from(verdict.debug == DebugUse::Refused);
        self.counters.refused_unsupported += u64::from(!verdict.unsupported.is_empty());
        let Some(entry) = self.executables.touch(&key) else {
            return;
        };
        entry.stage = Stage::Known {
            links: vec![Link::Detached; verdict.plans.len()],
            verdict,
        };
        let users: Vec<ProcessId> = entry.users.keys().copied().collect();
        if !entry.matters() {
            entry.users.clear();
            entry.file = None;
            for user in users {
                if let Some(process) = self.processes.get_mut(&user) {
                    process.files.remove(&key);
                }
            }
            return;
        }
        self.attach(&key);
        for user in users {
            self.announce(&user, &key);
        }
        self.executables.note_use(&key, now);
    }

    /// An inspection ended without an answer: its processes are looked at anew when their next look is due.
    pub(super) fn no_answer(&mut self, key: FileKey) {
        self.inspections_in_flight = self.inspections_in_flight.saturating_sub(1);
        self.known.set(key, false);
        let Some(entry) = self.executables.remove(&key) else {
            return;
        };
        self.pinned.remove(&key);
        for user in entry.users.into_keys() {
            if let Some(process) = self.processes.get_mut(&user) {
                process.digest = None;
                process.files.remove(&key);
            }
        }
    }

    /// Attaches what is not, if somebody uses it and the file is at hand.
    fn attach(&mut self, key: &FileKey) {
        let Some(entry) = self.executables.touch(key) else {
            return;
        };
        let in_use = entry.in_use();
        let Stage::Known { verdict, links } = &mut entry.stage else {
            return;
        };
        let file = entry.file.clone().filter(|_| in_use);
        for (plan, link) in verdict.plans.iter().zip(links.iter_mut()) {
            let (Link::Detached, Some(file)) = (&*link, &file) else {
                continue;
            };
            if self.attachments >= self.settings.attachments_max {
                self.counters.refused_too_many_attachments += 1;
                *link = Link::Failed("too many files are attached already".to_owned());
                continue;
            }
            self.attachments += 1;
            *link = Link::Attaching;
            self.actions.push_back(Action::Attach {
                attachment: AttachmentKey {
                    file: *key,
                    runtime: plan.runtime,
                },
                file: file.clone(),
                path: entry.path.clone(),
                executable: verdict.id.clone(),
                plan: plan.clone(),
            });
        }
        if !links.contains(&Link::Attaching) {
            entry.file = None;
        }
        // A descriptor is needed again only when there is something to attach.
        let at_rest = links.is_empty() || !links.contains(&Link::Detached);
        self.known.set(*key, at_rest);
    }

    /// Tells a process everything about one of its files.
    pub(super) fn announce(&mut self, id: &ProcessId, key: &FileKey) {
        let Some((entry, process)) = self.executables.get(key).zip(self.processes.get(id)) else {
            return;
        };
        let Stage::Known { verdict, .. } = &entry.stage else {
            return;
        };
        let Some(process) = process.key else { return };
        let path = entry.users.get(id).unwrap_or(&entry.path);
        for (runtime, reason) in &verdict.unsupported {
            self.actions.push_back(Action::Unsupported {
                process,
                runtime: *runtime,
                path: path.clone(),
                reason: reason.clone(),
            });
        }
        let runtimes: Vec<_> = verdict.plans.iter().map(|plan| plan.runtime).collect();
        for runtime in runtimes {
            self.announce_one(id, &AttachmentKey { file: *key, runtime });
        }
    }

    /// Tells a process how it stands with one attachment.
    fn announce_one(&mut self, id: &ProcessId, attachment: &AttachmentKey) {
        let entry = self.executables.get(&attachment.file);
        let Some((entry, process)) = entry.zip(self.processes.get(id)) else {
            return;
        };
        let Some(process) = process.key else { return };
        let Stage::Known { verdict, links } = &entry.stage else {
            return;
        };
        let mut plans = verdict.plans.iter().zip(links);
        match plans.find(|(plan, _)| plan.runtime == attachment.runtime) {
            Some((_, Link::Attached)) => self.actions.push_back(Action::Follow {
                process,
                attachment: *attachment,
            }),
            Some((_, Link::Failed(reason))) => self.actions.push_back(Action::Unsupported {
                process,
                runtime: Some(attachment.runtime),
                path: entry.users.get(id).unwrap_or(&entry.path).clone(),
                reason: reason.clone(),
            }),
            _ => {}
        }
    }

    /// A process does not execute this file any more. `alive`: it goes on and is told.
    pub(super) fn leave(&mut self, id: &ProcessId, key: FileKey, alive: bool, now: BootTime) {
        let process = self.processes.get_mut(id).and_then(|process| {
            process.files.remove(&key);
            process.key
        });
        let Some(entry) = self.executables.touch(&key) else {
            return;
        };
        entry.users.remove(id);
        if let (Stage::Known { verdict, links }, Some(process), true) = (&entry.stage, process, alive) {
            let attached = verdict
                .plans
                .iter()
                .zip(links)
                .filter(|(_, link)| **link == Link::Attached);
            for (plan, _) in attached {
                self.actions.push_back(Action::Unfollow {
                    process,
                    attachment: AttachmentKey {
                        file: key,
                        runtime: plan.runtime,
                    },
                });
            }
        }
        self.executables.note_use(&key, now);
    }

    /// Lets go what nobody has used for a while.
    pub(super) fn detach_unused(&mut self, now: BootTime) {
        let linger = u64::try_from(self.settings.linger.as_nanos()).unwrap_or(u64::MAX);
        let Some(before) = now.0.checked_sub(linger).map(BootTime) else {
            return;
        };
        while let Some(key) = self.executables.let_go(before) {
            let Some(entry) = self.executables.touch(&key) else {
                continue;
            };
            let Stage::Known { verdict, links } = &mut entry.stage else {
                continue;
            };
            for (plan, link) in verdict.plans.iter().zip(links.iter_mut()) {
                if *link == Link::Attached {
                    self.attachments = self.attachments.saturating_sub(1);
                    self.actions.push_back(Action::Detach {
                        attachment: AttachmentKey {
                            file: key,
                            runtime: plan.runtime,
                        },
                    });
                }
                *link = Link::Detached;
            }
            entry.file = None;
            let nothing_to_attach = links.is_empty();
            self.known.set(key, nothing_to_attach);
        }
    }

    /// Takes what the operator's patterns name now.
    pub(super) fn named_by_operator(&mut self, answer: pin::Answer, now: BootTime) {
        self.counters.refused_beyond_cap += answer.beyond_cap;
        let mut named = BTreeSet::new();
        for file in answer.files {
            if self.meet(file.key, &file.path, file.file)
                && let Some(entry) = self.executables.touch(&file.key)
            {
                named.insert(file.key);
                entry.pinned = true;
                self.attach(&file.key);
                self.executables.note_use(&file.key, now);
            }
        }
        let before = std::mem::replace(&mut self.pinned, named);
        for key in before.difference(&self.pinned) {
            if let Some(entry) = self.executables.touch(key) {
                entry.pinned = false;
            }
            self.executables.note_use(key, now);
        }
    }

    pub(super) fn is_waiting(&self, key: &FileKey) -> bool {
        self.executables
            .get(key)
            .is_some_and(|entry| matches!(entry.stage, Stage::Waiting))
    }

    fn is_detached(&self, key: &FileKey) -> bool {
        let entry = self.executables.get(key);
        entry.is_some_and(|entry| match &entry.stage {
            Stage::Waiting => false,
            Stage::Known { links, .. } => links.contains(&Link::Detached),
        })
    }

    pub(super) fn is_attaching(&self, key: &FileKey) -> bool {
        let entry = self.executables.get(key);
        entry.is_some_and(|entry| match &entry.stage {
            Stage::Waiting => false,
            Stage::Known { links, .. } => links.contains(&Link::Attaching),
        })
    }
}
