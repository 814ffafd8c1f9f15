//! Exhaustion ahead: at the present rate, when is a limit reached?

use super::observation::{Limits, Resource, Usage};
use std::collections::{BTreeMap, VecDeque};

/// Readings that are kept of each limit.
const READINGS: usize = 12;
/// With fewer nothing is told.
const LEAST: usize = 4;
/// Share of the steps that must not fall.
const NOT_FALLEN: f64 = 0.7;

/// A limit towards which a process moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exhaustion {
    /// Of what.
    pub resource: Resource,
    /// In use.
    pub used: u64,
    /// At most.
    pub limit: u64,
    /// Per minute, in units of the resource.
    pub per_minute: f64,
    /// Until the limit is reached at that rate.
    pub seconds: f64,
}

/// The last readings of one process's limits.
#[derive(Clone, Debug, Default)]
pub(super) struct Approach {
    readings: BTreeMap<Resource, VecDeque<(f64, Usage)>>,
}

impl Approach {
    /// Takes a reading.
    pub(super) fn take(&mut self, at: f64, limits: &Limits) {
        for resource in Resource::ALL {
            let Some(usage) = limits.of(resource) else {
                self.readings.remove(&resource);
                continue;
            };
            let readings = self.readings.entry(resource).or_default();
            if readings.back().is_some_and(|(last, _)| *last >= at) {
                continue;
            }
            if readings.len() == READINGS {
                readings.pop_front();
            }
            readings.push_back((at, usage));
        }
    }

    /// When the newest reading was taken: seconds since the boot.
    pub(super) fn newest(&self) -> f64 {
        let last = self.readings.values().filter_map(|readings| readings.back());
        last.map(|(at, _)| *at).fold(0.0, f64::max)
    }

    /// The limits that come nearer.
    pub(super) fn ahead(&self) -> Vec<Exhaustion> {
        let all = self.readings.iter();
        all.filter_map(|(resource, readings)| judge(*resource, readings))
            .collect()
    }
}

/// Pure: readings of one limit, oldest first.
fn judge(resource: Resource, readings: &VecDeque<(f64, Usage)>) -> Option<Exhaustion> {
    let (_, newest) = readings.back()?;
    if newest.used >= newest.limit {
        return Some(Exhaustion {
            resource,
            used: newest.used,
            limit: newest.limit,
            per_minute: 0.0,
            seconds: 0.0,
        });
    }
    if readings.len() < LEAST {
        return None;
    }
    let mut slopes = Vec::new();
    let mut fallen = 0;
    for (index, (at, usage)) in readings.iter().enumerate() {
        for (before, then) in readings.iter().take(index) {
            slopes.push((usage.used as f64 - then.used as f64) / (at - before));
        }
        let then = index.checked_sub(1).and_then(|index| readings.get(index));
        fallen += usize::from(then.is_some_and(|(_, then)| usage.used < then.used));
    }
    let slope = super::trace::median(&mut slopes);
    let not_fallen = 1.0 - fallen as f64 / (readings.len() - 1) as f64;
    (slope > 0.0 && not_fallen >= NOT_FALLEN).then(|| Exhaustion {
        resource,
        used: newest.used,
        limit: newest.limit,
        per_minute: 60.0 * slope,
        seconds: (newest.limit - newest.used) as f64 / slope,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ahead(used: impl IntoIterator<Item = u64>, limit: u64) -> Vec<Exhaustion> {
        let mut approach = Approach::default();
        for (index, used) in used.into_iter().enumerate() {
            let limits = Limits {
                cgroup_pids: Some(Usage { used, limit }),
                ..Limits::default()
            };
            approach.take(10.0 * index as f64, &limits);
        }
        approach.ahead()
    }

    /// What grows steadily reaches its limit when a ruler on the graph says so.
    #[test]
    fn steady_growth_reaches_its_limit_in_time() {
        let told = ahead((0..20).map(|n| 100 + 10 * n), 1_000);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].used, told[0].limit), (290, 1_000));
        assert!((told[0].seconds - 710.0).abs() < 1.0, "{told:?}");
        assert!((told[0].per_minute - 60.0).abs() < 0.1, "{told:?}");
    }

    /// What stands still, shrinks, or goes up and down reaches nothing; what has reached it says so at once.
    #[test]
    fn what_does_not_grow_reaches_nothing() {
        assert_eq!(ahead(vec![500; 12], 1_000), []);
        assert_eq!(ahead((0..12).map(|n| 900 - 10 * n), 1_000), []);
        assert_eq!(
            ahead((0..12).map(|n| if n % 2 == 0 { 800 } else { 10 }), 1_000),
            []
        );
        // Up by 200, down by 100.
        assert_eq!(ahead((0..12).map(|n| 50 * n + 150 * (n % 2)), 1_000), []);
        assert_eq!(ahead([1, 500, 900], 1_000), []);
        assert_eq!(ahead([1_000], 1_000)[0].seconds, 0.0);
    }

    /// A limit that is lifted is forgotten.
    #[test]
    fn lifted_limit_is_forgotten() {
        let mut approach = Approach::default();
        let usage = |used| Limits {
            user_threads: Some(Usage { used, limit: 100 }),
            ..Limits::default()
        };
        for n in 0..10 {
            approach.take(n as f64, &usage(10 * n));
        }
        assert_eq!(approach.ahead().len(), 1);
        approach.take(11.0, &Limits::default());
        assert_eq!(approach.ahead(), []);
    }
}
