//! Whether the loop keeps pace: how long it was away from its inbox, how late events were taken, what a tick costs.

use crate::event::Event;
use crate::types::BootTime;
use std::time::Duration;

/// Longest times and sums since the start. Costs two additions per message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    started: BootTime,
    longest_stop: Duration,
    longest_delay: Duration,
    ticks: u64,
    in_ticks: Duration,
}

impl Pace {
    /// Nothing has happened yet. Events older than `started` waited for the agent to be loaded, which is no delay.
    pub(super) fn new(started: BootTime) -> Self {
        Self {
            started,
            longest_stop: Duration::ZERO,
            longest_delay: Duration::ZERO,
            ticks: 0,
            in_ticks: Duration::ZERO,
        }
    }

    /// An event was taken at `now`. Only those of processes tell of a delay: followed processes wait for them.
    pub(super) fn event(&mut self, event: &Event, now: BootTime) {
        if let Event::Forked { at, .. } | Event::Execed { at, .. } | Event::Exited { at, .. } = event {
            self.longest_delay = self.longest_delay.max(now.since((*at).max(self.started)));
        }
    }

    /// The loop did not look at its inbox from `from` to `to`.
    pub(super) fn turn(&mut self, from: BootTime, to: BootTime) {
        self.longest_stop = self.longest_stop.max(to.since(from));
    }

    /// A tick, with its report, took from `from` to `to`.
    pub(super) fn tick(&mut self, from: BootTime, to: BootTime) {
        self.ticks += 1;
        self.in_ticks += to.since(from);
        self.turn(from, to);
    }

    /// Name and value of each; times in nanoseconds. All only grow.
    pub(super) fn counters(&self) -> [(&'static str, u64); 4] {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        [
            ("event_line_longest_ns", ns(self.longest_stop)),
            ("event_delay_longest_ns", ns(self.longest_delay)),
            ("ticks", self.ticks),
            ("ticks_ns", ns(self.in_ticks)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ProcessKey;

    fn exited(at: u64) -> Event {
        Event::Exited {
            process: ProcessKey {
                start_boottime: 1,
                tgid: 2,
                pad: 0,
            },
            at: BootTime(at),
        }
    }

    /// The longest delay is kept, and what waited for the start counts from there.
    #[test]
    fn delay_of_events_before_and_after_the_start_is_the_longest_since_the_start() {
        let mut pace = Pace::new(BootTime(1_000));
        pace.event(&exited(10), BootTime(1_005));
        pace.event(&exited(1_010), BootTime(1_017));
        pace.event(&exited(1_020), BootTime(1_021));
        assert_eq!(pace.counters()[1], ("event_delay_longest_ns", 7));
    }

    /// Ticks are turns, too: the longest of both is the longest stop.
    #[test]
    fn stop_of_turns_and_ticks_is_the_longest_of_both() {
        let mut pace = Pace::new(BootTime(0));
        pace.turn(BootTime(0), BootTime(5));
        pace.tick(BootTime(10), BootTime(19));
        pace.tick(BootTime(20), BootTime(21));
        assert_eq!(
            pace.counters(),
            [
                ("event_line_longest_ns", 9),
                ("event_delay_longest_ns", 0),
                ("ticks", 2),
                ("ticks_ns", 10),
            ]
        );
    }
}
