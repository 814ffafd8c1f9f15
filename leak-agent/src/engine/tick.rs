//! A tick: the rows of totals in, a snapshot out.

use super::process::Process;
use super::snapshot::Snapshot;
use super::{Engine, Scanned, Totals};
use crate::source::caller_number;
use crate::types::{BootTime, PlanId};
use leak_agent_common::key::SiteKey;
use leak_agent_common::totals::SiteTotals;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Engine {
    /// Takes all rows of totals.
    pub(super) fn totals(&mut self, totals: Totals) {
        let Totals {
            rows,
            lost_counts,
            at,
        } = totals;
        if self.lost_counts != lost_counts {
            self.lost_counts = lost_counts;
            self.processes
                .values_mut()
                .for_each(|process| process.shown = None);
        }
        self.add("rows", rows.len() as u64);
        let last = std::mem::take(&mut self.last);
        let mut known = Vec::with_capacity(rows.len());
        for (index, row) in rows.iter().enumerate() {
            let told = last.told(index, row);
            known.push(told.is_known() || self.row(row, at) && told.is_same());
        }
        self.last.read(rows, known);
        for (child, parent) in std::mem::take(&mut self.forks) {
            let had = self.processes.get(&parent).is_some_and(Process::may_have_tasks);
            if had && let Some(child) = self.known(child) {
                child.inherits();
            }
        }
        for process in self.processes.values_mut() {
            process.tick(at);
        }
    }

    /// Takes a row; `false` = its process is not known.
    fn row(&mut self, (key, totals): &(SiteKey, SiteTotals), at: BootTime) -> bool {
        if key.plan != 0 {
            self.see(PlanId(key.plan), key.site);
            if key.caller != 0 {
                self.see(PlanId(key.plan), caller_number(key.caller));
            }
        }
        if !self.processes.contains_key(&key.process) && self.entry(key.process).is_some() {
            self.unknown.push(key.process);
        }
        let threads = key.runtime == self.kernel.runtime.wire;
        let Some(process) = self.known(key.process) else {
            self.count("rows_of_unknown_processes");
            return false;
        };
        let exec = process.exec();
        let over = if threads {
            process.threads.row(key.site, *totals, at)
        } else {
            !process.row(key, *totals)
        };
        if process.exec() != exec {
            self.last.retake(key.process);
        }
        if over {
            self.garbage.rows.push(*key);
        }
        true
    }

    /// Everything that is alive, and what ended since the last ticks. Of processes of which nothing was heard since the
    /// snapshot before, it has the same as that.
    pub fn snapshot(&mut self, at: BootTime) -> Snapshot {
        if let Some(scanned) = &self.scanned {
            return self.scanned(scanned, at);
        }
        let mut counters = self.counters.clone();
        counters.insert("processes", self.processes.len() as u64);
        counters.insert("processes_uncounted", self.uncounted.len() as u64);
        let (kernel, plans, lost) = (&self.kernel, &self.plans, self.lost_counts);
        let counted = self.processes.iter_mut().filter(|(_, process)| process.described);
        let counted = counted.map(|(key, process)| {
            let shown = process.shown.take();
            let shown = shown.unwrap_or_else(|| Arc::new(process.snapshot(*key, kernel, plans, lost)));
            process.shown = Some(Arc::clone(&shown));
            shown
        });
        let uncounted = self.uncounted.iter();
        let uncounted = uncounted.map(|process| Arc::new(process.snapshot(kernel)));
        Snapshot {
            at,
            processes: counted.chain(uncounted).collect(),
            counters,
        }
    }

    /// The same, if threads are counted by scans of `/proc`.
    fn scanned(&self, scanned: &[Scanned], at: BootTime) -> Snapshot {
        let one = |process: &Scanned| {
            let known = self.processes.get(&process.process);
            let known = known.filter(|process| process.described);
            let others = known.map(|known| known.snapshot(process.process, &self.kernel, &self.plans, 0));
            Arc::new(process.snapshot(&self.kernel, others))
        };
        let mut processes: Vec<_> = scanned.iter().map(one).collect();
        processes.sort_by_key(|process| (process.key.tgid, process.key.start_boottime));
        Snapshot {
            at,
            processes,
            counters: BTreeMap::new(),
        }
    }
}
