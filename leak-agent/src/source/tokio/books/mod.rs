//! tokio's own books, read from a running process: its lists of tasks, its counters, its task headers.
//!
//! The way in is either the shape of `OwnedTasks` in the process's memory, or a task's header, which leads to its
//! scheduler. What is found is walked and counted before it is believed.

mod chain;
#[cfg(test)]
mod fixture;
mod group;
mod header;
mod layout;
mod owned;
mod pages;
mod scan;
#[cfg(test)]
mod tests;
mod walk;

use super::version::Version;
use super::vtable::TaskVtable;
use crate::source::books::{
    Books, BooksError, Budget, Candidates, Counters, Found, Group, GroupKind, Listing, LiveTask,
    ProcessBooks, SiteCount,
};
use crate::sys::memory::{Batch, Memory};
use crate::types::Vaddr;
use chain::live_task;
use group::{COPIES_MAX, Known, Place, Verdict};
use header::{HeaderReader, TaskType, TaskTypes, word};
use layout::{HeaderLayout, NEWEST, Sharded};
use scan::Sightings;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use walk::Limits;

/// Headers that are looked at again with one call.
const HEADERS_PER_CALL: usize = 1024;
/// Reasons that are told.
const REFUSALS_MAX: usize = 64;

/// How the books of one executable are read.
pub struct TokioBooks(Arc<Layouts>);

impl fmt::Debug for TokioBooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokioBooks")
            .field("forms", &self.0.forms)
            .field("types", &self.0.types.len())
            .finish_non_exhaustive()
    }
}

/// The layouts of the tokio (or several) in one executable.
struct Layouts {
    header: HeaderLayout,
    forms: Vec<Sharded>,
    types: TaskTypes,
    /// Single lists have a counter (tokio 1.29 to 1.34).
    counted: bool,
    /// How all this is known, for people.
    known_by: String,
}

impl TokioBooks {
    /// How tokio of these versions, with these task types, keeps its books.
    ///
    /// `versions`: those that the file names, all of which share a shape of vtables; empty = not known.
    /// `trailer`: offset of the trailer of a vtable that does not state it among others.
    #[must_use]
    pub fn new(
        versions: &[Version],
        vtables: &[TaskVtable],
        trailer: impl Fn(&TaskVtable) -> Option<u64>,
    ) -> Self {
        let oldest = versions.iter().min().copied().unwrap_or(NEWEST);
        let header = HeaderLayout::of(oldest);
        let mut forms: Vec<Sharded> = match versions {
            [] => Sharded::of(NEWEST).into_iter().collect(),
            versions => versions
                .iter()
                .filter_map(|version| Sharded::of(*version))
                .collect(),
        };
        forms.sort_by_key(|form| std::cmp::Reverse(form.closed));
        forms.dedup();
        let types = vtables
            .iter()
            .map(|vtable| TaskType {
                site: vtable.vaddr,
                class: vtable.class(),
                links: vtable
                    .offsets
                    .map(|offsets| offsets.trailer)
                    .or_else(|| trailer(vtable)),
                scheduler: vtable.offsets.map(|offsets| offsets.scheduler),
                id: vtable.offsets.map(|offsets| offsets.id),
            })
            .collect();
        let counted = |version: &Version| (Version::new(1, 29)..Version::new(1, 35)).contains(version);
        Self(Arc::new(Layouts {
            header,
            forms,
            types: TaskTypes::new(types),
            counted: versions.iter().any(counted),
            known_by: layout::known_by(versions),
        }))
    }
}

impl TokioBooks {
    /// How it is known where the books are, for people.
    #[must_use]
    pub fn known_by(&self) -> String {
        self.0.known_by.clone()
    }
}

impl Books for TokioBooks {
    fn open(&self, bias: u64) -> Box<dyn ProcessBooks> {
        Box::new(Open {
            layouts: Arc::clone(&self.0),
            bias,
            groups: BTreeMap::new(),
            blocking: Vec::new(),
            retained: Vec::new(),
            searched: false,
        })
    }
}

/// The books in one process.
struct Open {
    layouts: Arc<Layouts>,
    bias: u64,
    groups: BTreeMap<Group, Known>,
    /// Headers of tasks in no list, as of the last search.
    blocking: Vec<u64>,
    /// Headers of complete tasks, as of the last search.
    retained: Vec<u64>,
    /// The last search saw all it was given.
    searched: bool,
}

