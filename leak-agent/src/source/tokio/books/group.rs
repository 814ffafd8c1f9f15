//! One group of tasks: where its lists are, what it counts, and whether that was ever seen to be true.

use super::chain::Chain;
use super::header::{HeaderReader, word};
use super::layout::Sharded;
use super::owned::Owned;
use super::walk::{Limits, Walked, oldest, walk};
use crate::source::books::{BooksError, Budget, Counters, Group, GroupKind, GroupListing};
use crate::sys::memory::{Batch, Memory};

/// Copies of one `OwnedTasks` that are kept: three were seen.
pub(super) const COPIES_MAX: usize = 8;
/// Walks until a list in motion is believed or given up.
const ATTEMPTS: u32 = 4;
/// Tasks of all walks of one listing after which a walk is not repeated only because the list is in motion.
const REPEAT_MAX: u64 = 200_000;
/// Tasks that a list without a counter may have.
const UNCOUNTED_MAX: u64 = 4 << 20;
/// Tasks of new books that are walked at once; the rest when they are first counted or listed.
const QUICK: u64 = 4096;
/// Tasks that one walk visits.
const STEPS_MAX: u64 = 64 << 20;

/// Where the lists of a group are.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// In an array, with counters.
    Sharded {
        form: Sharded,
        /// Where it is, and where copies of it are.
        copies: Vec<u64>,
        owned: Owned,
    },
    /// One list whose two ends are known, in a structure that has the owner id, too.
    Ends {
        ends: u64,
        id: u64,
        /// Where the runtime counts its tasks.
        count: Option<u64>,
    },
    /// One list into which only some tasks lead.
    Tasks(Vec<u64>),
}

/// What a group counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) count: u64,
    pub(super) added: Option<u64>,
}

/// A group that was found.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) group: Group,
    pub(super) place: Place,
    /// It was walked, with tasks in it, and had as many as it counts.
    pub(super) confirmed: bool,
}

/// Whether a group is what it looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    /// It has many tasks, and the first thousands of them are right.
    Promising,
    /// It has no tasks: nothing speaks against it.
    Empty,
    /// Its lists are no longer where they were.
    Gone,
    /// All its tasks are of types that this file does not have.
    Foreign,
    Wrong(String),
}

impl Known {
    pub(super) fn new(owner: u64, kind: GroupKind, place: Place) -> Self {
        Self {
            group: Group { owner, kind },
            place,
            confirmed: false,
        }
    }

    /// What it counts. `None` = it counts nothing, or is gone.
    pub(super) fn counts(&self, memory: &dyn Memory) -> Result<Option<Counts>, BooksError> {
        match &self.place {
            Place::Sharded { form, copies, owned } => {
                let now = form.counters(memory, copies, owned)?;
                Ok(now.map(|now| Counts {
                    count: now.count,
                    added: now.added,
                }))
            }
            Place::Ends { count: Some(at), .. } => {
                let mut bytes = [0; 8];
                if !self.exists(memory)? || memory.read_some(*at, &mut bytes)? < bytes.len() {
                    return Ok(None);
                }
                Ok(word(&bytes, 0).map(|count| Counts { count, added: None }))
            }
            Place::Ends { count: None, .. } | Place::Tasks(_) => Ok(None),
        }
    }

    /// What is told of its counters; `None` = see [`Self::counts`], or they are not to be believed yet.
    pub(super) fn counters(
        &mut self,
        memory: &dyn Memory,
        reader: &HeaderReader<'_>,
    ) -> Result<Option<Counters>, BooksError> {
        let Some(counts) = self.counts(memory)? else {
            return Ok(None);
        };
        if !self.confirmed && counts.count > 0 {
            let limit = Budget::default().tasks;
            if self.check(memory, reader, limit, false)? != Verdict::Right {
                return Ok(None);
            }
        }
        Ok(Some(Counters {
            group: self.group,
            live: counts.count,
            added: counts.added,
            confirmed: self.confirmed,
        }))
    }

