//! The detectors: is it a leak, or load? Pure: a snapshot, facts and the time in, verdicts and findings out.
//!
//! Each detector is a function of one site's past (`growth`, `never_ends`, `rules`) or of a process's limits
//! (`exhaustion`), gives its evidence in numbers, and may be undecided. `combine` makes one verdict of them, `Detectors`
//! keeps the past, bounded, and the findings with their lives. docs/DETECTION.md says how they think.

mod combine;
mod exhaustion;
mod finding;
mod fingerprint;
mod growth;
mod judgement;
mod life;
mod look;
mod never_ends;
mod observation;
mod past;
mod process;
mod ring;
mod rules;
mod sentence;
mod site;
mod trace;
mod verdict;

pub use combine::Alternative;
pub use exhaustion::Exhaustion;
pub use finding::{Evidence, Finding, FindingState, Moment, Severity, Suppressed};
pub use fingerprint::fingerprint;
pub use growth::GrowthEvidence;
pub use judgement::{Change, Judgement, News, RuntimeJudgement, Table};
pub use never_ends::NeverEndsEvidence;
pub use observation::{Facts, Limits, Observation, Resource, SiteKey, Stacks, Usage};
pub use rules::RulesEvidence;
pub use verdict::{Opinion, Verdict};

use crate::config::Policy;
use crate::engine::snapshot::{FollowState, ProcessSnapshot, RuntimeSnapshot};
use crate::types::ProcessKey;
use exhaustion::Approach;
use life::Findings;
use look::{Look, Looked, Room, Seen};
use process::{Process, Runtime};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Counts that were wrong make everything undecided for this long.
const DOUBT: Duration = Duration::from_secs(120);
/// So many sites that have not moved are known for each one whose past is kept: they take a twentieth of the memory.
const STILL: usize = 10;
/// Sites that were small, or not there, for so many ticks are let go; so often, in ticks, they are looked for.
const SMALL: u64 = 3_600;
const SWEEP: u64 = 60;
/// Readings of limits count for so long.
const STALE: Duration = Duration::from_secs(60);
/// Processes whose limits are kept.
const APPROACHES: usize = 1_000;

/// The detectors with the past they need.
#[derive(Debug)]
pub struct Detectors {
    policy: Arc<Policy>,
    processes: HashMap<ProcessKey, Process>,
    findings: Findings,
    /// Number of the tick.
    tick: u64,
    /// Sites whose past is kept, and those that have not moved so far.
    sites: usize,
    still: usize,
    lost_counts: u64,
    counters: BTreeMap<&'static str, u64>,
}

impl Detectors {
    /// Detectors that have seen nothing yet.
    #[must_use]
    pub fn new(policy: Arc<Policy>) -> Self {
        let findings = Findings::new(policy.defaults().max_findings);
        Self {
            policy,
            processes: HashMap::new(),
            findings,
            tick: 0,
            sites: 0,
            still: 0,
            lost_counts: 0,
            counters: BTreeMap::new(),
        }
    }

    /// Takes the next snapshot. Cost: a comparison per runtime that stood still, a look per site of the others, and some
    /// microseconds per site whose count moved, every four seconds.
    pub fn observe(&mut self, observation: &Observation<'_>) -> Judgement {
        self.tick += 1;
        let Observation {
            snapshot,
            unix,
            facts,
        } = *observation;
        let now = Moment {
            boot: snapshot.at,
            unix,
        };
        let lost = facts.lost_counts > self.lost_counts;
        self.lost_counts = facts.lost_counts;
        let mut judgement = Judgement::default();
        for process in &snapshot.processes {
            if process.alive {
                self.process(process, facts, lost, now, &mut judgement);
            }
        }
        self.forget(now);
        self.findings.age(now);
        self.finish(&mut judgement, now);
        judgement
    }

