//! The event line behind the kernel: what happens goes into the engine, and a report comes out. A living agent and the
//! replay of a tape run the same line.

use crate::detect::Judgement;
use crate::engine::{Engine, Garbage, Input, KernelRuntime, Snapshot};
use crate::report::{AgentFacts, Report};
use crate::source;
use crate::types::{BootTime, PlanId, ProcessKey};
use std::collections::BTreeSet;

/// The engine and what stands behind it.
pub(super) struct Line {
    engine: Engine,
}

impl Line {
    /// A line that knows nothing yet. `evidence`: how threads are followed, for people.
    pub(super) fn new(evidence: &'static str, max_processes: usize) -> Self {
        let threads = KernelRuntime {
            runtime: source::thread::RUNTIME,
            evidence,
            reserved: source::thread::reserved,
            maker: source::thread::maker,
        };
        Self {
            engine: Engine::new(threads, max_processes),
        }
    }

    /// Takes what happened.
    pub(super) fn take(&mut self, input: Input) {
        self.engine.take(input);
    }

    /// The engine, to ask it.
    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Sites that are seen for the first time and have no name; each is given once.
    pub(super) fn take_unnamed(&mut self) -> BTreeSet<(PlanId, u64)> {
        self.engine.take_unnamed()
    }

    /// Processes that no event has told of; each is given once.
    pub(super) fn take_unknown(&mut self) -> Vec<ProcessKey> {
        self.engine.take_unknown()
    }

    /// What the engine needs no longer.
    pub(super) fn take_garbage(&mut self) -> Garbage {
        self.engine.take_garbage()
    }

    /// Everything that is alive.
    pub(super) fn snapshot(&self, at: BootTime) -> Snapshot {
        self.engine.snapshot(at)
    }

    /// The report of a snapshot and what was judged of it, with what the agent says of itself.
    pub(super) fn report(&self, snapshot: &Snapshot, judgement: &Judgement, facts: &AgentFacts) -> Report {
        Report::build(snapshot, judgement, facts)
    }
}
