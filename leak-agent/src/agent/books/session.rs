//! One file in one process: its books, read piece by piece, and what follows from them.

use super::later;
use super::open::{find_books, open_books};
use crate::agent::reconcile::Asked;
use crate::bpf::maps::Totals;
use crate::discovery::FileKey;
use crate::engine::merge::{AGREEMENTS, Finding, Keeps, Ledger, Merge, SiteCounts};
use crate::engine::{BookFacts, Retained, ThreadFacts};
use crate::source::books::{BooksError, Found, Group, GroupKind, SiteCount};
use crate::source::{HookPlan, ProcessBooks};
use crate::sys::clock;
use crate::sys::memory::{MemoryError, RemoteMemory};
use crate::types::{BootTime, PlanId, ProcessKey};
use leak_agent_common::key::SiteKey;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Between two walks through the same lists while the baseline is not known: longer than a thread waits for its turn, so
/// that a task between its probe and its list is not there twice.
const PAUSE: Duration = Duration::from_millis(10);
/// Walks in a row; what is not known then, more walks would not tell.
const WALKS: u32 = 40;
/// Walks in a row before a sum is believed of sites that are never at rest. One moment's readings all agree on what a thread
/// that waits for a CPU between its probe and the runtime's counter makes of them; those of several moments do not.
const SPREAD: u32 = 8;
/// Before books that could not be found, or did not prove themselves, are tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// A baseline counts once it was found twice, this long apart: a thread that waits for a CPU between a probe and the
/// runtime's counter misleads all readings until it has its turn.
const TWICE: Duration = Duration::from_millis(400);
/// While some thread of the process is in the middle of something each time, it must be found as often as this: under load such
/// a thread may not have had its turn in between, or may have been put off at the same place again.
const OFTEN: u32 = 5;
/// Threads of a process that are looked at to see whether all sleep.
const THREADS: usize = 4096;
/// Searches in a row that may find runtimes that the one before did not find.
const SEARCHES: u32 = 4;
/// Reading the same books takes at most this share of the thread's time: one part in so many.
const SHARE: u32 = 100;
/// The same while nothing is known yet.
const SHARE_AT_FIRST: u32 = 5;
/// Readings of the runtimes' counters after each walk.
const COUNTINGS: u32 = 32;
/// Questions that wait for one answer: more than that are signals sent in a loop.
const ASKED_MAX: usize = 16;
/// Readings of the counters when books that agreed are compared again.
const COMPARISONS: u32 = 64;
/// Searching the memory for what is retained takes at most one part of the time in so many.
const SEARCH_SHARE: u32 = 1000;

pub(super) struct Session {
    process: ProcessKey,
    plan: PlanId,
    file: FileKey,
    hooks: Arc<HookPlan>,
    keeps: HashMap<u64, Keeps>,
    open: Option<Open>,
    due: BootTime,
    /// When tasks that no probe sees are looked at next, if there may be any.
    look_due: Option<BootTime>,
    walks: u32,
    /// Attempts in a row that left something unknown.
    failed: u32,
    /// Time spent on the present attempt.
    spent: Duration,
    /// What came out the last time, if it was not what is said already.
    once: Option<Once>,
    /// What the runtimes counted when the books last agreed.
    ledger: Option<Ledger>,
    /// Runtimes whose lists were in the last walk.
    counted: BTreeSet<Group>,
    /// Not before then is the memory searched only to see what is retained.
    search_again: BootTime,
    /// Our totals before the last search.
    searched: SiteCounts,
    merge: Merge,
    keys: Vec<SiteKey>,
    facts: BookFacts,
    /// Those who asked for the present attempt, or the next one if none is under way.
    asked: Vec<Asked>,
    /// Those who asked while an attempt was under way: it may have read what they want to be read anew.
    asked_since: Vec<Asked>,
    answered: Vec<Asked>,
}

/// What came out, and what speaks for it.
struct Once {
    finding: Finding,
    times: u32,
    /// Once all threads of the process slept when it was read.
    at_rest: bool,
}

