//! Numbers that are known by their bounds, each of them a constant that many readings narrow down.

use std::collections::BTreeMap;

/// How often a largest value must have been seen before it is taken for the truth without a sum that proves it.
pub const AGREEMENTS: u32 = 3;

/// A lower bound, and how often it was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) value: i64,
    /// Readings that gave this very value.
    pub(super) seen: u32,
}

impl Bound {
    pub(super) fn raise(&mut self, value: i64) {
        if self.seen == 0 || value > self.value {
            *self = Self { value, seen: 1 };
        } else if value == self.value {
            self.seen = self.seen.saturating_add(1);
        }
    }

    /// For values that may be too large now and then: what most of them say.
    pub(super) fn vote(&mut self, value: i64) {
        if value == self.value {
            self.seen = self.seen.saturating_add(1);
        } else if self.seen == 0 {
            *self = Self { value, seen: 1 };
        } else {
            self.seen -= 1;
        }
    }

    pub(super) fn agreed(self) -> bool {
        self.seen >= AGREEMENTS
    }
}

/// A constant between two bounds, and how often each of them was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Interval {
    /// Never too large, but for what a runtime had half-written when it was read.
    low: Bound,
    /// Never too small, but for tasks between their probe and the runtime's counter: its negative.
    high: Bound,
}

impl Interval {
    pub(super) fn between(&mut self, low: i64, high: i64) {
        self.low.raise(low);
        self.high.raise(high.saturating_neg());
        if self.low.value > self.high.value.saturating_neg() {
            *self = Self::default(); // one of the exceptions
        }
    }

    /// The constant, once both bounds have met and were seen several times.
    pub(super) fn value(&self) -> Option<i64> {
        let met = self.low.value == self.high.value.saturating_neg();
        (met && self.low.agreed() && self.high.agreed()).then_some(self.low.value)
    }
}

/// Values of a constant, each read while our own totals stood still.
///
/// A thread that waits for a CPU between its probe and the runtime's counter makes the value too small until it has its turn,
/// and on a busy machine totals stand still just then. So a value counts once per standstill, of many different ones,
/// and the largest that was read several times is the truth: nothing makes it too large but, very seldom, what a runtime
/// had half-written.
#[derive(Clone, Debug, Default)]
pub(super) struct Standstills {
    values: BTreeMap<i64, u32>,
    all: u32,
    /// Our total, and the round of readings, at the last of them.
    last: Option<(u64, u32)>,
    moved: bool,
}

impl Standstills {
    /// Different values that are kept: there are more only if nothing agrees.
    const VALUES_MAX: usize = 64;
    /// Standstills of a process whose totals move.
    const MOVING: u32 = 8;
    /// A value that is too large comes less often than once in so many.
    const SELDOM: u32 = 16;

    /// Takes a value, read while our total stood still at `total`, in this round of readings.
    pub(super) fn take(&mut self, value: i64, total: u64, round: u32) {
        let now = (total, round);
        if self.last == Some(now) {
            return;
        }
        self.moved |= self.last.is_some_and(|(before, _)| before != total);
        self.last = Some(now);
        if self.values.len() < Self::VALUES_MAX || self.values.contains_key(&value) {
            self.all = self.all.saturating_add(1);
            let seen = self.values.entry(value).or_default();
            *seen = seen.saturating_add(1);
        }
    }

    /// The constant, once there were enough standstills.
    pub(super) fn value(&self) -> Option<i64> {
        let needed = if self.moved { Self::MOVING } else { AGREEMENTS };
        let often = AGREEMENTS.max(self.all / 10);
        if self.all < needed {
            return None;
        }
        for (value, seen) in self.values.iter().rev() {
            if *seen >= often {
                return Some(*value);
            }
            if seen.saturating_mul(Self::SELDOM) > self.all {
                return None; // as likely as not the truth
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One long standstill, however often it is read, is one reading; several rounds of a process at rest are several.
    #[test]
    fn value_of_one_standstill_is_no_value() {
        let mut seen = Standstills::default();
        for _ in 0..32 {
            seen.take(4, 100, 1);
        }
        assert_eq!(seen.value(), None);
        seen.take(4, 100, 2);
        seen.take(4, 100, 3);
        assert_eq!(seen.value(), Some(4));
    }

    /// A thread on its way makes values too small, most of the time on a busy machine: the largest that came several times counts,
    /// and one that came once does not.
    #[test]
    fn value_of_a_busy_process_is_the_largest_of_several() {
        let mut seen = Standstills::default();
        for (total, value) in (0..).zip([3, 3, 4, 3, 3, 4, 3, 3]) {
            seen.take(value, total, 1);
        }
        assert_eq!(seen.value(), None, "4 was read twice only");
        seen.take(4, 8, 1);
        assert_eq!(seen.value(), Some(4));
        seen.take(5, 9, 1);
        assert_eq!(seen.value(), None, "it may be 5");
        for total in 10..20 {
            seen.take(4, total, 1);
        }
        assert_eq!(seen.value(), Some(4));
    }

    /// A process in motion needs more standstills than one at rest.
    #[test]
    fn value_of_few_standstills_in_motion_is_not_believed() {
        let mut seen = Standstills::default();
        for total in 0..7 {
            seen.take(3, total, 1);
        }
        assert_eq!(seen.value(), None);
        seen.take(3, 7, 1);
        assert_eq!(seen.value(), Some(3));
    }
}
