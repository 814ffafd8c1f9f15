//! All lists of one group, walked side by side: the next task of every list with one system call.

use super::chain::{Broken, Chain, Seen, Step, live_task};
use super::header::{Header, HeaderReader, word};
use super::pages::Pages;
use crate::source::books::{BooksError, LiveTask, SiteCount};
use crate::sys::memory::{Batch, Memory};
use std::collections::BTreeMap;

/// What a walk through all lists of a group saw.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) walked: u64,
    pub(super) ending: u64,
    pub(super) disturbed: u64,
    pub(super) sites: Vec<SiteCount>,
    pub(super) tasks: Vec<LiveTask>,
    /// Lists that were not walked to their end, by reason.
    pub(super) broken: BTreeMap<Broken, u64>,
    /// Oldest and youngest task of the last list that has any.
    pub(super) ends: Option<(u64, u64)>,
}

impl Walked {
    /// Tasks that were in the lists.
    pub(super) fn all(&self) -> u64 {
        self.walked + self.ending
    }

    /// Another walk would not come further.
    pub(super) fn is_hopeless(&self) -> bool {
        self.broken.contains_key(&Broken::Endless)
    }

    /// The walk was cut short, and that is all.
    pub(super) fn is_cut_only(&self) -> bool {
        self.all() > 0 && self.broken.keys().all(|broken| *broken == Broken::Endless)
    }

    /// Lists there are, and none of them has a task of this group.
    pub(super) fn is_foreign(&self) -> bool {
        self.all() == 0 && self.broken.len() == 1 && self.broken.contains_key(&Broken::Stranger)
    }

    /// Why not all lists were walked to their end, if so.
    pub(super) fn trouble(&self) -> Option<String> {
        let (broken, lists) = self.broken.iter().next()?;
        Some(match lists {
            1 => format!("a list of it was not followed to its end: {}", broken.reason()),
            lists => format!(
                "{lists} lists of it were not followed to their end: {}",
                broken.reason()
            ),
        })
    }
}

/// How far a walk may go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Tasks in all lists together.
    pub(super) steps: u64,
    /// Tasks that are given one by one.
    pub(super) tasks: usize,
}

/// Walks through all tasks of these lists.
pub(super) fn walk(
    memory: &dyn Memory,
    reader: &HeaderReader<'_>,
    owner: u64,
    mut chains: Vec<Chain>,
    limits: Limits,
) -> Result<Walked, BooksError> {
    let mut walk = Walk {
        memory,
        reader,
        owner,
        limits,
        steps: 0,
        kept: 0,
        batch: Batch::default(),
        rest: Batch::default(),
        pages: Pages::default(),
    };
    let mut active: Vec<usize> = (0..chains.len()).collect();
    while !active.is_empty() {
        walk.round(&mut chains, &active)?;
        active.retain(|number| {
            chains
                .get(*number)
                .is_some_and(|chain| matches!(chain.step, Step::Begin | Step::Task | Step::End))
        });
    }
    let mut all = Walked::default();
    let mut sites = BTreeMap::new();
    for chain in chains {
        all.walked += chain.walked;
        all.ending += chain.ending;
        all.disturbed += chain.disturbed;
        for (site, live) in chain.sites() {
            *sites.entry(site).or_insert(0) += live;
        }
        all.tasks.extend(chain.tasks);
        match chain.step {
            Step::Broken(why) => *all.broken.entry(why).or_default() += 1,
            _ if chain.youngest != 0 => all.ends = Some((chain.oldest, chain.youngest)),
            _ => {}
        }
    }
    all.sites = sites
        .into_iter()
        .map(|(site, live)| SiteCount { site, live })
        .collect();
    Ok(all)
}

struct Walk<'a> {
    memory: &'a dyn Memory,
    reader: &'a HeaderReader<'a>,
    owner: u64,
    limits: Limits,
    /// Tasks that were arrived at, in all chains, those among them that were forgotten again.
    steps: u64,
    /// Tasks kept one by one, in all chains.
    kept: usize,
    batch: Batch,
    /// What is behind the end of a first read.
    rest: Batch,
    pages: Pages,
}