impl ProcessBooks for Open {
    fn find(
        &mut self,
        memory: &dyn Memory,
        ranges: &[Range<u64>],
        hints: &[u64],
        budget: &Budget,
    ) -> Result<Found, BooksError> {
        let layouts = Arc::clone(&self.layouts);
        let reader = layouts.reader(self.bias);
        let mut seen = Sightings::default();
        let mut batch = Batch::default();
        for hints in hints.chunks(HEADERS_PER_CALL) {
            read_headers(memory, &reader, hints, &mut batch, |at, bytes| {
                seen.task(&reader, at, bytes);
            })?;
        }
        seen.scan(memory, &reader, &layouts.forms, ranges, budget.bytes)?;
        let mut refused = Refusals::default();
        let mut tasks_left = budget.tasks;
        for (group, known) in self.candidates(memory, &reader, &seen, &mut refused)? {
            self.take_in(memory, &reader, group, known, &mut tasks_left, &mut refused)?;
        }
        if !ranges.is_empty() {
            self.blocking = seen.blocking;
            self.retained = seen.complete;
            self.searched = !seen.cut;
        }
        let retained = self.look_again(memory, &reader, &self.retained, true, 0)?;
        Ok(Found {
            groups: self.groups.keys().copied().collect(),
            scanned: seen.scanned,
            complete: !seen.cut,
            foreign: refused.foreign,
            refused: refused.reasons,
            retained,
        })
    }

    fn counters(&mut self, memory: &dyn Memory) -> Result<Vec<Counters>, BooksError> {
        let layouts = Arc::clone(&self.layouts);
        let reader = layouts.reader(self.bias);
        let mut all = Vec::with_capacity(self.groups.len());
        for known in self.groups.values_mut() {
            all.extend(known.counters(memory, &reader)?);
        }
        Ok(all)
    }

    fn list(&mut self, memory: &dyn Memory, limit: usize) -> Result<Listing, BooksError> {
        let layouts = Arc::clone(&self.layouts);
        let reader = layouts.reader(self.bias);
        let mut listing = Listing::default();
        let mut refused = Refusals::default();
        let mut gone = Vec::new();
        for (group, known) in &mut self.groups {
            let left = limit.saturating_sub(listing.tasks.len());
            let (listed, verdict) = known.list(memory, &reader, left)?;
            match verdict {
                Verdict::Gone | Verdict::Foreign => gone.push(*group),
                Verdict::Wrong(reason) => refused.push(group.owner, &reason),
                Verdict::Right | Verdict::Promising | Verdict::Empty => {}
            }
            let Some((group, walked)) = listed else { continue };
            listing.groups.push(group);
            listing.tasks.extend(walked.tasks);
        }
        for group in gone {
            self.groups.remove(&group);
        }
        listing.blocking = self.look_again(memory, &reader, &self.blocking, false, limit)?;
        listing.retained = self.look_again(memory, &reader, &self.retained, true, limit)?;
        listing.refused = refused.reasons;
        Ok(listing)
    }
}

impl Layouts {
    fn reader(&self, bias: u64) -> HeaderReader<'_> {
        HeaderReader {
            layout: self.header,
            types: &self.types,
            bias,
        }
    }
}

impl Open {
    /// What the sightings lead to, not yet believed.
    fn candidates(
        &self,
        memory: &dyn Memory,
        reader: &HeaderReader<'_>,
        seen: &Sightings,
        refused: &mut Refusals,
    ) -> Result<Vec<(Group, Known)>, BooksError> {
        let mut found: Vec<Known> = Vec::new();
        for (at, form) in &seen.shapes {
            self.add_sharded(memory, *at, *form, &mut found)?;
        }
        for (owner, tasks) in &seen.tasks {
            // Already found by its shape, and one of its lists begins with a task of this file?
            let mut reached = false;
            for known in &found {
                reached |= known.group.owner == *owner && begins_with_own(memory, reader, known)?;
            }
            for task in tasks {
                if reached {
                    break;
                }
                reached = self.behind(memory, reader, *task, *owner, &mut found)?;
            }
            if reached {
                continue;
            }
            if self.layouts.forms.is_empty() {
                let place = Place::Tasks(tasks.clone());
                found.push(Known::new(*owner, GroupKind::Unknown, place));
            } else if in_a_list(memory, reader, *owner, tasks)? {
                // Following the links would show one of several lists, and nobody could tell.
                refused.push(*owner, "tasks say that they are in them, and they were not found");
            }
        }
        Ok(found.into_iter().map(|known| (known.group, known)).collect())
    }

