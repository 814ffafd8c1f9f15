//! A report as families of series, with bounded cardinality.

use super::books::BookFamilies;
use super::catalogue as names;
use super::family::Family;
use super::findings;
use super::receivers;
use super::schedulers::SchedulerFamilies;
use super::watch::WatchFamilies;
use crate::config::MetricsConfig;
use crate::output::text::{capped, visible};
use crate::report::{Agent, CountedBy, ModeName, Process, Report, Runtime, Site, State, Verdict};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// The label value under which everything beyond a cap is summed up.
const OTHER: &str = "~other";
/// Longer names of spawn sites are cut: the site's id identifies it.
pub(super) const SITE_NAME_CHARS: usize = 200;
/// Longer paths are cut: the pid identifies the process.
pub(super) const EXE_CHARS: usize = 400;

/// All families, in the order of the catalogue; some may be without series.
pub(super) fn families(report: &Report, config: MetricsConfig) -> Vec<Family> {
    let mut tasks = Tasks::new();
    let (own, folded) = processes(report, config.processes);
    for process in &own {
        tasks.process(process, config.sites);
    }
    tasks.fold_processes(&folded);
    let mut families = tasks.into_families(folded.len());
    families.extend(findings::families(report));
    families.extend(agent(&report.agent));
    let mut time = Family::new(names::REPORT_TIME);
    time.push([], report.taken_at);
    let mut count = Family::new(names::PROCESSES);
    count.push([], own.len() + folded.len());
    families.extend([time, count]);
    families
}

/// The living processes: those that get series of their own, and the others. A pid appears once.
fn processes(report: &Report, cap: usize) -> (Vec<&Process>, Vec<&Process>) {
    let mut newest: BTreeMap<u32, &Process> = BTreeMap::new();
    for process in report.processes.iter().filter(|process| process.alive) {
        let known = newest.entry(process.pid).or_insert(process);
        if process.start_boottime > known.start_boottime {
            *known = process;
        }
    }
    let mut own: Vec<&Process> = newest.into_values().collect();
    own.sort_by_cached_key(|process| {
        Reverse(process.runtimes.iter().map(|r| u128::from(r.live)).sum::<u128>())
    });
    let folded = own.split_off(cap.min(own.len()));
    (own, folded)
}

/// The families of processes, runtimes and sites while they are filled.
struct Tasks {
    live: Family,
    spawned: Family,
    finished: Family,
    baseline: Family,
    exact: Family,
    counted_by: Family,
    watch: WatchFamilies,
    books: BookFamilies,
    state: Family,
    points: Family,
    schedulers: SchedulerFamilies,
    start: Family,
    site_live: Family,
    site_spawned: Family,
    site_finished: Family,
    site_retained: Family,
    verdict: Family,
    exhaustion: Family,
    folded_sites: usize,
}

impl Tasks {
    fn new() -> Self {
        Self {
            live: Family::new(names::TASKS_LIVE),
            spawned: Family::new(names::TASKS_SPAWNED),
            finished: Family::new(names::TASKS_FINISHED),
            baseline: Family::new(names::TASKS_BASELINE),
            exact: Family::new(names::RUNTIME_EXACT),
            counted_by: Family::new(names::COUNTED_BY),
            watch: WatchFamilies::new(),
            books: BookFamilies::new(),
            state: Family::new(names::RUNTIME_STATE),
            points: Family::new(names::ATTACH_POINTS),
            schedulers: SchedulerFamilies::new(),
            start: Family::new(names::PROCESS_START),
            site_live: Family::new(names::SITE_LIVE),
            site_spawned: Family::new(names::SITE_SPAWNED),
            site_finished: Family::new(names::SITE_FINISHED),
            site_retained: Family::new(names::SITE_RETAINED),
            verdict: Family::new(names::RUNTIME_VERDICT),
            exhaustion: Family::new(names::EXHAUSTION),
            folded_sites: 0,
        }
    }

