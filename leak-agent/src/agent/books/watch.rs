//! One file in one process without probes: its books, read every few seconds, as cheaply as they allow.
//!
//! ```text
//! search (rarely) ─► counters ─ as they were after the last walk that agreed? ─ yes ─► the walk still holds
//!                        ▲                                                   └ no ──► walk, counters again
//!                        └──────────────── every interval ───────────────────────────────────┘
//! ```

use super::later;
use super::open::{find_books, open_books};
use super::session::Trouble;
use crate::agent::reconcile::Asked;
use crate::discovery::FileKey;
use crate::engine::growth::{Grew, Growth};
use crate::engine::{Counted, ThreadFacts, WatchFacts};
use crate::source::books::{Counters, Found, Group, Listing};
use crate::source::{HookPlan, ProcessBooks};
use crate::sys::clock;
use crate::sys::memory::RemoteMemory;
use crate::types::{BootTime, PlanId, ProcessKey};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What failed is tried again after this time, then after twice as long, and so on.
const AGAIN: Duration = Duration::from_secs(1);
/// But at least so often.
const AGAIN_AT_LEAST: Duration = Duration::from_secs(64);
/// Runtimes that came since the last search are looked for once in so many readings, if searches are cheap enough.
const SEARCH_EVERY: u32 = 12;
/// A process that starts more threads than it ever had may have made a runtime: it is searched this much later.
const THREADS_SETTLE: Duration = Duration::from_secs(1);
/// Searches that find nothing and are not put off for those of others: a young process makes its runtime soon.
const EARLY_SEARCHES: u32 = 5;
/// Repeated searches of all processes together get one part in so many of what walks get.
const SEARCH_PART: f64 = 2.5;

/// How often, and how much of the time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Between two readings of the same books.
    pub(super) every: Duration,
    /// Walks through the lists of all processes together get one part in so many of the time.
    pub(super) share: f64,
}

/// When the memory of any process may be searched again.
#[derive(Debug, Default)]
pub(super) struct Searches {
    free_at: BootTime,
}

impl Searches {
    fn may(&self, now: BootTime) -> bool {
        now >= self.free_at
    }

    fn took(&mut self, cost: Duration, share: f64, now: BootTime) {
        self.free_at = later(self.free_at.max(now), cost.mul_f64(share * SEARCH_PART));
    }
}

pub(super) struct Watch {
    process: ProcessKey,
    plan: PlanId,
    file: FileKey,
    hooks: Arc<HookPlan>,
    open: Option<Open>,
    due: BootTime,
    walk_due: BootTime,
    /// What the last walk cost; nothing if there was no need for one at the last reading.
    walk_cost: Duration,
    failed: u32,
    facts: WatchFacts,
    /// Those who want the next reading at once.
    asked: Vec<Asked>,
    /// `None` = nobody asks, or it was told.
    growth: Option<Growth>,
    grew: Option<Grew>,
}

struct Open {
    memory: RemoteMemory,
    books: Box<dyn ProcessBooks>,
    found: Found,
    search_due: BootTime,
    /// Searches in a row that found no runtime.
    empty: u32,
    /// The most threads that it had.
    threads: u64,
    walked: Option<Walked>,
}

/// The last walk.
struct Walked {
    groups: usize,
    /// What of it could not be walked.
    refused: Option<String>,
    /// The counters around it, if nothing happened at all: as long as they stand there, the walk holds.
    at_rest: Option<BTreeMap<Group, Counters>>,
}

/// What became of a piece of work.
pub(super) enum Step {
    /// There is something new to say.
    Told(Box<WatchFacts>),
    /// The process is gone.
    Over,
}

impl Watch {
    /// `None` = the plan's runtime has no books that are known.
    pub(super) fn new(
        process: ProcessKey,
        plan: PlanId,
        file: FileKey,
        hooks: Arc<HookPlan>,
        due: BootTime,
        growth: bool,
    ) -> Option<Self> {
        hooks.books.as_ref()?;
        Some(Self {
            process,
            plan,
            file,
            hooks,
            open: None,
            due,
            walk_due: due,
            walk_cost: Duration::ZERO,
            failed: 0,
            facts: WatchFacts::default(),
            asked: Vec::new(),
            growth: growth.then(Growth::default),
            grew: None,
        })
    }

    pub(super) fn due(&self) -> BootTime {
        self.due
    }

    /// What one more walk would cost, if it goes on like this.
    pub(super) fn walk_cost(&self) -> Duration {
        self.walk_cost
    }

