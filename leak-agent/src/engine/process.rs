//! One process: its image, its rows, the runtimes in it.

use super::KernelRuntime;
use super::baseline::Row;
use super::plan::PlanFacts;
use super::snapshot::{Counts, FollowState, ProcessSnapshot, RuntimeSnapshot, SiteSnapshot};
use super::threads::{Threads, sum};
use crate::source::SiteInfo;
use crate::types::{BootTime, ExecId, PlanId, ProcessKey, Runtime};
use leak_agent_common::key::{SiteKey, site};
use leak_agent_common::totals::SiteTotals;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};

/// How the present image came to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
#[derive(Debug, Default)]
pub(super) struct Process {
    comm: String,
    exe: Option<String>,
    /// Whether discovery wants it.
    pub(super) described: bool,
    /// It was there before its first task was counted: the kernel's walk did not list it.
    pub(super) unlisted: bool,
    birth: Birth,
    exec: ExecId,
    /// When it ended.
    pub(super) ended: Option<BootTime>,
    /// Ticks in a row without a living thread.
    idle_ticks: u8,
    /// Its threads.
    pub(super) threads: Threads,
    /// Totals of the present image, as the kernel keys them.
    rows: HashMap<SiteKey, Row>,
    plans: BTreeSet<PlanId>,
    refused: BTreeMap<u32, (Runtime, String)>,
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

    /// Tasks of the image before are gone with it.
    fn new_image(&mut self, exec: ExecId) {
        self.exec = exec;
        self.rows.clear();
        self.plans.clear();
        self.refused.clear();
    }