impl Walk<'_> {
    /// Some steps in every list that is not at its end: as far as copied pages show it, then one that is read on purpose
    /// where they show nothing, or nothing that goes on.
    fn round(&mut self, chains: &mut [Chain], active: &[usize]) -> Result<(), BooksError> {
        let mut stopped = self.follow_copies(chains, active, true);
        if !self.pages.is_content() {
            self.pages.fetch(self.memory, self.steps)?;
            stopped = self.follow_copies(chains, &stopped, false);
        }
        if stopped.is_empty() {
            return Ok(());
        }
        self.read_next(chains, &stopped)
    }

    /// Follows lists in the copied pages. Gives those that need a read on purpose; of the others, either a page was asked for,
    /// or a step was made.
    fn follow_copies(&mut self, chains: &mut [Chain], active: &[usize], may_ask: bool) -> Vec<usize> {
        let mut stopped = Vec::new();
        for number in active {
            let Some(chain) = chains.get_mut(*number) else {
                continue;
            };
            let mut moved = false;
            while chain.may_use_copies() && self.step_in_copies(chain) {
                moved = true;
            }
            let asks = may_ask && chain.may_use_copies() && self.pages.get(chain.at, self.steps).is_none();
            if asks {
                self.pages.want(chain.at);
            }
            if asks || !moved {
                stopped.push(*number);
            }
        }
        stopped
    }

    /// One step in the copied pages; `false` = they do not show one that is beyond doubt.
    fn step_in_copies(&mut self, chain: &mut Chain) -> bool {
        let (at, now) = (chain.at, self.steps);
        let seen = || {
            let header = self.reader.read(self.pages.get(at, now)?)?;
            let links = at.checked_add(self.reader.links(header.kind)? as u64)?;
            let id = match self.reader.id(header.kind) {
                Some(id) => Some(self.pages.word(at.checked_add(id as u64)?, now)?),
                None => None,
            };
            Some(Seen {
                header,
                prev: self.pages.word(links, now)?,
                next: self.pages.word(links.checked_add(8)?, now)?,
                id,
            })
        };
        let Some(seen) = seen() else {
            return false;
        };
        if seen.header.owner != self.owner || seen.prev == 0 || !chain.agrees(&seen) {
            return false;
        }
        self.arrived(chain, &seen);
        true
    }

    /// One read for each of these lists.
    fn read_next(&mut self, chains: &mut [Chain], active: &[usize]) -> Result<(), BooksError> {
        let least = self.reader.least();
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        for number in active {
            let Some(chain) = chains.get_mut(*number) else {
                continue;
            };
            match (chain.step, chain.ends) {
                (Step::Begin | Step::End, Some(ends)) => batch.push(ends, 16),
                (Step::Begin, None) => {
                    chain.at = chain.oldest;
                    chain.step = Step::Task;
                    chain.len = least;
                    batch.push(chain.at, chain.len)
                }
                _ => batch.push(chain.at, chain.len.max(least)),
            };
        }
        self.memory.read_many(&mut batch)?;
        let mut rest = std::mem::take(&mut self.rest);
        rest.clear();
        let mut waiting: Vec<(usize, Half<'_>)> = Vec::new();
        for (piece, number) in active.iter().enumerate() {
            let Some(chain) = chains.get_mut(*number) else {
                continue;
            };
            let bytes = batch.get(piece);
            if chain.step != Step::Task {
                match bytes.and_then(|bytes| Some((word(bytes, 0)?, word(bytes, 8)?))) {
                    Some((head, tail)) => chain.ends_read(head, tail),
                    None => chain.step = Step::Broken(Broken::NotMapped),
                }
                continue;
            }
            let Some(bytes) = bytes else {
                if chain.len > least {
                    chain.len = least; // what follows the task may not be there
                } else {
                    chain.go_back(Broken::NotMapped);
                }
                continue;
            };
            let Some(header) = self
                .reader
                .read(bytes)
                .filter(|header| header.owner == self.owner)
            else {
                chain.go_back(Broken::Stranger);
                continue;
            };
            let Some(links) = self.reader.links(header.kind) else {
                chain.go_back(Broken::Stranger);
                continue;
            };
            let id = self.reader.id(header.kind);
            chain.expect(links, id.map_or(least, |id| least.max(id + 8)));
            let found = (
                word(bytes, links),
                word(bytes, links + 8),
                id.map(|id| word(bytes, id)),
            );
            if let (Some(prev), Some(next), None | Some(Some(_))) = found {
                let id = found.2.flatten();
                let seen = Seen {
                    header,
                    prev,
                    next,
                    id,
                };
                self.arrived(chain, &seen);
            } else {
                let at = chain.at;
                let links = rest.push(at.saturating_add(links as u64), 16);
                let id = id.map(|id| rest.push(at.saturating_add(id as u64), 8));
                waiting.push((*number, Half { header, links, id }));
            }
        }
        self.batch = batch;
        if waiting.is_empty() {
            self.rest = rest;
            return Ok(());
        }
        self.memory.read_many(&mut rest)?;
        for (number, half) in waiting {
            let Some(chain) = chains.get_mut(number) else {
                continue;
            };
            let number = |piece: usize, at: usize| word(rest.get(piece)?, at);
            let id = half.id.and_then(|id| number(id, 0));
            match (number(half.links, 0), number(half.links, 8)) {
                (Some(prev), Some(next)) if id.is_some() == half.id.is_some() => {
                    let header = half.header;
                    let seen = Seen {
                        header,
                        prev,
                        next,
                        id,
                    };
                    self.arrived(chain, &seen);
                }
                _ => chain.go_back(Broken::NotMapped),
            }
        }
        self.rest = rest;
        Ok(())
    }

    /// A chain has a task in full.
    fn arrived(&mut self, chain: &mut Chain, seen: &Seen<'_>) {
        if let (Some((shard, shards)), Some(id)) = (chain.shard, seen.id)
            && id & shards.wrapping_sub(1) != shard
        {
            // tokio chooses the list by the id.
            chain.go_back(Broken::Stranger);
            return;
        }
        self.steps += 1;
        if self.steps > self.limits.steps {
            chain.step = Step::Broken(Broken::Endless);
            return;
        }
        let (at, walked) = (chain.at, chain.walked);
        chain.arrive(seen);
        self.kept = self.kept.saturating_sub(std::mem::take(&mut chain.forgotten));
        if chain.walked > walked && self.kept < self.limits.tasks {
            chain.tasks.push(live_task(at, &seen.header, seen.id));
            self.kept += 1;
        }
    }
}

