//! The event line behind the kernel: what happens goes into the engine, the detectors judge it, and a report comes out. A living agent and the
//! replay of a tape run the same line.

use super::StartError;
use crate::config::{AgentConfig, Policy};
use crate::detect::{Detectors, Facts, Judgement, Observation};
use crate::engine::{Engine, Garbage, Input, KernelRuntime, Snapshot};
use crate::report::{AgentFacts, Report};
use crate::source;
use crate::tape::{Header, Recorder};
use crate::types::label::Label;
use crate::types::{BootTime, PlanId, ProcessKey};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// The engine and what stands behind it.
pub(super) struct Line {
    engine: Engine,
    detectors: Detectors,
    /// What the detectors were told last.
    told: Facts,
    recorder: Option<Recorder>,
}

impl Line {
    /// The line of a living agent, recorded if that is wanted. `evidence`: how threads are followed, for people.
    ///
    /// # Errors
    ///
    /// The tape cannot be begun.
    pub(super) fn start(evidence: Label, config: &AgentConfig) -> Result<Self, StartError> {
        let mut line = Self::new(evidence, config.max_processes, &config.policy);
        if let Some(record) = &config.record {
            let header = Header {
                agent: env!("CARGO_PKG_VERSION").to_owned(),
                evidence: evidence.to_owned(),
                max_processes: config.max_processes.into(),
            };
            line.recorder = Some(Recorder::start(record.clone(), &header).map_err(StartError::Tape)?);
        }
        Ok(line)
    }

    /// A line that knows nothing yet.
    pub(super) fn new(evidence: Label, max_processes: u32, policy: &Arc<Policy>) -> Self {
        let threads = KernelRuntime {
            runtime: source::thread::RUNTIME,
            evidence,
            reserved: source::thread::reserved,
            maker: source::thread::maker,
        };
        Self {
            engine: Engine::new(threads, max_processes as usize),
            detectors: Detectors::new(Arc::clone(policy)),
            told: Facts::default(),
            recorder: None,
        }
    }

    /// Takes what happened.
    pub(super) fn take(&mut self, input: Input) {
        if let Some(recorder) = &mut self.recorder {
            recorder.input(&input);
        }
        self.engine.take(input);
    }

    /// Goes on from a state that a tape had.
    pub(super) fn restore(&mut self, state: Engine) {
        self.engine.restore(state);
    }

    /// The engine, to ask it.
    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The detectors, to ask them.
    pub(super) fn detectors(&self) -> &Detectors {
        &self.detectors
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
    pub(super) fn snapshot(&mut self, at: BootTime) -> Snapshot {
        self.engine.snapshot(at)
    }

    /// Judges a snapshot that was just made. `told`: what else the detectors know.
    pub(super) fn judge(&mut self, snapshot: &Snapshot, told: Facts, facts: &AgentFacts) -> Judgement {
        let at = facts
            .boot_unix
            .saturating_add(Duration::from_nanos(snapshot.at.0));
        let judgement = self.detectors.observe(&Observation {
            snapshot,
            unix: at.as_secs_f64(),
            facts: &told,
        });
        self.told = told;
        judgement
    }

    /// The report of a snapshot that was just judged, with what the agent says of itself.
    pub(super) fn report(
        &mut self,
        snapshot: &Snapshot,
        judgement: &Judgement,
        facts: &AgentFacts,
    ) -> Report {
        if let Some(recorder) = &mut self.recorder {
            recorder.tick(snapshot.at, facts, &self.told, &self.engine);
        }
        Report::build(snapshot, judgement, facts)
    }

    /// What was recorded, and what was not, by name.
    pub(super) fn tape_counters(&self) -> impl Iterator<Item = (Label, u64)> {
        self.recorder.iter().flat_map(Recorder::counters)
    }
}
