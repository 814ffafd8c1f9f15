//! The one inbox of the agent's loop, and what is told through it.

use super::reconcile::Asked;
use crate::bpf::BpfError;
use crate::discovery::{AttachmentKey, Done};
use crate::engine::{BookFacts, PlanFacts, WatchFacts};
use crate::event::Event;
use crate::source::SiteInfo;
use crate::types::{ExecId, PlanId, ProcessKey};
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
    /// The live tasks of a process without probes grow: how, as half a sentence.
    Grew(PlanId, String),
    /// They are read no more: the process is gone.
    WatchOver(ProcessKey, PlanId),
    /// A plan is detached.
    Detached(PlanId),
    /// Sites of a plan have names.
    Named(PlanId, Vec<(u64, SiteInfo)>),
    /// A creation stack has led to a site.
    Resolved(Resolution),
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
