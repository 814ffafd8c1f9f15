//! The maps: totals out, learned frames and points in. One type per map, keys and values as the wire contract
//! has them.

use super::slots::Slots;
use super::{BpfError, syscall};
use leak_agent_common::counter::Counter;
use leak_agent_common::key::{FrameKey, Library, LibraryKey, SiteKey};
use leak_agent_common::point::{PlanState, Point};
use leak_agent_common::totals::SiteTotals;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use zerocopy::{FromBytes, IntoBytes};

/// A map's descriptor and name.
#[derive(Debug)]
pub struct Map {
    pub(super) fd: OwnedFd,
    pub(super) name: &'static str,
    pub(super) capacity: u32,
}

impl Map {
    fn failed(&self, operation: &'static str) -> impl FnOnce(io::Error) -> BpfError {
        let map = self.name;
        move |source| BpfError::Map {
            operation,
            map,
            source,
        }
    }

    /// Its name, as `bpftool` shows it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How many entries it can hold.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }
}

/// The maps of totals: per site, further shares of hooked sites, and folded.
#[derive(Debug)]
pub struct Totals {
    pub(super) sites: Map,
    pub(super) slots: Slots,
    pub(super) others: Map,
    pub(super) cpus: usize,
}

/// What one reading of the totals found.
#[derive(Debug, Default)]
pub struct Reading {
    /// All rows, summed over the CPUs. A row may come twice if the map changed under the reading.
    pub rows: Vec<(SiteKey, SiteTotals)>,
    /// How many rows the map of sites has, how many slots are in use, how many rows the map of folded sites has:
    /// in the order of [`Totals::maps`].
    pub fill: [usize; 3],
}

/// Rows per batch: large enough to make system calls rare, small enough for the cache.
const BATCH: usize = 512;

impl Totals {
    /// Reads all rows: about one system call for 512 rows.
    ///
    /// # Errors
    ///
    /// A map that cannot be read.
    pub fn read(&self) -> Result<Reading, BpfError> {
        // A site in a slot has a row already, so that slots are read first.
        let (slots, in_use) = self.slots.read();
        let mut rows = Vec::new();
        self.read_map(&self.sites, &mut rows)?;
        for (key, totals) in &mut rows {
            if let Some(share) = slots.get(key) {
                *totals = totals.merged(*share);
            }
        }
        let sites = rows.len();
        self.read_map(&self.others, &mut rows)?;
        let others = rows.len() - sites;
        Ok(Reading {
            rows,
            fill: [sites, in_use, others],
        })
    }