    /// Somebody wants to know what lives now: it is walked, whenever its turn would be.
    pub(super) fn ask(&mut self, asked: &Asked, now: BootTime) {
        self.asked.push(asked.clone());
        self.due = self.due.min(now);
        self.walk_due = self.walk_due.min(now);
    }

    /// How its live tasks grow, once.
    pub(super) fn take_growth(&mut self) -> Option<Grew> {
        self.grew.take()
    }

    /// Looks for growth in what was read now.
    fn look_for_growth(&mut self, now: BootTime) {
        // A walk that was put off says nothing new.
        if self.facts.as_of.is_none_or(|as_of| as_of < now) {
            return;
        }
        let growth = self.growth.as_mut();
        self.grew = growth.and_then(|growth| growth.take(&self.facts.sites));
        if self.grew.is_some() {
            self.growth = None;
        }
    }

    /// Those who wanted to know what was just read.
    pub(super) fn take_answered(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.asked)
    }

    /// Reads once: some microseconds if nothing happened since the last time, a walk through the lists if something did, a
    /// search of the memory at first and then rarely. `others`: what a walk through the lists of each other process costs.
    pub(super) fn step(&mut self, pace: Pace, searches: &mut Searches, others: Duration) -> Step {
        let begin = clock::now();
        match self.read(pace, searches, others, begin) {
            Ok(()) => {
                self.failed = 0;
                self.facts.doubt = self.doubt();
                self.look_for_growth(begin);
                self.due = later(begin, pace.every);
            }
            Err(Trouble::Gone) if self.open.is_none() => return Step::Over,
            Err(Trouble::Gone) => {
                // Ended, or another image: whoever opens it will see.
                self.open = None;
                self.facts = WatchFacts::default();
                self.due = begin;
            }
            Err(Trouble::Told(reason)) => {
                self.open = None;
                self.facts.agreed = false;
                self.facts.doubt = Some(reason);
                let wait = AGAIN.saturating_mul(1 << self.failed.min(16));
                self.due = later(begin, wait.min(AGAIN_AT_LEAST));
                self.failed += 1;
            }
        }
        tracing::trace!(pid = self.process.tgid, plan = self.plan.0, took = ?clock::now().since(begin), "watched");
        Step::Told(Box::new(self.facts.clone()))
    }

    fn read(
        &mut self,
        pace: Pace,
        searches: &mut Searches,
        others: Duration,
        now: BootTime,
    ) -> Result<(), Trouble> {
        match &mut self.open {
            None => {
                self.open = Some(self.open_memory(pace.every)?);
                self.walk_due = now;
                self.facts.searches += 1;
                self.facts.searched_at = Some(now);
            }
            Some(open) => {
                open.note_threads(now)?;
                let early = open.found.groups.is_empty() && open.empty <= EARLY_SEARCHES;
                if open.search_due <= now && (early || searches.may(now)) {
                    open.search()?;
                    searches.took(clock::now().since(now), pace.share, now);
                    self.facts.searches += 1;
                    self.facts.searched_at = Some(now);
                    open.plan_search(pace.every, now);
                }
            }
        }
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        self.facts.readings += 1;
        if let Some(work) = open.books.threads(&open.memory)? {
            self.facts.threads = Some(ThreadFacts { work, at: now });
        }
        if open.found.groups.is_empty() {
            self.facts.as_of = self.facts.as_of.max(self.facts.searched_at);
            self.facts.agreed = open.found.complete;
            self.facts.sites.clear();
            take_counters(&mut self.facts, &[], 0, now);
            return Ok(());
        }
        let begin = clock::now();
        if self
            .hooks
            .books
            .as_ref()
            .is_some_and(|books| books.has_unprobed())
        {
            let unprobed = open.books.unprobed(&open.memory)?;
            self.facts.seen.take_unprobed(&unprobed, begin);
        }
        let before = open.books.counters(&open.memory)?;
        if open.still_holds(&before) {
            self.walk_cost = Duration::ZERO;
            self.facts.as_of = Some(begin);
            take_counters(&mut self.facts, &before, before.len(), begin);
            return Ok(());
        }
        if begin < self.walk_due {
            let groups = open.walked.as_ref().map_or(usize::MAX, |walked| walked.groups);
            take_counters(&mut self.facts, &before, groups, begin);
            return Ok(());
        }
        let mut listing = open.books.list(&open.memory, 0)?;
        self.facts.seen.take_listing(&mut listing, begin);
        let after = open.books.counters(&open.memory)?;
        let end = clock::now();
        self.walk_cost = end.since(begin);
        // A round through all processes takes its share, so that nobody's turn comes at the cost of others.
        self.walk_due = later(begin, (others + self.walk_cost).mul_f64(pace.share));
        take_walk(&mut self.facts, &listing, begin);
        take_counters(&mut self.facts, &after, listing.groups.len(), end);
        open.took_walk(&listing, &before, &after, self.facts.agreed);
        Ok(())
    }

    /// Opens the memory, and looks for the books.
    fn open_memory(&self, every: Duration) -> Result<Open, Trouble> {
        let (memory, books) = open_books(&self.process, &self.hooks, &self.file)?;
        let now = clock::now();
        let mut open = Open {
            memory,
            books,
            found: Found::default(),
            search_due: now,
            empty: 0,
            threads: 0,
            walked: None,
        };
        open.note_threads(now)?;
        open.search()?;
        open.plan_search(every, now);
        Ok(open)
    }

    /// Why tasks may be missing.
    fn doubt(&self) -> Option<String> {
        let open = self.open.as_ref()?;
        let walk = open.walked.as_ref().and_then(|walked| walked.refused.clone());
        let refused = walk.or_else(|| open.found.refused.first().cloned());
        refused
            .or_else(|| (!open.found.complete).then(|| "there was more memory than is searched".to_owned()))
    }
}

