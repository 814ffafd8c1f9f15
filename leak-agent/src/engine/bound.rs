//! Numbers that are known by their bounds, each of them a constant that many readings narrow down.

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
