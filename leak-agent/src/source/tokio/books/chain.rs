//! One list of tasks, followed from its oldest task to its youngest while the program changes it.
//!
//! A task that is taken out gets empty links, so a walk that stands on it must go back to one that is still in the
//! list. Going from old to young, the walk is in the part that changes least for longest.

use super::header::{Header, State};
use crate::source::books::LiveTask;
use crate::types::Vaddr;
use std::collections::{HashMap, VecDeque};

/// Tasks behind it that a walk can go back to.
const TRAIL: usize = 32;
/// How often a list is begun again from its oldest task.
const RESTARTS_MAX: u32 = 16;
/// How often a walk goes back without having seen a new task in between.
const BACKS_MAX: u32 = 8;
/// Bytes of a task that are read at once, at most: where its links are further away, they are read in a second call.
const READ_MAX: usize = 1024;

/// What a chain does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Read the list's two ends, and begin.
    Begin,
    /// Read the task at [`Chain::at`].
    Task,
    /// Read the list's ends: is the task at [`Chain::at`] really the youngest?
    End,
    /// All tasks were seen.
    Done,
    /// Not to be walked, and why.
    Broken(Broken),
}

/// Why a chain could not be walked to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Broken {
    /// It leads to memory that is not there.
    NotMapped,
    /// It leads to something that is no task of this list.
    Stranger,
    /// Neighbours do not point at each other.
    Disagree,
    /// Tasks were taken out faster than it could be followed.
    Moving,
    /// It comes back to a task that was seen.
    Cyclic,
    /// It has more tasks than there can be.
    Endless,
}

impl Broken {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::NotMapped => "it leads to memory that is not there",
            Self::Stranger => "it leads to something that is no task of it",
            Self::Disagree => "neighbours in it do not point at each other",
            Self::Moving => "it changes faster than it can be followed",
            Self::Cyclic => "it is a circle",
            Self::Endless => "it has no end",
        }
    }
}

/// A task as it was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) header: Header<'a>,
    pub(super) prev: u64,
    pub(super) next: u64,
    pub(super) id: Option<u64>,
}

/// A walk through one list.
#[derive(Debug)]
pub(super) struct Chain {
    /// Where the list's ends are: the first task's address, then the last one's. `None` = not known, then
    /// the walk begins at a given task.
    pub(super) ends: Option<u64>,
    /// The oldest task, if `ends` is not known.
    pub(super) oldest: u64,
    /// In which of an array of lists it is, and how many there are; tells which ids its tasks may have.
    pub(super) shard: Option<(u64, u64)>,
    pub(super) step: Step,
    /// The task to read next.
    pub(super) at: u64,
    /// The task before it, to which it should point back; 0 = none, or not to be asked.
    from: u64,
    /// The task at `at` was counted before the walk went back to it.
    again: bool,
    /// Which task it was then: its memory may be another one's by now.
    expected: Option<u64>,
    /// Tasks behind the walk, with their ids.
    trail: VecDeque<(u64, Option<u64>)>,
    /// Bytes to read of the next task.
    pub(super) len: usize,
    /// A task of an earlier moment, for recognising a circle (Brent's algorithm), by address and id.
    mark: (u64, Option<u64>),
    until_mark: u64,
    marks_apart: u64,
    pub(super) walked: u64,
    pub(super) ending: u64,
    /// How often the walk went back.
    pub(super) disturbed: u64,
    sites: HashMap<Vaddr, u64>,
    /// Tasks of one site that came one after the other, not yet in `sites`.
    run: (Vaddr, u64),
    pub(super) tasks: Vec<LiveTask>,
    /// The youngest task: where the walk ended.
    pub(super) youngest: u64,
    restarts: u32,
    backs: u32,
    last_loss: Broken,
    /// Tasks that were kept before the walk began again.
    pub(super) forgotten: usize,
}

impl Chain {
    /// `ends`: where the addresses of its first and last task are.
    pub(super) fn of_list(ends: u64, shard: Option<(u64, u64)>) -> Self {
        Self {
            ends: Some(ends),
            shard,
            ..Self::from_oldest(0)
        }
    }

    /// A list of which only the oldest task is known.
    pub(super) fn from_oldest(oldest: u64) -> Self {
        Self {
            ends: None,
            oldest,
            shard: None,
            step: Step::Begin,
            at: 0,
            from: 0,
            again: false,
            expected: None,
            trail: VecDeque::new(),
            len: 0,
            mark: (0, None),
            until_mark: 1,
            marks_apart: 1,
            walked: 0,
            ending: 0,
            disturbed: 0,
            sites: HashMap::new(),
            run: (Vaddr(0), 0),
            tasks: Vec::new(),
            youngest: 0,
            restarts: 0,
            backs: 0,
            last_loss: Broken::Moving,
            forgotten: 0,
        }
    }

    /// `walked` by site; a site may come twice.
    pub(super) fn sites(&self) -> impl Iterator<Item = (Vaddr, u64)> {
        let sites = self.sites.iter().map(|(site, live)| (*site, *live));
        sites.chain(std::iter::once(self.run).filter(|(_, live)| *live > 0))
    }