    /// Whether a child that shares its image may have tasks in its memory.
    pub(super) fn may_have_tasks(&self) -> bool {
        match self.birth {
            Birth::Unseen | Birth::Forked { inherited: true, .. } => true,
            Birth::Forked { inherited: false, .. } | Birth::Execed { .. } => {
                self.rows.values().any(Row::has_spawned)
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
    }

    pub(super) fn refuse(&mut self, runtime: Runtime, reason: &str) {
        self.refused.insert(runtime.wire, (runtime, reason.to_owned()));
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
        self.rows.entry(*key).or_default().update(totals);
        true
    }

    pub(super) fn tick(&mut self, at: BootTime) {
        self.threads.tick(at);
        // The record of its end may have been lost. Two ticks, because one reading may be torn.
        if self.threads.all_ended() {
            self.idle_ticks = self.idle_ticks.saturating_add(1);
            if self.idle_ticks >= 2 {
                self.ended.get_or_insert(at);
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
            pad: 0,
        });
        threads.chain(self.rows.keys().copied()).collect()
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
            evidence: Some(kernel.evidence.to_owned()),
            points: 0,
            points_emulated: 0,
            counts: total(&sites),
            exact: lost.is_none() && !self.unlisted,
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
        ProcessSnapshot {
            key,
            comm: self.comm.clone(),
            exe: self.exe.clone(),
            alive: self.ended.is_none(),
            runtimes,
        }
    }

    fn runtime(
        &self,
        followed: &[(PlanId, &PlanFacts)],
        refused: Option<&(Runtime, String)>,
        lost: Option<&str>,
    ) -> Option<RuntimeSnapshot> {
        let runtime = followed
            .first()
            .map(|(_, facts)| facts.runtime)
            .or(refused.map(|(runtime, _)| *runtime))?;
        let mut reasons: Vec<String> = refused.map(|(_, reason)| reason.clone()).into_iter().collect();
        reasons.extend(lost.map(ToOwned::to_owned));
        let mut exact = refused.is_none() && lost.is_none();
        let mut sites = BTreeMap::new();
        for (plan, facts) in followed {
            reasons.extend(facts.gaps.iter().take(3).cloned());
            if facts.gaps.len() > 3 {
                reasons.push(format!("and {} more gaps", facts.gaps.len() - 3));
            }
            let late = self
                .late(facts)
                .or_else(|| self.surplus(*plan).then(|| MORE_ENDS.to_owned()));
            exact &= late.is_none() && facts.gaps.is_empty();
            self.plan_sites(*plan, facts, late.is_none(), &mut sites);
            if let Some(late) = late
                && !reasons.contains(&late)
            {
                reasons.push(late);
            }
        }
        let partial = refused.is_some() || followed.iter().any(|(_, facts)| !facts.gaps.is_empty());
        let mut sites: Vec<SiteSnapshot> = sites.into_values().collect();
        sites.sort_by(|a, b| {
            b.counts
                .live()
                .cmp(&a.counts.live())
                .then_with(|| a.info.id.cmp(&b.info.id))
        });
        let versions: BTreeSet<&str> = followed
            .iter()
            .filter_map(|(_, facts)| facts.version.as_deref())
            .collect();
        let evidence: BTreeSet<&str> = followed
            .iter()
            .map(|(_, facts)| facts.evidence.as_str())
            .collect();
        Some(RuntimeSnapshot {
            runtime,
            state: match (followed.is_empty(), partial) {
                (true, _) => FollowState::Unsupported,
                (false, true) => FollowState::Partial,
                (false, false) => FollowState::Followed,
            },
            reason: joined(reasons.iter().map(String::as_str), "; "),
            version: joined(versions, ", "),
            evidence: joined(evidence, ", "),
            points: followed.iter().map(|(_, facts)| facts.points.0).sum(),
            points_emulated: followed.iter().map(|(_, facts)| facts.points.1).sum(),
            counts: total(&sites),
            exact,
            sites,
        })
    }

    /// Why the baseline is not known; `None`: nothing was alive when the plan's points began to count.
    fn late(&self, facts: &PlanFacts) -> Option<String> {
        let since = match self.birth {
            Birth::Execed { at } => at,
            Birth::Forked { at, inherited: false } => at,
            Birth::Forked { inherited: true, .. } => {
                return Some(
                    "forked without exec: what its parent's tasks left in its memory is not counted"
                        .to_owned(),
                );
            }
            Birth::Unseen => {
                return Some(
                    "ran before its probes were attached: tasks alive then are counted only as they end"
                        .to_owned(),
                );
            }
        };
        (since < facts.armed_at).then(|| {
            format!(
                "started {} ms before its probes were attached: tasks alive then are counted only as they end",
                facts.armed_at.since(since).as_millis()
            )
        })
    }

    /// Whether more tasks of some site ended than began, though all were to be seen.
    fn surplus(&self, plan: PlanId) -> bool {
        self.rows
            .iter()
            .any(|(key, row)| key.plan == plan.0 && row.has_surplus())
    }

    fn plan_sites(
        &self,
        plan: PlanId,
        facts: &PlanFacts,
        exact: bool,
        sites: &mut BTreeMap<String, SiteSnapshot>,
    ) {
        for (key, row) in &self.rows {
            let folded = key.plan == 0 && key.site == site::OTHER && key.runtime == facts.runtime.wire;
            if key.plan != plan.0 && !folded {
                continue;
            }
            let counts = row.counts(exact);
            match facts.sites.get(&key.site) {
                Some(info) => add(sites, info, counts),
                None if key.site == site::OTHER => add(sites, &FOLDED, counts),
                None => add(sites, &FOREIGN, counts),
            }
        }
    }
}

/// Said of the threads of a process that the kernel's walk over its tasks did not list.
const UNLISTED: &str =
    "the kernel's task list did not show this process to BPF: threads that it had then are not counted";

/// Said when the books do not balance: then no number of the runtime is called exact.
const MORE_ENDS: &str = "more of its tasks ended than were seen to begin: not every spawn is seen";

fn add(sites: &mut BTreeMap<String, SiteSnapshot>, info: &SiteInfo, counts: Counts) {
    let site = sites.entry(info.id.clone()).or_insert_with(|| SiteSnapshot {
        info: info.clone(),
        counts: Counts::default(),
    });
    site.counts = sum(site.counts, counts);
}

/// Sum over the sites that are not the runtime's own.
fn total(sites: &[SiteSnapshot]) -> Counts {
    sites
        .iter()
        .filter(|site| !site.info.system)
        .fold(Counts::default(), |all, site| sum(all, site.counts))
}

fn joined<'a>(texts: impl IntoIterator<Item = &'a str>, separator: &str) -> Option<String> {
    let texts: Vec<&str> = texts.into_iter().collect();
    (!texts.is_empty()).then(|| texts.join(separator))
}

/// The sites for which there was no room.
static FOLDED: LazyLock<SiteInfo> = LazyLock::new(|| {
    special(
        "~other",
        "no room for more sites in the kernel's map: --max-sites makes it larger",
    )
});

/// Counts whose site the plan does not know.
static FOREIGN: LazyLock<SiteInfo> = LazyLock::new(|| {
    special(
        "~unknown",
        "the process's memory named a site that its file does not have",
    )
});

fn special(name: &str, note: &str) -> SiteInfo {
    SiteInfo {
        id: name.to_owned(),
        name: name.to_owned(),
        location: None,
        kind: "folded",
        system: false,
        ambiguous: false,
        note: Some(note.to_owned()),
    }
}
