//! Every metric by name: the only place where names, meanings, units and labels are written down.

use std::fmt::Write as _;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value that goes up and down.
    Gauge,
    /// A value that only grows while its series lives; its name ends in `_total`.
    Counter,
    /// Facts as labels, value 1; its name ends in `_info`.
    Info,
}

/// The unit that a metric's name carries. Counts have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricUnit {
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its full name, as Prometheus shows it.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its unit, if its name carries one.
    pub unit: Option<MetricUnit>,
    /// Its labels, in order.
    pub labels: &'static [&'static str],
    /// What it means: one sentence.
    pub help: &'static str,
}

impl Kind {
    /// Its name in the exposition formats.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Info => "info",
        }
    }
}

impl MetricUnit {
    /// Its name in metric names.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
        }
    }
}

impl Definition {
    /// The name without the suffix of its kind and without its unit: what the OpenMetrics encoder wants.
    #[must_use]
    pub fn stem(&self) -> &'static str {
        let suffix = match self.kind {
            Kind::Gauge => "",
            Kind::Counter => "_total",
            Kind::Info => "_info",
        };
        let name = self.name.strip_suffix(suffix).unwrap_or(self.name);
        self.unit
            .and_then(|unit| name.strip_suffix(unit.label())?.strip_suffix('_'))
            .unwrap_or(name)
    }
}