    /// Whether its lists are still where they were.
    pub(super) fn exists(&self, memory: &dyn Memory) -> Result<bool, BooksError> {
        match &self.place {
            Place::Sharded { form, copies, owned } => Ok(form.counters(memory, copies, owned)?.is_some()),
            Place::Ends { ends, id, .. } => {
                let mut batch = Batch::default();
                let (ends, id) = (batch.push(*ends, 16), batch.push(*id, 8));
                memory.read_many(&mut batch)?;
                let number = |piece: usize, at: usize| word(batch.get(piece)?, at);
                let both = number(ends, 0).zip(number(ends, 8));
                Ok(number(id, 0) == Some(self.group.owner)
                    && both.is_some_and(|(head, tail)| head.is_multiple_of(8) && tail.is_multiple_of(8)))
            }
            Place::Tasks(entries) => Ok(!entries.is_empty()),
        }
    }

    /// Walks through its lists.
    pub(super) fn walk(
        &self,
        memory: &dyn Memory,
        reader: &HeaderReader<'_>,
        limits: Limits,
    ) -> Result<Walked, BooksError> {
        let owner = self.group.owner;
        let chains = match &self.place {
            Place::Sharded { owned, .. } => owned.chains(),
            Place::Ends { ends, .. } => vec![Chain::of_list(*ends, None)],
            Place::Tasks(entries) => {
                let mut last = Walked::default();
                for entry in entries {
                    if let Some(oldest) = oldest(memory, reader, owner, *entry, limits.steps)? {
                        last = walk(memory, reader, owner, vec![Chain::from_oldest(oldest)], limits)?;
                        if last.broken.is_empty() {
                            return Ok(last);
                        }
                    }
                }
                return Ok(last);
            }
        };
        walk(memory, reader, owner, chains, limits)
    }

    /// Whether it is what it looks like: it is walked, and must have as many tasks as it counts. Costs a walk; of a list
    /// in motion, up to four. With `quick`, of many tasks only the first are looked at, and it is not confirmed yet.
    pub(super) fn check(
        &mut self,
        memory: &dyn Memory,
        reader: &HeaderReader<'_>,
        tasks: u64,
        quick: bool,
    ) -> Result<Verdict, BooksError> {
        let mut verdict = Verdict::Empty;
        for _ in 0..ATTEMPTS {
            let before = self.counts(memory)?;
            if before.is_some_and(|before| before.count > tasks) {
                return Ok(Verdict::Wrong(format!(
                    "it counts more than the {tasks} tasks that are looked at to believe it"
                )));
            }
            let quick = quick && before.is_some_and(|before| before.count > QUICK);
            let limits = match quick {
                true => Limits {
                    steps: QUICK,
                    tasks: 0,
                },
                false => limits(before, 0),
            };
            let walked = self.walk(memory, reader, limits)?;
            let after = self.counts(memory)?;
            verdict = match (before, after) {
                _ if quick && walked.is_cut_only() => Verdict::Promising,
                _ if !self.exists(memory)? || left_over(&walked, before, after) => Verdict::Gone,
                _ if walked.is_foreign() => Verdict::Foreign,
                (Some(before), Some(after)) => counted(&walked, before, after, self.confirmed),
                _ => uncounted(&walked),
            };
            match verdict {
                Verdict::Right => self.confirmed = true,
                Verdict::Wrong(_) if !walked.is_hopeless() => continue,
                Verdict::Wrong(_)
                | Verdict::Promising
                | Verdict::Foreign
                | Verdict::Empty
                | Verdict::Gone => {}
            }
            break;
        }
        Ok(verdict)
    }