    /// The processes whose limits the caller is to read for the next observation: those in which something grows.
    #[must_use]
    pub fn wants_limits(&self) -> Vec<ProcessKey> {
        let mut wanted: Vec<ProcessKey> = self.findings.open().map(|finding| finding.key.process).collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    fn process(
        &mut self,
        snapshot: &Arc<ProcessSnapshot>,
        facts: &Facts,
        lost: bool,
        now: Moment,
        judgement: &mut Judgement,
    ) {
        let policy = &self.policy;
        let entry = self.processes.entry(snapshot.key).or_insert_with(|| {
            let (detect, labels) = policy.of(snapshot.exe.as_deref());
            Process {
                exe: snapshot.exe.clone(),
                detect,
                labels,
                seen: 0,
                runtimes: Vec::new(),
                approach: None,
                last: None,
            }
        });
        let last = entry.last.replace(Arc::clone(snapshot));
        entry.seen = self.tick;
        if entry.exe != snapshot.exe {
            (entry.detect, entry.labels) = policy.of(snapshot.exe.as_deref());
            entry.exe.clone_from(&snapshot.exe);
        }
        if let Some(limits) = facts.limits.get(&snapshot.key) {
            let approach = entry.approach.get_or_insert_with(Approach::default);
            approach.take(now.boot.0 as f64 / 1e9, limits);
        }
        let stale = STALE.div_f64(entry.detect.time_scale).as_secs_f64();
        // Nobody reads limits of processes in which nothing grows any more.
        entry.approach = entry
            .approach
            .take()
            .filter(|approach| now.boot.0 as f64 / 1e9 - approach.newest() < stale);
        let ahead = entry.approach.as_ref().map(Approach::ahead).unwrap_or_default();
        for runtime in &snapshot.runtimes {
            let before = last.as_ref().and_then(|last| {
                let mut runtimes = last.runtimes.iter();
                runtimes.find(|before| before.runtime.wire == runtime.runtime.wire)
            });
            let judged = self.runtime(snapshot, (runtime, before), facts, lost, &ahead, now);
            judgement
                .runtimes
                .insert((snapshot.key, runtime.runtime.wire), judged);
        }
        if !ahead.is_empty() {
            judgement.exhaustion.insert(snapshot.key, ahead);
        }
    }

    fn runtime(
        &mut self,
        process: &ProcessSnapshot,
        (snapshot, before): (&RuntimeSnapshot, Option<&RuntimeSnapshot>),
        facts: &Facts,
        lost: bool,
        ahead: &[Exhaustion],
        now: Moment,
    ) -> RuntimeJudgement {
        let at = now.boot.0;
        let Some(entry) = self.processes.get_mut(&process.key) else {
            return RuntimeJudgement::default();
        };
        if snapshot.state == FollowState::Unsupported {
            let why = snapshot.reason.as_deref().unwrap_or("it is not followed");
            return RuntimeJudgement::all(Opinion::undecided(why));
        }
        let detect = Arc::clone(&entry.detect);
        let labels = Arc::clone(&entry.labels);
        let position = entry
            .runtimes
            .iter()
            .position(|known| known.wire == snapshot.runtime.wire);
        let runtime = match position {
            Some(position) => &mut entry.runtimes[position],
            None => {
                entry.runtimes.push(Runtime::new(snapshot, at));
                let last = entry.runtimes.len() - 1;
                &mut entry.runtimes[last]
            }
        };
        if runtime.counted_by != snapshot.counted_by {
            // Spawns and ends begin to be counted, or are no more: what was before cannot be compared.
            let (sites, still) = runtime.sizes();
            self.sites -= sites;
            self.still -= still;
            let since = runtime.since;
            *runtime = Runtime::new(snapshot, at);
            runtime.since = since;
        }
        let memory = nanos(DOUBT.div_f64(detect.time_scale));
        runtime.doubts(snapshot, lost, at, memory);
        let look = Look {
            process,
            runtime: snapshot,
            detect: &detect,
            facts,
            at,
            since: runtime.since,
        };
        let others = look.others(runtime);
        let mut claims = Vec::new();
        // Nothing was spawned and nothing ended: no site has moved.
        if runtime.counts != snapshot.counts || lost {
            runtime.counts = snapshot.counts;
            let before = before.map_or(&[][..], |before| before.sites.as_slice());
            runtime.still.resize(snapshot.sites.len(), 0);
            for (index, site) in snapshot.sites.iter().enumerate() {
                // Most sites stand still, and where they stood.
                let stands = before.get(index).is_some_and(|before| {
                    Arc::ptr_eq(&before.info, &site.info) && before.counts == site.counts
                });
                let is_still = runtime.still.get(index) == Some(&Arc::as_ptr(&site.info).addr());
                if stands && is_still || site.info.system {
                    continue;
                }
                let most = self.policy.defaults().max_sites;
                let room = Room {
                    moved: self.sites < most,
                    still: self.still < most.saturating_mul(STILL) && self.sites < most,
                };
                let Looked { seen, before, after } = look.site(runtime, site, self.tick, room);
                self.sites =
                    self.sites + usize::from(after == Some(true)) - usize::from(before == Some(true));
                self.still =
                    self.still + usize::from(after == Some(false)) - usize::from(before == Some(false));
                // One for which there was no room is looked at again.
                let is_still = after != Some(true) && !matches!(seen, Seen::NoRoom);
                if let Some(still) = runtime.still.get_mut(index) {
                    *still = if is_still {
                        Arc::as_ptr(&site.info).addr()
                    } else {
                        0
                    };
                }
                match seen {
                    Seen::Small | Seen::Still => {}
                    Seen::NoRoom => *self.counters.entry("detect_sites_over_limit").or_default() += 1,
                    Seen::Backwards => {
                        *self.counters.entry("detect_counters_backwards").or_default() += 1;
                    }
                    Seen::Claims(claim) => claims.push((site, *claim)),
                }
            }
        }
        let doubt = runtime.doubt.as_ref().map(|(_, reason)| reason.clone());
        for (site, mut claim) in claims {
            claim.evidence.exhaustion = ahead.to_vec();
            let key = look.key(site);
            let tracked = runtime.sites.get_mut(site.info.id.as_str());
            if doubt.is_some() {
                continue;
            }
            let found = self
                .findings
                .claim(key, &look, site, claim, &labels, &self.policy, now);
            if let Some(tracked) = tracked {
                tracked.found |= found;
            }
        }
        let mut judged = RuntimeJudgement::all(others);
        for (id, opinion) in self.findings.opinions(process.key, snapshot.runtime.wire) {
            judged.add(&id, opinion);
        }
        judged
    }

    /// Lets go of processes that are gone, and of sites that have become small.
    fn forget(&mut self, now: Moment) {
        let tick = self.tick;
        let gone: Vec<ProcessKey> = self
            .processes
            .iter()
            .filter(|(_, process)| process.seen != tick)
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            if let Some(process) = self.processes.remove(&key) {
                for runtime in &process.runtimes {
                    let (sites, still) = runtime.sizes();
                    self.sites -= sites;
                    self.still -= still;
                }
            }
            self.findings.process_ended(key, now);
        }
        if tick.is_multiple_of(SWEEP) {
            self.sweep();
        }
        let mut approaches = 0;
        for process in self.processes.values_mut() {
            if process.approach.is_some() {
                approaches += 1;
                if approaches > APPROACHES {
                    process.approach = None;
                }
            }
        }
    }