struct Open {
    memory: RemoteMemory,
    books: Box<dyn ProcessBooks>,
    /// What the last search came to.
    found: Found,
    /// Searches that found something new, one after the other.
    restless: u32,
    /// That search came after the walks, and found nothing that they had not seen.
    confirmed: bool,
}

/// What became of a piece of work.
pub(super) enum Step {
    /// There is something new to say.
    Told(Box<BookFacts>),
    /// Nothing new.
    Quiet,
    /// The process is gone.
    Over,
}

/// Why a piece of work was not done.
pub(super) enum Trouble {
    Gone,
    Told(String),
}

impl From<BooksError> for Trouble {
    fn from(error: BooksError) -> Self {
        match error {
            BooksError::Memory(error) => error.into(),
        }
    }
}

impl From<MemoryError> for Trouble {
    fn from(error: MemoryError) -> Self {
        match error {
            MemoryError::Gone { .. } => Self::Gone,
            error => Self::Told(error.to_string()),
        }
    }
}

impl Session {
    /// `None` = the plan's runtime has no books that are known. `born`: all tasks were seen to begin.
    pub(super) fn new(
        process: ProcessKey,
        plan: PlanId,
        file: FileKey,
        hooks: Arc<HookPlan>,
        born: bool,
        due: BootTime,
        look_due: BootTime,
    ) -> Option<Self> {
        let look_due = hooks.books.as_ref()?.has_unprobed().then_some(look_due);
        let keeps = hooks.sites.iter().map(|site| {
            let keeps = match (site.listed, site.info.system) {
                (true, _) => Keeps::Lists,
                (false, true) => Keeps::Itself,
                (false, false) => Keeps::Nothing,
            };
            (site.number, keeps)
        });
        let merge = Merge::new(hooks.finish_is_early, SiteCounts::new());
        Some(Self {
            process,
            plan,
            file,
            keeps: keeps.collect(),
            hooks,
            open: None,
            due,
            look_due,
            walks: 0,
            failed: 0,
            spent: Duration::ZERO,
            once: None,
            // Whose tasks were all seen to begin has no more and no less than what we counted.
            ledger: born.then(Ledger::default),
            counted: BTreeSet::new(),
            search_again: BootTime::default(),
            searched: SiteCounts::new(),
            merge,
            keys: Vec::new(),
            facts: if born {
                BookFacts::born()
            } else {
                BookFacts::default()
            },
            asked: Vec::new(),
            asked_since: Vec::new(),
            answered: Vec::new(),
        })
    }

    pub(super) fn due(&self) -> BootTime {
        self.look_due.map_or(self.due, |look| look.min(self.due))
    }

    /// Somebody wants to know now.
    pub(super) fn ask(&mut self, asked: &Asked, now: BootTime) {
        let under_way = !self.spent.is_zero() || self.once.is_some();
        let waiting = if under_way {
            &mut self.asked_since
        } else {
            self.due = self.due.min(now);
            &mut self.asked
        };
        if waiting.len() < ASKED_MAX {
            waiting.push(asked.clone());
        }
    }

