//! The Go runtime's own books: the list of all goroutines, and the scheduler's counters, read from the memory of a process
//! that runs on.
//!
//! A `g` never moves and is never freed, and the list of them only grows: addresses are kept, and only the list's new end
//! is read again. Nothing is believed before the books of this very process were checked: that each goroutine is one.

use super::address::Addresses;
use super::callback::{self, Callbacks};
use super::detail;
use super::goroutine::{self, Goroutine};
use super::layout::Layout;
use super::module::Module;
use super::proof::Proof;
use super::scheduler::{Counted, Scheduler};
use super::threads::ThreadList;
use super::waits::Waits;
use crate::elf::Elf;
use crate::source::books::{
    Books, BooksError, Budget, Candidates, Counters, Found, Group, GroupKind, GroupListing, Listing,
    LiveTask, ProcessBooks, SiteCount, TaskDetail, ThreadsAtWork,
};
use crate::source::stacks::TaskStacks;
use crate::sys::memory::{Batch, Memory, MemoryError};
use crate::types::Vaddr;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

/// The one group there is: a process has one Go runtime per file.
const GROUP: Group = Group {
    owner: 1,
    kind: GroupKind::Owned,
};
/// Goroutines per batch of reads.
const BATCH: usize = 1024;
/// Words of the list per read.
const LIST_WORDS: usize = 8192;
/// The list was moved, or something else came between: so often it is read again.
const ATTEMPTS: u32 = 16;
/// What is torn by the process itself looks wrong now and then: only what is wrong so often is refused.
const CHECKS: u32 = 3;
/// Said of a process that has nothing where its executable says.
const NOWHERE: &str = "nothing is in its memory where its list of goroutines should be";
/// Said of a process with fewer threads than a Go runtime has.
const COPY: &str =
    "it was forked without exec, or has just begun: in its one thread no Go runs, whatever its memory says";
/// Functions that goroutines start with, remembered as such.
const ENTRIES_MAX: usize = 1 << 16;

/// How the books of one executable are read.
#[derive(Clone, Debug)]
pub(super) struct GoBooks {
    pub(super) layout: Layout,
    pub(super) module: Module,
    pub(super) addresses: Addresses,
    /// The function that the first goroutine starts with, in the file's own numbering.
    pub(super) main: u64,
    /// `None` = the scheduler's threads are not found, or of no layout that is known.
    pub(super) threads: Option<ThreadList>,
    /// C may call Go.
    pub(super) callbacks: bool,
}

impl Books for GoBooks {
    fn open(&self, bias: u64) -> Box<dyn ProcessBooks> {
        Box::new(Process::new(self.clone(), bias))
    }

    fn has_unprobed(&self) -> bool {
        self.callbacks
    }
}

mod stacks;
#[cfg(test)]
mod tests;

/// The books of one process.
pub(super) struct Process {
    books: GoBooks,
    bias: u64,
    /// Addresses of all `g`s, as far as the list was read.
    list: Vec<u64>,
    /// Addresses that goroutines were started at, and whether a function begins there.
    entries: HashMap<u64, bool>,
    /// The check was passed.
    believed: bool,
    /// Why it was not, the last time.
    doubt: Option<String>,
    /// The scheduler's counters, if they are found and agreed with the list.
    scheduler: Option<Scheduler>,
    /// `g`s in the list that were made for callbacks from C, used or not.
    callbacks: Callbacks,
}

/// What one walk through the list saw.
#[derive(Default)]
struct Walk {
    /// Living goroutines by site number, the runtime's own and those of callbacks included.
    sites: BTreeMap<u64, Waits>,
    /// How many, without those of callbacks.
    live: u64,
    /// The largest identifier of one of them.
    last_id: u64,
    /// `g`s made for callbacks from C.
    callbacks: Callbacks,
    tasks: Vec<LiveTask>,
    /// The first thing that was wrong.
    wrong: Option<&'static str>,
    /// The list was read to its end.
    whole: bool,
    /// The first goroutine is the main one; known only of a walk that checks.
    begins_with_main: bool,
    /// What is to be confirmed, in a walk that checks.
    proof: Proof,
}

impl Process {
    pub(super) fn new(books: GoBooks, bias: u64) -> Self {
        Self {
            books,
            bias,
            list: Vec::new(),
            entries: HashMap::new(),
            believed: false,
            doubt: None,
            scheduler: None,
            callbacks: Callbacks::default(),
        }
    }

