//! The plans without probes: their numbers, their files, the processes that use them, and what is still to be read.

use crate::discovery::AttachmentKey;
use crate::source::HookPlan;
use crate::types::{PlanId, ProcessKey};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Numbers from here on are those of plans without probes: the kernel has no plan with such a number.
const FIRST: u32 = 1 << 31;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Watched {
    plans: HashMap<AttachmentKey, Plan>,
    given: u32,
    /// Processes whose books were not read yet since they are followed.
    unread: BTreeSet<(ProcessKey, PlanId)>,
}

/// One file that is watched.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) id: PlanId,
    pub(super) hooks: Arc<HookPlan>,
}

impl Watched {
    /// Takes a plan in; gives its number.
    pub(super) fn begin(&mut self, attachment: AttachmentKey, hooks: Arc<HookPlan>) -> PlanId {
        let id = PlanId(FIRST | self.given);
        self.given = self.given.wrapping_add(1) & !FIRST;
        self.plans.insert(attachment, Plan { id, hooks });
        id
    }

    /// The plan on this file, if it is watched.
    pub(super) fn get(&self, attachment: &AttachmentKey) -> Option<&Plan> {
        self.plans.get(attachment)
    }

    /// Nobody uses it any more.
    pub(super) fn end(&mut self, attachment: &AttachmentKey) -> Option<Plan> {
        self.plans.remove(attachment)
    }

    /// A process is to be read.
    pub(super) fn follow(&mut self, process: ProcessKey, plan: PlanId) {
        self.unread.insert((process, plan));
    }

    /// It was read, or never will be.
    pub(super) fn was_read(&mut self, process: ProcessKey, plan: PlanId) {
        self.unread.remove(&(process, plan));
    }

    /// The process has ended, or runs another image.
    pub(super) fn forget(&mut self, process: ProcessKey) {
        self.unread.retain(|(key, _)| *key != process);
    }

    /// Every process that is followed was read at least once.
    pub(super) fn all_read(&self) -> bool {
        self.unread.is_empty()
    }
}
