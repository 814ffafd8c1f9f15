//! How a report is made: a pure function of the engine's snapshot and the agent's facts.

use super::facts::{AgentFacts, HopFacts, Mode, Readiness, ReceiverFacts};
use super::judged;
use super::{
    Activity, Agent, Books, Build, Call, Caller, CountedBy, Hop, MapFill, ModeName, ProbePrice, Probes,
    Process, Readings, Receiver, Repair, RepairedSite, Report, Runtime, Scheduler, Site, State, VERSION,
    Waiting, Watch,
};
use crate::detect::{Judgement, RuntimeJudgement};
use crate::engine::snapshot::{
    self, BooksSnapshot, CallerSnapshot, Counts, FollowState, ProcessSnapshot, RepairSnapshot,
    RuntimeSnapshot, SchedulerSnapshot, SiteSnapshot, Snapshot, WatchSnapshot,
};
use crate::source::CodeFrame;
use crate::types::BootTime;
use leak_agent_common::counter::Counter;
use std::collections::BTreeMap;
use std::time::Duration;

/// Reasons to wait that are told of one site.
const WAITING_MAX: usize = 8;
/// Callers of a library that are told of one site.
const CALLERS_MAX: usize = 20;
/// Said of a runtime in which more tasks ended than were known.
const MORE_ENDED_THAN_KNOWN: &str = "more tasks ended than were known: the baseline was raised to fit";
/// Said of a runtime whose sites do not add up to what the engine counted for it.
const SUM_DIFFERS: &str = "the sites do not add up to the runtime's own total";

impl Report {
    /// Makes the document. Pure; cost is linear in the number of sites.
    ///
    /// The identity of the counts holds whatever the snapshot says. Where it did not hold there, the
    /// runtime is marked as not exact, with the reason.
    #[must_use]
    pub fn build(snapshot: &Snapshot, judgement: &Judgement, facts: &AgentFacts) -> Self {
        let mut processes: Vec<Process> = snapshot
            .processes
            .iter()
            .map(|process| self::process(process, judgement, facts.boot_unix))
            .collect();
        processes.sort_by_key(|process| (process.pid, process.start_boottime));
        Self {
            version: VERSION,
            taken_at: unix_seconds(facts.boot_unix, snapshot.at),
            agent: agent(snapshot, judgement, facts),
            processes,
            findings: judgement.findings.iter().map(judged::finding).collect(),
        }
    }
}

/// Boot time as Unix time in seconds.
fn unix_seconds(boot_unix: Duration, at: BootTime) -> f64 {
    boot_unix.saturating_add(Duration::from_nanos(at.0)).as_secs_f64()
}

fn process(process: &ProcessSnapshot, judgement: &Judgement, boot_unix: Duration) -> Process {
    let unjudged = RuntimeJudgement::default();
    let judged = |runtime: &RuntimeSnapshot| {
        let key = (process.key, runtime.runtime.wire);
        judgement.runtimes.get(&key).unwrap_or(&unjudged)
    };
    Process {
        pid: process.key.tgid,
        start_time: unix_seconds(boot_unix, BootTime(process.key.start_boottime)),
        start_boottime: process.key.start_boottime,
        comm: process.comm.clone(),
        exe: process.exe.clone(),
        alive: process.alive,
        runtimes: process
            .runtimes
            .iter()
            .map(|each| runtime(each, judged(each), boot_unix))
            .collect(),
        exhaustion: judgement
            .exhaustion
            .get(&process.key)
            .into_iter()
            .flatten()
            .map(judged::exhaustion)
            .collect(),
        schedulers: process
            .schedulers
            .iter()
            .map(|each| scheduler(each, boot_unix))
            .collect(),
    }
}

fn scheduler(scheduler: &SchedulerSnapshot, boot_unix: Duration) -> Scheduler {
    let activities = scheduler.activities.iter().map(|(activity, threads)| Activity {
        activity: (*activity).to_owned(),
        threads: *threads,
    });
    Scheduler {
        runtime: scheduler.runtime.label.to_owned(),
        threads: scheduler.threads,
        activities: activities.collect(),
        bound: scheduler.bound,
        as_of: scheduler.as_of.map(|at| unix_seconds(boot_unix, at)),
    }
}

