//! What the runtime's own books said of one plan in one process, and what became of our counts.

use super::merge::{Finding, Ledger};
use super::plan::PlanFacts;
use super::schedulers::ThreadFacts;
use super::seen::Seen;
use super::snapshot::{BooksSnapshot, RepairSnapshot};
use crate::types::{BootTime, PlanId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Sites of one repair that are remembered.
const REPAIRED_SITES_MAX: usize = 20;

/// What is known from the books.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BookFacts {
    /// What was alive when the probes began.
    pub baseline: Baseline,
    /// What repairs have added to our counts since, by site.
    pub missed: BTreeMap<u64, Missed>,
    /// Spawns and ends of tasks in lists that no probe saw, at least, as the runtimes' counters tell: more than in `missed` where
    /// both happened to one task. `None` = these runtimes do not count, or were not compared yet.
    pub lost: Option<Missed>,
    /// The books contradict our counts, and it is not known at which sites: our counts are wrong until then.
    pub contradiction: Option<String>,
    /// When the books and our counts last agreed; `None` = they did not yet.
    pub agreed_at: Option<BootTime>,
    /// Our live count minus the books', at the last comparison and before it was repaired; `None` = not compared yet.
    pub drift: Option<i64>,
    /// Comparisons that came to a result.
    pub checks: u64,
    /// Comparisons after which our counts were set anew.
    pub repairs: u64,
    /// The last of them.
    pub repair: Option<Repair>,
    /// Why the last comparison came to no result; `None` = it came to one.
    pub trouble: Option<String>,
    /// What was read for all that.
    pub readings: Readings,
    /// Tasks that ended and whose memory somebody still holds, as the last search saw them; `None` = not known.
    pub retained: Option<Retained>,
    /// What the threads of the runtime's scheduler do; `None` = the books do not tell, or were not asked yet.
    pub threads: Option<ThreadFacts>,
    /// What the readings tell besides.
    pub seen: Seen,
}

/// What is known of the time before the probes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Baseline {
    /// Alive when the probes began, by site: exact, or a lower bound.
    pub sites: BTreeMap<u64, u64>,
    /// Some lists had nothing but their own links to prove them: with a doubt, not even lower bounds are certain.
    pub unproven: bool,
    /// Alive when the probes began, too, but it is not known at which of the sites.
    pub elsewhere: u64,
    /// Why the numbers are no more than lower bounds; `None` = they are exact, but for `elsewhere`.
    pub doubt: Option<String>,
    /// The same for sites whose tasks are in no list, which no comparison corrects later.
    pub unlisted: BTreeMap<u64, u64>,
    /// Why the numbers in `unlisted` are no more than lower bounds.
    pub unlisted_doubt: Option<String>,
}

/// Events that no probe saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Missed {
    /// Spawns.
    pub spawned: u64,
    /// Ends.
    pub finished: u64,
}

/// How our counts were corrected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    /// When.
    pub at: BootTime,
    /// Our live count minus the books', before.
    pub drift: i64,
    /// What the probes had not seen since the books had last agreed, as the runtimes' counters tell; `None` = they do not.
    pub lost: Option<Missed>,
    /// By how much the live count of each site was changed: those that were changed most.
    pub sites: Vec<(u64, i64)>,
}

/// Tasks that ended and whose memory somebody still holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retained {
    /// How many: at most, for remains of tasks may look alike.
    pub count: u64,
    /// Of them: held by a handle to wait for the result. The others are held by wakers or by handles that only abort.
    pub join_handles: u64,
    /// `count` by site.
    pub sites: BTreeMap<u64, u64>,
    /// When they were seen.
    pub at: BootTime,
}

/// How often memory was read, by what for: the counters often, all lists rarely, all memory more rarely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Readings {
    /// The runtimes' counters: one read per runtime.
    pub counters: u64,
    /// Walks through all lists: one read per task, or less.
    pub lists: u64,
    /// Searches through all memory.
    pub searches: u64,
}

