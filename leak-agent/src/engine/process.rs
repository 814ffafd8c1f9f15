//! One process: its image, its rows, the runtimes in it.

use super::KernelRuntime;
use super::books::BookFacts;
use super::callers::Callers;
use super::creations::Creations;
use super::plan::PlanFacts;
use super::rows::Rows;
use super::runtime::total;
use super::snapshot::{CountedBy, FollowState, ProcessSnapshot, RuntimeSnapshot};
use super::threads::Threads;
use super::watch::WatchFacts;
use crate::types::{BootTime, ExecId, PlanId, ProcessKey, Runtime};
use leak_agent_common::key::SiteKey;
use leak_agent_common::totals::SiteTotals;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// How the present image came to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Birth {
    /// It was there before us, or its beginning was not seen.
    #[default]
    Unseen,
    /// The process was created and shares its parent's image.
    Forked {
        /// When.
        at: BootTime,
        /// Tasks of the parent's runtimes may be in its memory.
        inherited: bool,
    },
    /// A new image, empty.
    Execed {
        /// When.
        at: BootTime,
    },
}

/// One process.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Process {
    comm: String,
    exe: Option<String>,
    /// Whether discovery wants it.
    pub(super) described: bool,
    /// It was there before its first task was counted: the kernel's walk did not list it.
    pub(super) unlisted: bool,
    pub(super) birth: Birth,
    pub(super) exec: ExecId,
    /// When it ended.
    pub(super) ended: Option<BootTime>,
    /// Ticks in a row without a living thread.
    idle_ticks: u8,
    /// Its threads.
    pub(super) threads: Threads,
    /// Totals of the present image, as the kernel keys them.
    pub(super) rows: Rows,
    /// Who asked libraries for tasks, in the present image.
    #[serde(default)]
    pub(super) callers: Callers,
    /// What the runtimes' own books said, by plan.
    pub(super) books: BTreeMap<PlanId, BookFacts>,
    /// What they said of the plans without probes.
    pub(super) watched: BTreeMap<PlanId, WatchFacts>,
    pub(super) plans: BTreeSet<PlanId>,
    /// Who creates the tasks of its sites.
    pub(super) creations: Creations,
    refused: BTreeMap<u32, (Runtime, String)>,
    /// What was last made of all this; `None` = something has changed since.
    #[serde(skip)]
    pub(super) shown: Option<Arc<ProcessSnapshot>>,
}

impl Process {
    pub(super) fn born(&mut self, birth: Birth, exec: ExecId, comm: &str) {
        // Events may be read in another order than they happened: an exec that came first stays.
        if self.birth == Birth::Unseen {
            self.birth = birth;
            self.exec = exec;
            comm.clone_into(&mut self.comm);
        }
    }

    pub(super) fn execed(&mut self, exec: ExecId, comm: &str, at: BootTime) {
        self.new_image(exec);
        self.birth = Birth::Execed { at };
        comm.clone_into(&mut self.comm);
        self.exe = None;
    }

    /// Its parent had tasks when it was created, unless it has an image of its own by now.
    pub(super) fn inherits(&mut self) {
        if let Birth::Forked { inherited, .. } = &mut self.birth {
            *inherited = true;
        }
    }

    /// Tasks of the image before are gone with it.
    fn new_image(&mut self, exec: ExecId) {
        self.exec = exec;
        self.rows.clear();
        self.callers.clear();
        self.books.clear();
        self.watched.clear();
        self.plans.clear();
        self.creations.keep(exec);
        self.refused.clear();
    }

    /// Whether a child that shares its image may have tasks in its memory.
    pub(super) fn may_have_tasks(&self) -> bool {
        match self.birth {
            Birth::Unseen | Birth::Forked { inherited: true, .. } => true,
            Birth::Forked { inherited: false, .. } | Birth::Execed { .. } => {
                self.rows.iter().any(|(_, row)| row.has_spawned())
            }
        }
    }

    pub(super) fn describe(&mut self, comm: &str, exe: Option<&str>) {
        self.described = true;
        comm.clone_into(&mut self.comm);
        if let Some(exe) = exe {
            self.exe = Some(exe.to_owned());
        }
    }

    pub(super) fn follow(&mut self, plan: PlanId) {
        self.plans.insert(plan);
    }

    pub(super) fn unfollow(&mut self, plan: PlanId) {
        self.plans.remove(&plan);
        self.books.remove(&plan);
        self.watched.remove(&plan);
    }

    pub(super) fn booked(&mut self, plan: PlanId, facts: BookFacts) {
        if self.plans.contains(&plan) {
            self.books.insert(plan, facts);
        }
    }

