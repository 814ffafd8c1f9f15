//! Who creates the tasks of the sites of one process, as far as a creation stack was seen.

use super::plan::PlanFacts;
use super::sites::Sites;
use crate::source::Creation;
use crate::types::{ExecId, PlanId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Sites of one process of which the creation stack is kept.
const CREATIONS_MAX: usize = 4096;

/// The creation stacks of one process. Those of its next image may come before it is known that there is one.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Creations(BTreeMap<(ExecId, PlanId, u64), Creation>);

impl Creations {
    /// Takes one; `false`: there is no room.
    pub(super) fn insert(&mut self, site: (ExecId, PlanId, u64), creation: Creation) -> bool {
        let room = self.0.len() < CREATIONS_MAX || self.0.contains_key(&site);
        if room {
            self.0.insert(site, creation);
        }
        room
    }

    /// Forgets those of all images but this one.
    pub(super) fn keep(&mut self, exec: ExecId) {
        self.0.retain(|(of, _, _), _| *of == exec);
    }

    /// Tells the sites of a plan who creates their tasks.
    pub(super) fn tell(&self, exec: ExecId, plan: PlanId, facts: &PlanFacts, sites: &mut Sites) {
        for ((_, _, number), creation) in self.0.range((exec, plan, 0)..=(exec, plan, u64::MAX)) {
            let site = facts.site(*number).and_then(|info| sites.get_mut(&info));
            if let Some(site) = site {
                site.more_mut().created_by = Some(creation.clone());
            }
        }
    }
}