impl Default for BookFacts {
    fn default() -> Self {
        let unread = || Some("the runtime's own books were not read yet".to_owned());
        Self {
            baseline: Baseline {
                doubt: unread(),
                unlisted_doubt: unread(),
                ..Baseline::default()
            },
            missed: BTreeMap::new(),
            lost: None,
            contradiction: None,
            agreed_at: None,
            drift: None,
            checks: 0,
            repairs: 0,
            repair: None,
            trouble: None,
            readings: Readings::default(),
            retained: None,
            threads: None,
            seen: Seen::default(),
        }
    }
}

impl Readings {
    fn plus(self, other: Self) -> Self {
        Self {
            counters: self.counters.saturating_add(other.counters),
            lists: self.lists.saturating_add(other.lists),
            searches: self.searches.saturating_add(other.searches),
        }
    }
}

impl Missed {
    fn is_nothing(self) -> bool {
        self == Self::default()
    }

    fn plus(self, other: Self) -> Self {
        Self {
            spawned: self.spawned.saturating_add(other.spawned),
            finished: self.finished.saturating_add(other.finished),
        }
    }

    /// What a change of the offset is.
    fn of(change: i64) -> Self {
        Self {
            spawned: u64::try_from(change).unwrap_or(0),
            finished: u64::try_from(change.saturating_neg()).unwrap_or(0),
        }
    }

