//! Whether live counts grow: a simple rule, slow to say yes.
//!
//! Counts go up and down with the work that there is; what leaks is never given back. So the *least* count of a while is
//! looked at, not the count: a site grows if its least count rose in each of some windows in a row, and by enough.
//! Windows of several lengths find a leak of some tasks per second within minutes, and one of some per hour within a day.
//! A load that does nothing but rise for that long looks the same; what it leads to is probes, not a verdict.

use std::collections::BTreeMap;

/// Readings per window, for each length that is looked at: with a reading every 5 s, 30 s, 5 min and 1 h.
const LENGTHS: [u32; 3] = [6, 60, 720];
/// Windows in a row whose least count must rise.
const WINDOWS: u32 = 4;
/// By so many tasks from the first to the last, at least.
const TASKS: u64 = 32;
/// And by one part in so many of the first.
const PART: u64 = 10;
/// Sites of one process that are looked at.
const SITES_MAX: usize = 4096;

/// The live counts of one process so far, as far as the rule needs them.
#[derive(Clone, Debug, Default)]
pub struct Growth {
    sites: BTreeMap<u64, Site>,
}

/// What grew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grew {
    /// At which site.
    pub site: u64,
    /// Least count in the first window.
    pub from: u64,
    /// Least count in the last one.
    pub to: u64,
    /// Readings per window.
    pub readings: u32,
}

type Site = [Scale; LENGTHS.len()];

/// One length of windows.
#[derive(Clone, Copy, Debug, Default)]
struct Scale {
    /// Least counts of the last windows, oldest first; the window that is being filled is not among them.
    least: [u64; WINDOWS as usize],
    windows: u32,
    /// The least count, and the number of readings, of the window that is being filled.
    filling: Option<(u64, u32)>,
}

impl Growth {
    /// Takes the live tasks of each site at one reading; sites without any may be left out. `Some` = one of them grows.
    pub fn take(&mut self, live: &BTreeMap<u64, u64>) -> Option<Grew> {
        for site in live.keys() {
            if self.sites.len() < SITES_MAX {
                self.sites.entry(*site).or_default();
            }
        }
        let mut grew = None;
        for (site, scales) in &mut self.sites {
            let now = live.get(site).copied().unwrap_or(0);
            for (scale, length) in scales.iter_mut().zip(LENGTHS) {
                if let Some((from, to)) = scale.take(now, length) {
                    grew.get_or_insert(Grew {
                        site: *site,
                        from,
                        to,
                        readings: length,
                    });
                }
            }
        }
        grew
    }
}

impl Scale {
    /// The first and the last least count, if a window is full now and the counts grow.
    fn take(&mut self, live: u64, length: u32) -> Option<(u64, u64)> {
        let (least, readings) = self.filling.unwrap_or((live, 0));
        let (least, readings) = (least.min(live), readings + 1);
        if readings < length {
            self.filling = Some((least, readings));
            return None;
        }
        self.filling = None;
        self.least.rotate_left(1);
        if let Some(last) = self.least.last_mut() {
            *last = least;
        }
        self.windows = (self.windows + 1).min(WINDOWS);
        let rises = self.windows == WINDOWS && self.least.is_sorted_by(|before, after| before < after);
        let (first, last) = (*self.least.first()?, *self.least.last()?);
        let enough = last.saturating_sub(first) >= TASKS.max(first / PART);
        (rises && enough).then_some((first, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of the first reading at which growth is said; `None` = at none of these.
    fn told(counts: impl IntoIterator<Item = u64>) -> Option<usize> {
        let mut growth = Growth::default();
        counts
            .into_iter()
            .position(|live| growth.take(&BTreeMap::from([(7, live)])).is_some())
    }

    /// Tasks that are never given back are growth once four windows are full, whatever comes and goes on top of them.
    #[test]
    fn steady_growth_is_told_after_four_windows() {
        assert_eq!(told((0..100).map(|n| n * 3)), Some(23));
        assert_eq!(told((0..100).map(|n| n * 3 + (n % 6) * 200)), Some(23));
        let mut growth = Growth::default();
        let grew = (0..24).find_map(|n| growth.take(&BTreeMap::from([(1, 50), (9, 10 * n)])));
        let grew = grew.unwrap();
        assert_eq!((grew.site, grew.from, grew.to, grew.readings), (9, 0, 180, 6));
    }

    /// One task per minute is too little for short windows, and is found by the long ones.
    #[test]
    fn slow_growth_is_told_by_longer_windows() {
        let reading = told((0..12 * 60 * 24).map(|n| n / 12)).unwrap();
        assert!((12 * 60 * 2..12 * 60 * 5).contains(&reading), "{reading}");
    }

    /// A load that comes and goes, one that comes and stays, one that rises for a while, and noise are not growth.
    #[test]
    fn load_that_comes_and_goes_is_no_growth() {
        let day = |n: u64| [0, 10, 40, 90, 160, 250, 160, 90, 40, 10][(n / 3 % 10) as usize];
        assert_eq!(told((0..20_000).map(day)), None);
        assert_eq!(told((0..20_000).map(|n| if n < 100 { 0 } else { 5_000 })), None);
        assert_eq!(told((0..20_000).map(|n| 200 + 10 * n.min(10))), None);
        let noise = |n: u64| 1_000 + n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 500;
        assert_eq!(told((0..20_000).map(noise)), None);
    }

    /// A few more of many is no growth: it takes a tenth.
    #[test]
    fn growth_by_less_than_a_tenth_is_not_told() {
        assert_eq!(told((0..24).map(|n| 10_000 + 20 * n)), None);
        assert_eq!(told((0..24).map(|n| 10_000 + 100 * n)), Some(23));
    }

    /// Sites beyond the cap are not looked at, and cost nothing.
    #[test]
    fn sites_beyond_the_cap_are_left_out() {
        let mut growth = Growth::default();
        growth.take(&(0..10_000).map(|site| (site, 1)).collect());
        assert_eq!(growth.sites.len(), SITES_MAX);
    }
}