    fn process(&mut self, process: &Process, site_cap: usize) {
        let pid = process.pid.to_string();
        let comm = visible(&process.comm);
        let exe = visible(process.exe.as_deref().unwrap_or(""));
        let exe = capped(&exe, EXE_CHARS);
        self.start.push([&pid, &comm, &exe], process.start_time);
        findings::push_exhaustion(&mut self.exhaustion, [&pid, &comm, &exe], &process.exhaustion);
        let mut seen = BTreeSet::new();
        for runtime in &process.runtimes {
            if seen.insert(runtime.runtime.as_str()) {
                self.runtime([&pid, &comm, &exe, &runtime.runtime], runtime, site_cap);
            }
        }
        let mut seen = BTreeSet::new();
        for scheduler in &process.schedulers {
            if seen.insert(scheduler.runtime.as_str()) {
                self.schedulers
                    .push([&pid, &comm, &exe, &scheduler.runtime], scheduler);
            }
        }
    }

    fn runtime(&mut self, of: [&str; 4], runtime: &Runtime, site_cap: usize) {
        let [pid, comm, exe, name] = of;
        for state in State::ALL {
            self.state
                .push([pid, comm, exe, name, state.label()], state == runtime.state);
        }
        for verdict in Verdict::ALL {
            self.verdict.push(
                [pid, comm, exe, name, verdict.label()],
                verdict == runtime.verdict,
            );
        }
        // A zero here would read as "no tasks".
        if runtime.state == State::Unsupported {
            return;
        }
        self.live.push(of, runtime.live);
        // A counter that stands still would read as "nothing happens".
        let counts_events = runtime.counted_by.is_some_and(CountedBy::counts_events);
        if counts_events {
            self.spawned.push(of, runtime.spawned);
            self.finished.push(of, runtime.finished);
            self.baseline.push(of, runtime.baseline);
        }
        self.exact.push(of, runtime.exact);
        for by in CountedBy::ALL {
            let [pid, comm, exe, name] = of;
            self.counted_by
                .push([pid, comm, exe, name, by.label()], runtime.counted_by == Some(by));
        }
        if let Some(watch) = &runtime.watch {
            self.watch.push(of, watch);
            if runtime.books.is_none() {
                self.books.push_retained(of, watch.retained);
            }
        }
        if let Some(books) = &runtime.books {
            self.books.push(of, books);
        }
        let emulated = runtime.points_emulated.min(runtime.points);
        self.points
            .push([pid, comm, exe, name, "true"], u64::from(emulated));
        self.points.push(
            [pid, comm, exe, name, "false"],
            u64::from(runtime.points - emulated),
        );
        self.sites(of, runtime, site_cap);
    }

    fn sites(&mut self, [pid, comm, exe, runtime]: [&str; 4], of: &Runtime, cap: usize) {
        let mut sites: Vec<&Site> = of.sites.iter().filter(|site| !site.system).collect();
        sites.sort_by(|a, b| b.live.cmp(&a.live).then_with(|| a.id.cmp(&b.id)));
        let mut seen = BTreeSet::new();
        let mut folded: Option<u64> = None;
        for site in sites {
            if seen.len() >= cap || !seen.insert(site.id.as_str()) {
                folded = Some(folded.unwrap_or(0).saturating_add(site.live));
                self.folded_sites += 1;
                continue;
            }
            let id = visible(&site.id);
            let name = visible(&site.name);
            let labels = [pid, comm, exe, runtime, &id, &capped(&name, SITE_NAME_CHARS)];
            self.site_live.push(labels, site.live);
            if let Some(retained) = site.retained {
                self.site_retained.push(labels, retained);
            }
            if of.counted_by.is_some_and(CountedBy::counts_events) {
                self.site_spawned.push(labels, site.spawned);
                self.site_finished.push(labels, site.finished);
            }
        }
        if let Some(live) = folded {
            self.site_live.push([pid, comm, exe, runtime, OTHER, OTHER], live);
        }
    }

    fn fold_processes(&mut self, folded: &[&Process]) {
        let mut live: BTreeMap<&str, u64> = BTreeMap::new();
        let runtimes = folded.iter().flat_map(|process| &process.runtimes);
        for runtime in runtimes.filter(|runtime| runtime.state != State::Unsupported) {
            let sum = live.entry(&runtime.runtime).or_default();
            *sum = sum.saturating_add(runtime.live);
        }
        for (runtime, live) in live {
            self.live.push([OTHER, OTHER, OTHER, runtime], live);
        }
    }