fn runtime(runtime: &RuntimeSnapshot, judged: &RuntimeJudgement, boot_unix: Duration) -> Runtime {
    let mut repaired = false;
    let mut sites: Vec<Site> = runtime
        .sites
        .iter()
        .map(|snapshot| {
            let (site, was_repaired) = site(snapshot, judged, boot_unix);
            repaired |= was_repaired;
            site
        })
        .collect();
    sites.sort_by(|a, b| b.live.cmp(&a.live).then_with(|| a.id.cmp(&b.id)));

    let mut sum = Counts::default();
    for site in sites.iter().filter(|site| !site.system) {
        sum.baseline = sum.baseline.saturating_add(site.baseline);
        sum.spawned = sum.spawned.saturating_add(site.spawned);
        sum.finished = sum.finished.saturating_add(site.finished);
    }
    let (sum, sum_repaired) = consistent(sum);
    repaired |= sum_repaired;

    let doubt = if repaired {
        Some(MORE_ENDED_THAN_KNOWN)
    } else if sum != runtime.counts {
        Some(SUM_DIFFERS)
    } else {
        None
    };
    let reason = match (&runtime.reason, doubt) {
        (Some(reason), Some(doubt)) => Some(format!("{reason}; {doubt}")),
        (reason, doubt) => reason.clone().or_else(|| doubt.map(str::to_owned)),
    };
    let leaked = sites.iter().filter_map(|site| site.leaked);
    Runtime {
        leaked: leaked.reduce(u64::saturating_add),
        listed_at: runtime.listed_at.map(|at| unix_seconds(boot_unix, at)),
        runtime: runtime.runtime.label.to_owned(),
        state: match runtime.state {
            FollowState::Followed => State::Followed,
            FollowState::Partial => State::Partial,
            FollowState::Unsupported => State::Unsupported,
        },
        reason,
        verdict: judged::verdict(judged.opinion.verdict),
        verdict_reason: judged.opinion.reason.clone(),
        version: runtime.version.clone(),
        evidence: runtime.evidence.as_ref().map(|evidence| evidence.points.clone()),
        names_by: runtime
            .evidence
            .as_ref()
            .and_then(|evidence| evidence.names.clone()),
        books_by: runtime
            .evidence
            .as_ref()
            .and_then(|evidence| evidence.books.clone()),
        points: runtime.points,
        points_emulated: runtime.points_emulated,
        live: live(sum),
        spawned: sum.spawned,
        finished: sum.finished,
        baseline: sum.baseline,
        exact: runtime.exact && doubt.is_none(),
        books: runtime.books.as_ref().map(|books| self::books(books, boot_unix)),
        counted_by: runtime.counted_by.map(counted_by),
        watch: runtime.watch.as_ref().map(|watch| self::watch(watch, boot_unix)),
        probes: runtime.probes.as_ref().map(|probes| Probes {
            since: unix_seconds(boot_unix, probes.since),
            reason: probes.reason.clone(),
        }),
        sites,
    }
}

fn counted_by(by: snapshot::CountedBy) -> CountedBy {
    match by {
        snapshot::CountedBy::Kernel => CountedBy::Kernel,
        snapshot::CountedBy::Probes => CountedBy::Probes,
        snapshot::CountedBy::Memory => CountedBy::Memory,
        snapshot::CountedBy::Proc => CountedBy::Proc,
    }
}

fn watch(watch: &WatchSnapshot, boot_unix: Duration) -> Watch {
    let unix = |at: Option<BootTime>| at.map(|at| unix_seconds(boot_unix, at));
    Watch {
        as_of: unix(watch.as_of),
        searched_at: unix(watch.searched_at),
        agreed: watch.agreed,
        counted: watch.counted,
        counted_at: watch.counted.and_then(|_| unix(watch.counted_at)),
        added: watch.added,
        retained: watch.retained,
        readings: watch.readings,
        walks: watch.walks,
        searches: watch.searches,
    }
}

fn books(books: &BooksSnapshot, boot_unix: Duration) -> Books {
    Books {
        agreed_at: books.agreed_at.map(|at| unix_seconds(boot_unix, at)),
        drift: books.drift,
        checks: books.checks,
        repairs: books.repairs,
        repair: books
            .repair
            .as_ref()
            .map(|repair| self::repair(repair, boot_unix)),
        missed_spawns: books.missed_spawns,
        missed_finishes: books.missed_finishes,
        trouble: books.trouble.clone(),
        readings: Readings {
            counters: books.readings.counters,
            lists: books.readings.lists,
            searches: books.readings.searches,
        },
        retained: books.retained,
        retained_join_handles: books.retained_join_handles,
        retained_at: books.retained_at.map(|at| unix_seconds(boot_unix, at)),
    }
}

