//! Who asked libraries for tasks: creations of a site, told apart by caller.

use super::plan::PlanFacts;
use super::rows::RowKey;
use super::sites::Sites;
use super::snapshot::CallerSnapshot;
use crate::source::caller_number;
use crate::types::PlanId;
use leak_agent_common::key::SiteKey;
use leak_agent_common::totals::SiteTotals;
use serde::{Deserialize, Serialize};

/// The callers of one image of a process, with the creations of each.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Callers(Vec<((RowKey, u32), u64)>);

impl Callers {
    /// Takes the row of a caller.
    pub(super) fn row(&mut self, key: &SiteKey, totals: SiteTotals) {
        let place = (RowKey::from(key), key.caller);
        match self.0.binary_search_by_key(&place, |(place, _)| *place) {
            Ok(index) => self.0[index].1 = totals.spawned,
            Err(index) => self.0.insert(index, (place, totals.spawned)),
        }
    }

    /// Their rows.
    pub(super) fn all(&self) -> impl Iterator<Item = (RowKey, u32)> {
        self.0.iter().map(|(place, _)| *place)
    }

    pub(super) fn clear(&mut self) {
        self.0 = Vec::new();
    }

    /// Tells the sites of a plan who asked for their tasks; the most first.
    pub(super) fn tell(&self, plan: PlanId, facts: &PlanFacts, sites: &mut Sites) {
        let from = self.0.partition_point(|((row, _), _)| row.plan < plan.0);
        let to = self.0.partition_point(|((row, _), _)| row.plan <= plan.0);
        for of_site in self.0[from..to].chunk_by(|((one, _), _), ((other, _), _)| one == other) {
            let Some(((row, _), _)) = of_site.first() else {
                continue;
            };
            let Some(site) = facts.site(row.site).and_then(|info| sites.get_mut(&info)) else {
                continue;
            };
            let told = of_site.iter().filter_map(|((_, caller), spawned)| {
                let info = facts.site(caller_number(*caller))?;
                Some(CallerSnapshot {
                    info,
                    spawned: *spawned,
                })
            });
            let callers = &mut site.more_mut().callers;
            callers.extend(told);
            callers.sort_by(|a, b| b.spawned.cmp(&a.spawned).then_with(|| a.info.id.cmp(&b.info.id)));
        }
    }
}