    pub(super) fn refuse(&mut self, runtime: Runtime, reason: &str) {
        self.refused.insert(runtime.wire, (runtime, reason.to_owned()));
    }

    pub(super) fn exec(&self) -> ExecId {
        self.exec
    }

    /// Takes a row of a runtime that plans follow; `false`: it belongs to an image that is gone.
    pub(super) fn row(&mut self, key: &SiteKey, totals: SiteTotals) -> bool {
        let age = key.exec_id.wrapping_sub(self.exec.0) as i32;
        let image_known = self.birth != Birth::Unseen || !self.rows.is_empty();
        if age < 0 && image_known {
            return false;
        }
        if age != 0 {
            if image_known {
                // Its exec was not told: the record was lost.
                self.new_image(ExecId(key.exec_id));
                self.birth = Birth::Unseen;
            }
            self.exec = ExecId(key.exec_id);
        }
        if key.caller == 0 {
            self.rows.entry(key.into()).update(totals);
        } else {
            self.callers.row(key, totals);
        }
        true
    }

    pub(super) fn tick(&mut self, at: BootTime) {
        if self.threads.tick(at) {
            self.shown = None;
        }
        // The record of its end may have been lost. Two ticks, because one reading may be torn.
        if self.threads.all_ended() {
            self.idle_ticks = self.idle_ticks.saturating_add(1);
            if self.idle_ticks >= 2 {
                self.ended.get_or_insert(at);
                self.shown = None;
            }
        } else {
            self.idle_ticks = 0;
        }
    }

    /// Keys of all rows that the kernel may have of it.
    pub(super) fn all_rows(&self, process: ProcessKey, kernel: u32) -> Vec<SiteKey> {
        let threads = self.threads.numbers().map(|site| SiteKey {
            process,
            site,
            plan: 0,
            exec_id: 0,
            runtime: kernel,
            caller: 0,
        });
        let rows = self.rows.iter().map(|(key, _)| key.whole(process, self.exec.0));
        let callers = self.callers.all().map(|(key, caller)| SiteKey {
            caller,
            ..key.whole(process, self.exec.0)
        });
        threads.chain(rows).chain(callers).collect()
    }

    pub(super) fn snapshot(
        &self,
        key: ProcessKey,
        kernel: &KernelRuntime,
        plans: &HashMap<PlanId, Arc<PlanFacts>>,
        lost_counts: u64,
    ) -> ProcessSnapshot {
        let lost = (lost_counts > 0)
            .then(|| format!("{lost_counts} counts could not be stored: the maps of totals were full"));
        let sites = self.threads.sites(kernel);
        let unlisted = self.unlisted.then(|| UNLISTED.to_owned());
        let mut runtimes = vec![RuntimeSnapshot {
            runtime: kernel.runtime,
            state: if self.unlisted {
                FollowState::Partial
            } else {
                FollowState::Followed
            },
            reason: unlisted.or_else(|| lost.clone()),
            version: None,
            evidence: Some(kernel.evidence.into()),
            points: 0,
            points_emulated: 0,
            counts: total(&sites),
            exact: lost.is_none() && !self.unlisted,
            books: None,
            counted_by: Some(CountedBy::Kernel),
            watch: None,
            listed_at: None,
            probes: None,
            sites,
        }];
        let mut by_runtime: BTreeMap<u32, Vec<(PlanId, &PlanFacts)>> = BTreeMap::new();
        for plan in &self.plans {
            if let Some(facts) = plans.get(plan) {
                by_runtime
                    .entry(facts.runtime.wire)
                    .or_default()
                    .push((*plan, facts));
            }
        }
        for wire in by_runtime
            .keys()
            .chain(self.refused.keys())
            .copied()
            .collect::<BTreeSet<_>>()
        {
            let followed = by_runtime.get(&wire).map(Vec::as_slice).unwrap_or_default();
            let refused = self.refused.get(&wire);
            runtimes.extend(self.runtime(followed, refused, lost.as_deref()));
        }
        let threads = runtimes.first().map_or(&[][..], |threads| &threads.sites);
        let schedulers = self.schedulers(kernel, plans, threads, &runtimes);
        ProcessSnapshot {
            key,
            comm: self.comm.clone(),
            exe: self.exe.clone(),
            alive: self.ended.is_none(),
            runtimes,
            schedulers,
        }
    }
}

/// Said of a process whose threads were not all in the kernel's walk.
const UNLISTED: &str =
    "the kernel's task list did not show this process to BPF: threads that it had then are not counted";
