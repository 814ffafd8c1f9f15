//! What the schedulers of runtimes do with the threads of one process: as a runtime's own books tell, or as its tasks do, of
//! which some hold a thread each.

use super::KernelRuntime;
use super::plan::PlanFacts;
use super::process::Process;
use super::snapshot::{RuntimeSnapshot, SchedulerSnapshot, SiteSnapshot};
use crate::source::books::ThreadsAtWork;
use crate::source::{Maker, SiteInfo};
use crate::types::label::Label;
use crate::types::{BootTime, PlanId, Runtime};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What a thread does for which its scheduler has no task.
const IDLE: &str = "idle";

/// What the books told of a scheduler's threads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadFacts {
    /// What they did.
    pub work: ThreadsAtWork,
    /// When.
    pub at: BootTime,
}

impl Process {
    /// The schedulers of which something is known. `threads`: the sites of the process's threads.
    pub(super) fn schedulers(
        &self,
        kernel: &KernelRuntime,
        plans: &HashMap<PlanId, Arc<PlanFacts>>,
        threads: &[SiteSnapshot],
        runtimes: &[RuntimeSnapshot],
    ) -> Vec<SchedulerSnapshot> {
        let known = || {
            self.plans
                .iter()
                .filter_map(|plan| Some((*plan, plans.get(plan)?)))
        };
        let of = |runtime: &RuntimeSnapshot| {
            let mine = || known().filter(|(_, facts)| facts.runtime == runtime.runtime);
            let told = mine().filter_map(|(plan, _)| self.thread_facts(plan));
            let told = told.fold(None, |all, facts| Some(with(all, runtime.runtime, facts)));
            told.or_else(|| {
                let holds: Vec<_> = mine().map(|(_, facts)| &facts.holds).collect();
                held(&holds, kernel.maker, threads, runtime)
            })
        };
        runtimes.iter().filter_map(of).collect()
    }

    fn thread_facts(&self, plan: PlanId) -> Option<&ThreadFacts> {
        let watched = self.watched.get(&plan).and_then(|facts| facts.threads.as_ref());
        watched.or_else(|| self.books.get(&plan)?.threads.as_ref())
    }
}

/// Adds what the books of one copy of the runtime told.
fn with(all: Option<SchedulerSnapshot>, runtime: Runtime, facts: &ThreadFacts) -> SchedulerSnapshot {
    let mut all = all.unwrap_or(SchedulerSnapshot {
        runtime,
        threads: Some(0),
        activities: Vec::new(),
        bound: Some(0),
        as_of: Some(facts.at),
    });
    let more = facts.work.activities.iter().map(|each| each.threads).sum();
    all.threads = all.threads.map(|threads| threads.saturating_add(more));
    all.bound = all.bound.map(|bound| bound.saturating_add(facts.work.bound));
    all.as_of = all.as_of.min(Some(facts.at));
    for each in &facts.work.activities {
        match all.activities.iter_mut().find(|(known, _)| *known == each.name) {
            Some((_, sum)) => *sum = sum.saturating_add(each.threads),
            None => all.activities.push((each.name, each.threads)),
        }
    }
    all
}

