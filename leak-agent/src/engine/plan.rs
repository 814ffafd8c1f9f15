//! What the engine keeps of a hook plan that is attached.

use super::snapshot::CountedBy;
use crate::source::{Evidence, HookPlan, SiteInfo};
use crate::types::label::{self, Label};
use crate::types::{BootTime, Runtime, shared};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Sites of one plan that have names: further ones are shown by their numbers.
const NAMED_MAX: usize = 1 << 16;

/// A plan, as far as counts need it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlanFacts {
    /// Its runtime.
    pub runtime: Runtime,
    /// The runtime's version, if known.
    pub version: Option<String>,
    /// How all this is known.
    pub evidence: Evidence,
    /// How many points, and how many of them the kernel emulates.
    pub points: (u32, u32),
    /// What is not followed, each as half a sentence.
    pub gaps: Vec<String>,
    /// The sites by their numbers, as far as they are known.
    #[serde(with = "shared::values")]
    pub sites: HashMap<u64, Arc<SiteInfo>>,
    /// There are further sites: they are named as they are seen.
    pub open: bool,
    /// When its points began to count; without probes, when it was first watched.
    pub armed_at: BootTime,
    /// Whether its points are attached, and why.
    pub probes: Probes,
    /// Spawn sites whose tasks are in no list of the runtime, without its own.
    pub unlisted: usize,
    /// Ids of the sites whose tasks hold a thread of the runtime's scheduler each, by what that thread does then.
    #[serde(default, with = "label::keys")]
    pub holds: BTreeMap<Label, BTreeSet<String>>,
}

/// How the tasks of a plan are counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probes {
    /// By its points: they are attached because of this, as half a sentence; `None` = so the operator wants it.
    Attached(Option<String>),
    /// From memory.
    None,
}

impl PlanFacts {
    /// Of a plan that counts since `armed_at`.
    #[must_use]
    pub fn new(plan: &HookPlan, armed_at: BootTime, probes: Probes) -> Self {
        let emulated = plan.points.iter().filter(|point| point.emulated).count();
        Self {
            runtime: plan.runtime,
            version: plan.version.clone(),
            evidence: plan.evidence.clone(),
            points: (clamp(plan.points.len()), clamp(emulated)),
            gaps: plan.gaps.iter().map(|gap| gap.reason.clone()).collect(),
            sites: plan
                .sites
                .iter()
                .map(|site| (site.number, Arc::new(site.info.clone())))
                .collect(),
            open: plan.names.is_some(),
            armed_at,
            unlisted: plan
                .sites
                .iter()
                .filter(|site| !site.listed && !site.info.system)
                .count(),
            holds: holds(plan),
            probes,
        }
    }

    /// Its tasks are counted from memory.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.probes == Probes::None
    }

    pub(super) fn counted_by(&self) -> CountedBy {
        if self.is_watched() {
            CountedBy::Memory
        } else {
            CountedBy::Probes
        }
    }

    /// What people are shown of a site; `None` = the plan does not have it.
    pub(super) fn site(&self, number: u64) -> Option<Arc<SiteInfo>> {
        self.sites.get(&number).cloned()
    }

    /// Whether the site's name is still to be asked for.
    pub(super) fn is_unnamed(&self, number: u64) -> bool {
        self.open && self.sites.len() < NAMED_MAX && !self.sites.contains_key(&number)
    }

    /// Takes the names of sites: better ones for those that have some.
    pub(super) fn named(&mut self, sites: Vec<(u64, SiteInfo)>) {
        for (number, info) in sites {
            if self.sites.len() < NAMED_MAX || self.sites.contains_key(&number) {
                self.sites.insert(number, Arc::new(info));
            }
        }
    }
}

fn holds(plan: &HookPlan) -> BTreeMap<Label, BTreeSet<String>> {
    let mut holds: BTreeMap<Label, BTreeSet<String>> = BTreeMap::new();
    for site in &plan.sites {
        if let Some(what) = site.holds {
            holds.entry(what).or_default().insert(site.info.id.clone());
        }
    }
    holds
}

fn clamp(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