fn repair(repair: &RepairSnapshot, boot_unix: Duration) -> Repair {
    let reason = match repair.missed {
        Some((spawns, ends)) => format!("the probes missed {spawns} spawns and {ends} ends"),
        None if repair.drift > 0 => format!("the probes missed at least {} ends", repair.drift),
        None if repair.drift < 0 => {
            format!(
                "the probes missed at least {} spawns",
                repair.drift.unsigned_abs()
            )
        }
        None => "the probes missed as many spawns as ends".to_owned(),
    };
    let sites = repair.sites.iter().map(|(id, live)| RepairedSite {
        id: id.clone(),
        live: *live,
    });
    Repair {
        at: unix_seconds(boot_unix, repair.at),
        drift: repair.drift,
        reason,
        sites: sites.collect(),
    }
}

/// The site, and whether its counts had to be repaired.
fn site(snapshot: &SiteSnapshot, judged: &RuntimeJudgement, boot_unix: Duration) -> (Site, bool) {
    let (counts, repaired) = consistent(snapshot.counts);
    let (info, more) = (&snapshot.info, snapshot.more());
    let opinion = judged.site(&info.id);
    let site = Site {
        id: info.id.clone(),
        name: info.name.clone(),
        location: info.location.clone(),
        kind: info.kind.to_owned(),
        system: info.system,
        ambiguous: info.ambiguous,
        note: info.note.clone(),
        created_by: snapshot
            .created_by()
            .map(|calls| calls.iter().map(call).collect()),
        verdict: judged::verdict(opinion.verdict),
        verdict_reason: opinion.reason.clone(),
        live: live(counts),
        spawned: counts.spawned,
        finished: counts.finished,
        baseline: counts.baseline,
        retained: more.retained,
        as_of: more.as_of.map(|at| unix_seconds(boot_unix, at)),
        waiting: more
            .waiting
            .iter()
            .take(WAITING_MAX)
            .map(|wait| Waiting {
                reason: wait.reason.to_owned(),
                count: wait.tasks,
            })
            .collect(),
        leaked: more.leaked,
        callers: callers(&more.callers, counts.spawned),
    };
    (site, repaired)
}

/// The callers of a site that was asked for `spawned` tasks.
fn callers(callers: &[CallerSnapshot], spawned: u64) -> Vec<Caller> {
    if callers.is_empty() {
        return Vec::new();
    }
    let mut left = spawned;
    let mut told = Vec::new();
    for caller in callers.iter().take(CALLERS_MAX) {
        // Callers are read after their site: one may have had more by then.
        let spawned = caller.spawned.min(left);
        left -= spawned;
        told.push(Caller {
            function: Some(caller.info.name.clone()),
            location: caller.info.location.clone(),
            spawned,
        });
    }
    if left > 0 {
        told.push(Caller {
            function: None,
            location: None,
            spawned: left,
        });
    }
    told
}

fn call(frame: &CodeFrame) -> Call {
    Call {
        function: frame.function.clone(),
        file: frame.file.clone(),
        line: frame.line,
        inlined: frame.inlined,
        address: frame.address.clone(),
    }
}

/// `baseline + spawned − finished` of counts that went through [`consistent`].
fn live(counts: Counts) -> u64 {
    counts
        .baseline
        .saturating_add(counts.spawned)
        .saturating_sub(counts.finished)
}

/// The same counts with a baseline for which `live` is neither negative nor too large, and whether that
/// changed them. A task that ended and was neither spawned nor in the baseline was alive before us.
fn consistent(counts: Counts) -> (Counts, bool) {
    let least = counts.finished.saturating_sub(counts.spawned);
    let most = u64::MAX - counts.spawned;
    let baseline = counts.baseline.min(most).max(least);
    (Counts { baseline, ..counts }, baseline != counts.baseline)
}