    fn read_map(&self, map: &Map, rows: &mut Vec<(SiteKey, SiteTotals)>) -> Result<(), BpfError> {
        let value_size = size_of::<SiteTotals>() * self.cpus;
        let mut batch = BATCH;
        let mut cursor = syscall::Cursor::default();
        loop {
            let mut keys = vec![0u8; batch * size_of::<SiteKey>()];
            let mut values = vec![0u8; batch * value_size];
            let read = syscall::lookup_batch(
                map.fd.as_fd(),
                &mut cursor,
                (&mut keys, size_of::<SiteKey>()),
                (&mut values, value_size),
            );
            let (count, more) = match read {
                Ok(read) => read,
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && batch < 1 << 20 => {
                    batch *= 2;
                    continue;
                }
                Err(error) => return Err(map.failed("read")(error)),
            };
            for (key, value) in keys
                .chunks_exact(size_of::<SiteKey>())
                .zip(values.chunks_exact(value_size))
                .take(count)
            {
                let Ok(key) = SiteKey::read_from_bytes(key) else {
                    continue;
                };
                rows.push((key, sum(value)));
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Reads these rows, each with one system call: much sooner than all of them. A row that is not there is zero.
    ///
    /// # Errors
    ///
    /// A map that cannot be read.
    pub fn of(&self, keys: &[SiteKey]) -> Result<Vec<SiteTotals>, BpfError> {
        let mut value = vec![0u8; size_of::<SiteTotals>() * self.cpus];
        let mut all = Vec::with_capacity(keys.len());
        for key in keys {
            let share = self.slots.of(key);
            let found = syscall::lookup(self.sites.fd.as_fd(), key.as_bytes(), &mut value)
                .map_err(self.sites.failed("read"))?;
            all.push(if found { share.merged(sum(&value)) } else { share });
        }
        Ok(all)
    }

    /// Removes a row: only after nothing can count there any more.
    ///
    /// # Errors
    ///
    /// A map that cannot be written.
    pub fn forget(&self, key: &SiteKey) -> Result<(), BpfError> {
        let map = if key.site == leak_agent_common::key::site::OTHER {
            &self.others
        } else {
            self.slots.forget(key);
            &self.sites
        };
        syscall::delete(map.fd.as_fd(), key.as_bytes()).map_err(map.failed("delete from"))
    }

    /// Names and capacities.
    #[must_use]
    pub fn maps(&self) -> [&Map; 3] {
        [&self.sites, self.slots.map(), &self.others]
    }
}

/// The sum of all CPUs' shares.
fn sum(value: &[u8]) -> SiteTotals {
    value
        .chunks_exact(size_of::<SiteTotals>())
        .filter_map(|share| SiteTotals::read_from_bytes(share).ok())
        .fold(SiteTotals::default(), SiteTotals::merged)
}

/// Learned frame sizes.
#[derive(Debug)]
pub struct Frames(pub(super) Map);

impl Frames {
    /// Teaches the kernel one frame.
    ///
    /// # Errors
    ///
    /// A map that is full or cannot be written.
    pub fn learn(&self, key: &FrameKey, size: u32) -> Result<(), BpfError> {
        syscall::update(self.0.fd.as_fd(), key.as_bytes(), size.as_bytes()).map_err(self.0.failed("write"))
    }

    /// Forgets one frame.
    ///
    /// # Errors
    ///
    /// A map that cannot be written.
    pub fn forget(&self, key: &FrameKey) -> Result<(), BpfError> {
        syscall::delete(self.0.fd.as_fd(), key.as_bytes()).map_err(self.0.failed("delete from"))
    }

    /// Name and capacity.
    #[must_use]
    pub fn map(&self) -> &Map {
        &self.0
    }
}

/// The programs' own counters.
#[derive(Debug)]
pub struct Counters {
    pub(super) map: Map,
    pub(super) cpus: usize,
}

impl Counters {
    /// Reads them all, summed over the CPUs.
    ///
    /// # Errors
    ///
    /// A map that cannot be read.
    pub fn read(&self) -> Result<Vec<(Counter, u64)>, BpfError> {
        let mut value = vec![0u8; 8 * self.cpus];
        let mut counters = Vec::with_capacity(Counter::ALL.len());
        for &counter in Counter::ALL {
            syscall::lookup(self.map.fd.as_fd(), (counter as u32).as_bytes(), &mut value)
                .map_err(self.map.failed("read"))?;
            let shares = value
                .chunks_exact(8)
                .filter_map(|share| u64::read_from_bytes(share).ok());
            counters.push((counter, shares.fold(0, u64::wrapping_add)));
        }
        Ok(counters)
    }
}

/// Points and plans of the hooks in files.
#[derive(Debug)]
pub struct Points {
    pub(super) points: Map,
    pub(super) plans: Map,
    pub(super) libraries: Map,
}

impl Points {
    /// Writes one point.
    pub(super) fn set(&self, index: u32, point: &Point) -> Result<(), BpfError> {
        syscall::update(self.points.fd.as_fd(), index.as_bytes(), point.as_bytes())
            .map_err(self.points.failed("write"))
    }

    /// Writes one place in a library.
    pub(super) fn set_library(&self, key: LibraryKey, library: &Library) -> Result<(), BpfError> {
        syscall::update(self.libraries.fd.as_fd(), key.as_bytes(), library.as_bytes())
            .map_err(self.libraries.failed("write"))
    }

    /// Forgets it.
    pub(super) fn forget_library(&self, key: LibraryKey) -> Result<(), BpfError> {
        syscall::delete(self.libraries.fd.as_fd(), key.as_bytes())
            .map_err(self.libraries.failed("delete from"))
    }

    /// Lets a plan's points count, or not. `libraries`: how many places in libraries it has.
    pub(super) fn arm(&self, plan: u32, armed: bool, libraries: u32) -> Result<(), BpfError> {
        let state = PlanState {
            armed: armed.into(),
            libraries,
        };
        syscall::update(self.plans.fd.as_fd(), plan.as_bytes(), state.as_bytes())
            .map_err(self.plans.failed("write"))
    }
}

/// Writes the switch that says that the baseline walk is complete.
pub(super) fn say_walked(switches: &Map) -> Result<(), BpfError> {
    syscall::update(switches.fd.as_fd(), 0u32.as_bytes(), 1u32.as_bytes()).map_err(switches.failed("write"))
}
