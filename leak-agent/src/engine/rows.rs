//! The rows of one image of a process, by plan and site: sorted, because there are many, they are looked at far more often
//! than they come, and what is made of them must not depend on chance.

use super::baseline::Row;
use leak_agent_common::key::{ProcessKey, SiteKey};
use serde::{Deserialize, Serialize};

/// What tells the rows of one image apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct RowKey {
    /// Which plan the site's number belongs to.
    pub(super) plan: u32,
    /// One of `leak_agent_common::key::runtime`.
    pub(super) runtime: u32,
    /// The site's number.
    pub(super) site: u64,
}

impl From<&SiteKey> for RowKey {
    fn from(key: &SiteKey) -> Self {
        Self {
            plan: key.plan,
            runtime: key.runtime,
            site: key.site,
        }
    }
}

impl RowKey {
    /// The row's key in the kernel.
    pub(super) fn whole(self, process: ProcessKey, exec_id: u32) -> SiteKey {
        SiteKey {
            process,
            site: self.site,
            plan: self.plan,
            exec_id,
            runtime: self.runtime,
            caller: 0,
        }
    }
}

/// The rows.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Rows(Vec<(RowKey, Row)>);

impl Rows {
    /// The row, made if there is none.
    pub(super) fn entry(&mut self, key: RowKey) -> &mut Row {
        let place = self.0.binary_search_by_key(&key, |(key, _)| *key);
        let index = place.unwrap_or_else(|index| {
            self.0.insert(index, (key, Row::default()));
            index
        });
        &mut self.0[index].1
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (RowKey, &Row)> {
        self.0.iter().map(|(key, row)| (*key, row))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0 = Vec::new();
    }
}