    fn net(self) -> i64 {
        signed(self.spawned).saturating_sub(signed(self.finished))
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Baseline {
    /// Alive at this site when the probes began, as far as it is known.
    #[must_use]
    pub fn at(&self, site: u64) -> u64 {
        let listed = self.sites.get(&site).copied().unwrap_or(0);
        listed.saturating_add(self.unlisted.get(&site).copied().unwrap_or(0))
    }

    /// Why the numbers are no more than lower bounds; `None` = they are exact, but for `elsewhere`.
    #[must_use]
    pub fn why_inexact(&self) -> Option<&str> {
        self.doubt.as_deref().or(self.unlisted_doubt.as_deref())
    }
}

impl BookFacts {
    /// What no probe saw of a site, as far as it is known.
    #[must_use]
    pub fn missed_at(&self, site: u64) -> Missed {
        self.missed.get(&site).copied().unwrap_or_default()
    }

    /// All sites of which something is said.
    #[must_use]
    pub fn sites(&self) -> BTreeSet<u64> {
        let listed = self.baseline.sites.keys().chain(self.missed.keys());
        listed.chain(self.baseline.unlisted.keys()).copied().collect()
    }

    /// Of a process whose tasks were all seen to begin: its books are for comparison only.
    #[must_use]
    pub fn born() -> Self {
        let mut facts = Self::default();
        facts.baseline.doubt = None;
        facts.baseline.unlisted_doubt = None;
        facts
    }

    /// By how much a site's live count differs from what was seen to begin and to end there.
    #[must_use]
    pub fn offset(&self, site: u64) -> i64 {
        let baseline = self.baseline.sites.get(&site).copied().unwrap_or(0);
        signed(baseline).saturating_add(self.missed_at(site).net())
    }

    /// The same of all listed sites together.
    #[must_use]
    pub fn sum(&self) -> i64 {
        let baseline = self
            .baseline
            .sites
            .values()
            .fold(0_i64, |sum, alive| sum.saturating_add(signed(*alive)));
        self.missed.values().fold(
            baseline.saturating_add(signed(self.baseline.elsewhere)),
            |sum, missed| sum.saturating_add(missed.net()),
        )
    }

    /// Whether the books said just what is known here.
    #[must_use]
    pub fn agrees_with(&self, finding: &Finding) -> bool {
        finding.sum() == self.sum()
            && (finding.elsewhere != 0
                || self.baseline.elsewhere != 0
                || self
                    .listed_with(finding)
                    .iter()
                    .all(|site| finding.sites.get(site).copied().unwrap_or(0) == self.offset(*site)))
    }

    fn listed_with(&self, finding: &Finding) -> BTreeSet<u64> {
        let known = self.baseline.sites.keys().chain(self.missed.keys());
        known.chain(finding.sites.keys()).copied().collect()
    }

    /// The books said again what is known.
    pub fn agree(&mut self, at: BootTime) {
        self.checks += 1;
        self.agreed_at = Some(at);
        self.drift = Some(0);
        self.trouble = None;
        self.contradiction = None;
    }

    /// Takes what the books said, for certain, and corrects the counts by it. `before`: what the runtimes counted when they
    /// last agreed, if that can be compared with what they count now.
    pub fn settle(&mut self, finding: &Finding, before: Option<&Ledger>, at: BootTime) {
        let first = self.agreed_at.is_none() && self.baseline.doubt.is_some();
        let drift = self.sum().saturating_sub(finding.sum());
        self.checks += 1;
        self.trouble = None;
        self.settle_unlisted(finding);
        let lost = lost(before, finding.ledger.as_ref());
        if let Some(lost) = lost {
            self.lost = Some(self.lost.unwrap_or_default().plus(lost));
        }
        if finding.ledger.is_some() {
            self.lost.get_or_insert_default();
        }
        if first {
            self.baseline.unproven = finding.unproven;
            self.baseline.doubt = None;
            self.drift = Some(0);
            for (site, offset) in &finding.sites {
                self.begin(*site, *offset);
            }
            self.baseline.elsewhere = u64::try_from(finding.elsewhere).unwrap_or(0);
            self.contradiction =
                (finding.elsewhere < 0).then(|| contradiction(finding.elsewhere.saturating_neg()));
            self.agreed_at = self.contradiction.is_none().then_some(at);
            return;
        }
        self.drift = Some(drift);
        if finding.elsewhere != 0 && drift > 0 {
            self.contradiction = Some(contradiction(drift));
            return;
        }
        self.contradiction = None;
        self.agreed_at = Some(at);
        let mut changes: Vec<(u64, i64)> = Vec::new();
        if finding.elsewhere != 0 {
            // At which sites will be known at a calmer moment.
            self.baseline.elsewhere = self
                .baseline
                .elsewhere
                .saturating_add(Missed::of(drift.saturating_neg()).spawned);
        } else {
            let mut elsewhere = signed(std::mem::take(&mut self.baseline.elsewhere));
            for site in self.listed_with(finding) {
                let wanted = finding.sites.get(&site).copied().unwrap_or(0);
                let mut change = wanted.saturating_sub(self.offset(site));
                let found = change.clamp(0, elsewhere);
                if found > 0 {
                    elsewhere -= found;
                    change -= found;
                    let baseline = self.baseline.sites.entry(site).or_default();
                    *baseline = baseline.saturating_add(Missed::of(found).spawned);
                }
                if change != 0 {
                    changes.push((site, change));
                    let missed = self.missed.entry(site).or_default();
                    *missed = missed.plus(Missed::of(change));
                }
            }
        }
        if drift != 0 || !changes.is_empty() || lost.is_some_and(|lost| !lost.is_nothing()) {
            changes.sort_by_key(|(site, change)| (std::cmp::Reverse(change.unsigned_abs()), *site));
            changes.truncate(REPAIRED_SITES_MAX);
            self.repairs += 1;
            self.repair = Some(Repair {
                at,
                drift,
                lost,
                sites: changes,
            });
        }
    }

    /// The offset of a site, as the first reading has it.
    fn begin(&mut self, site: u64, offset: i64) {
        if offset > 0 {
            self.baseline.sites.insert(site, Missed::of(offset).spawned);
        } else if offset < 0 {
            self.missed.insert(site, Missed::of(offset));
        }
    }

    /// Takes what was said of tasks in no list: their baseline is a constant, and once it is known, it is known for good.
    pub fn settle_unlisted(&mut self, finding: &Finding) {
        if self.baseline.unlisted_doubt.is_some() {
            self.baseline.unlisted.clone_from(&finding.unlisted);
            self.baseline.unlisted_doubt.clone_from(&finding.unlisted_doubt);
        }
    }

    /// Takes what the books said as lower bounds, for want of anything better.
    pub fn guess(&mut self, finding: &Finding, doubt: String) {
        let least = finding
            .sites
            .iter()
            .map(|(site, offset)| (*site, Missed::of(*offset).spawned));
        self.baseline.sites = least.filter(|(_, alive)| *alive > 0).collect();
        self.baseline.elsewhere = u64::try_from(finding.elsewhere).unwrap_or(0);
        self.baseline.unproven = finding.unproven;
        self.baseline.doubt = Some(doubt);
    }
}

fn contradiction(too_many: i64) -> String {
    format!(
        "the runtime counts {too_many} tasks less than we: their ends were missed, at which sites is not known yet"
    )
}

/// What the probes did not see between two readings of the runtimes' counters. What these did not count and the probes saw
/// (tasks spawned after a runtime's end) is no loss.
fn lost(before: Option<&Ledger>, now: Option<&Ledger>) -> Option<Missed> {
    let now = now?;
    let before = before?;
    let more = |now: i64, before: i64| u64::try_from(now.saturating_sub(before)).unwrap_or(0);
    Some(Missed {
        spawned: more(now.added, before.added),
        finished: more(now.removed, before.removed),
    })
}

/// What the books of all plans of a runtime say together, in one process.
pub(super) fn told(
    books: &BTreeMap<PlanId, BookFacts>,
    followed: &[(PlanId, &PlanFacts)],
) -> Option<BooksSnapshot> {
    let told: Vec<(&PlanFacts, &BookFacts)> = followed
        .iter()
        .filter(|(_, facts)| !facts.is_watched())
        .filter_map(|(plan, facts)| Some((*facts, books.get(plan)?)))
        .collect();
    if told.is_empty() {
        return None;
    }
    let books = || told.iter().map(|(_, books)| *books);
    let all = |value: fn(&BookFacts) -> Option<u64>| {
        books().try_fold(0_u64, |sum, book| Some(sum.saturating_add(value(book)?)))
    };
    let repair = told
        .iter()
        .filter_map(|(facts, books)| Some((*facts, books.repair.as_ref()?)))
        .max_by_key(|(_, repair)| repair.at);
    Some(BooksSnapshot {
        agreed_at: books().map(|book| book.agreed_at).min().flatten(),
        drift: books().try_fold(0_i64, |sum, book| Some(sum.saturating_add(book.drift?))),
        checks: books().fold(0, |sum, book| sum.saturating_add(book.checks)),
        repairs: books().fold(0, |sum, book| sum.saturating_add(book.repairs)),
        repair: repair.map(|(facts, repair)| repair.snapshot(facts)),
        missed_spawns: all(|book| Some(book.lost?.spawned)),
        missed_finishes: all(|book| Some(book.lost?.finished)),
        trouble: books().find_map(|book| book.trouble.clone()),
        readings: books().fold(Readings::default(), |sum, book| sum.plus(book.readings)),
        retained: all(|book| Some(book.retained.as_ref()?.count)),
        retained_join_handles: all(|book| Some(book.retained.as_ref()?.join_handles)),
        retained_at: books()
            .map(|book| book.retained.as_ref().map(|retained| retained.at))
            .min()
            .flatten(),
    })
}

impl Repair {
    /// With the names of the sites.
    fn snapshot(&self, facts: &PlanFacts) -> RepairSnapshot {
        let site = |number: &u64| match facts.site(*number) {
            Some(info) => info.id.clone(),
            None => format!("{number:#x}"),
        };
        RepairSnapshot {
            at: self.at,
            drift: self.drift,
            missed: self.lost.map(|lost| (lost.spawned, lost.finished)),
            sites: self
                .sites
                .iter()
                .map(|(number, change)| (site(number), *change))
                .collect(),
        }
    }
}
