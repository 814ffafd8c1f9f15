//! How often something may be done: so many times per minute, and as many at once after a quiet minute.

use crate::types::BootTime;
use std::time::Duration;

/// A token bucket. Time is an argument.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    per_minute: u32,
    /// What may be done at `at`, in parts of one.
    tokens: f64,
    at: BootTime,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(per_minute: u32, now: BootTime) -> Self {
        Self {
            per_minute,
            tokens: f64::from(per_minute),
            at: now,
        }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self, now: BootTime) -> bool {
        self.fill(now);
        let has = self.tokens >= 1.0;
        if has {
            self.tokens -= 1.0;
        }
        has
    }

    /// How long until there is one.
    pub(super) fn wait(&mut self, now: BootTime) -> Duration {
        self.fill(now);
        let missing = (1.0 - self.tokens).max(0.0);
        // Rounded up, so that whoever waits does not come too early.
        Duration::from_secs_f64(missing * 60.0 / f64::from(self.per_minute.max(1))) + Duration::from_millis(1)
    }

    fn fill(&mut self, now: BootTime) {
        let most = f64::from(self.per_minute);
        let grown = now.since(self.at).as_secs_f64() * most / 60.0;
        self.tokens = (self.tokens + grown).min(most);
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> BootTime {
        BootTime((1_000 + seconds) * 1_000_000_000)
    }

    /// A minute's worth at once, then one by one; a long quiet time saves no more than a minute's worth.
    #[test]
    fn bucket_gives_what_a_minute_allows() {
        let mut bucket = Bucket::new(6, at(0));
        assert_eq!((0..10).filter(|_| bucket.take(at(0))).count(), 6);
        assert!(bucket.wait(at(0)) >= Duration::from_secs(10));
        assert!(!bucket.take(at(9)));
        assert!(bucket.take(at(11)));
        assert!(!bucket.take(at(12)));
        assert_eq!((0..10).filter(|_| bucket.take(at(9_999))).count(), 6);
    }

    /// A clock that goes back gives nothing and takes nothing.
    #[test]
    fn bucket_survives_a_clock_that_goes_back() {
        let mut bucket = Bucket::new(1, at(60));
        assert!(bucket.take(at(60)));
        assert!(!bucket.take(at(0)));
        assert!(!bucket.take(at(61)));
        assert!(bucket.take(at(121)));
    }
}
