//! What `top` shows, as numbers: rows made of successive reports, with rates and trends. Renders nothing.

use crate::report::{CountedBy, Process, Report, Runtime, State, Verdict};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How many live counts back a trend looks.
pub const TREND_SAMPLES: usize = 60;

/// Identity of a row: one runtime of one process. The start time keeps a reused pid apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey {
    /// The process.
    pub pid: u32,
    /// Its start on the boot-time clock, nanoseconds.
    pub start_boottime: u64,
    /// The runtime.
    pub runtime: String,
}

/// One runtime of one process, now.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Which.
    pub key: RowKey,
    /// Name of the process, as reported.
    pub comm: String,
    /// Path of its executable, as reported.
    pub exe: Option<String>,
    /// Whether it still lives.
    pub alive: bool,
    /// How far the runtime is followed.
    pub state: State,
    /// The worst verdict on its sites.
    pub verdict: Verdict,
    /// Whether `live` is exact; if not, it is a lower bound.
    pub exact: bool,
    /// Alive now.
    pub live: u64,
    /// How its tasks are counted; `None` = they are not.
    pub counted_by: Option<CountedBy>,
    /// Created per second since the last report, or as the runtime itself counts between the last two readings of its
    /// memory; `None` = there is no last report with this row, or nobody counts.
    pub spawned_rate: Option<f64>,
    /// Ended per second since the last report.
    pub finished_rate: Option<f64>,
    /// Live now minus live when the row was first seen.
    pub growth: i128,
    /// Live counts of the last reports, oldest first.
    pub trend: Vec<u64>,
}

/// What is kept of a row between reports.
#[derive(Debug)]
struct Past {
    first_live: u64,
    events: Option<Events>,
    rates: Option<(f64, f64)>,
    live: VecDeque<u64>,
}

/// Spawns and ends, all that were counted until then.
#[derive(Clone, Copy, Debug)]
struct Events {
    at: f64,
    by: CountedBy,
    spawned: u64,
    finished: u64,
}

impl Events {
    /// `None` = nobody counts them: no rate is not a rate of zero.
    fn of(runtime: &Runtime, taken_at: f64) -> Option<Self> {
        let by = runtime.counted_by?;
        if by.counts_events() {
            return Some(Self {
                at: taken_at,
                by,
                spawned: runtime.spawned,
                finished: runtime.finished,
            });
        }
        let watch = runtime.watch.as_ref()?;
        let added = watch.added?;
        Some(Self {
            at: watch.counted_at?,
            by,
            spawned: added,
            finished: added.saturating_sub(watch.counted?),
        })
    }

    /// Per second since then; `None` = they were counted otherwise then, or some of those who count are gone.
    fn rates_since(&self, then: &Self) -> Option<(f64, f64)> {
        let elapsed = self.at - then.at;
        let rate = |now: u64, then: u64| Some(now.checked_sub(then)? as f64 / elapsed);
        let spawned = rate(self.spawned, then.spawned).filter(|_| self.by == then.by)?;
        Some((spawned, rate(self.finished, then.finished)?))
    }
}

/// The rows of the newest report, and as much of the past as trends need. Rows that are in no report any more
/// are forgotten.
#[derive(Debug, Default)]
pub struct Model {
    report: Option<Arc<Report>>,
    rows: Vec<Row>,
    past: BTreeMap<RowKey, Past>,
    agent_load: Option<f64>,
}

impl Model {
    /// Takes in the next report.
    pub fn update(&mut self, report: Arc<Report>) {
        let elapsed = self
            .report
            .as_ref()
            .map(|before| report.taken_at - before.taken_at);
        let elapsed = elapsed.filter(|seconds| *seconds > 0.0);
        self.agent_load = self.report.as_ref().zip(elapsed).map(|(before, elapsed)| {
            (report.agent.cpu_seconds - before.agent.cpu_seconds).max(0.0) / elapsed
        });
        let mut kept = BTreeMap::new();
        self.rows.clear();
        for process in &report.processes {
            for runtime in &process.runtimes {
                let key = RowKey::of(process, runtime);
                let past = self.past.remove(&key);
                let (row, past) = row(key, process, runtime, past, report.taken_at);
                kept.insert(row.key.clone(), past);
                self.rows.push(row);
            }
        }
        self.past = kept;
        self.report = Some(report);
    }

    /// The newest report; `None` before the first.
    #[must_use]
    pub fn report(&self) -> Option<&Report> {
        self.report.as_deref()
    }

    /// CPU time of the agent per second between the last two reports (1.0 = one CPU); `None` before the second.
    #[must_use]
    pub fn agent_load(&self) -> Option<f64> {
        self.agent_load
    }

    /// Its rows, in the report's order.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The process and the runtime behind a row; `None` = not in the newest report.
    #[must_use]
    pub fn find(&self, key: &RowKey) -> Option<(&Process, &Runtime)> {
        let report = self.report()?;
        report
            .processes
            .iter()
            .filter(|process| process.pid == key.pid)
            .find_map(|process| {
                let runtime = process
                    .runtimes
                    .iter()
                    .find(|runtime| RowKey::of(process, runtime) == *key)?;
                Some((process, runtime))
            })
    }
}