    /// The books of the same process by the layout on which all of these agree; `None` = there is none.
    pub(super) fn agreed(all: &[&Self]) -> Option<Self> {
        let (first, others) = all.split_first()?;
        let mut layout = first.books.layout;
        for other in others {
            layout = layout.agreed(&other.books.layout)?;
        }
        let books = GoBooks {
            layout,
            ..first.books.clone()
        };
        Some(Self::new(books, first.bias))
    }

    fn word(&self, memory: &dyn Memory, at: u64) -> Result<u64, BooksError> {
        let mut bytes = [0; 8];
        memory.read(at.wrapping_add(self.bias), &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Go's code, at run time.
    fn text(&self) -> Range<u64> {
        let Module { text, text_end, .. } = self.books.module;
        text.wrapping_add(self.bias)..text_end.wrapping_add(self.bias)
    }

    /// Reads what the list has more than before; `false` = it changed all the time, or is no list.
    fn extend(&mut self, memory: &dyn Memory, limit: u64) -> Result<bool, BooksError> {
        let Addresses { length, pointer, .. } = self.books.addresses;
        for _ in 0..ATTEMPTS {
            let count = self.word(memory, length)?;
            let begin = self.word(memory, pointer)?;
            let known = self.list.len() as u64;
            if count > limit || count < known {
                return Ok(false);
            }
            let mut added = Vec::new();
            let mut at = known;
            let mut buffer = vec![0_u8; 8 * LIST_WORDS];
            while at < count {
                let words = usize::try_from(count - at).unwrap_or(LIST_WORDS).min(LIST_WORDS);
                let Some(bytes) = buffer.get_mut(..8 * words) else {
                    break;
                };
                memory.read(begin.wrapping_add(at.wrapping_mul(8)), bytes)?;
                let (chunks, _) = bytes.as_chunks::<8>();
                added.extend(chunks.iter().map(|chunk| u64::from_le_bytes(*chunk)));
                at += words as u64;
            }
            // It may have been moved, and its old place filled with something else.
            if self.word(memory, pointer)? == begin {
                self.list.append(&mut added);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Looks at every goroutine once. `check`: also whether each of them is one.
    fn walk(&mut self, memory: &dyn Memory, limit: usize, check: bool) -> Result<Walk, BooksError> {
        let mut walk = Walk {
            whole: self.extend(memory, Budget::default().tasks)?,
            ..Walk::default()
        };
        let size = goroutine::size(&self.books.layout);
        let mut ids = HashSet::new();
        let mut batch = Batch::default();
        let list = std::mem::take(&mut self.list);
        for (index, part) in list.chunks(BATCH).enumerate() {
            batch.clear();
            for at in part {
                batch.push(*at, size);
            }
            memory.read_many(&mut batch)?;
            for (number, at) in part.iter().enumerate() {
                let bytes = batch.get(number).unwrap_or_default();
                let Some(found) = Goroutine::read(bytes, &self.books.layout) else {
                    walk.wrong.get_or_insert("a list entry that leads nowhere");
                    continue;
                };
                if check && index == 0 && number == 0 {
                    walk.begins_with_main = self.is_main(&found);
                }
                if check && found.is_live() {
                    self.check(memory, *at, &found, &mut ids, &mut walk)?;
                }
                self.count(*at, &found, limit, &mut walk);
            }
        }
        walk.callbacks.looked_at(list.len());
        if check && walk.wrong.is_none() {
            walk.wrong = std::mem::take(&mut walk.proof).ask(memory, &self.books.layout, walk.last_id)?;
        }
        self.list = list;
        Ok(walk)
    }

    fn count(&self, at: u64, found: &Goroutine, limit: usize, walk: &mut Walk) {
        let live = found.is_live();
        let for_c = found.is_for_callbacks();
        if for_c {
            walk.callbacks.add(at, live);
        }
        if !live {
            return;
        }
        let site = if for_c {
            callback::SITE
        } else if let Some(site) = self.site(found) {
            walk.live += 1;
            walk.last_id = walk.last_id.max(found.id);
            site
        } else {
            walk.wrong
                .get_or_insert("a goroutine that was started outside the code");
            return;
        };
        walk.sites.entry(site).or_default().take(found);
        if walk.tasks.len() < limit {
            walk.tasks
                .push(found.told(at, site, GROUP.owner, &self.books.layout));
        }
    }

    /// The number of a goroutine's site, as the probes make it; `None` = it has none in this file.
    fn site(&self, found: &Goroutine) -> Option<u64> {
        let text = self.text();
        let distance = |at: u64| text.contains(&at).then(|| at.wrapping_sub(text.start));
        let (statement, function) = (distance(found.statement)?, distance(found.function)?);
        ((statement | function) >> 32 == 0 && statement != 0).then_some((statement << 32) | function)
    }

    /// The first goroutine of a program is the main one, and lives as long as the process. Inside a C program it ends when
    /// everything is initialised.
    fn is_main(&self, found: &Goroutine) -> bool {
        found.is_live() && found.id == 1 && found.function == self.books.main.wrapping_add(self.bias)
    }

    fn check(
        &mut self,
        memory: &dyn Memory,
        at: u64,
        found: &Goroutine,
        ids: &mut HashSet<u64>,
        walk: &mut Walk,
    ) -> Result<(), BooksError> {
        let mut wrong = found.wrong(at, &self.text(), &self.books.layout);
        if found.function != 0 && !self.is_entry(memory, found.function)? {
            wrong = wrong.or(Some("a goroutine that starts in the middle of a function"));
        }
        if !ids.insert(found.id) {
            wrong = wrong.or(Some("two goroutines with the same id"));
        }
        wrong = wrong.or(walk.proof.take(at, found, &self.books.layout));
        walk.wrong = walk.wrong.or(wrong);
        Ok(())
    }

    /// Whether a function begins at this address, by the table in the process's memory.
    fn is_entry(&mut self, memory: &dyn Memory, at: u64) -> Result<bool, BooksError> {
        if let Some(known) = self.entries.get(&at) {
            return Ok(*known);
        }
        let Module { table, text, .. } = self.books.module;
        let offset = at.wrapping_sub(text.wrapping_add(self.bias));
        let (mut low, mut high) = (0_u64, u64::from(table.functions));
        let mut found = false;
        while low < high && !found {
            let middle = low + (high - low) / 2;
            let mut bytes = [0; 4];
            let entry = table.entries_at().wrapping_add(8 * middle);
            memory.read(entry.wrapping_add(self.bias), &mut bytes)?;
            let entry = u64::from(u32::from_le_bytes(bytes));
            found = entry == offset;
            if entry < offset {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if self.entries.len() < ENTRIES_MAX {
            self.entries.insert(at, found);
        }
        Ok(found)
    }

    /// Makes sure that these are the books; what is wrong with them, if they are not.
    fn examine(&mut self, memory: &dyn Memory) -> Result<Option<String>, BooksError> {
        // The runtime has a thread of its own from the main goroutine's first steps on.
        if memory.threads() == Some(1) {
            return Ok(Some(COPY.to_owned()));
        }
        let mut wrong = None;
        for _ in 0..CHECKS {
            self.list.clear();
            let walk = self.walk(memory, 0, true)?;
            wrong = match walk.wrong {
                Some(wrong) => Some(wrong),
                None if !walk.whole => Some("a list that does not keep still"),
                None if walk.live == 0 => Some("a list without goroutines"),
                None => {
                    self.callbacks.replace(walk.callbacks);
                    let agrees = self.find_scheduler(memory)?;
                    if walk.begins_with_main || agrees {
                        return Ok(None);
                    }
                    Some("a first goroutine that is not the main one, and counters that do not agree with it")
                }
            };
        }
        Ok(wrong.map(|wrong| format!("its list of goroutines has {wrong}")))
    }

    /// What the scheduler counts; `None` = its counters are not found, or did not hold still.
    fn counted(&self, memory: &dyn Memory) -> Result<Option<Counted>, BooksError> {
        match &self.scheduler {
            Some(scheduler) => scheduler.read(memory),
            None => Ok(None),
        }
    }

    /// The scheduler also counts what was made for callbacks from C.
    fn without_c(&self, count: u64) -> u64 {
        count.saturating_sub(self.callbacks.made())
    }

    /// Finds the scheduler's counters; `true` = they agreed with the list, while both held still.
    fn find_scheduler(&mut self, memory: &dyn Memory) -> Result<bool, BooksError> {
        self.scheduler = None;
        let Some(scheduler) = Scheduler::find(memory, &self.books, self.bias)? else {
            return Ok(false);
        };
        for _ in 0..ATTEMPTS {
            let before = scheduler.read(memory)?;
            let walk = self.walk(memory, 0, false)?;
            let after = scheduler.read(memory)?;
            if let Some(counted) = before.filter(|before| Some(*before) == after) {
                let agrees = counted.live.checked_sub(walk.callbacks.made()) == Some(walk.live)
                    && walk.last_id <= counted.last_id;
                self.scheduler = agrees.then_some(scheduler);
                self.callbacks.replace(walk.callbacks);
                return Ok(agrees);
            }
        }
        // It never kept still: what agrees in its parts is believed, and compared again with every walk.
        self.scheduler = Some(scheduler);
        Ok(false)
    }
}

impl ProcessBooks for Process {
    fn searches(&self) -> bool {
        false
    }

    fn find(
        &mut self,
        memory: &dyn Memory,
        _ranges: &[Range<u64>],
        _hints: &[u64],
        _budget: &Budget,
    ) -> Result<Found, BooksError> {
        let mut found = Found {
            complete: true,
            ..Found::default()
        };
        if !self.believed {
            let wrong = match self.examine(memory) {
                Err(BooksError::Memory(MemoryError::NotMapped { .. })) => Some(NOWHERE.to_owned()),
                examined => examined?,
            };
            if let Some(wrong) = wrong {
                found.refused.push(wrong.clone());
                self.doubt = Some(wrong);
                return Ok(found);
            }
            self.believed = true;
        }
        found.groups.push(GROUP);
        Ok(found)
    }

    fn counters(&mut self, memory: &dyn Memory) -> Result<Vec<Counters>, BooksError> {
        let counters = self.counted(memory)?.map(|counted| Counters {
            group: GROUP,
            live: self.without_c(counted.live),
            added: Some(self.without_c(counted.created)),
            confirmed: true,
        });
        Ok(counters.into_iter().collect())
    }

    fn list(&mut self, memory: &dyn Memory, limit: usize) -> Result<Listing, BooksError> {
        let mut listing = Listing {
            // Every goroutine is in the list.
            blocking: Candidates {
                complete: true,
                ..Candidates::default()
            },
            ..Listing::default()
        };
        if !self.believed {
            let doubt = self.doubt.clone();
            let doubt = doubt.unwrap_or_else(|| "its list of goroutines was not looked for yet".to_owned());
            listing.refused.push(doubt);
            return Ok(listing);
        }
        let before = self.counted(memory)?;
        let mut walk = self.walk(memory, limit, false)?;
        self.callbacks.replace(std::mem::take(&mut walk.callbacks));
        let after = self.counted(memory)?;
        if let Some(wrong) = walk.wrong {
            listing
                .refused
                .push(format!("its list of goroutines has {wrong}"));
        }
        listing.tasks = walk.tasks;
        let sites = walk.sites.iter();
        listing.waits = sites
            .map(|(site, waits)| waits.told(*site, &self.books.layout))
            .collect();
        walk.sites.remove(&callback::SITE);
        listing.groups.push(GroupListing {
            group: GROUP,
            before: before.map(|counted| self.without_c(counted.live)),
            after: after.map(|counted| self.without_c(counted.live)),
            walked: walk.live,
            ending: 0,
            complete: walk.whole
                && walk.wrong.is_none()
                && before == after
                && after.is_some_and(|counted| self.without_c(counted.live) == walk.live),
            sites: walk
                .sites
                .iter()
                .map(|(site, waits)| SiteCount {
                    site: Vaddr(*site),
                    live: waits.live(),
                })
                .collect(),
        });
        Ok(listing)
    }

    fn threads(&mut self, memory: &dyn Memory) -> Result<Option<ThreadsAtWork>, BooksError> {
        match self.books.threads.filter(|_| self.believed) {
            Some(threads) => threads.read(memory, &self.books.layout, self.bias),
            None => Ok(None),
        }
    }

    fn details(
        &mut self,
        memory: &dyn Memory,
        tasks: &[LiveTask],
    ) -> Result<Vec<Option<TaskDetail>>, BooksError> {
        let detail = |task| detail::detail(memory, task, &self.books.layout);
        tasks.iter().map(detail).collect()
    }

    fn stacks(
        &mut self,
        memory: &dyn Memory,
        elf: &Elf<'_>,
        limit: usize,
    ) -> Result<Option<TaskStacks>, BooksError> {
        self.believed_stacks(memory, elf, limit).map(Some)
    }

    fn unprobed(&mut self, memory: &dyn Memory) -> Result<Vec<SiteCount>, BooksError> {
        if !self.believed {
            return Ok(Vec::new());
        }
        // What is new in the list is seen the next time, if it does not keep still.
        self.extend(memory, Budget::default().tasks)?;
        self.callbacks.look(memory, &self.list, &self.books.layout)?;
        let running = self.callbacks.running();
        Ok(running
            .map(|live| SiteCount {
                site: Vaddr(callback::SITE),
                live,
            })
            .into_iter()
            .collect())
    }
}
