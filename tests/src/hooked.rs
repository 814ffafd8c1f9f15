//! The BPF side alone on one executable: no agent around it, so that a test decides who reads the ring, and a
//! measurement what runs at the hooks.

use crate::books::plan_of;
use leak_agent::bpf::{Attached, Hook, Kernel, Limits};
use leak_agent::source::{HookPlan, tokio};
use leak_agent::types::Runtime;
use leak_agent_common::counter::Counter;
use leak_agent_common::record::Record;
use leak_agent_common::totals::SiteTotals;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The programs, and the plan for one runtime in one executable.
#[derive(Debug)]
pub struct Hooked {
    /// The loaded programs. They see all processes; the hooks only this executable's.
    pub kernel: Kernel,
    /// What is attached.
    pub plan: HookPlan,
    path: PathBuf,
    attached: Option<Attached>,
}

impl Hooked {
    /// Loads the programs and makes the plan for tokio; attaches nothing.
    #[must_use]
    pub fn load(path: &Path, limits: &Limits) -> Self {
        Self::load_for(path, tokio::RUNTIME, limits)
    }

    /// As [`Self::load`], for any runtime.
    #[must_use]
    pub fn load_for(path: &Path, runtime: Runtime, limits: &Limits) -> Self {
        Self {
            kernel: Kernel::load(limits, false).unwrap(),
            plan: plan_of(path, runtime),
            path: path.to_owned(),
            attached: None,
        }
    }

    /// Attaches the whole plan.
    pub fn attach(&mut self) {
        let file = File::open(&self.path).unwrap();
        let attacher = self.kernel.attacher.as_mut().unwrap();
        self.attached = Some(attacher.attach(&file, "hooked", &self.plan).unwrap());
    }

    /// Detaches it.
    pub fn detach(&mut self) {
        if let Some(attached) = self.attached.take() {
            self.kernel.attacher.as_mut().unwrap().detach(attached);
        }
    }

    /// All that the hooks have counted, of every process with this executable.
    #[must_use]
    pub fn counted(&self) -> SiteTotals {
        let reading = self.kernel.totals.read().unwrap();
        reading
            .rows
            .iter()
            .filter(|(key, _)| key.runtime == self.plan.runtime.wire)
            .fold(SiteTotals::default(), |sum, (_, row)| sum.merged(*row))
    }

    /// One of the programs' counters.
    #[must_use]
    pub fn counter(&self, counter: Counter) -> u64 {
        let counters = self.kernel.counters.read().unwrap();
        counters.iter().find(|(each, _)| *each == counter).unwrap().1
    }

    /// Empties the ring; how many records of all kinds there were, and how many of them were of tasks.
    pub fn drain(&mut self) -> (u64, u64) {
        let (mut all, mut tasks) = (0, 0);
        let ring = self.kernel.ring.as_mut().unwrap();
        ring.drain(usize::MAX, |bytes| {
            all += 1;
            tasks += u64::from(matches!(Record::decode(bytes), Ok(Record::Stream(_))));
        });
        (all, tasks)
    }
}

/// The agent's own limits, but for the size of the ring and the stream.
#[must_use]
pub fn limits(ring_bytes: u32, stream_every: u32, hook: Hook) -> Limits {
    let config = leak_agent::config::AgentConfig::default();
    Limits {
        ring_bytes,
        sites: config.max_sites,
        processes: config.max_processes,
        stacks_per_second: config.stacks_per_second,
        stack_bytes: config.stack_bytes,
        sites_per_process: config.max_sites_per_process,
        stream_every,
        hook,
        perf_links: false,
    }
}