    /// Those whose question was answered by the attempt that has ended.
    pub(super) fn take_answered(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.answered)
    }

    /// Does one piece of work: opens and searches the memory, or walks once, or compares once, or looks at what no probe sees.
    /// `every`: how often all of it is compared; `look`: how often that is looked at.
    pub(super) fn step(&mut self, totals: &Totals, every: Duration, look: Duration) -> Step {
        let begin = clock::now();
        if begin < self.due {
            return self.look(totals, look);
        }
        let worked = self.work(totals);
        let end = clock::now();
        self.spent += end.since(begin);
        match worked {
            Ok(false) => {
                self.due = later(end, PAUSE);
                return Step::Quiet;
            }
            Ok(true) => self.look_at_threads(),
            Err(Trouble::Gone) => return Step::Over,
            Err(Trouble::Told(reason)) => {
                self.open = None;
                self.restart();
                if self.facts.baseline.doubt.is_some() {
                    self.facts.baseline.doubt = Some(reason.clone());
                }
                self.facts.trouble = Some(reason);
                self.once = None;
                self.failed += 1;
            }
        }
        let soon = AGAIN.saturating_mul(1 << self.failed.clamp(1, 16) >> 1);
        let share = if self.facts.agreed_at.is_some() {
            SHARE
        } else {
            SHARE_AT_FIRST
        };
        let wait = match (&self.once, self.failed) {
            (Some(_), _) => TWICE,
            (None, 0) => every.max(self.spent.saturating_mul(share)),
            (None, _) => every.min(soon).max(self.spent.saturating_mul(share)),
        };
        self.due = later(end, wait);
        self.spent = Duration::ZERO;
        if self.once.is_none() {
            self.answered.append(&mut self.asked);
            self.asked.append(&mut self.asked_since);
            if !self.asked.is_empty() {
                self.due = end;
            }
        }
        Step::Told(Box::new(self.facts.clone()))
    }

    /// Asks the books what the scheduler's threads do. What cannot be read here shows where it matters.
    fn look_at_threads(&mut self) {
        let Some(open) = &mut self.open else {
            return;
        };
        let at = clock::now();
        if let Ok(Some(work)) = open.books.threads(&open.memory) {
            self.facts.threads = Some(ThreadFacts { work, at });
        }
    }

    /// Looks at the tasks that no probe sees.
    fn look(&mut self, totals: &Totals, every: Duration) -> Step {
        let begin = clock::now();
        let looked = self.unprobed(totals);
        let end = clock::now();
        self.look_due = Some(later(end, every.max(end.since(begin).saturating_mul(SHARE))));
        match looked {
            Ok(found) => self.facts.seen.take_unprobed(&found, begin),
            Err(Trouble::Gone) => return Step::Over,
            // The next comparison tells why.
            Err(Trouble::Told(_)) => return Step::Quiet,
        }
        Step::Told(Box::new(self.facts.clone()))
    }

    fn unprobed(&mut self, totals: &Totals) -> Result<Vec<SiteCount>, Trouble> {
        if self.open.is_none() {
            self.search(totals)?;
        }
        match &mut self.open {
            Some(open) => Ok(open.books.unprobed(&open.memory)?),
            None => Ok(Vec::new()),
        }
    }

    fn restart(&mut self) {
        self.walks = 0;
        self.merge = Merge::new(self.hooks.finish_is_early, self.searched.clone());
    }

    /// `true` = all that can be known now is known.
    fn work(&mut self, totals: &Totals) -> Result<bool, Trouble> {
        if self.open.is_none() {
            self.search(totals)?;
            return Ok(false);
        }
        let settled = self.facts.agreed_at.is_some() && self.facts.baseline.unlisted_doubt.is_none();
        if settled && self.once.is_none() && self.walks == 0 && self.agrees(totals)? {
            return Ok(true);
        }
        self.walk(totals)?;
        let mut finding = self.merge.finding();
        let unlisted = self.facts.baseline.unlisted_doubt.is_none() || finding.unlisted_doubt.is_none();
        if !(finding.is_exact() && unlisted) && self.walks < WALKS {
            return Ok(false);
        }
        if self.walks < SPREAD && self.merge.is_restless() {
            return Ok(false);
        }
        // A runtime that came after the first search is in no walk so far.
        if !self.confirm(totals)? {
            return Ok(false);
        }
        if let Some(open) = &self.open {
            let incomplete = || "there was more memory than is searched".to_owned();
            let unfound = open.found.refused.first().cloned();
            let unfound = unfound.or_else(|| (!open.found.complete).then(incomplete));
            finding.doubt = finding.doubt.or(unfound);
        }
        self.conclude(finding);
        Ok(true)
    }

    /// Searches once more after the walks; `true` = the walk after that was made, too, and nothing was new.
    fn confirm(&mut self, totals: &Totals) -> Result<bool, Trouble> {
        let Some(open) = &self.open else {
            return Ok(true);
        };
        if open.confirmed {
            return Ok(true);
        }
        if open.restless >= SEARCHES {
            return Err(Trouble::Told("runtimes come and go while it is read".to_owned()));
        }
        let found = self.find(totals)?;
        let Some(open) = &mut self.open else {
            return Ok(true);
        };
        let known = found.groups.iter().all(|group| open.found.groups.contains(group));
        open.found = found;
        open.confirmed = known;
        if known {
            open.restless = 0;
            // What that search saw is looked at as often as what the first one saw.
            self.merge.searched(self.searched.clone());
            self.walks = self.walks.min(WALKS - AGREEMENTS);
        } else {
            open.restless += 1;
            self.restart();
        }
        Ok(false)
    }

    /// Opens the memory and looks for the books, anew.
    fn search(&mut self, totals: &Totals) -> Result<(), Trouble> {
        let (memory, books) = open_books(&self.process, &self.hooks, &self.file)?;
        self.open = Some(Open {
            memory,
            books,
            found: Found::default(),
            restless: 0,
            confirmed: false,
        });
        let found = self.find(totals)?;
        if let Some(open) = &mut self.open {
            open.found = found;
        }
        self.restart();
        Ok(())
    }

    /// Looks through all of the process's private memory.
    fn find(&mut self, totals: &Totals) -> Result<Found, Trouble> {
        self.find_rows(totals)?;
        self.searched = self.read(totals)?;
        let Some(open) = &mut self.open else {
            return Ok(Found::default());
        };
        self.facts.readings.searches += 1;
        let begin = clock::now();
        let found = find_books(&open.memory, &mut *open.books)?;
        let end = clock::now();
        self.facts.retained = found.retained.complete.then(|| Retained {
            count: found.retained.count,
            join_handles: found.retained.join_handles,
            sites: found
                .retained
                .sites
                .iter()
                .map(|site| (site.site.0, site.live))
                .collect(),
            at: begin,
        });
        self.search_again = later(end, end.since(begin).saturating_mul(SEARCH_SHARE));
        Ok(found)
    }

    /// The rows of this plan that the kernel has of the process's newest image.
    fn find_rows(&mut self, totals: &Totals) -> Result<(), Trouble> {
        let reading = totals.read().map_err(|error| Trouble::Told(error.to_string()))?;
        let mine = |key: &&SiteKey| key.process == self.process && key.plan == self.plan.0 && key.caller == 0;
        let keys: Vec<SiteKey> = reading
            .rows
            .iter()
            .map(|(key, _)| key)
            .filter(mine)
            .copied()
            .collect();
        let newest = keys.iter().map(|key| key.exec_id).max();
        self.keys = keys
            .into_iter()
            .filter(|key| Some(key.exec_id) == newest)
            .collect();
        Ok(())
    }

    fn read(&self, totals: &Totals) -> Result<SiteCounts, Trouble> {
        let rows = totals
            .of(&self.keys)
            .map_err(|error| Trouble::Told(error.to_string()))?;
        Ok(self.keys.iter().map(|key| key.site).zip(rows).collect())
    }

    fn walk(&mut self, totals: &Totals) -> Result<(), Trouble> {
        self.walks += 1;
        if self.walks == 1 {
            self.find_rows(totals)?;
        }
        let before = self.read(totals)?;
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let begin = clock::now();
        let mut listing = open.books.list(&open.memory, 0)?;
        self.facts.readings.lists += 1;
        self.facts.seen.take_listing(&mut listing, begin);
        let soon = self.read(totals)?;
        // A site without a row when this walk began has one by now if anything happened there.
        self.find_rows(totals)?;
        let mut after = self.read(totals)?;
        after.extend(soon);
        let keeps = &self.keeps;
        self.merge
            .walk(&before, &listing, &after, |site| kept(keeps, site));
        let owned = listing.groups.iter().map(|listed| listed.group);
        self.counted = owned.filter(|group| group.kind == GroupKind::Owned).collect();
        self.count(totals, COUNTINGS)
    }

    fn count(&mut self, totals: &Totals, times: u32) -> Result<(), Trouble> {
        let mut before = self.read(totals)?;
        for _ in 0..times {
            let Some(open) = &mut self.open else {
                return Ok(());
            };
            let counters = open.books.counters(&open.memory)?;
            self.facts.readings.counters += 1;
            let counting: BTreeSet<Group> = counters.iter().map(|each| each.group).collect();
            if counting != self.counted {
                return Ok(()); // one of them does not count, or is gone, or new
            }
            let after = self.read(totals)?;
            let keeps = &self.keeps;
            self.merge
                .count(&before, &counters, &after, |site| kept(keeps, site));
            before = after;
        }
        Ok(())
    }

    /// Compares cheaply; `false` = the books do not agree, or only their lists can tell.
    fn agrees(&mut self, totals: &Totals) -> Result<bool, Trouble> {
        self.restart();
        self.find_rows(totals)?;
        self.count(totals, COMPARISONS)?;
        let (sum, ledger) = (self.merge.sum(), self.merge.ledger());
        self.restart();
        let same = sum == Some(self.facts.sum()) && !self.is_new(ledger.as_ref());
        if same {
            self.facts.agree(clock::now());
            self.ledger = ledger;
            self.failed = 0;
            if clock::now() >= self.search_again || !self.asked.is_empty() {
                self.look_for_retained(totals)?;
            }
        } else {
            // A runtime that came since is in no list that was found then.
            self.search(totals)?;
        }
        Ok(same)
    }

    /// Searches the memory for tasks that ended and are still held: they are in no list.
    fn look_for_retained(&mut self, totals: &Totals) -> Result<(), Trouble> {
        let found = self.find(totals)?;
        if let Some(open) = &mut self.open {
            open.found = found;
        }
        Ok(())
    }

    /// Says what came out, and what it means for what was said before.
    fn conclude(&mut self, finding: Finding) {
        if let Some(doubt) = finding.doubt.clone() {
            if self.facts.baseline.doubt.is_some() {
                self.facts.guess(&finding, doubt.clone());
            }
            self.facts.trouble = Some(doubt);
            self.once = None;
            self.failed += 1;
            self.open = None; // to be searched anew
        } else if self.is_news(&finding) {
            if self.facts.baseline.doubt.is_some() {
                let doubt = "read once, and about to be read again".to_owned();
                self.facts.guess(&finding, doubt);
            }
            self.once = Some(Once {
                finding,
                times: 1,
                at_rest: self.is_at_rest(),
            });
        } else if self.is_too_early(&finding) {
            // It is read again, after a pause.
        } else {
            let before = self.ledger.take();
            let before = before.filter(|before| before.can_be_compared(finding.ledger.as_ref()));
            self.facts.settle(&finding, before.as_ref(), clock::now());
            self.ledger = finding.ledger;
            self.once = None;
            self.failed = match self.facts.contradiction {
                Some(_) => self.failed + 1,
                None => 0,
            };
        }
        if let Some(open) = &mut self.open {
            open.confirmed = false;
        }
        self.restart();
    }

    /// Neither what is said already nor what was found the last time.
    fn is_news(&self, found: &Finding) -> bool {
        let said = self.facts.agreed_at.is_some()
            && self.facts.agrees_with(found)
            && !self.is_new(found.ledger.as_ref());
        let again = |once: &Once| once.finding.says_the_same(found);
        !said && !self.once.as_ref().is_some_and(again)
    }

    /// What came out again might be misled in the same way as before.
    fn is_too_early(&mut self, found: &Finding) -> bool {
        let rests = self.is_at_rest();
        let once = self.once.as_mut();
        once.filter(|once| once.finding.says_the_same(found))
            .is_some_and(|once| {
                once.times += 1;
                once.at_rest |= rests;
                !once.at_rest && once.times < OFTEN
            })
    }

    /// All threads of the process sleep: none is between a probe and a list.
    fn is_at_rest(&self) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|open| matches!(open.memory.directory().is_active(THREADS), Ok(false)))
    }

    /// Whether the same runtimes count something else than when the books last agreed.
    fn is_new(&self, now: Option<&Ledger>) -> bool {
        match (&self.ledger, now) {
            (Some(before), Some(now)) => before.can_be_compared(Some(now)) && !before.says_the_same(now),
            _ => false,
        }
    }
}

/// A site that the plan does not have is taken for one in a list.
fn kept(keeps: &HashMap<u64, Keeps>, site: u64) -> Keeps {
    keeps.get(&site).copied().unwrap_or(Keeps::Lists)
}