/// What is known by the tasks that hold a thread each, if these are counted exactly. How many threads have nothing to do
/// is known if it is known of all threads who made them.
fn held(
    holds: &[&BTreeMap<Label, BTreeSet<String>>],
    maker: fn(&SiteInfo) -> Maker,
    threads: &[SiteSnapshot],
    runtime: &RuntimeSnapshot,
) -> Option<SchedulerSnapshot> {
    if !runtime.exact || holds.iter().all(|holds| holds.is_empty()) {
        return None;
    }
    let mut activities: BTreeMap<Label, u64> = BTreeMap::new();
    for (what, ids) in holds.iter().flat_map(|holds| holds.iter()) {
        let mine = runtime.sites.iter().filter(|site| ids.contains(&site.info.id));
        let live: u64 = mine.map(|site| site.counts.live()).sum();
        let sum = activities.entry(what).or_default();
        *sum = sum.saturating_add(live);
    }
    let live = |wanted: Maker| -> u64 {
        let sites = threads.iter().filter(|site| maker(&site.info) == wanted);
        sites.map(|site| site.counts.live()).sum()
    };
    let busy: u64 = activities.values().sum();
    let made = live(Maker::Scheduler(runtime.runtime));
    let idle = made.checked_sub(busy).filter(|_| live(Maker::Unknown) == 0);
    let mut activities: Vec<_> = activities.into_iter().collect();
    activities.extend(idle.map(|idle| (IDLE, idle)));
    (busy > 0 || made > 0).then_some(SchedulerSnapshot {
        runtime: runtime.runtime,
        threads: idle.map(|_| made),
        activities,
        bound: None,
        as_of: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{runtime, site};
    use crate::source::books::Activity;
    use crate::source::{go, thread, tokio};

    /// A site of this kind with so many tasks alive.
    fn threads(number: usize, kind: &'static str, live: u64) -> SiteSnapshot {
        let mut site = site(number, "x", live, 0, 0);
        Arc::make_mut(&mut site.info).kind = kind;
        site
    }

    fn holding(sites: &[(usize, Label)]) -> BTreeMap<Label, BTreeSet<String>> {
        let id = |number: usize| site(number, "x", 0, 0, 0).info.id.clone();
        let each = sites.iter();
        each.map(|(number, label)| (*label, BTreeSet::from([id(*number)])))
            .collect()
    }

    /// Tasks that hold a thread each say what threads do; the others of the scheduler's threads are idle, unless it is not known of
    /// some thread who made it, or the tasks are more than the threads.
    #[test]
    fn threads_without_a_task_are_idle_if_all_makers_are_known() {
        let of = runtime(
            tokio::RUNTIME,
            vec![
                site(1, "loop", 2, 0, 0),
                site(2, "closure", 3, 0, 0),
                site(3, "future", 40, 0, 0),
            ],
        );
        let holds = holding(&[(1, "worker"), (2, "blocking")]);
        let told = |sites: &[SiteSnapshot], of: &RuntimeSnapshot| {
            held(&[&holds], thread::maker, sites, of).map(|told| (told.threads, told.activities))
        };
        let pool = threads(7, "tokio blocking", 9);
        let known = vec![("blocking", 3), ("worker", 2)];
        let with_idle = |idle| [known.clone(), vec![("idle", idle)]].concat();
        assert_eq!(
            told(&[pool.clone(), threads(8, "main", 1)], &of),
            Some((Some(9), with_idle(4)))
        );
        let unknown = [pool.clone(), threads(8, "unknown", 1)];
        assert_eq!(told(&unknown, &of), Some((None, known.clone())));
        let fewer = [threads(7, "tokio worker", 4)];
        assert_eq!(told(&fewer, &of), Some((None, known)));

        let mut inexact = of.clone();
        inexact.exact = false;
        assert_eq!(told(&[pool], &inexact), None);
        assert_eq!(held(&[], thread::maker, &[], &of), None);
        let empty = runtime(tokio::RUNTIME, vec![]);
        assert_eq!(told(&[], &empty), None);
    }

    /// Several copies of a runtime in one process are one sum, as of the older reading.
    #[test]
    fn copies_of_a_runtime_are_summed_up() {
        let facts = |at: u64, idle: u64| ThreadFacts {
            work: ThreadsAtWork {
                activities: [("running", 1), ("idle", idle)]
                    .map(|(name, threads)| Activity { name, threads })
                    .to_vec(),
                bound: 1,
            },
            at: BootTime(at),
        };
        let one = with(None, go::RUNTIME, &facts(9, 4));
        let both = with(Some(one), go::RUNTIME, &facts(7, 2));
        assert_eq!(both.activities, [("running", 2), ("idle", 6)]);
        assert_eq!(
            (both.threads, both.bound, both.as_of),
            (Some(8), Some(2), Some(BootTime(7)))
        );
    }
}
