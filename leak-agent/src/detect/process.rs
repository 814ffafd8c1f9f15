//! What is kept of one process and its runtimes.

use super::exhaustion::Approach;
use super::site::Site;
use crate::config::policy::{Detect, Labels};
use crate::engine::snapshot::{CountedBy, Counts, FollowState, ProcessSnapshot, RuntimeSnapshot};
use std::collections::HashMap;
use std::sync::Arc;

/// One process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) exe: Option<String>,
    pub(super) detect: Arc<Detect>,
    pub(super) labels: Arc<Labels>,
    /// Number of the tick in which it was last seen.
    pub(super) seen: u64,
    /// By number of the runtime on the wire: few.
    pub(super) runtimes: Vec<Runtime>,
    /// Readings of its limits; `None` = none were taken.
    pub(super) approach: Option<Approach>,
    /// As it was told last.
    pub(super) last: Option<Arc<ProcessSnapshot>>,
}

/// One runtime in it.
#[derive(Debug)]
pub(super) struct Runtime {
    pub(super) wire: u32,
    /// When it was first seen, nanoseconds since the boot.
    pub(super) since: u64,
    pub(super) counted_by: Option<CountedBy>,
    /// The sum over its sites, at the last look at them.
    pub(super) counts: Counts,
    /// Sites that have, or had, enough tasks to be looked at.
    pub(super) sites: HashMap<Box<str>, Tracked>,
    /// Nothing is decided before that moment: the counts were wrong a while ago. With the reason.
    pub(super) doubt: Option<(u64, String)>,
    repairs: u64,
    /// By place at the last look at them: for a site that no past is kept of the address of its info, which the last snapshot
    /// keeps; else 0.
    pub(super) still: Vec<usize>,
}

/// One site.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) site: Site,
    /// For how long it has looked like a leak: seconds.
    pub(super) looked: f64,
    /// When it was last judged: nanoseconds since the boot.
    pub(super) judged: u64,
    /// There is a finding, perhaps a resolved one.
    pub(super) found: bool,
    /// Number of the tick in which it last had enough tasks to be looked at.
    pub(super) large: u64,
}

impl Tracked {
    /// Whether a past is kept of it.
    pub(super) fn has_moved(&self) -> bool {
        self.site.has_moved()
    }
}

impl Runtime {
    /// Sites whose past is kept, and those that have not moved.
    pub(super) fn sizes(&self) -> (usize, usize) {
        let moved = self.sites.values().filter(|tracked| tracked.has_moved()).count();
        (moved, self.sites.len() - moved)
    }

    pub(super) fn new(snapshot: &RuntimeSnapshot, at: u64) -> Self {
        Self {
            wire: snapshot.runtime.wire,
            since: at,
            counted_by: snapshot.counted_by,
            counts: Counts::default(),
            sites: HashMap::new(),
            doubt: None,
            repairs: snapshot.books.as_ref().map_or(0, |books| books.repairs),
            still: Vec::new(),
        }
    }

    /// Takes in what the snapshot says of its counts' truth; what made them wrong is remembered for `memory` nanoseconds.
    pub(super) fn doubts(&mut self, snapshot: &RuntimeSnapshot, lost: bool, at: u64, memory: u64) {
        let books = snapshot.books.as_ref();
        let repairs = books.map_or(0, |books| books.repairs);
        let drift = books.and_then(|books| books.drift).unwrap_or(0);
        let reason = if lost && snapshot.counted_by.is_some_and(counts_events) {
            Some("counts were lost a moment ago".to_owned())
        } else if repairs != self.repairs {
            Some(format!(
                "its counts were corrected a moment ago (drift {drift:+})"
            ))
        } else if drift != 0
            && books.is_some_and(|books| books.repair.as_ref().is_none_or(|repair| repair.drift != drift))
        {
            Some(format!("its counts differ from its own books by {drift:+}"))
        } else {
            None
        };
        self.repairs = repairs;
        if let Some(reason) = reason {
            self.doubt = Some((at.saturating_add(memory), reason));
        }
        if self.doubt.as_ref().is_some_and(|(until, _)| at >= *until) {
            self.doubt = None;
        }
    }
}

/// How far counts can be trusted: 1 = exact. A level that is not known does not keep growth from being seen.
pub(super) fn trust(snapshot: &RuntimeSnapshot) -> f64 {
    match (snapshot.exact, snapshot.state) {
        (true, FollowState::Followed) => 1.0,
        (true, _) => 0.97,
        (false, _) => 0.9,
    }
}

/// Whether spawns and ends are counted.
pub(super) fn counts_events(by: CountedBy) -> bool {
    matches!(by, CountedBy::Kernel | CountedBy::Probes)
}
