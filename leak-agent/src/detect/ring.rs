//! The past of one count at one resolution: a bounded row of buckets.

use std::collections::VecDeque;

/// Buckets that are kept, of each resolution.
pub(super) const CAPACITY: usize = 32;

/// What a count did during a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Least live count.
    pub(super) least: u32,
    /// Largest.
    pub(super) most: u32,
    /// Last.
    pub(super) last: u32,
    /// Tasks spawned.
    pub(super) spawned: u32,
    /// Tasks ended.
    pub(super) finished: u32,
}

/// Complete buckets of one width, oldest first, and the one that is being filled.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    /// Nanoseconds.
    width: u64,
    complete: VecDeque<Bucket>,
    /// Number of the bucket that is being filled: time since the boot in widths.
    number: u64,
    filling: Bucket,
}

/// A reading.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// Nanoseconds since the boot.
    pub(super) at: u64,
    pub(super) live: u64,
    /// Since the reading before.
    pub(super) spawned: u64,
    pub(super) finished: u64,
}

fn small(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl Ring {
    /// A ring that begins with a count that has been there since `from`.
    pub(super) fn new(width: u64, from: u64, live: u64) -> Self {
        Self {
            width: width.max(1),
            complete: VecDeque::new(),
            number: from / width.max(1),
            filling: Bucket::still(live),
        }
    }

    /// Takes the next reading; the count is taken to have stood still since the one before. `true` = a bucket is complete.
    pub(super) fn take(&mut self, reading: Reading) -> bool {
        let number = reading.at / self.width;
        let mut completed = false;
        if number > self.number {
            completed = true;
            let still = Bucket::still(self.filling.last.into());
            let filled = std::mem::replace(&mut self.filling, still);
            self.push(filled);
            let gap = number - self.number - 1;
            for _ in 0..gap.min(CAPACITY as u64) {
                self.push(still);
            }
            self.number = number;
        }
        let live = small(reading.live);
        let bucket = &mut self.filling;
        // The first reading of a bucket replaces what stood still until then, so that a fall is seen in the bucket in
        // which it happened, and a bucket of a rise does not begin with the value before it.
        if completed {
            (bucket.least, bucket.most) = (live, live);
        }
        bucket.least = bucket.least.min(live);
        bucket.most = bucket.most.max(live);
        bucket.last = live;
        bucket.spawned = bucket.spawned.saturating_add(small(reading.spawned));
        bucket.finished = bucket.finished.saturating_add(small(reading.finished));
        completed
    }

    fn push(&mut self, bucket: Bucket) {
        if self.complete.len() == CAPACITY {
            self.complete.pop_front();
        }
        self.complete.push_back(bucket);
    }

    /// Complete buckets with the time of their ends in nanoseconds since the boot, oldest first.
    pub(super) fn buckets(&self) -> impl DoubleEndedIterator<Item = (u64, &Bucket)> + ExactSizeIterator {
        let first = self.number.saturating_sub(self.complete.len() as u64);
        let width = self.width;
        let ends = move |index: usize| (first + index as u64 + 1).saturating_mul(width);
        let buckets = self.complete.iter().enumerate();
        buckets.map(move |(index, bucket)| (ends(index), bucket))
    }

    /// Nanoseconds per bucket.
    pub(super) fn width(&self) -> u64 {
        self.width
    }
}

impl Bucket {
    fn still(live: u64) -> Self {
        let live = small(live);
        Self {
            least: live,
            most: live,
            last: live,
            spawned: 0,
            finished: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(ring: &mut Ring, at: u64, live: u64) -> bool {
        ring.take(Reading {
            at,
            live,
            spawned: 2,
            finished: 1,
        })
    }

    fn least(ring: &Ring) -> Vec<(u64, u32)> {
        ring.buckets().map(|(end, bucket)| (end, bucket.least)).collect()
    }

    /// A bucket holds the least, the largest and the last of its readings, and is complete when the next one begins.
    #[test]
    fn bucket_is_complete_when_the_next_begins() {
        let mut ring = Ring::new(10, 0, 7);
        for (at, live) in [(1, 5), (4, 9), (9, 6)] {
            assert!(!read(&mut ring, at, live));
        }
        assert!(read(&mut ring, 10, 3));
        let bucket = *ring.buckets().next().unwrap().1;
        assert_eq!((bucket.least, bucket.most, bucket.last), (5, 9, 6));
        assert_eq!((bucket.spawned, bucket.finished), (6, 3));
    }

    /// A gap is a count that stood still; one that is longer than the ring costs no more than the ring.
    #[test]
    fn gap_is_a_count_that_stood_still() {
        let mut ring = Ring::new(10, 0, 4);
        read(&mut ring, 5, 4);
        read(&mut ring, 35, 8);
        assert_eq!(least(&ring), [(10, 4), (20, 4), (30, 4)]);
        read(&mut ring, u64::MAX, 9);
        assert_eq!(ring.complete.len(), CAPACITY);
        assert!(ring.complete.iter().all(|bucket| bucket.least == 8));
    }

    /// Counts beyond 32 bits are cut, not wrapped.
    #[test]
    fn huge_counts_are_cut() {
        let mut ring = Ring::new(10, 0, u64::MAX);
        read(&mut ring, 10, 1 << 40);
        assert_eq!(least(&ring), [(10, u32::MAX)]);
    }
}
