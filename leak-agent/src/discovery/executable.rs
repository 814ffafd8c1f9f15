//! The files that processes execute: what is known of each, who uses it, and how far it is attached. One bounded table, which
//! is also the cache of answers.

use super::identity::FileKey;
use super::inspect::Verdict;
use crate::sys::proc::ProcessId;
use crate::types::BootTime;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::sync::Arc;

/// One file.
#[derive(Debug)]
pub(super) struct Executable {
    /// The path under which it was first seen.
    pub path: String,
    /// Kept while it waits for its inspection, and while it has a plan that is not attached.
    pub file: Option<Arc<File>>,
    pub stage: Stage,
    /// Processes that execute it, with the path by which each knows it. Not kept for files that are nobody's.
    pub users: BTreeMap<ProcessId, String>,
    /// The operator named it.
    pub pinned: bool,
    /// Since when nobody uses it.
    pub unused: Option<BootTime>,
    /// When it was last of use, as a count of uses: the smallest is evicted first.
    pub used: u64,
}

/// How far a file has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// In the queue, or being inspected.
    Waiting,
    /// Inspected.
    Known {
        verdict: Verdict,
        /// One per plan, in their order.
        links: Vec<Link>,
    },
}

/// How far a plan is attached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Link {
    Detached,
    Attaching,
    Attached,
    Failed(String),
}

impl Executable {
    /// Something of it must be remembered: it is used, named by the operator, attached or on its way.
    pub(super) fn needed(&self) -> bool {
        self.pinned
            || !self.users.is_empty()
            || self.file.is_some()
            || match &self.stage {
                Stage::Waiting => true,
                Stage::Known { links, .. } => links.iter().any(|link| *link != Link::Detached),
            }
    }

    /// There is something to follow in it, or something to say of it.
    pub(super) fn matters(&self) -> bool {
        match &self.stage {
            Stage::Waiting => true,
            Stage::Known { verdict, .. } => !verdict.plans.is_empty() || !verdict.unsupported.is_empty(),
        }
    }

    pub(super) fn in_use(&self) -> bool {
        self.pinned || !self.users.is_empty()
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Executables {
    table: HashMap<FileKey, Executable>,
    /// Attached files that nobody uses, by when they are to be let go.
    lingering: BTreeSet<(BootTime, FileKey)>,
    uses: u64,
}

impl Executables {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn get(&self, key: &FileKey) -> Option<&Executable> {
        self.table.get(key)
    }

    /// For writing; counts as a use.
    pub(super) fn touch(&mut self, key: &FileKey) -> Option<&mut Executable> {
        self.uses += 1;
        let entry = self.table.get_mut(key)?;
        entry.used = self.uses;
        Some(entry)
    }

    pub(super) fn insert(&mut self, key: FileKey, path: String, file: Arc<File>) -> &mut Executable {
        self.uses += 1;
        self.table.entry(key).or_insert(Executable {
            path,
            file: Some(file),
            stage: Stage::Waiting,
            users: BTreeMap::new(),
            pinned: false,
            unused: None,
            used: self.uses,
        })
    }

    pub(super) fn remove(&mut self, key: &FileKey) -> Option<Executable> {
        let entry = self.table.remove(key)?;
        if let Some(since) = entry.unused {
            self.lingering.remove(&(since, *key));
        }
        Some(entry)
    }

    /// Notes whether anybody uses it, for [`Executables::let_go`].
    pub(super) fn note_use(&mut self, key: &FileKey, now: BootTime) {
        let Some(entry) = self.table.get_mut(key) else {
            return;
        };
        // What is being attached is kept until that has ended: its answer must not meet a later attachment.
        let settled = match &entry.stage {
            Stage::Waiting => false,
            Stage::Known { links, .. } => !links.contains(&Link::Attaching),
        };
        let idle = !entry.in_use() && settled && entry.needed();
        match (idle, entry.unused) {
            (true, None) => {
                entry.unused = Some(now);
                self.lingering.insert((now, *key));
            }
            (false, Some(since)) => {
                entry.unused = None;
                self.lingering.remove(&(since, *key));
            }
            _ => {}
        }
    }

    /// The file that has been unused the longest, if it has been since `before`; it is taken off the list.
    pub(super) fn let_go(&mut self, before: BootTime) -> Option<FileKey> {
        let (since, key) = *self.lingering.first()?;
        if since > before {
            return None;
        }
        self.lingering.pop_first();
        if let Some(entry) = self.table.get_mut(&key) {
            entry.unused = None;
        }
        Some(key)
    }

    /// Since when the longest unused file is unused.
    pub(super) fn longest_unused(&self) -> Option<BootTime> {
        self.lingering.first().map(|(since, _)| *since)
    }

    /// The file whose answer can be dropped with the least loss; `None` = all are needed. Walks the table: called when it is full.
    pub(super) fn victim(&self) -> Option<FileKey> {
        let idle = self.table.iter().filter(|(_, entry)| !entry.needed());
        idle.min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key)
    }
}
