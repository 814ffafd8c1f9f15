//! The one inbox of the agent's loop, and what is told through it.

use super::reconcile::Asked;
use crate::bpf::BpfError;
use crate::discovery::{AttachmentKey, Done};
use crate::engine::growth::Grew;
use crate::engine::{BookFacts, PlanFacts, WatchFacts};
use crate::event::Event;
use crate::source::{Creation, SiteInfo};
use crate::types::{ExecId, PlanId, ProcessKey};
use leak_agent_common::key::SiteKey;
use std::sync::Arc;

/// Something that happened elsewhere.
pub(super) enum Message {
    /// A batch out of the ring.
    Events(Vec<Event>),
    /// An answer of the discovery pool.
    Discovered(Done),
    /// A plan is attached, or is not.
    Attached(AttachmentKey, Result<(PlanId, Box<PlanFacts>), BpfError>),
    /// The books of a plan's runtime in this process were read.
    Booked(ProcessKey, PlanId, Box<BookFacts>),
    /// Somebody asked for comparisons: those of one file in one process are done.
    Compared(Asked),
    /// The books of a process without probes were read.
    Watched(ProcessKey, PlanId, Box<WatchFacts>),
    /// The live tasks of a process without probes grow.
    Grew(PlanId, Grew),
    /// They are read no more: the process is gone.
    WatchOver(ProcessKey, PlanId),
    /// A plan is detached.
    Detached(PlanId),
    /// Sites of a plan have names.
    Named(PlanId, Vec<(u64, SiteInfo)>),
    /// A creation stack has led to a site.
    Resolved(Resolution),
    /// A creation stack says who creates the tasks of a site.
    Created(Created),
}

/// Who creates the tasks of a site.
pub(super) struct Created {
    /// The process.
    pub(super) process: ProcessKey,
    /// Its image.
    pub(super) exec: ExecId,
    /// The plan that the site is of.
    pub(super) plan: PlanId,
    /// The site's number.
    pub(super) number: u64,
    /// The calls.
    pub(super) creation: Creation,
}

impl Created {
    /// That of a hooked site.
    pub(super) fn new(site: &SiteKey, creation: Creation) -> Self {
        Self {
            process: site.process,
            exec: ExecId(site.exec_id),
            plan: PlanId(site.plan),
            number: site.site,
            creation,
        }
    }
}

/// Where a creation stack led.
pub(super) struct Resolution {
    /// The process.
    pub(super) process: ProcessKey,
    /// Its image.
    pub(super) exec: ExecId,
    /// The number: the one the stack was counted under, or the one that the next thread of the same path gets.
    pub(super) number: u64,
    /// The site.
    pub(super) site: Arc<SiteInfo>,
}
