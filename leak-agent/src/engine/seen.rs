//! What readings of a runtime's own books tell besides counts that are compared: tasks that no probe sees, and what tasks wait
//! for.

use super::plan::PlanFacts;
use super::sites::Sites;
use super::snapshot::Counts;
use crate::source::books::{Listing, SiteCount, SiteWaits};
use crate::types::BootTime;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The newest of both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    unprobed: Option<Unprobed>,
    listed: Option<Listed>,
}

/// Live tasks that no probe sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Unprobed {
    sites: BTreeMap<u64, u64>,
    at: BootTime,
}

/// What tasks wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Listed {
    sites: Vec<SiteWaits>,
    at: BootTime,
}

impl Seen {
    /// Takes live tasks that no probe sees, as they were at `at`.
    pub fn take_unprobed(&mut self, sites: &[SiteCount], at: BootTime) {
        let sites = sites.iter().map(|site| (site.site.0, site.live));
        self.unprobed = Some(Unprobed {
            sites: sites.collect(),
            at,
        });
    }

    /// Takes what the tasks do, of a listing that began at `at`. Books that do not tell leave nothing.
    pub fn take_listing(&mut self, listing: &mut Listing, at: BootTime) {
        let sites = std::mem::take(&mut listing.waits);
        self.listed = (!sites.is_empty()).then_some(Listed { sites, at });
    }

    /// Sites with tasks that no probe sees.
    pub(super) fn sites(&self) -> BTreeSet<u64> {
        let sites = self.unprobed.iter().flat_map(|unprobed| unprobed.sites.keys());
        sites.copied().collect()
    }

    /// When the tasks were listed; `None` = they were not.
    pub(super) fn listed_at(&self) -> Option<BootTime> {
        self.listed.as_ref().map(|listed| listed.at)
    }

    /// Adds it to the sites of its plan.
    pub(super) fn tell(&self, facts: &PlanFacts, sites: &mut Sites) {
        if let Some(Unprobed { sites: live, at }) = &self.unprobed {
            for (number, live) in live {
                let Some(info) = facts.site(*number) else {
                    continue;
                };
                let counts = Counts {
                    baseline: *live,
                    ..Counts::default()
                };
                sites.add(&info, counts).more_mut().as_of = Some(*at);
            }
        }
        for waits in self.listed.iter().flat_map(|listed| &listed.sites) {
            let info = facts.site(waits.site.0);
            if let Some(site) = info.and_then(|info| sites.get_mut(&info)) {
                let more = site.more_mut();
                more.waiting.clone_from(&waits.reasons);
                more.leaked = Some(waits.leaked).filter(|leaked| *leaked > 0);
            }
        }
    }
}
