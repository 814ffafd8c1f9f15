//! What a site's count has risen to and given back before: the measure for what it does now.

/// One count as an alternation of rises and falls. A fall that gives back half of a rise ends it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    /// Least count since the last fall.
    low: u64,
    /// When the count was last near it.
    low_at: u64,
    /// Largest count since then.
    peak: u64,
    /// When nearly that was first reached, and how high above the low that was.
    peak_at: u64,
    peak_height: u64,
    /// Longest rise that was given back, nanoseconds.
    pub(super) longest: u64,
    /// Highest count from which one was given back.
    pub(super) highest: u64,
    /// How many were.
    pub(super) falls: u32,
}

impl Past {
    pub(super) fn new(at: u64, live: u64) -> Self {
        Self {
            low: live,
            low_at: at,
            peak: live,
            peak_at: at,
            peak_height: 0,
            longest: 0,
            highest: 0,
            falls: 0,
        }
    }

    /// Takes the next reading; `least` is the rise that counts as one.
    pub(super) fn take(&mut self, at: u64, live: u64, least: u64) {
        if live > self.peak {
            // What creeps up at the top of a rise does not make it longer.
            if live - self.low > self.peak_height + self.peak_height / 10 {
                self.peak_at = at;
                self.peak_height = live - self.low;
            }
            self.peak = live;
        }
        let height = self.peak - self.low;
        if height >= least && self.peak - live.min(self.peak) >= height.div_ceil(2) {
            self.longest = self.longest.max(self.peak_at.saturating_sub(self.low_since(at)));
            self.highest = self.highest.max(self.peak);
            self.falls = self.falls.saturating_add(1);
            *self = Self {
                low: live,
                low_at: at,
                peak: live,
                peak_at: at,
                peak_height: 0,
                ..*self
            };
        }
        if live < self.low {
            self.low = live;
            self.low_at = at;
            self.peak = live;
            self.peak_at = at;
            self.peak_height = 0;
        }
        if live <= self.low + (height / 10).max(least / 2) {
            self.low_at = at;
        }
    }

    /// When the present rise left its low, if that was before its peak.
    fn low_since(&self, now: u64) -> u64 {
        if self.low_at < self.peak_at {
            self.low_at
        } else {
            now
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(counts: impl IntoIterator<Item = u64>) -> Past {
        let mut past = Past::new(0, 0);
        for (at, live) in counts.into_iter().enumerate() {
            past.take(at as u64, live, 10);
        }
        past
    }

    /// A saw-tooth is known after its first fall: how long it rose and how high.
    #[test]
    fn saw_tooth_is_known_by_its_longest_and_highest_rise() {
        let past = after((0..300).map(|n| n % 100));
        assert_eq!((past.highest, past.falls), (99, 2));
        assert!((75..=99).contains(&past.longest), "{past:?}");
    }

    /// The time that a count lay low before a spike, or stayed high after it, is no rise.
    #[test]
    fn time_before_and_after_a_spike_is_no_rise() {
        let spike = |n: u64| if (500..900).contains(&n) { 200 } else { 5 };
        let past = after((0..1000).map(spike));
        assert_eq!((past.highest, past.falls), (200, 1));
        assert!(past.longest <= 1, "{past:?}");
    }

    /// Noise and a rise that goes on are no rises that were given back.
    #[test]
    fn rise_that_goes_on_has_given_nothing_back() {
        let past = after((0..1000).map(|n| n + (n * 7) % 5));
        assert_eq!((past.falls, past.longest, past.highest), (0, 0, 0));
    }
}
