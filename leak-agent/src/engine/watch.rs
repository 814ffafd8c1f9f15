//! What the runtime's own books say of a process that has no probes: which tasks were alive at one moment.

use super::plan::PlanFacts;
use super::process::{Birth, Process};
use super::schedulers::ThreadFacts;
use super::seen::Seen;
use super::snapshot::{Counts, WatchSnapshot};
use crate::types::{BootTime, PlanId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The newest reading of one plan in one process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WatchFacts {
    /// When the tasks were seen alive; `None` = they were not read yet.
    pub as_of: Option<BootTime>,
    /// Tasks alive then, by site.
    pub sites: BTreeMap<u64, u64>,
    /// No list changed while it was walked through, and each had as many tasks as its runtime counts.
    pub agreed: bool,
    /// When the memory was last searched for runtimes: those that came later are not in it.
    pub searched_at: Option<BootTime>,
    /// The newest reading of the runtimes' own counters; `None` = not all of them count.
    pub counted: Option<Counted>,
    /// Tasks ever put into the lists of the runtimes that live now; `None` = not all of them count that.
    pub added: Option<u64>,
    /// Readings of the counters or the lists.
    pub readings: u64,
    /// Walks through the lists.
    pub walks: u64,
    /// Searches of the memory.
    pub searches: u64,
    /// Tasks that ended and whose memory somebody still holds, at most; `None` = not known.
    pub retained: Option<u64>,
    /// What the threads of the runtime's scheduler do; `None` = the books do not tell, or were not asked yet.
    pub threads: Option<ThreadFacts>,
    /// Why some tasks may be missing, or nothing could be read.
    pub doubt: Option<String>,
    /// What the readings tell besides: tasks that no probe would see are not in `sites`.
    pub seen: Seen,
}

/// What the runtimes themselves count as alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Tasks.
    pub live: u64,
    /// When.
    pub at: BootTime,
}

/// Said of a process that has none of its own, but what it inherited.
pub(super) const INHERITED: &str =
    "forked without exec: what its parent's tasks left in its memory is counted as alive";
/// Said until the first answer.
const UNREAD: &str = "its memory was not read yet";
/// Said of a list in motion.
const IN_MOTION: &str = "tasks came and went while its lists were read";

impl Process {
    /// Takes the newest reading.
    pub(super) fn watched(&mut self, plan: PlanId, facts: WatchFacts) {
        if self.plans.contains(&plan) {
            self.watched.insert(plan, facts);
        }
    }

    /// Adds the sites of a plan without probes. Gives why they are not exact, if so.
    pub(super) fn watch_sites(
        &self,
        plan: PlanId,
        facts: &PlanFacts,
        mut add: impl FnMut(u64, Counts),
    ) -> Vec<String> {
        let mut reasons = Vec::new();
        if facts.unlisted > 0 {
            reasons.push(format!(
                "tasks of {} blocking spawn sites are in no list: only probes count them",
                facts.unlisted
            ));
        }
        if matches!(self.birth, Birth::Forked { inherited: true, .. }) {
            reasons.push(INHERITED.to_owned());
        }
        let Some(watched) = self.watched.get(&plan) else {
            reasons.push(UNREAD.to_owned());
            return reasons;
        };
        for (site, live) in &watched.sites {
            add(
                *site,
                Counts {
                    baseline: *live,
                    ..Counts::default()
                },
            );
        }
        match &watched.doubt {
            Some(doubt) => reasons.push(doubt.clone()),
            None if watched.as_of.is_none() => reasons.push(UNREAD.to_owned()),
            None if !watched.agreed => reasons.push(IN_MOTION.to_owned()),
            None => {}
        }
        reasons
    }

    /// What the readings of all plans without probes say together; `None` = all have probes.
    pub(super) fn watch_of(&self, followed: &[(PlanId, &PlanFacts)]) -> Option<WatchSnapshot> {
        let mut plans = followed.iter().filter(|(_, facts)| facts.is_watched()).peekable();
        plans.peek()?;
        let unread = WatchFacts::default();
        let all: Vec<&WatchFacts> = plans
            .map(|(plan, _)| self.watched.get(plan).unwrap_or(&unread))
            .collect();
        let sum = |value: fn(&WatchFacts) -> Option<u64>| {
            all.iter()
                .try_fold(0_u64, |sum, each| Some(sum.saturating_add(value(each)?)))
        };
        Some(WatchSnapshot {
            as_of: all.iter().map(|each| each.as_of).min().flatten(),
            searched_at: all.iter().map(|each| each.searched_at).min().flatten(),
            agreed: all.iter().all(|each| each.agreed),
            counted: sum(|each| each.counted.map(|counted| counted.live)),
            counted_at: all
                .iter()
                .map(|each| each.counted.map(|counted| counted.at))
                .min()
                .flatten(),
            added: sum(|each| each.added),
            retained: sum(|each| each.retained),
            readings: all.iter().fold(0, |sum, each| sum.saturating_add(each.readings)),
            walks: all.iter().fold(0, |sum, each| sum.saturating_add(each.walks)),
            searches: all.iter().fold(0, |sum, each| sum.saturating_add(each.searches)),
        })
    }
}