    /// The list's ends were read.
    pub(super) fn ends_read(&mut self, head: u64, tail: u64) {
        match self.step {
            Step::Begin => {
                if (head == 0) != (tail == 0) {
                    // Between the two stores of a change, or no list.
                    self.lose(Broken::Stranger);
                } else if tail == 0 {
                    self.step = Step::Done;
                } else {
                    self.at = tail;
                    self.oldest = tail;
                    self.step = Step::Task;
                }
            }
            Step::End if head == self.at => {
                self.youngest = self.at;
                self.step = Step::Done;
            }
            Step::End => self.go_back(Broken::Moving),
            Step::Task | Step::Done | Step::Broken(_) => {}
        }
    }

    /// The task at `at` was read; it is one of this list.
    pub(super) fn arrive(&mut self, seen: &Seen<'_>) {
        if self.again && self.expected != seen.id {
            self.go_back(Broken::Stranger);
            return;
        }
        if !self.agrees(seen) {
            // The one before was taken out meanwhile, or this one is another task by now.
            self.go_back(Broken::Disagree);
            return;
        }
        let again = std::mem::take(&mut self.again);
        if !again {
            self.backs = 0;
            if self.came_round(seen) {
                // A circle is still one the next time. A walk that had to go back may have lost its way.
                self.lose(Broken::Cyclic);
                return;
            }
            if seen.header.state.complete() {
                self.ending += 1;
            } else {
                self.walked += 1;
                if self.run.0 == seen.header.kind.site {
                    self.run.1 += 1;
                } else {
                    let (site, live) = std::mem::replace(&mut self.run, (seen.header.kind.site, 1));
                    if live > 0 {
                        *self.sites.entry(site).or_default() += live;
                    }
                }
            }
        }
        self.trail.push_back((self.at, seen.id));
        if self.trail.len() > TRAIL {
            self.trail.pop_front();
        }
        if seen.prev != 0 {
            self.from = self.at;
            self.at = seen.prev;
        } else if seen.next != 0 {
            // One that was taken out has neither neighbour.
            self.youngest = self.at;
            self.step = Step::Done;
        } else if self.ends.is_some() {
            self.step = Step::End;
        } else if self.from == 0 && !again {
            self.youngest = self.at;
            self.step = Step::Done; // the only one
        } else {
            self.go_back(Broken::Moving);
        }
    }

    /// The next task may be taken from a copy that is some milliseconds old. Not where the walk has gone back: what led
    /// it there was such a copy, or the program's haste.
    pub(super) fn may_use_copies(&self) -> bool {
        self.step == Step::Task && !self.again
    }

    /// Whether the task points back to the one that led to it.
    pub(super) fn agrees(&self, seen: &Seen<'_>) -> bool {
        self.from == 0 || seen.next == self.from
    }

    /// What is at `at` is no task of this list, or no longer.
    pub(super) fn go_back(&mut self, why: Broken) {
        if self.trail.back().is_some_and(|(at, _)| *at == self.at) {
            self.trail.pop_back();
        }
        self.backs += 1;
        self.disturbed += 1;
        match self.trail.pop_back().filter(|_| self.backs <= BACKS_MAX) {
            Some((earlier, id)) => {
                self.last_loss = why;
                self.at = earlier;
                self.expected = id;
                self.from = 0;
                self.again = true;
                self.step = Step::Task;
            }
            None => self.lose(why),
        }
    }

    /// Begins again, or gives up.
    fn lose(&mut self, why: Broken) {
        // On the way back all is strange or gone; what counts is what the walk met first.
        let why = if self.again { self.last_loss } else { why };
        self.restarts += 1;
        if self.restarts > RESTARTS_MAX || self.ends.is_none() {
            self.step = Step::Broken(why);
            return;
        }
        *self = Self {
            ends: self.ends,
            shard: self.shard,
            restarts: self.restarts,
            last_loss: why,
            disturbed: self.disturbed,
            forgotten: self.forgotten + self.tasks.len(),
            ..Self::from_oldest(self.oldest)
        };
    }

    /// Whether this very task was met before. Its address alone would not tell: memory is reused at once.
    fn came_round(&mut self, seen: &Seen<'_>) -> bool {
        let now = (self.at, seen.id);
        if now == self.mark {
            return true;
        }
        self.until_mark -= 1;
        if self.until_mark == 0 {
            self.mark = now;
            self.marks_apart = self.marks_apart.saturating_mul(2);
            self.until_mark = self.marks_apart;
        }
        false
    }

    /// How much of the next task to read, if it is one like the last: as much as shows its links at `links`.
    pub(super) fn expect(&mut self, links: usize, least: usize) {
        let with_links = links.saturating_add(16);
        self.len = if with_links <= READ_MAX {
            with_links.max(least)
        } else {
            least
        };
    }
}

/// What is told of a task.
pub(super) fn live_task(at: u64, header: &Header<'_>, id: Option<u64>) -> LiveTask {
    let state: State = header.state;
    LiveTask {
        header: at,
        site: header.kind.site,
        id,
        owner: header.owner,
        state: state.task(),
        refs: state.refs(),
        join_handle: state.join_handle(),
        waits_for: None,
        waits_since: None,
        creator: None,
        pinned: false,
        stack: None,
    }
}