    /// Walks through it, with its counters before and after; again if it was in motion. The second part is why
    /// it is not to be believed, if so.
    pub(super) fn list(
        &mut self,
        memory: &dyn Memory,
        reader: &HeaderReader<'_>,
        tasks: usize,
    ) -> Result<(Option<(GroupListing, Walked)>, Verdict), BooksError> {
        let mut steps = 0;
        for attempt in 1.. {
            let before = self.counts(memory)?;
            let walked = self.walk(memory, reader, limits(before, tasks))?;
            let after = self.counts(memory)?;
            if !self.exists(memory)? || left_over(&walked, before, after) {
                return Ok((None, Verdict::Gone));
            }
            if walked.is_foreign() && !self.confirmed {
                // It was empty until now, and what it has is another copy's.
                return Ok((None, Verdict::Foreign));
            }
            // It was taken out of its list, for all one knows, and its memory freed: then its state says nothing.
            if matches!(self.place, Place::Tasks(_)) && walked.all() == 1 {
                let reason = "a task without neighbours is all that is known of it".to_owned();
                return Ok((None, Verdict::Wrong(reason)));
            }
            let verdict = match (before, after) {
                (Some(before), Some(after)) => counted(&walked, before, after, self.confirmed),
                _ => uncounted(&walked),
            };
            let quiet = match (before, after) {
                (Some(before), Some(after)) => before == after && walked.all() == before.count,
                _ => walked.disturbed == 0,
            };
            let complete =
                quiet && walked.broken.is_empty() && matches!(verdict, Verdict::Right | Verdict::Empty);
            steps += walked.all().max(1);
            let again = match verdict {
                Verdict::Wrong(_) => !walked.is_hopeless(),
                _ => !complete && steps < REPEAT_MAX,
            };
            if again && attempt < ATTEMPTS {
                continue;
            }
            self.confirmed |= verdict == Verdict::Right;
            let listing = GroupListing {
                group: self.group,
                before: before.map(|counts| counts.count),
                after: after.map(|counts| counts.count),
                walked: walked.walked,
                ending: walked.ending,
                complete,
                sites: walked.sites.clone(),
            };
            return Ok((Some((listing, walked)), verdict));
        }
        Ok((None, Verdict::Gone))
    }
}

/// Whether a runtime is gone whose counters still stand in freed memory: they stand at zero, and the lists are something
/// else by now.
fn left_over(walked: &Walked, before: Option<Counts>, after: Option<Counts>) -> bool {
    before == after
        && before.is_some_and(|counts| counts.count == 0)
        && (walked.all() > 0 || !walked.broken.is_empty())
}

/// How far a walk may go that should meet so many tasks. A list in motion gives some more.
fn limits(counts: Option<Counts>, tasks: usize) -> Limits {
    let steps = counts.map_or(UNCOUNTED_MAX, |counts| {
        counts
            .count
            .saturating_mul(2)
            .saturating_add(1 << 16)
            .min(STEPS_MAX)
    });
    Limits { steps, tasks }
}

/// A walk against the counters around it. Of the tasks that were there before, at most those are missing that left
/// meanwhile; at most those are there in addition that came.
fn counted(walked: &Walked, before: Counts, after: Counts, confirmed: bool) -> Verdict {
    let (least, most) = match (before.added, after.added) {
        (Some(first), Some(last)) => {
            let Some(came) = last.checked_sub(first) else {
                return Verdict::Wrong("its count of spawns runs backwards".to_owned());
            };
            let Some(left) = (before.count + came).checked_sub(after.count) else {
                return Verdict::Wrong("its two counters contradict each other".to_owned());
            };
            (before.count.saturating_sub(left), before.count + came)
        }
        // Without a count of spawns nobody knows how many came and left. To be believed it must fit once.
        _ if before == after && !confirmed => (before.count, before.count),
        _ => {
            let slack = before.count.max(after.count) / 8 + 64;
            let (low, high) = (before.count.min(after.count), before.count.max(after.count));
            (low.saturating_sub(slack), high + slack)
        }
    };
    let quiet = before == after && (before.added.is_some() || !confirmed);
    // A task is put into its list a moment before it is counted, and counted out a moment after it was taken out.
    let blur = if quiet { 0 } else { 64 };
    if let Some(trouble) = walked.trouble() {
        return Verdict::Wrong(trouble);
    }
    if walked.all() + blur < least || walked.all() > most + blur {
        return Verdict::Wrong(format!(
            "it counts {} tasks and its lists have {}",
            before.count,
            walked.all()
        ));
    }
    if walked.all() > 0 {
        Verdict::Right
    } else {
        Verdict::Empty
    }
}

/// A walk of a list without a counter.
fn uncounted(walked: &Walked) -> Verdict {
    match walked.trouble() {
        Some(trouble) => Verdict::Wrong(trouble),
        None if walked.all() > 0 => Verdict::Right,
        None => Verdict::Empty,
    }
}
