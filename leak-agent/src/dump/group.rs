//! Grouping: tasks of one site that do the same at the same place are one group.

use super::document::{Frame, Group, LabelSet, WaitPlace};
use super::signature;
use crate::source::books::TaskDetail;
use crate::source::{NamedStack, SiteInfo};
use crate::types::label::Label;
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

/// Channels and sets of labels of one group that are told.
const TOLD_MAX: usize = 5;

/// Number of a stack that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct StackNumber(usize);

/// What tasks of one group have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) runtime: Label,
    pub(super) site: usize,
    pub(super) state: Label,
    pub(super) reason: Option<Cow<'static, str>>,
    /// `None` = they have none that could be read.
    pub(super) stack: Option<StackNumber>,
}

/// Groups while they are made.
#[derive(Default)]
pub(super) struct Groups {
    stacks: Vec<(Vec<Frame>, bool)>,
    by_signature: HashMap<(String, bool), StackNumber>,
    sites: Vec<SiteInfo>,
    by_key: HashMap<Key, usize>,
    all: Vec<(Key, Tally)>,
}

/// What is counted of a group.
#[derive(Clone, Debug, Default)]
struct Tally {
    count: u64,
    bound: u64,
    oldest_s: Option<u64>,
    looked_at: u64,
    waits_on: BTreeMap<(u64, bool), WaitPlace>,
    labels: BTreeMap<Vec<(String, String)>, u64>,
}

impl Groups {
    /// The number of a stack: the same for all that look the same in the source.
    pub(super) fn stack(&mut self, stack: &NamedStack) -> StackNumber {
        let frames: Vec<Frame> = stack.frames.iter().map(signature::frame).collect();
        let next = StackNumber(self.stacks.len());
        let number = self
            .by_signature
            .entry((signature::of(&frames), stack.complete))
            .or_insert(next);
        if *number == next {
            self.stacks.push((frames, stack.complete));
        }
        *number
    }

    /// The number of a site.
    pub(super) fn site(&mut self, site: SiteInfo) -> usize {
        self.sites.push(site);
        self.sites.len() - 1
    }

    /// Takes a task; gives the number of its group.
    pub(super) fn take(&mut self, key: Key, bound: bool, age_s: Option<u64>) -> usize {
        let index = match self.by_key.get(&key) {
            Some(index) => *index,
            None => {
                let index = self.all.len();
                self.by_key.insert(key.clone(), index);
                self.all.push((key, Tally::default()));
                index
            }
        };
        if let Some((_, tally)) = self.all.get_mut(index) {
            tally.count += 1;
            tally.bound += u64::from(bound);
            tally.oldest_s = tally.oldest_s.max(age_s);
        }
        index
    }

    /// Takes what else is known of a task of this group.
    pub(super) fn detail(&mut self, group: usize, detail: TaskDetail) {
        let Some((_, tally)) = self.all.get_mut(group) else {
            return;
        };
        tally.looked_at += 1;
        for on in detail.waits_on {
            let Some(channel) = on.channel else { continue };
            let place = tally
                .waits_on
                .entry((channel.address, on.select))
                .or_insert_with(|| WaitPlace {
                    channel: format!("{:#x}", channel.address),
                    queued: channel.queued,
                    capacity: channel.capacity,
                    closed: channel.closed,
                    select: on.select,
                    tasks: 0,
                });
            place.tasks += 1;
        }
        if !detail.labels.is_empty() {
            *tally.labels.entry(detail.labels).or_default() += 1;
        }
    }

    /// The groups, the largest first; equal ones in an order that does not depend on where the process has things.
    pub(super) fn sorted(self) -> Vec<Group> {
        let Self {
            stacks, sites, all, ..
        } = self;
        let mut groups: Vec<Group> = all
            .into_iter()
            .filter_map(|(key, tally)| {
                let (frames, complete) = match key.stack {
                    Some(StackNumber(number)) => stacks.get(number)?.clone(),
                    None => (Vec::new(), false),
                };
                Some(group(&key, sites.get(key.site)?, tally, frames, complete))
            })
            .collect();
        groups.sort_by_cached_key(|group| {
            (
                Reverse(group.count),
                group.runtime,
                group.site.clone(),
                group.state.clone(),
                group.reason.clone(),
                signature::of(&group.frames),
            )
        });
        groups
    }
}

fn group(key: &Key, site: &SiteInfo, tally: Tally, frames: Vec<Frame>, complete: bool) -> Group {
    let mut waits_on: Vec<WaitPlace> = tally.waits_on.into_values().collect();
    waits_on.sort_by_key(|place| Reverse(place.tasks));
    waits_on.truncate(TOLD_MAX);
    let mut labels: Vec<LabelSet> = tally
        .labels
        .into_iter()
        .map(|(labels, tasks)| LabelSet { labels, tasks })
        .collect();
    labels.sort_by_key(|set| Reverse(set.tasks));
    labels.truncate(TOLD_MAX);
    let created_by = site.created_by.iter().flat_map(|calls| calls.iter());
    Group {
        runtime: key.runtime,
        site: site.name.clone(),
        kind: site.kind,
        state: key.state.to_owned(),
        reason: key.reason.as_deref().map(str::to_owned),
        count: tally.count,
        oldest_s: tally.oldest_s,
        frames,
        complete,
        site_id: Some(site.id.clone()).filter(|id| !id.is_empty()),
        location: site.location.clone(),
        created_by: created_by.map(signature::frame).collect(),
        bound: tally.bound,
        looked_at: tally.looked_at,
        waits_on,
        labels,
    }
}