    /// Takes in an `OwnedTasks` at this address, if it is one.
    fn add_sharded(
        &self,
        memory: &dyn Memory,
        at: u64,
        form: Sharded,
        found: &mut Vec<Known>,
    ) -> Result<bool, BooksError> {
        let Some(owned) = form.verify(memory, at)? else {
            return Ok(false);
        };
        for known in found.iter_mut() {
            if let Place::Sharded {
                copies, owned: other, ..
            } = &mut known.place
                && other.same_as(&owned)
            {
                if copies.len() < COPIES_MAX && !copies.contains(&at) {
                    copies.push(at);
                }
                return Ok(true);
            }
        }
        let copies = vec![at];
        let place = Place::Sharded { form, copies, owned };
        found.push(Known::new(owned.id, GroupKind::Owned, place));
        Ok(true)
    }

    /// Searches what the task's scheduler handle leads to for the lists that the task is in.
    fn behind(
        &self,
        memory: &dyn Memory,
        reader: &HeaderReader<'_>,
        task: u64,
        owner: u64,
        found: &mut Vec<Known>,
    ) -> Result<bool, BooksError> {
        let (at, shared) = scan::scheduler(memory, reader, task, owner)?;
        for form in &self.layouts.forms {
            for offset in (0..shared.len()).step_by(8) {
                let here = shared.get(offset..).and_then(|bytes| form.read(bytes));
                if here.is_some_and(|owned| owned.id == owner)
                    && self.add_sharded(memory, at.saturating_add(offset as u64), *form, found)?
                {
                    return Ok(true);
                }
            }
        }
        // A single list: its ends are known by walking, and are found beside its id.
        let known = Known::new(owner, GroupKind::Unknown, Place::Tasks(vec![task]));
        let limits = Limits {
            steps: Budget::default().tasks,
            tasks: 0,
        };
        let walked = known.walk(memory, reader, limits)?;
        let Some((oldest, youngest)) = walked.ends.filter(|_| walked.broken.is_empty()) else {
            return Ok(false);
        };
        let Some((ends, id)) = ends_in(&shared, oldest, youngest, owner) else {
            return Ok(false);
        };
        // Between the id and the ends is room for a lock or not: only a runtime's list has one. An id behind them does
        // not tell, unless a counter is in between.
        let counted = self.layouts.counted
            && word(&shared, ends + 16) == Some(walked.all())
            && (id + 16 == ends || id == ends + 32);
        let kind = if counted || id + 16 == ends {
            GroupKind::Owned
        } else if id + 8 == ends || !self.layouts.forms.is_empty() {
            GroupKind::Local
        } else {
            GroupKind::Unknown
        };
        let at = |offset: usize| at.saturating_add(offset as u64);
        let (count, ends, id) = (counted.then(|| at(ends + 16)), at(ends), at(id));
        found.push(Known::new(owner, kind, Place::Ends { ends, id, count }));
        Ok(true)
    }

    /// Believes a candidate, or says why not.
    fn take_in(
        &mut self,
        memory: &dyn Memory,
        reader: &HeaderReader<'_>,
        group: Group,
        mut candidate: Known,
        tasks_left: &mut u64,
        refused: &mut Refusals,
    ) -> Result<(), BooksError> {
        if let Some(known) = self.groups.get_mut(&group)
            && known.take_over(&candidate)
        {
            return Ok(());
        }
        let counted = candidate.counts(memory)?.map_or(0, |counts| counts.count);
        match candidate.check(memory, reader, *tasks_left, true)? {
            Verdict::Right | Verdict::Promising => {
                *tasks_left = tasks_left.saturating_sub(counted);
                self.groups.insert(group, candidate);
            }
            // Another one of the same id, with tasks, is the better one.
            Verdict::Empty if !self.exists(memory, &group)? => {
                if !matches!(candidate.place, Place::Tasks(_)) {
                    self.groups.insert(group, candidate);
                }
            }
            Verdict::Empty | Verdict::Gone => {}
            Verdict::Foreign => refused.foreign += 1,
            Verdict::Wrong(reason) => refused.push(group.owner, &reason),
        }
        Ok(())
    }

    fn exists(&self, memory: &dyn Memory, group: &Group) -> Result<bool, BooksError> {
        self.groups
            .get(group)
            .map_or(Ok(false), |known| known.exists(memory))
    }