macro_rules! catalogue {
    ($($id:ident = $kind:ident $name:literal $($unit:ident)? [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub(super) const $id: Definition = Definition {
                name: $name,
                kind: Kind::$kind,
                unit: catalogue!(@unit $($unit)?),
                labels: &[$($label),*],
                help: $help,
            };
        )*
        /// All of them, in the order of the documentation.
        pub(super) const ALL: &[Definition] = &[$($id),*];
    };
    (@unit) => { None };
    (@unit $unit:ident) => { Some(MetricUnit::$unit) };
}

catalogue! {
    TASKS_LIVE = Gauge "leak_agent_tasks_live" ["pid", "comm", "exe", "runtime"]
        "Tasks alive now, per process and runtime.";
    TASKS_SPAWNED = Counter "leak_agent_tasks_spawned_total" ["pid", "comm", "exe", "runtime"]
        "Tasks created since the agent began to count in this process.";
    TASKS_FINISHED = Counter "leak_agent_tasks_finished_total" ["pid", "comm", "exe", "runtime"]
        "Tasks ended since the agent began to count in this process.";
    TASKS_BASELINE = Gauge "leak_agent_tasks_baseline" ["pid", "comm", "exe", "runtime"]
        "Tasks that were alive when the agent began to count in this process.";
    RUNTIME_EXACT = Gauge "leak_agent_runtime_exact" ["pid", "comm", "exe", "runtime"]
        "1 if the number of live tasks is exact, 0 if it is a lower bound.";
    COUNTED_BY = Gauge "leak_agent_runtime_counted_by" ["pid", "comm", "exe", "runtime", "by"]
        "1 for the way in which the runtime's tasks are counted (kernel, probes, memory, proc), 0 for the others.";
    WATCH_TIME = Gauge "leak_agent_watch_timestamp_seconds" Seconds ["pid", "comm", "exe", "runtime"]
        "Unix time at which the live tasks were alive, where they are counted from memory; absent until they were read.";
    WATCH_AGREED = Gauge "leak_agent_watch_agreed" ["pid", "comm", "exe", "runtime"]
        "1 if no list of tasks changed while it was read from memory, and each had as many as its runtime counts.";
    WATCH_COUNTED = Gauge "leak_agent_watch_tasks_counted" ["pid", "comm", "exe", "runtime"]
        "Live tasks as the runtimes themselves count them, read from memory; absent where they do not.";
    WATCH_ADDED = Gauge "leak_agent_watch_tasks_added" ["pid", "comm", "exe", "runtime"]
        "Tasks ever spawned on the runtimes that live now, as they count them; falls when a runtime goes, absent where none counts.";
    DRIFT = Gauge "leak_agent_drift_tasks" ["pid", "comm", "exe", "runtime"]
        "Live tasks as counted by the agent minus those in the runtime's own books, when last compared; absent until then.";
    BOOKS_AGREED = Gauge "leak_agent_books_agreed_timestamp_seconds" Seconds ["pid", "comm", "exe", "runtime"]
        "Unix time at which the agent's counts and the runtime's own books last agreed; absent until then.";
    BOOKS_CHECKS = Counter "leak_agent_books_checks_total" ["pid", "comm", "exe", "runtime"]
        "Comparisons of the agent's counts with the runtime's own books.";
    BOOKS_READINGS = Counter "leak_agent_books_readings_total" ["pid", "comm", "exe", "runtime", "what"]
        "What was read in the process's memory for these comparisons: the runtime's counters, its lists of tasks, or all memory (search).";
    MISSED_SPAWNS = Counter "leak_agent_missed_spawns_total" ["pid", "comm", "exe", "runtime"]
        "Spawns that no probe saw, at least, as the runtime's own counters tell; absent where they do not.";
    MISSED_FINISHES = Counter "leak_agent_missed_finishes_total" ["pid", "comm", "exe", "runtime"]
        "Ends of tasks that no probe saw, at least, as the runtime's own counters tell; absent where they do not.";
    BOOKS_REPAIRS = Counter "leak_agent_books_repairs_total" ["pid", "comm", "exe", "runtime"]
        "Comparisons after which the agent's counts were corrected.";
    RETAINED_HANDLES = Gauge "leak_agent_tasks_retained_by_join_handles" ["pid", "comm", "exe", "runtime"]
        "Of the tasks that ended but whose memory is still held: those held by a JoinHandle or an entry of a JoinSet.";
    TASKS_RETAINED = Gauge "leak_agent_tasks_retained" ["pid", "comm", "exe", "runtime"]
        "Tasks that ended but whose memory is still held by somebody, at most; absent where it is not known.";
    RUNTIME_STATE = Gauge "leak_agent_runtime_state" ["pid", "comm", "exe", "runtime", "state"]
        "1 for the state in which the runtime is followed (followed, partial, unsupported), 0 for the others.";
    ATTACH_POINTS = Gauge "leak_agent_attach_points" ["pid", "comm", "exe", "runtime", "emulated"]
        "Attach points in the files of the process; those that the kernel emulates are cheap, the others are not.";
    SCHEDULER_THREADS = Gauge "leak_agent_scheduler_threads" ["pid", "comm", "exe", "runtime", "activity"]
        "Threads of a runtime's scheduler, by what they do (see `activities` in the report's schema); absent where it is not known.";
    SCHEDULER_BOUND = Gauge "leak_agent_scheduler_threads_bound" ["pid", "comm", "exe", "runtime"]
        "Threads of a runtime's scheduler that run one task and no other (runtime.LockOSThread); absent where it is not known.";
    SCHEDULER_TIME = Gauge "leak_agent_scheduler_timestamp_seconds" Seconds ["pid", "comm", "exe", "runtime"]
        "Unix time at which the threads did what they did, where it is read from memory; absent where it is now.";
    PROCESS_START = Gauge "leak_agent_process_start_time_seconds" Seconds ["pid", "comm", "exe"]
        "Unix time at which the process started; pids are reused, pid and start time together are not.";

    SITE_LIVE = Gauge "leak_agent_site_tasks_live" ["pid", "comm", "exe", "runtime", "site", "site_name"]
        "Tasks alive now, per spawn site; the sites beyond the cap are summed up as site \"~other\".";
    SITE_SPAWNED = Counter "leak_agent_site_tasks_spawned_total" ["pid", "comm", "exe", "runtime", "site", "site_name"]
        "Tasks created at the spawn site since the agent began to count in this process.";
    SITE_FINISHED = Counter "leak_agent_site_tasks_finished_total" ["pid", "comm", "exe", "runtime", "site", "site_name"]
        "Tasks of the spawn site that ended since the agent began to count in this process.";
    SITE_RETAINED = Gauge "leak_agent_site_tasks_retained" ["pid", "comm", "exe", "runtime", "site", "site_name"]
        "Tasks of the spawn site that ended but whose memory is still held by somebody, at most; absent where it is not known.";

    RUNTIME_VERDICT = Gauge "leak_agent_runtime_verdict" ["pid", "comm", "exe", "runtime", "verdict"]
        "1 for the verdict on the runtime (healthy, undecided, suspect, leak): the worst of its spawn sites; 0 for the others.";
    EXHAUSTION = Gauge "leak_agent_exhaustion_seconds" Seconds ["pid", "comm", "exe", "resource"]
        "Seconds until a limit of the process is reached at the present rate (cgroup_pids, user_threads, system_threads, stack_memory, cgroup_memory); absent if none comes nearer.";
    FINDING = Gauge "leak_agent_finding" ["pid", "comm", "exe", "runtime", "site", "site_name", "fingerprint", "verdict", "severity", "priority", "state", "suppressed", "environment", "team", "service", "tier"]
        "1 for each finding that is not resolved.";
    FINDING_RATE = Gauge "leak_agent_finding_rate_tasks_per_minute" ["pid", "comm", "exe", "runtime", "site", "site_name", "fingerprint"]
        "Growth of the finding's spawn site since the growth began, tasks per minute.";
    FINDING_SURPLUS = Gauge "leak_agent_finding_surplus_tasks" ["pid", "comm", "exe", "runtime", "site", "site_name", "fingerprint"]
        "Live tasks of the finding's spawn site beyond those that were alive when the growth began.";
    FINDING_CONFIDENCE = Gauge "leak_agent_finding_confidence" ["pid", "comm", "exe", "runtime", "site", "site_name", "fingerprint"]
        "How sure the verdict of the finding is, from 0 to 1.";
    FINDINGS = Gauge "leak_agent_findings" ["verdict", "severity", "suppressed"]
        "Findings that are not resolved.";
    FINDINGS_OPENED = Counter "leak_agent_findings_opened_total" []
        "Findings that were opened, or opened again.";
    FINDINGS_RESOLVED = Counter "leak_agent_findings_resolved_total" []
        "Findings that were resolved: their site did not grow for a while, gave its tasks back, or its process ended.";

    FOLDED_PROCESSES = Gauge "leak_agent_metrics_folded_processes" []
        "Processes without series of their own in this scrape, because there are more than the cap.";
    FOLDED_SITES = Gauge "leak_agent_metrics_folded_sites" []
        "Spawn sites without series of their own in this scrape, because a runtime has more than the cap.";

    BUILD = Info "leak_agent_build_info" ["version", "wire_version", "arch", "profile"]
        "What was built.";
    READY = Gauge "leak_agent_ready" []
        "1 once the first full scan is done and everything found in it is attached.";
    MODE = Gauge "leak_agent_mode" ["mode"]
        "1 for the mode in which the agent counts (bpf, proc-only), 0 for the other.";
    REPORT_TIME = Gauge "leak_agent_report_timestamp_seconds" Seconds []
        "Unix time at which the counts of this scrape were read.";
    PROCESSES = Gauge "leak_agent_processes" []
        "Processes in the report.";
    MISSED = Counter "leak_agent_missed_total" ["reason"]
        "Processes, and files of processes, that should have been followed and were not.";
    ATTACH_FAILURES = Counter "leak_agent_attach_failures_total" ["reason"]
        "Failed attempts to attach.";
    HOP_IN = Counter "leak_agent_hop_in_total" ["hop"]
        "What a hop of the data line took in; in = out + dropped, but for what is on its way.";
    HOP_OUT = Counter "leak_agent_hop_out_total" ["hop"]
        "What a hop of the data line passed on.";
    HOP_DROPPED = Counter "leak_agent_hop_dropped_total" ["hop", "reason"]
        "What a hop of the data line dropped.";
    NOTIFICATIONS = Counter "leak_agent_notifications_total" ["receiver", "kind", "outcome"]
        "Notifications about findings: taken (written, or found in the queue at the start), delivered, dropped; and attempts that failed.";
    NOTIFICATIONS_DROPPED = Counter "leak_agent_notifications_dropped_total" ["receiver", "reason"]
        "Notifications that were given up: queue_full, too_old, refused, attempts_exhausted, damaged, too_large.";
    NOTIFICATION_QUEUE = Gauge "leak_agent_notification_queue" ["receiver"]
        "Notifications that wait for the receiver; taken = delivered + dropped + these.";
    NOTIFICATION_QUEUE_BYTES = Gauge "leak_agent_notification_queue_bytes" Bytes ["receiver"]
        "Size of the notifications that wait for the receiver.";
    NOTIFICATION_ON_DISK = Gauge "leak_agent_notification_queue_on_disk" ["receiver"]
        "1 if all notifications that wait are on disk and would survive the agent, 0 if some are in memory only.";
    NOTIFICATION_TIME = Gauge "leak_agent_notification_delivered_timestamp_seconds" Seconds ["receiver"]
        "Unix time at which the receiver last accepted a notification; absent until then.";
    NOTIFICATION_EVENTS = Counter "leak_agent_notification_events_total" ["receiver", "event"]
        "What happened to news before it became a notification: settled (over before it was told), over_limit (too many are known), held (waited for the rate limit); and disk_error.";
    KERNEL_EVENTS = Counter "leak_agent_kernel_events_total" ["event"]
        "Counters of the BPF programs other than records sent and lost.";
    EVENTS = Counter "leak_agent_events_total" ["event"]
        "Counters of the agent in user space.";
    MAP_ENTRIES = Gauge "leak_agent_map_entries" ["map"]
        "Entries in use in a BPF map or a table of the agent.";
    MAP_CAPACITY = Gauge "leak_agent_map_capacity" ["map"]
        "Entries that a BPF map or a table of the agent can hold.";
    PROBE_RUNS = Counter "leak_agent_probe_runs_total" ["program"]
        "Runs of a BPF program; only with run-time statistics on.";
    PROBE_TIME = Counter "leak_agent_probe_run_seconds_total" Seconds ["program"]
        "Time spent in a BPF program, without the trap that leads to it; only with run-time statistics on.";
    CPU = Counter "process_cpu_seconds_total" Seconds []
        "CPU time of the agent itself, user and system.";
    RESIDENT = Gauge "process_resident_memory_bytes" Bytes []
        "Resident memory of the agent itself.";
    START_TIME = Gauge "process_start_time_seconds" Seconds []
        "Unix time at which the agent itself started.";
}

const PREAMBLE: &str = "\
<!-- Generated from leak-agent/src/output/metrics/catalogue.rs by `cargo xtask docs`. -->

# Metrics

`GET /metrics` answers in the Prometheus text format, or in OpenMetrics if `Accept` prefers it. All counters count
from the start of the agent, per-process ones from the moment it began to count in that process.

- For each process and runtime, `tasks_live = tasks_baseline + tasks_spawned_total - tasks_finished_total`. If
  `runtime_exact` is 0, the baseline (and with it the live number) is a lower bound. Where nothing counts spawns and
  ends (`leak_agent_runtime_counted_by` is `memory` or `proc`), there is only `tasks_live`, as of a moment.
- A process is identified by `pid` and its start time (`leak_agent_process_start_time_seconds`); its series end when
  it ends.
- Cardinality is bounded: `--metrics-processes` processes and, for each of their runtimes, `--metrics-sites` spawn
  sites have series of their own: those with the most live tasks. The others are summed up under the label value
  `~other`, as `live` only: counters of a changing set would run backwards. Their counters are the runtime's
  totals minus the sites shown. How many were folded is a metric, too.
- `site` identifies the spawn site and is stable over restarts of a program; `site_name` is for people, and cut after
  200 characters. Tasks of the runtime itself (`\"system\": true` in the report) are in no metric. No stack and no task
  id is ever in a label.
- Label values come from other processes: control characters, invisible and bidirectional ones are replaced by
  U+FFFD.
";

/// The documentation of all metrics: docs/METRICS.md.
#[must_use]
pub fn catalogue_markdown() -> String {
    let mut text = PREAMBLE.to_owned();
    for (title, wanted) in SECTIONS {
        let _ = write!(
            text,
            "\n## {title}\n\n| name | type | labels | meaning |\n|---|---|---|---|\n"
        );
        for metric in ALL.iter().filter(|metric| section(metric) == *wanted) {
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} |",
                metric.name,
                metric.kind.label(),
                if labels.is_empty() {
                    "–".to_owned()
                } else {
                    labels.join(" ")
                },
                metric.help
            );
        }
    }
    text
}

const SECTIONS: &[(&str, Section)] = &[
    ("Processes and runtimes", Section::Process),
    ("Spawn sites", Section::Site),
    ("The agent itself", Section::Agent),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Process,
    Site,
    Agent,
}

fn section(metric: &Definition) -> Section {
    if metric.labels.contains(&"site") {
        Section::Site
    } else if metric.labels.contains(&"pid") {
        Section::Process
    } else {
        Section::Agent
    }
}