    fn into_families(self, folded_processes: usize) -> Vec<Family> {
        let mut processes = Family::new(names::FOLDED_PROCESSES);
        processes.push([], folded_processes);
        let mut sites = Family::new(names::FOLDED_SITES);
        sites.push([], self.folded_sites);
        let mut families = vec![
            self.live,
            self.spawned,
            self.finished,
            self.baseline,
            self.exact,
            self.counted_by,
        ];
        families.extend(self.watch.into_families());
        families.extend(self.books.into_families());
        families.extend([self.state, self.points]);
        families.extend(self.schedulers.into_families());
        families.extend([
            self.start,
            self.site_live,
            self.site_spawned,
            self.site_finished,
            self.site_retained,
            self.verdict,
            self.exhaustion,
            processes,
            sites,
        ]);
        families
    }
}

fn agent(agent: &Agent) -> Vec<Family> {
    let mut build = Family::new(names::BUILD);
    let built = &agent.build;
    build.push(
        [
            &built.version,
            &built.wire_version.to_string(),
            &built.arch,
            &built.profile,
        ],
        1_u64,
    );
    let mut mode = Family::new(names::MODE);
    for name in ModeName::ALL {
        mode.push([name.label()], name == agent.mode);
    }
    let mut hop_in = Family::new(names::HOP_IN);
    let mut hop_out = Family::new(names::HOP_OUT);
    let mut hop_dropped = Family::new(names::HOP_DROPPED);
    let mut seen = BTreeSet::new();
    for hop in agent.hops.iter().filter(|hop| seen.insert(hop.name.clone())) {
        hop_in.push([&hop.name], hop.taken);
        hop_out.push([&hop.name], hop.passed);
        for (reason, count) in &hop.dropped {
            hop_dropped.push([&hop.name, reason], *count);
        }
    }
    let mut entries = Family::new(names::MAP_ENTRIES);
    let mut capacity = Family::new(names::MAP_CAPACITY);
    let mut seen = BTreeSet::new();
    for map in agent.maps.iter().filter(|map| seen.insert(map.name.clone())) {
        entries.push([&map.name], map.entries);
        capacity.push([&map.name], map.capacity);
    }
    // Several programs may share a name; the kernel keeps 15 bytes of it.
    let mut prices: BTreeMap<&str, (u64, f64)> = BTreeMap::new();
    for price in agent.probe_prices.iter().flatten() {
        let sum = prices.entry(&price.program).or_default();
        sum.0 = sum.0.saturating_add(price.runs);
        sum.1 += price.run_seconds;
    }
    let mut runs = Family::new(names::PROBE_RUNS);
    let mut run_time = Family::new(names::PROBE_TIME);
    for (program, (count, seconds)) in prices {
        let program = visible(program);
        runs.push([&program], count);
        run_time.push([&program], seconds);
    }
    let mut families = vec![
        build,
        single(names::READY, agent.ready),
        mode,
        by_name(names::MISSED, &agent.missed_processes),
        by_name(names::ATTACH_FAILURES, &agent.attach_failures),
        hop_in,
        hop_out,
        hop_dropped,
    ];
    families.extend(receivers::families(&agent.receivers));
    families.extend([
        by_name(names::KERNEL_EVENTS, &agent.kernel_counters),
        by_name(names::EVENTS, &agent.counters),
        entries,
        capacity,
        runs,
        run_time,
        single(names::CPU, agent.cpu_seconds),
        single(names::RESIDENT, agent.resident_bytes),
        single(names::START_TIME, agent.start_time),
    ]);
    families
}

fn single(metric: names::Definition, value: impl Into<super::Value>) -> Family {
    let mut family = Family::new(metric);
    family.push([], value);
    family
}

fn by_name(metric: names::Definition, counts: &BTreeMap<String, u64>) -> Family {
    let mut family = Family::new(metric);
    for (name, count) in counts {
        family.push([name], *count);
    }
    family
}