fn agent(snapshot: &Snapshot, judgement: &Judgement, facts: &AgentFacts) -> Agent {
    let (mode, mode_reason) = match &facts.mode {
        Mode::Bpf => (ModeName::Bpf, None),
        Mode::ProcOnly { reason } => (ModeName::ProcOnly, Some(reason.clone())),
    };
    let waiting_for = match &facts.ready {
        Readiness::Ready => None,
        Readiness::Starting { waiting_for } => Some(waiting_for.clone()),
    };
    let mut counters = owned(&facts.counters);
    for (name, count) in snapshot.counters.iter().chain(&judgement.counters) {
        let counter = counters.entry((*name).to_owned()).or_default();
        *counter = counter.saturating_add(*count);
    }
    let (mut hops, kernel_counters) = kernel(&facts.kernel);
    hops.extend(facts.hops.iter().map(hop));
    hops.extend(notify_hop(&facts.receivers));
    Agent {
        build: Build::this(),
        pid: facts.pid,
        start_time: unix_seconds(facts.boot_unix, facts.started),
        uptime: snapshot.at.since(facts.started).as_secs_f64(),
        mode,
        mode_reason,
        ready: waiting_for.is_none(),
        waiting_for,
        hops,
        kernel_counters,
        counters,
        missed_processes: owned(&facts.missed_processes),
        attach_failures: owned(&facts.attach_failures),
        findings_opened: judgement.opened,
        findings_resolved: judgement.resolved,
        maps: facts
            .maps
            .iter()
            .map(|map| MapFill {
                name: map.name.to_owned(),
                entries: map.entries,
                capacity: map.capacity,
            })
            .chain(judgement.tables.iter().map(|table| MapFill {
                name: table.name.to_owned(),
                entries: table.entries as u64,
                capacity: table.capacity as u64,
            }))
            .collect(),
        cpu_seconds: facts.cpu.as_secs_f64(),
        resident_bytes: facts.resident_bytes,
        receivers: facts.receivers.iter().map(receiver).collect(),
        probe_prices: (!facts.prices.is_empty()).then(|| {
            facts
                .prices
                .iter()
                .map(|price| ProbePrice {
                    program: price.program.clone(),
                    runs: price.runs,
                    run_seconds: price.run_time.as_secs_f64(),
                })
                .collect()
        }),
    }
}

/// The kernel's counters as the first hop (the ring: what was to be sent, was sent, was lost) and the rest.
fn kernel(counters: &BTreeMap<Counter, u64>) -> (Vec<Hop>, BTreeMap<String, u64>) {
    let mut dropped = BTreeMap::new();
    let mut rest = BTreeMap::new();
    let mut passed = 0;
    for (&counter, &count) in counters {
        match counter {
            Counter::RingRecords => passed = count,
            Counter::LostProcessRecord | Counter::LostStackRecord | Counter::LostStreamRecord => {
                dropped.insert(counter.label().to_owned(), count);
            }
            other => {
                rest.insert(other.label().to_owned(), count);
            }
        }
    }
    if counters.is_empty() {
        return (Vec::new(), rest);
    }
    let taken = dropped
        .values()
        .fold(passed, |sum: u64, lost| sum.saturating_add(*lost));
    let ring = Hop {
        name: "ring".to_owned(),
        taken,
        passed,
        dropped,
    };
    (vec![ring], rest)
}

fn hop(hop: &HopFacts) -> Hop {
    Hop {
        name: hop.name.to_owned(),
        taken: hop.taken,
        passed: hop.passed,
        dropped: owned(&hop.dropped),
    }
}

/// All receivers of notifications as one hop; `None` = there are none.
fn notify_hop(receivers: &[ReceiverFacts]) -> Option<Hop> {
    let mut dropped: BTreeMap<String, u64> = BTreeMap::new();
    for (reason, count) in receivers.iter().flat_map(|receiver| &receiver.dropped) {
        let sum = dropped.entry((*reason).to_owned()).or_default();
        *sum = sum.saturating_add(*count);
    }
    (!receivers.is_empty()).then(|| Hop {
        name: Hop::NOTIFY.to_owned(),
        taken: receivers.iter().map(|receiver| receiver.taken).sum(),
        passed: receivers.iter().map(|receiver| receiver.delivered).sum(),
        dropped,
    })
}

fn receiver(receiver: &ReceiverFacts) -> Receiver {
    Receiver {
        name: receiver.name.clone(),
        kind: receiver.kind.to_owned(),
        taken: receiver.taken,
        delivered: receiver.delivered,
        dropped: owned(&receiver.dropped),
        waiting: receiver.waiting,
        waiting_bytes: receiver.waiting_bytes,
        on_disk: receiver.on_disk,
        failed_attempts: receiver.failed_attempts,
        settled: receiver.settled,
        over_limit: receiver.over_limit,
        held: receiver.held,
        disk_errors: receiver.disk_errors,
        dry_run: receiver.dry_run,
        last_delivered: receiver.last_delivered,
        trouble: receiver.trouble.clone(),
    }
}

fn owned(counts: &BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    counts
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
