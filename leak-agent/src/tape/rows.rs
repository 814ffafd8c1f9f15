//! The rows of totals of a tick, as changes against those of the tick before.
//!
//! The kernel gives rows in an order that stays nearly the same from tick to tick, and most rows stay as they were. So what
//! is written are steps along the rows before: `n` as they were, `n` with other totals, `n` new ones, `n` gone. The order
//! comes back as it was: the engine may depend on it.

use super::varint::{put, put_change, take, take_change, take_u32};
use leak_agent_common::key::{ProcessKey, SiteKey};
use leak_agent_common::totals::SiteTotals;

/// One row.
pub(super) type Row = (SiteKey, SiteTotals);

/// So many rows that follow are looked at to find out whether one is new or the other is gone.
const AHEAD: usize = 64;

const KEPT: u64 = 0;
const CHANGED: u64 = 1;
const ADDED: u64 = 2;
const GONE: u64 = 3;

/// Steps of one kind that follow each other.
struct Steps<'a> {
    out: &'a mut Vec<u8>,
    /// Their kind, their number, and what is said of each.
    run: (u64, u64),
    bodies: Vec<u8>,
}

impl Steps<'_> {
    /// Makes room for what is said of one more step of this kind.
    fn step(&mut self, kind: u64) -> &mut Vec<u8> {
        if self.run.0 != kind {
            self.end();
            self.run.0 = kind;
        }
        self.run.1 += 1;
        &mut self.bodies
    }

    fn end(&mut self) {
        if self.run.1 > 0 {
            put(self.out, (self.run.1 << 2) | self.run.0);
            self.out.append(&mut self.bodies);
            self.run.1 = 0;
        }
    }
}

/// Writes `now` as changes against `before`.
pub(super) fn write(before: &[Row], now: &[Row], out: &mut Vec<u8>) {
    let mut steps = Steps {
        out,
        run: (KEPT, 0),
        bodies: Vec::new(),
    };
    let (mut old, mut new) = (before.iter(), now.iter());
    loop {
        match (old.as_slice(), new.as_slice()) {
            ([(was, then), ..], [(is, totals), ..]) if was == is => {
                if then == totals {
                    steps.step(KEPT);
                } else {
                    change(steps.step(CHANGED), *then, *totals);
                }
                old.next();
                new.next();
            }
            ([_, later @ ..], [(is, _), ..]) if later.iter().take(AHEAD).any(|(key, _)| key == is) => {
                steps.step(GONE);
                old.next();
            }
            ([(was, _), ..], [row, later @ ..]) => {
                let stays = later.iter().take(AHEAD).any(|(key, _)| key == was);
                add(steps.step(ADDED), row);
                new.next();
                if !stays {
                    steps.step(GONE);
                    old.next();
                }
            }
            ([_, ..], []) => {
                steps.step(GONE);
                old.next();
            }
            ([], [row, ..]) => {
                add(steps.step(ADDED), row);
                new.next();
            }
            ([], []) => break,
        }
    }
    steps.end();
}

fn change(out: &mut Vec<u8>, then: SiteTotals, totals: SiteTotals) {
    put_change(out, then.spawned, totals.spawned);
    put_change(out, then.finished, totals.finished);
    put_change(out, then.baseline, totals.baseline);
}

fn add(out: &mut Vec<u8>, (key, totals): &Row) {
    let SiteKey {
        process: ProcessKey {
            start_boottime,
            tgid,
            pad: _,
        },
        site,
        plan,
        exec_id,
        runtime,
        caller,
    } = *key;
    put(out, start_boottime);
    put(out, tgid.into());
    out.extend(site.to_le_bytes());
    put(out, plan.into());
    put(out, exec_id.into());
    // Most rows have no caller: in the upper half it costs them nothing.
    put(out, u64::from(runtime) | (u64::from(caller) << 32));
    change(out, SiteTotals::default(), *totals);
}

/// The rows that these changes make of `before`; `None` = they do not fit.
pub(super) fn read(before: &[Row], mut bytes: &[u8]) -> Option<Vec<Row>> {
    let bytes = &mut bytes;
    let mut old = before;
    // A row that is written takes more than ten bytes: nobody reserves more than he sent.
    let mut now = Vec::with_capacity(before.len());
    while !bytes.is_empty() {
        let step = take(bytes)?;
        let count = usize::try_from(step >> 2).ok()?;
        match step & 3 {
            KEPT => now.extend_from_slice(old.split_off(..count)?),
            CHANGED => {
                for (key, then) in old.split_off(..count)? {
                    now.push((*key, changed(bytes, *then)?));
                }
            }
            ADDED => {
                for _ in 0..count {
                    now.push(added(bytes)?);
                }
            }
            _ => drop(old.split_off(..count)?),
        }
    }
    old.is_empty().then_some(now)
}

fn changed(bytes: &mut &[u8], then: SiteTotals) -> Option<SiteTotals> {
    Some(SiteTotals {
        spawned: take_change(bytes, then.spawned)?,
        finished: take_change(bytes, then.finished)?,
        baseline: take_change(bytes, then.baseline)?,
    })
}

fn added(bytes: &mut &[u8]) -> Option<Row> {
    let process = ProcessKey {
        start_boottime: take(bytes)?,
        tgid: take_u32(bytes)?,
        pad: 0,
    };
    let (site, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    let (plan, exec_id, kind) = (take_u32(bytes)?, take_u32(bytes)?, take(bytes)?);
    let key = SiteKey {
        process,
        site: u64::from_le_bytes(*site),
        plan,
        exec_id,
        runtime: u32::try_from(kind & u64::from(u32::MAX)).ok()?,
        caller: u32::try_from(kind >> 32).ok()?,
    };
    Some((key, changed(bytes, SiteTotals::default())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Odd sites have a caller.
    fn row(site: u64, spawned: u64) -> Row {
        let key = SiteKey {
            process: ProcessKey {
                start_boottime: 7,
                tgid: 8,
                pad: 0,
            },
            site,
            plan: 3,
            exec_id: 9,
            runtime: 2,
            caller: if site % 2 == 1 { 0xffff_fff0 } else { 0 },
        };
        let totals = SiteTotals {
            spawned,
            finished: spawned.wrapping_sub(3),
            baseline: 1,
        };
        (key, totals)
    }

    fn changes(before: &[Row], now: &[Row]) -> Vec<u8> {
        let mut out = Vec::new();
        write(before, now, &mut out);
        out
    }

    /// A thousand rows of which one changed cost a few bytes.
    #[test]
    fn rows_that_stay_cost_nothing() {
        let before: Vec<Row> = (0..1000).map(|site| row(site, 5)).collect();
        let mut now = before.clone();
        now[500].1.spawned += 1;
        assert!(changes(&before, &now).len() < 16);
        now.remove(20);
        now.insert(70, row(5000, 1));
        assert!(changes(&before, &now).len() < 64);
    }

    proptest! {
        /// Whatever comes, goes, changes or moves: the rows come back, in their order.
        #[test]
        fn rows_come_back(
            before in prop::collection::vec((0..40_u64, 0..3_u64), 0..80),
            now in prop::collection::vec((0..40_u64, 0..3_u64), 0..80),
        ) {
            let rows = |of: Vec<(u64, u64)>| -> Vec<Row> { of.into_iter().map(|(site, n)| row(site, n)).collect() };
            let (before, now) = (rows(before), rows(now));
            prop_assert_eq!(read(&before, &changes(&before, &now)), Some(now));
        }

        /// Any bytes give rows or nothing.
        #[test]
        fn rows_of_any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&[row(1, 1), row(2, 2)], &bytes);
        }
    }
}
