//! Everything that reaches the engine, as data: what a tape holds.
//!
//! Old tapes must stay readable: a field that is new here, or in what these types hold, has `#[serde(default)]`; a
//! variant that is new makes tapes that older agents refuse by its name.

use super::{BookFacts, PlanFacts, Scanned, Uncounted, WatchFacts};
use crate::event::Event;
use crate::source::{Creation, SiteInfo};
use crate::types::{BootTime, ExecId, PlanId, ProcessKey, Runtime, shared};
use leak_agent_common::key::SiteKey;
use leak_agent_common::totals::SiteTotals;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One input of the engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Input {
    /// The kernel told of it.
    Event(Event),
    /// So many events went by that tell nothing but how many they are: stacks, tasks of a stream.
    Passed {
        /// How many.
        events: u64,
    },
    /// A plan is attached and counts since `facts.armed_at`.
    PlanArmed {
        /// Its number.
        plan: PlanId,
        /// What counts need of it.
        facts: Box<PlanFacts>,
    },
    /// A plan is detached.
    PlanDropped {
        /// Its number.
        plan: PlanId,
    },
    /// Names of sites that [`super::Engine::take_unnamed`] gave: first what their numbers say, later better ones.
    Named {
        /// Whose.
        plan: PlanId,
        /// What people are shown, by number.
        sites: Vec<(u64, SiteInfo)>,
    },
    /// This image of a process has mapped a file with this plan.
    Follow {
        /// Which process.
        process: ProcessKey,
        /// Which plan.
        plan: PlanId,
    },
    /// The image has the file no longer mapped.
    Unfollow {
        /// Which process.
        process: ProcessKey,
        /// Which plan.
        plan: PlanId,
    },
    /// What the runtime's own books say of a plan in a process.
    Booked {
        /// Which process.
        process: ProcessKey,
        /// Which plan.
        plan: PlanId,
        /// What they say.
        facts: Box<BookFacts>,
    },
    /// What the runtime's own books say of a plan, which has no probes, in a process.
    Watched {
        /// Which process.
        process: ProcessKey,
        /// Which plan.
        plan: PlanId,
        /// What they say.
        facts: Box<WatchFacts>,
    },
    /// A process has a runtime that is not followed.
    Refuse {
        /// Which process.
        process: ProcessKey,
        /// Which runtime.
        runtime: Runtime,
        /// Why, as half a sentence.
        reason: String,
    },
    /// What discovery read of a process. One that was never described is not wanted: it is counted, not shown.
    Describe {
        /// Which process.
        process: ProcessKey,
        /// Name of its main thread.
        comm: String,
        /// Path of its executable; `None` = as before.
        exe: Option<String>,
    },
    /// A process was there before its first task was counted.
    Unlisted {
        /// Which process.
        process: ProcessKey,
    },
    /// The processes that are wanted and that the kernel does not count, all of them.
    Uncounted(Vec<Uncounted>),
    /// What a scan of `/proc` saw, all of it: threads are counted so from now on.
    Scanned(Vec<Scanned>),
    /// The kernel runtime's site number of this image leads to this site.
    Resolve {
        /// Which process.
        process: ProcessKey,
        /// Its image.
        exec: ExecId,
        /// The number.
        number: u64,
        /// Where it leads.
        #[serde(with = "shared")]
        site: Arc<SiteInfo>,
    },
    /// This creation stack of an image was that of a task of this site of a plan.
    Created {
        /// Which process.
        process: ProcessKey,
        /// Its image.
        exec: ExecId,
        /// Which plan.
        plan: PlanId,
        /// The site's number.
        number: u64,
        /// The calls.
        creation: Creation,
    },
    /// The kernel's totals at a tick.
    Totals(Totals),
    /// Processes that ended a while ago are to be forgotten.
    Sweep {
        /// Now.
        at: BootTime,
    },
}

/// All rows of the kernel's totals.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    /// The rows, in any order.
    pub rows: Vec<(SiteKey, SiteTotals)>,
    /// How many counts the kernel could not store so far.
    pub lost_counts: u64,
    /// When they were read.
    pub at: BootTime,
}
