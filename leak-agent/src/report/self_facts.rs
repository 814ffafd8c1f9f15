//! The agent's own part of the document: mode, health, losses, cost.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The agent itself. All counters count from its start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Agent {
    /// What was built.
    pub build: Build,
    /// The agent's pid.
    pub pid: u32,
    /// When it started: Unix time, seconds.
    pub start_time: f64,
    /// How long it has run: seconds.
    pub uptime: f64,
    /// Where the counts come from.
    pub mode: ModeName,
    /// Why the mode is not "bpf"; null in mode "bpf".
    pub mode_reason: Option<String>,
    /// Whether the first full scan is done and everything found in it is attached.
    pub ready: bool,
    /// What is still to be done before it is ready; null when ready.
    pub waiting_for: Option<String>,
    /// The hops of the data, in order; each says what it took, passed on and dropped.
    pub hops: Vec<Hop>,
    /// Counters of the kernel side that are neither a hop nor a loss, by name.
    pub kernel_counters: BTreeMap<String, u64>,
    /// Counters of the agent, by name.
    pub counters: BTreeMap<String, u64>,
    /// Processes, and files of processes, that should have been followed and were not, by reason. Reasons that begin with
    /// "vanished_" or "missed_" count processes that ended before they could be followed.
    pub missed_processes: BTreeMap<String, u64>,
    /// Failed attachments, by reason.
    pub attach_failures: BTreeMap<String, u64>,
    /// Findings that were opened, or opened again.
    pub findings_opened: u64,
    /// Findings that were resolved.
    pub findings_resolved: u64,
    /// Fill of maps and tables.
    pub maps: Vec<MapFill>,
    /// The agent's own CPU time: seconds.
    pub cpu_seconds: f64,
    /// The agent's own resident memory: bytes.
    pub resident_bytes: u64,
    /// Who is told about findings, and what became of the notifications; empty = nobody.
    pub receivers: Vec<Receiver>,
    /// What the BPF programs cost the processes they run in; null = not asked for.
    pub probe_prices: Option<Vec<ProbePrice>>,
}

impl Agent {
    /// How many processes ended before they could be followed.
    #[must_use]
    pub fn too_short_lived(&self) -> u64 {
        let missed = self.missed_processes.iter();
        missed
            .filter(|(reason, _)| is_short_lived(reason))
            .fold(0, |sum: u64, (_, count)| sum.saturating_add(*count))
    }

    /// How many processes, and files of processes, are not followed for another reason: by reason, the most first.
    #[must_use]
    pub fn not_followed(&self) -> Vec<(&str, u64)> {
        let missed = self.missed_processes.iter();
        let mut reasons: Vec<(&str, u64)> = missed
            .filter(|(reason, count)| !is_short_lived(reason) && **count > 0)
            .map(|(reason, count)| (reason.as_str(), *count))
            .collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        reasons
    }
}

/// The first words of reasons that are the process's own short life.
const SHORT_LIVED: [&str; 2] = ["vanished_", "missed_"];

fn is_short_lived(reason: &str) -> bool {
    SHORT_LIVED.iter().any(|prefix| reason.starts_with(prefix))
}

/// What was built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Build {
    /// Version of the agent.
    pub version: String,
    /// Version of the contract between the agent and its BPF object.
    pub wire_version: u32,
    /// CPU architecture.
    pub arch: String,
    /// "release" or "debug".
    pub profile: String,
}

impl Build {
    /// This build.
    #[must_use]
    pub fn this() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            wire_version: leak_agent_common::WIRE_VERSION,
            arch: std::env::consts::ARCH.to_owned(),
            profile: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            }
            .to_owned(),
        }
    }
}

/// Where the counts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ModeName {
    /// BPF programs: every task counted.
    Bpf,
    /// No BPF: threads from `/proc`, tasks of other runtimes from memory, as many as there were at the moment of reading.
    ProcOnly,
}

impl ModeName {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Bpf, Self::ProcOnly];

    /// Its name in the document and in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Bpf => "bpf",
            Self::ProcOnly => "proc-only",
        }
    }
}

/// One hop of the data: `in = out + Σ dropped`, but for what is on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hop {
    /// Its name.
    pub name: String,
    /// What came in.
    #[serde(rename = "in")]
    pub taken: u64,
    /// What went on.
    #[serde(rename = "out")]
    pub passed: u64,
    /// What did not, by reason.
    pub dropped: BTreeMap<String, u64>,
}

impl Hop {
    /// The name of the last hop: notifications to all receivers together. What it drops is no loss of counts.
    pub(crate) const NOTIFY: &'static str = "notify";
}

/// Fill of one map or table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MapFill {
    /// Its name.
    pub name: String,
    /// Entries in use.
    pub entries: u64,
    /// Entries it can hold.
    pub capacity: u64,
}

/// One receiver of notifications: `taken = delivered + Σ dropped + waiting`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Receiver {
    /// Its name in the configuration.
    pub name: String,
    /// "webhook", "alertmanager", "command" or "log".
    pub kind: String,
    /// Nothing is sent: it is logged what would be, and counted as delivered.
    pub dry_run: bool,
    /// Notifications written, or found in the queue at the start.
    pub taken: u64,
    /// Accepted by the receiver.
    pub delivered: u64,
    /// Dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// In the queue now.
    pub waiting: u64,
    /// Bytes of those.
    pub waiting_bytes: u64,
    /// Whether all of the queue is on disk, and would survive the agent.
    pub on_disk: bool,
    /// Attempts that failed, and were made again or given up.
    pub failed_attempts: u64,
    /// Findings that were over before they were told.
    pub settled: u64,
    /// Reports of findings that were not told because too many are known.
    pub over_limit: u64,
    /// Times that news had to wait for the rate limit.
    pub held: u64,
    /// Failed operations on the queue's folder.
    pub disk_errors: u64,
    /// When the receiver last accepted one: Unix time, seconds; null = not yet.
    pub last_delivered: Option<f64>,
    /// Why the last attempt failed, as half a sentence; null = it did not.
    pub trouble: Option<String>,
}

/// What one BPF program cost so far, without the trap that leads to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbePrice {
    /// The program.
    pub program: String,
    /// How often it ran.
    pub runs: u64,
    /// How long in all: seconds.
    pub run_seconds: f64,
}