impl RowKey {
    fn of(process: &Process, runtime: &Runtime) -> Self {
        Self {
            pid: process.pid,
            start_boottime: process.start_boottime,
            runtime: runtime.runtime.clone(),
        }
    }
}

fn row(key: RowKey, process: &Process, runtime: &Runtime, past: Option<Past>, taken_at: f64) -> (Row, Past) {
    let events = Events::of(runtime, taken_at);
    let before = past.as_ref().and_then(|past| past.events);
    let rates = match (&events, &before) {
        (Some(now), Some(then)) if now.at > then.at => now.rates_since(then),
        // Nothing new was read.
        (Some(_), Some(_)) => past.as_ref().and_then(|past| past.rates),
        _ => None,
    };
    let (first_live, mut live) = match past {
        Some(past) => (past.first_live, past.live),
        None => (runtime.live, VecDeque::new()),
    };
    if live.len() >= TREND_SAMPLES {
        live.pop_front();
    }
    live.push_back(runtime.live);
    let row = Row {
        key,
        comm: process.comm.clone(),
        exe: process.exe.clone(),
        alive: process.alive,
        state: runtime.state,
        verdict: runtime.verdict,
        exact: runtime.exact,
        live: runtime.live,
        counted_by: runtime.counted_by,
        spawned_rate: rates.map(|(spawned, _)| spawned),
        finished_rate: rates.map(|(_, finished)| finished),
        growth: i128::from(runtime.live) - i128::from(first_live),
        trend: live.iter().copied().collect(),
    };
    let past = Past {
        first_live,
        events,
        rates,
        live,
    };
    (row, past)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{process, report, runtime, site, watched};
    use crate::source::tokio;
    use crate::types::BootTime;

    fn at(seconds: u64, spawned: u64, finished: u64) -> Arc<Report> {
        let sites = vec![site(1, "app::serve", 5, spawned, finished)];
        Arc::new(report(
            seconds,
            vec![process(7, "svc", "/svc", vec![runtime(tokio::RUNTIME, sites)])],
        ))
    }

    /// Rates are per second between two reports, and there are none after the first.
    #[test]
    fn rates_come_from_two_reports() {
        let mut model = Model::default();
        model.update(at(10, 100, 50));
        assert_eq!((model.rows()[0].spawned_rate, model.rows()[0].live), (None, 55));
        model.update(at(12, 130, 60));
        let row = &model.rows()[0];
        assert_eq!((row.spawned_rate, row.finished_rate), (Some(15.0), Some(5.0)));
        assert_eq!((row.growth, row.trend.as_slice()), (20, [55, 75].as_slice()));
        assert!(model.find(&row.key).is_some());
    }

    /// The same report twice gives no rate, not a division by zero.
    #[test]
    fn report_without_time_between_gives_no_rate() {
        let mut model = Model::default();
        model.update(at(10, 100, 50));
        model.update(at(10, 100, 50));
        assert_eq!(model.rows()[0].spawned_rate, None);
    }

    /// Without probes rates are the runtime's own, between two readings of its memory, and stay until the next.
    #[test]
    fn rates_without_probes_are_the_runtimes_own() {
        let read = |seconds: u64, at: u64, added: Option<u64>| {
            let mut runtime = watched(tokio::RUNTIME, vec![site(1, "app::serve", 40, 0, 0)]);
            if let Some(watch) = &mut runtime.watch {
                watch.counted_at = Some(BootTime(at * 1_000_000_000));
                watch.added = added;
            }
            Arc::new(report(seconds, vec![process(7, "svc", "/svc", vec![runtime])]))
        };
        let mut model = Model::default();
        for (seconds, at, added, rate) in [
            (1, 1, Some(1000), None),
            (2, 1, Some(1000), None),
            (3, 6, Some(1050), Some(10.0)),
            (4, 6, Some(1050), Some(10.0)),
            (5, 11, Some(900), None), // a runtime has gone, and its count with it
            (6, 16, None, None),
        ] {
            model.update(read(seconds, at, added));
            assert_eq!(model.rows()[0].spawned_rate, rate, "{seconds} s");
        }
    }

    /// A row that left the report is forgotten: its pid's next owner starts afresh, and nothing piles up.
    #[test]
    fn past_of_a_vanished_process_is_dropped() {
        let mut model = Model::default();
        for seconds in 1..200 {
            model.update(at(seconds, seconds, 0));
        }
        assert_eq!(model.rows()[0].trend.len(), TREND_SAMPLES);
        model.update(Arc::new(report(300, vec![])));
        assert!(model.past.is_empty() && model.rows().is_empty());
        model.update(at(301, 500, 0));
        assert_eq!((model.rows()[0].growth, model.rows()[0].spawned_rate), (0, None));
    }
}
