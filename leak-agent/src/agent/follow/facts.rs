//! What the loop knows of the agent itself: the facts for the report.

use super::Follower;
use crate::agent::self_usage::SelfUsage;
use crate::engine::Snapshot;
use crate::report::{AgentFacts, HopFacts, MapFacts, Mode, PriceFacts, Readiness};
use crate::sys::clock;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

impl Follower {
    /// The facts at the moment of a snapshot.
    pub(super) fn facts(&self, snapshot: &Snapshot) -> AgentFacts {
        let usage = SelfUsage::read();
        let taken = self.ring_counts.taken.load(Ordering::Relaxed);
        let undecodable = self.ring_counts.undecodable.load(Ordering::Relaxed);
        let mut counters = self.counters.clone();
        let mut missed = BTreeMap::new();
        for (name, count) in self.discovery.counters().each() {
            if name.starts_with("missed_") || name.starts_with("vanished_") || name.starts_with("refused_") {
                missed.insert(name, count);
            } else {
                counters.insert(name, count);
            }
        }
        counters.insert("pool_substitutes", self.pool.substitutes());
        counters.extend(self.stacks.counters());
        counters.extend(self.pace.counters());
        counters.extend(self.line.tape_counters());
        let sizes = self.discovery.sizes();
        let (stacks_waiting, stacks_max) = self.stacks.fill();
        let map = |name, entries: usize, capacity: u64| MapFacts {
            name,
            entries: entries as u64,
            capacity,
        };
        let books = self.kernel.totals.maps().into_iter().zip(self.fill);
        let books = books.map(|(book, fill)| map(book.name(), fill, book.capacity().into()));
        AgentFacts {
            boot_unix: clock::boot_unix(),
            started: self.started,
            pid: std::process::id(),
            mode: Mode::Bpf,
            ready: if self.settled {
                Readiness::Ready
            } else {
                Readiness::Starting {
                    waiting_for: "the first scan of processes and its attachments".to_owned(),
                }
            },
            kernel: self.kernel_counters.clone(),
            hops: self.hops(snapshot, taken, undecodable),
            counters,
            missed_processes: missed,
            attach_failures: self.attach_failures.clone(),
            receivers: self.alerts.facts(),
            maps: [
                map("processes", sizes.processes, sizes.processes_max as u64),
                map("executables", sizes.executables, sizes.executables_max as u64),
                map("attachments", sizes.attachments, sizes.attachments_max as u64),
                map("stacks_waiting", stacks_waiting, stacks_max as u64),
                map("inspections_waiting", sizes.waiting, sizes.waiting_max as u64),
            ]
            .into_iter()
            .chain(books)
            .collect(),
            cpu: usage.cpu,
            resident_bytes: usage.resident_bytes,
            prices: if self.config.stats {
                let prices = self.kernel.prices().into_iter();
                prices
                    .map(|price| PriceFacts {
                        program: price.program,
                        runs: price.runs,
                        run_time: price.run_time,
                    })
                    .collect()
            } else {
                Vec::new()
            },
        }
    }

    /// What each hop behind the ring took in, passed on and dropped.
    fn hops(&self, snapshot: &Snapshot, taken: u64, undecodable: u64) -> Vec<HopFacts> {
        let engine = |name| snapshot.counters.get(name).copied().unwrap_or(0);
        let own = |name| self.counters.get(name).copied().unwrap_or(0);
        let hop = |name, taken: u64, dropped: &[(&'static str, u64)]| {
            let dropped: BTreeMap<_, _> = dropped.iter().copied().collect();
            HopFacts {
                name,
                taken,
                passed: taken.saturating_sub(dropped.values().sum()),
                dropped,
            }
        };
        vec![
            hop("decode", taken, &[("undecodable", undecodable)]),
            hop(
                "engine",
                engine("events"),
                &[("processes_over_limit", engine("events_over_limit"))],
            ),
            hop(
                "stacks",
                own("stacks_seen"),
                &[
                    ("queue_full", own("stacks_dropped_queue_full")),
                    ("unknown_plan", own("stacks_of_unknown_plans")),
                ],
            ),
            hop(
                "rows",
                engine("rows"),
                &[("unknown_process", engine("rows_of_unknown_processes"))],
            ),
        ]
    }
}
