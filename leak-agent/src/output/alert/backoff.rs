//! When to try again: pauses that double, with some chance in them, so that a node's agents do not all come back at once.

use crate::config::notify::Pace;
use std::time::Duration;

/// The pauses between the attempts of one notification.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(pace: &Pace) -> Self {
        Self {
            first: pace.retry_first,
            longest: pace.retry_longest,
            failures: 0,
        }
    }

    /// Failed attempts so far.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// One more attempt has failed: how long to wait. `asked` is what the receiver asked for; it is kept to if it is longer,
    /// up to the longest pause. `chance` lies between 0 and 1 and takes away up to half of a pause of our own.
    pub(super) fn next(&mut self, asked: Option<Duration>, chance: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(30));
        self.failures = self.failures.saturating_add(1);
        let own = doubled
            .min(self.longest)
            .mul_f64(1.0 - 0.5 * chance.clamp(0.0, 1.0));
        own.max(asked.unwrap_or_default()).min(self.longest)
    }

    /// An attempt succeeded, or another notification is next.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A number between 0 and 1 that differs between agents and moments; not for secrets.
pub(super) fn chance() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    // Seeded anew, and at random, in each thread and with each call.
    let bits = RandomState::new().hash_one(0_u8) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::alert::fixture;

    fn backoff() -> Backoff {
        let mut pace = fixture::pace();
        pace.retry_first = Duration::from_secs(1);
        pace.retry_longest = Duration::from_secs(300);
        Backoff::new(&pace)
    }

    /// Pauses double up to the longest, however many attempts fail.
    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut backoff = backoff();
        let pauses: Vec<u64> = (0..12).map(|_| backoff.next(None, 0.0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        for _ in 0..100 {
            backoff.next(None, 0.0);
        }
        assert_eq!(backoff.next(None, 0.0).as_secs(), 300);
        backoff.reset();
        assert_eq!(backoff.next(None, 0.0).as_secs(), 1);
    }

    /// Chance shortens a pause by half at most, and never what the receiver asked for; that is cut to the longest pause.
    #[test]
    fn pause_is_between_chance_and_what_was_asked() {
        assert_eq!(backoff().next(None, 1.0), Duration::from_millis(500));
        assert_eq!(backoff().next(Some(Duration::from_secs(7)), 1.0).as_secs(), 7);
        assert_eq!(
            backoff()
                .next(Some(Duration::from_secs(9_999_999)), 1.0)
                .as_secs(),
            300
        );
        assert_eq!(backoff().next(Some(Duration::ZERO), 0.0).as_secs(), 1);
    }

    /// Chance lies between 0 and 1, and is not always the same.
    #[test]
    fn chance_varies_between_zero_and_one() {
        let all: Vec<f64> = (0..100).map(|_| chance()).collect();
        assert!(all.iter().all(|chance| (0.0..1.0).contains(chance)));
        assert!(all.iter().any(|chance| *chance < 0.5) && all.iter().any(|chance| *chance >= 0.5));
    }
}
