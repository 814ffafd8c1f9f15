//! What a site's count has risen to and given back before: the measure for what it does now.

/// So many steps may be those of a staircase.
const STEPS: usize = 8;
/// What goes up and down by less than so many times the root of a count may be noise.
const NOISES: u64 = 4;

/// One count as an alternation of rises and falls. A fall that gives back half of a rise ends it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    /// Least count since the last fall.
    low: u64,
    /// When the count was last near it.
    pub(super) low_at: u64,
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
    /// Highest floor of a while since the last fall, and how often one was higher than all before.
    record: u64,
    pub(super) records: u32,
    /// The largest steps from one such floor to the next, largest first.
    steps: [u32; STEPS],
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
            record: live,
            records: 0,
            steps: [0; STEPS],
        }
    }

    fn step(&mut self, by: u64) {
        let by = u32::try_from(by).unwrap_or(u32::MAX);
        let place = self.steps.partition_point(|step| *step >= by);
        if let Some([last @ .., _]) = self.steps.get(place..) {
            let mut steps = self.steps;
            steps[place] = by;
            steps[place + 1..].copy_from_slice(last);
            self.steps = steps;
        }
    }

    /// Share of the present rise that its eight largest steps make up: 1 for a staircase of so many, little for a slope.
    pub(super) fn in_steps(&self) -> f64 {
        let steps: u64 = self.steps.iter().map(|step| u64::from(*step)).sum();
        steps as f64 / self.record.saturating_sub(self.low).max(1) as f64
    }

    /// Takes the least count of the next while; `least` is the rise that counts as one, if noise does not make such.
    pub(super) fn take(&mut self, at: u64, live: u64, least: u64) {
        if live > self.record {
            self.step(live - self.record);
            self.record = live;
            self.records = self.records.saturating_add(1);
        }
        if live > self.peak {
            // What creeps up at the top of a rise does not make it longer.
            if live - self.low > self.peak_height + self.peak_height / 10 {
                self.peak_at = at;
                self.peak_height = live - self.low;
            }
            self.peak = live;
        }
        let height = self.peak - self.low;
        let small = least / 4;
        let least = least.max(NOISES * self.peak.isqrt());
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
                record: live,
                records: 0,
                steps: [0; STEPS],
                ..*self
            };
        }
        if live < self.low {
            self.low = live;
            self.low_at = at;
            self.peak = live;
            self.peak_at = at;
            self.peak_height = 0;
            self.record = live;
            self.records = 0;
            self.steps = [0; STEPS];
        }
        if live <= self.low + (height / 10).max(small) {
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
        let mut counts = counts.into_iter();
        let mut past = Past::new(0, counts.next().unwrap());
        for (at, live) in (1..).zip(counts) {
            past.take(at, live, 10);
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

    /// A staircase is made of few steps, whatever noise there is on them, a slope of many.
    #[test]
    fn staircase_is_made_of_few_steps() {
        let noise = |n: u64| (n * 7) % 5;
        let stairs = after((0..2000).map(|n| 40 * (n / 200).min(7) + noise(n)));
        assert!(stairs.in_steps() > 0.85, "{stairs:?}");
        let slope = after((0..200).map(|n| n + noise(n)));
        assert!(slope.in_steps() < 0.3, "{slope:?}");
        let bursts = after((0..1200).map(|n| 30 * (n / 100) + noise(n)));
        assert!(bursts.in_steps() < 0.75, "{bursts:?}");
    }

    /// Noise and a rise that goes on are no rises that were given back.
    #[test]
    fn rise_that_goes_on_has_given_nothing_back() {
        let past = after((0..1000).map(|n| n + (n * 7) % 5));
        assert_eq!((past.falls, past.longest, past.highest), (0, 0, 0));
    }
}