/// A task of which the links are still to be read.
struct Half<'a> {
    header: Header<'a>,
    links: usize,
    id: Option<usize>,
}

/// The oldest task of the list that this one is in, by following it away from the young end. `None` = it is in no list, or
/// the list changed on the way. Costs one system call per task.
pub(super) fn oldest(
    memory: &dyn Memory,
    reader: &HeaderReader<'_>,
    owner: u64,
    from: u64,
    steps: u64,
) -> Result<Option<u64>, BooksError> {
    let (mut at, mut younger) = (from, None);
    let mut bytes = vec![0; reader.least()];
    let mut links = [0; 16];
    for _ in 0..steps {
        if memory.read_some(at, &mut bytes)? < bytes.len() {
            return Ok(None);
        }
        let Some(header) = reader.read(&bytes).filter(|header| header.owner == owner) else {
            return Ok(None);
        };
        let Some(place) = reader.links(header.kind) else {
            return Ok(None);
        };
        if memory.read_some(at.saturating_add(place as u64), &mut links)? < links.len() {
            return Ok(None);
        }
        let (Some(prev), Some(next)) = (word(&links, 0), word(&links, 8)) else {
            return Ok(None);
        };
        if younger.is_some_and(|younger| younger != prev) {
            return Ok(None);
        }
        if next == 0 {
            // Alone and complete: it was taken out.
            return Ok((prev != 0 || !header.state.complete()).then_some(at));
        }
        younger = Some(at);
        at = next;
    }
    Ok(None)
}
