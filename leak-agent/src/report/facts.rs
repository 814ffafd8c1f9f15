//! What the agent tells the report about itself: the input next to the engine's snapshot.

use crate::types::BootTime;
use crate::types::label::{self, Label};
use leak_agent_common::counter::Counter;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The agent's facts at the moment of a snapshot. All counters count from the agent's start.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AgentFacts {
    /// Unix time of the boot: wall clock minus boot clock, both read in this tick.
    pub boot_unix: Duration,
    /// When the agent started.
    pub started: BootTime,
    /// The agent's own pid.
    pub pid: u32,
    /// Where the counts come from.
    pub mode: Mode,
    /// Whether the first full scan is done and everything found in it is attached.
    pub ready: Readiness,
    /// The kernel's counters, as read in this tick. Empty without BPF.
    #[serde(with = "by_label")]
    pub kernel: BTreeMap<Counter, u64>,
    /// The hops behind the ring, in the order of the data: decode, engine, discovery queue.
    pub hops: Vec<HopFacts>,
    /// Other counters of the agent, by name (snake_case).
    #[serde(with = "label::keys")]
    pub counters: BTreeMap<Label, u64>,
    /// Processes, and files of processes, that should have been followed and were not, by reason (a fixed word,
    /// snake_case; "vanished_…" and "missed_…" for processes that ended before they could be followed).
    #[serde(with = "label::keys")]
    pub missed_processes: BTreeMap<Label, u64>,
    /// Failed attachments, by reason (a fixed word, snake_case).
    #[serde(with = "label::keys")]
    pub attach_failures: BTreeMap<Label, u64>,
    /// Fill of the BPF maps and of the agent's own tables.
    pub maps: Vec<MapFacts>,
    /// The agent's own CPU time, user and system.
    pub cpu: Duration,
    /// The agent's own resident memory, bytes.
    pub resident_bytes: u64,
    /// What the kernel's statistics say the programs cost; empty = not asked for (`--stats`).
    pub prices: Vec<PriceFacts>,
    /// What became of the notifications, per receiver.
    #[serde(default)]
    pub receivers: Vec<ReceiverFacts>,
}

/// Where the counts come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// BPF programs.
    #[default]
    Bpf,
    /// `/proc` only.
    ProcOnly {
        /// Why, as half a sentence.
        reason: String,
    },
}

/// Whether the counts are complete yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Readiness {
    /// The first full scan is done and attached.
    Ready,
    /// Not yet.
    Starting {
        /// What is still to be done, as half a sentence.
        waiting_for: String,
    },
}

impl Default for Readiness {
    fn default() -> Self {
        Self::Starting {
            waiting_for: "the first scan of processes".to_owned(),
        }
    }
}

/// One hop of the data: `taken = passed + Σ dropped`, but for what is on its way.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HopFacts {
    /// Its name (snake_case).
    #[serde(with = "label")]
    pub name: Label,
    /// What came in.
    pub taken: u64,
    /// What went on.
    pub passed: u64,
    /// What did not, by reason (snake_case).
    #[serde(with = "label::keys")]
    pub dropped: BTreeMap<Label, u64>,
}

/// Fill of one map or table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MapFacts {
    /// Its name.
    #[serde(with = "label")]
    pub name: Label,
    /// Entries in use.
    pub entries: u64,
    /// Entries it can hold.
    pub capacity: u64,
}

/// What one BPF program cost so far (the kernel's `run_cnt` and `run_time_ns`; without the trap that leads
/// to it).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PriceFacts {
    /// The program's name.
    pub program: String,
    /// How often it ran.
    pub runs: u64,
    /// How long in all.
    pub run_time: Duration,
}

/// What became of the notifications of one receiver: `taken = delivered + Σ dropped + waiting`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReceiverFacts {
    /// Its name.
    pub name: String,
    /// Its kind.
    #[serde(with = "label")]
    pub kind: Label,
    /// Nothing is sent: it is logged what would be.
    pub dry_run: bool,
    /// Written, or found in the queue at the start.
    pub taken: u64,
    /// Accepted by the receiver.
    pub delivered: u64,
    /// Dropped, by reason (snake_case).
    #[serde(with = "label::keys")]
    pub dropped: BTreeMap<Label, u64>,
    /// In the queue.
    pub waiting: u64,
    /// Bytes of those.
    pub waiting_bytes: u64,
    /// All of the queue is on disk.
    pub on_disk: bool,
    /// Attempts that failed and were tried again.
    pub failed_attempts: u64,
    /// Findings that were over before they were told.
    pub settled: u64,
    /// Findings not told, for too many are known.
    pub over_limit: u64,
    /// Times that news had to wait for the rate limit.
    pub held: u64,
    /// Failed operations on the queue's folder.
    pub disk_errors: u64,
    /// When the receiver last accepted one: Unix time, seconds.
    pub last_delivered: Option<f64>,
    /// Why the last attempt failed; `None` = it did not.
    pub trouble: Option<String>,
}

/// The kernel's counters under their names: numbers may change their meaning, names do not. Those that this agent does not
/// know are left out.
mod by_label {
    use super::{BTreeMap, Counter, Deserialize, Serialize};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        counters: &BTreeMap<Counter, u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let named = counters.iter().map(|(counter, count)| (counter.label(), *count));
        named.collect::<BTreeMap<_, _>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<Counter, u64>, D::Error> {
        let named = BTreeMap::<String, u64>::deserialize(deserializer)?;
        let known = Counter::ALL
            .iter()
            .filter_map(|counter| Some((*counter, *named.get(counter.label())?)));
        Ok(known.collect())
    }
}