    /// Which of these headers are still those of complete (or: of live, unlisted) tasks.
    fn look_again(
        &self,
        memory: &dyn Memory,
        reader: &HeaderReader<'_>,
        headers: &[u64],
        complete: bool,
        limit: usize,
    ) -> Result<Candidates, BooksError> {
        let mut found = Candidates {
            complete: self.searched,
            ..Candidates::default()
        };
        let mut sites: BTreeMap<Vaddr, u64> = BTreeMap::new();
        let mut batch = Batch::default();
        let mut tasks: Vec<LiveTask> = Vec::new();
        for headers in headers.chunks(HEADERS_PER_CALL) {
            read_headers(memory, reader, headers, &mut batch, |at, bytes| {
                let Some(header) = reader.read(bytes) else { return };
                if header.state.complete() != complete || (!complete && header.owner != 0) {
                    return;
                }
                found.count += 1;
                found.join_handles += u64::from(header.state.join_handle());
                *sites.entry(header.kind.site).or_default() += 1;
                if tasks.len() < limit {
                    let id = reader.id(header.kind).and_then(|id| word(bytes, id));
                    tasks.push(live_task(at, &header, id));
                }
            })?;
        }
        found.sites = sites
            .into_iter()
            .map(|(site, live)| SiteCount { site, live })
            .collect();
        found.tasks = tasks;
        Ok(found)
    }
}

impl Known {
    /// Whether the candidate is this very group; takes over what it knows in addition.
    fn take_over(&mut self, candidate: &Self) -> bool {
        match (&mut self.place, &candidate.place) {
            (
                Place::Sharded { copies, owned, .. },
                Place::Sharded {
                    copies: more,
                    owned: other,
                    ..
                },
            ) if owned.same_as(other) => {
                for at in more {
                    if copies.len() < COPIES_MAX && !copies.contains(at) {
                        copies.push(*at);
                    }
                }
                true
            }
            (Place::Ends { ends, .. }, Place::Ends { ends: other, .. }) => ends == other,
            _ => false,
        }
    }
}

/// Whether one of these tasks has neighbours. One that is alone may be the remains of a task.
fn in_a_list(
    memory: &dyn Memory,
    reader: &HeaderReader<'_>,
    owner: u64,
    tasks: &[u64],
) -> Result<bool, BooksError> {
    for task in tasks {
        let place = Place::Tasks(vec![*task]);
        let limits = Limits {
            steps: Budget::default().tasks,
            tasks: 0,
        };
        let walked = Known::new(owner, GroupKind::Unknown, place).walk(memory, reader, limits)?;
        if walked.ends.is_some_and(|(oldest, youngest)| oldest != youngest) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether one of its lists begins with a task of this file that says it is of this group.
fn begins_with_own(
    memory: &dyn Memory,
    reader: &HeaderReader<'_>,
    known: &Known,
) -> Result<bool, BooksError> {
    let Place::Sharded { owned, .. } = &known.place else {
        return Ok(false);
    };
    let mut batch = Batch::default();
    for chain in owned.chains() {
        batch.push(chain.ends.unwrap_or(0), 16);
    }
    memory.read_many(&mut batch)?;
    let tails: Vec<u64> = (0..batch.len())
        .filter_map(|list| word(batch.get(list)?, 8))
        .filter(|tail| *tail != 0)
        .take(8)
        .collect();
    let mut own = false;
    read_headers(memory, reader, &tails, &mut batch, |_, bytes| {
        own |= reader.read(bytes).is_some_and(|header| header.owner == owned.id);
    })?;
    Ok(own)
}

/// Reads the headers at these addresses, those that are there, each with the id behind it if it is near.
fn read_headers(
    memory: &dyn Memory,
    reader: &HeaderReader<'_>,
    headers: &[u64],
    batch: &mut Batch,
    mut visit: impl FnMut(u64, &[u8]),
) -> Result<(), BooksError> {
    batch.clear();
    for at in headers {
        batch.push(*at, reader.least() + 0x20);
    }
    memory.read_many(batch)?;
    for (number, at) in headers.iter().enumerate() {
        if let Some(bytes) = batch.get(number) {
            visit(*at, bytes);
        }
    }
    Ok(())
}

/// Where in these bytes the ends of a list are, the youngest task first, and its id near to them: offsets.
fn ends_in(bytes: &[u8], oldest: u64, youngest: u64, owner: u64) -> Option<(usize, usize)> {
    (0..bytes.len()).step_by(8).find_map(|ends| {
        let both = word(bytes, ends)? == youngest && word(bytes, ends + 8)? == oldest;
        let near = [
            ends.checked_sub(8),
            ends.checked_sub(16),
            Some(ends + 24),
            Some(ends + 32),
        ];
        let id = near
            .into_iter()
            .flatten()
            .find(|id| word(bytes, *id) == Some(owner));
        id.filter(|_| both).map(|id| (ends, id))
    })
}

/// Reasons, no more than anybody reads.
#[derive(Default)]
struct Refusals {
    reasons: Vec<String>,
    /// Books that are another file's.
    foreign: u64,
}

impl Refusals {
    fn push(&mut self, owner: u64, reason: &str) {
        if self.reasons.len() < REFUSALS_MAX {
            self.reasons
                .push(format!("the books with owner id {owner}: {reason}"));
        }
    }
}