    /// Lets go of sites that have been small, or not there, for long.
    fn sweep(&mut self) {
        let tick = self.tick;
        for process in self.processes.values_mut() {
            let last = process.last.as_ref();
            for runtime in &mut process.runtimes {
                // Those that stand still were not looked at.
                let told = last.and_then(|last| {
                    let mut told = last.runtimes.iter();
                    told.find(|told| told.runtime.wire == runtime.wire)
                });
                let least = process.detect.least_tasks;
                for site in told.iter().flat_map(|told| &told.sites) {
                    if site.counts.live() >= least
                        && let Some(tracked) = runtime.sites.get_mut(site.info.id.as_str())
                    {
                        tracked.large = tick;
                    }
                }
                runtime.sites.retain(|_, tracked| {
                    let keep = tracked.found || tick - tracked.large < SMALL;
                    if !keep {
                        let of = if tracked.has_moved() {
                            &mut self.sites
                        } else {
                            &mut self.still
                        };
                        *of -= 1;
                    }
                    keep
                });
            }
        }
    }

    fn finish(&mut self, judgement: &mut Judgement, now: Moment) {
        self.findings.tell(judgement, now);
        judgement.tables = vec![
            Table {
                name: "detect_sites",
                entries: self.sites,
                capacity: self.policy.defaults().max_sites,
            },
            Table {
                name: "detect_still_sites",
                entries: self.still,
                capacity: self.policy.defaults().max_sites.saturating_mul(STILL),
            },
            self.findings.table(),
        ];
        judgement.counters = self.counters.clone();
        judgement
            .counters
            .insert("detect_findings_over_limit", self.findings.over_limit);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