impl Open {
    /// Looks through all of the process's private memory, in addition to what is known.
    fn search(&mut self) -> Result<(), Trouble> {
        self.found = find_books(&self.memory, &mut *self.books)?;
        self.walked = None;
        Ok(())
    }

    fn plan_search(&mut self, every: Duration, now: BootTime) {
        let every = every.saturating_mul(SEARCH_EVERY);
        let wait = if self.found.groups.is_empty() {
            self.empty += 1;
            AGAIN.saturating_mul(1 << self.empty.clamp(1, 16) >> 1).min(every)
        } else {
            self.empty = 0;
            every
        };
        self.search_due = later(now, wait);
    }

    fn note_threads(&mut self, now: BootTime) -> Result<(), Trouble> {
        let threads = self.memory.directory().thread_count();
        let threads = threads.map_err(|error| Trouble::Told(error.to_string()))?;
        let threads = threads.ok_or(Trouble::Gone)?;
        if threads > self.threads {
            self.threads = threads;
            self.search_due = self.search_due.min(later(now, THREADS_SETTLE));
        }
        Ok(())
    }

    /// Nothing was added and nothing removed since a walk that agreed.
    fn still_holds(&self, counters: &[Counters]) -> bool {
        let walked = self.walked.as_ref().and_then(|walked| walked.at_rest.as_ref());
        walked.is_some_and(|then| {
            then.len() == counters.len() && counters.iter().all(|now| then.get(&now.group) == Some(now))
        })
    }

    fn took_walk(&mut self, listing: &Listing, before: &[Counters], after: &[Counters], agreed: bool) {
        // Equal numbers of live tasks may be of other tasks; only who counts what was ever added can tell.
        let all_count = after.len() == listing.groups.len() && after.iter().all(|each| each.added.is_some());
        let at_rest = agreed && all_count && before == after;
        self.walked = Some(Walked {
            groups: listing.groups.len(),
            refused: listing.refused.first().cloned(),
            at_rest: at_rest.then(|| after.iter().map(|each| (each.group, *each)).collect()),
        });
        self.found.groups = listing.groups.iter().map(|group| group.group).collect();
    }
}

/// Takes a walk that began at `begin`.
fn take_walk(facts: &mut WatchFacts, listing: &Listing, begin: BootTime) {
    facts.walks += 1;
    facts.as_of = Some(begin);
    facts.agreed = listing.refused.is_empty() && listing.groups.iter().all(|group| group.complete);
    facts.sites.clear();
    for site in listing.groups.iter().flat_map(|group| &group.sites) {
        let sum = facts.sites.entry(site.site.0).or_default();
        *sum = sum.saturating_add(site.live);
    }
    facts.retained = listing.retained.complete.then_some(listing.retained.count);
}

/// Takes the counters of this many groups; of fewer they say nothing of the whole.
fn take_counters(facts: &mut WatchFacts, counters: &[Counters], groups: usize, at: BootTime) {
    let sum = |value: fn(&Counters) -> Option<u64>| {
        let mut each = counters.iter();
        let sum = each.try_fold(0_u64, |sum, each| Some(sum.saturating_add(value(each)?)));
        sum.filter(|_| counters.len() == groups)
    };
    facts.counted = sum(|each| Some(each.live)).map(|live| Counted { live, at });
    facts.added = sum(|each| each.added);
}
