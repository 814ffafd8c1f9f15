//! From a hook plan to attach points in a file: one multi link per file, or a perf link per point.

use super::{BpfError, maps::Points, syscall};
use crate::source::{HookPlan, PlanPoint, PointSite, Role};
use crate::types::PlanId;
use aya::Ebpf;
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope};
use leak_agent_common::key::{Library, LibraryKey};
use leak_agent_common::point::{Point, from, role};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

/// The programs of the hooks in files by runtime, loaded for the kind of link that this kernel has.
pub(super) enum Means {
    /// One link for many points (6.6).
    Multi(BTreeMap<u32, OwnedFd>),
    /// One link per point; each takes 0.1–0.25 s to detach. The programs by their names.
    Perf(BTreeMap<u32, &'static str>, Arc<Mutex<Ebpf>>),
}

/// Threads that detach everything at the end, and the stack of each, bytes.
const DETACHERS: usize = 128;
const DETACHER_STACK: usize = 64 << 10;

/// Attaches plans and keeps the books of points and plans. Blocks (13 ms for 150 points, more for perf
/// links), so it lives on a thread of its own.
pub struct Attacher {
    means: Means,
    points: Points,
    free: Ranges,
    next_plan: u32,
    max_plans: u32,
    used_plans: std::collections::BTreeSet<u32>,
}

/// A plan that is attached and counts; dropped by [`Attacher::detach`].
pub struct Attached {
    /// Its number in the kernel.
    pub plan: PlanId,
    first: u32,
    count: u32,
    libraries: Vec<LibraryKey>,
    links: Links,
}

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attached")
            .field("plan", &self.plan)
            .field("points", &self.count)
            .finish_non_exhaustive()
    }
}

#[expect(dead_code, reason = "held for their drop, which detaches")]
enum Links {
    Multi(OwnedFd),
    Perf(Vec<UProbeLink>),
}

impl Attacher {
    pub(super) fn new(means: Means, points: Points, max_points: u32, max_plans: u32) -> Self {
        Self {
            means,
            points,
            free: Ranges::new(max_points),
            next_plan: 1,
            max_plans,
            used_plans: std::collections::BTreeSet::new(),
        }
    }

    /// Whether one link serves all points of a file.
    #[must_use]
    pub fn has_multi_links(&self) -> bool {
        matches!(self.means, Means::Multi(_))
    }

    /// Attaches all points of a plan to the very file that `file` is (whatever its path now names), then arms
    /// them: nothing counts before the last one is attached.
    ///
    /// # Errors
    ///
    /// No room, or the kernel refused; then nothing stays attached.
    pub fn attach(&mut self, file: &File, name: &str, plan: &HookPlan) -> Result<Attached, BpfError> {
        let count = u32::try_from(plan.points.len()).unwrap_or(u32::MAX);
        let no_room = |limit: u32| BpfError::NoRoom {
            points: plan.points.len(),
            limit: limit as usize,
        };
        let id = self.free_plan().ok_or_else(|| no_room(self.max_plans))?;
        let first = self.free.take(count).ok_or_else(|| no_room(self.free.all))?;
        let libraries = self.tell_libraries(id, plan);
        match self.attach_at(file, name, plan, (id, first), libraries.len()) {
            Ok(links) => {
                self.used_plans.insert(id);
                Ok(Attached {
                    plan: PlanId(id),
                    first,
                    count,
                    libraries,
                    links,
                })
            }
            Err(error) => {
                self.free.give(first, count);
                self.forget_libraries(&libraries);
                Err(error)
            }
        }
    }

    fn attach_at(
        &mut self,
        file: &File,
        name: &str,
        plan: &HookPlan,
        (id, first): (u32, u32),
        libraries: usize,
    ) -> Result<Links, BpfError> {
        let libraries = u32::try_from(libraries).unwrap_or(u32::MAX);
        self.points.arm(id, false, libraries)?;
        for (index, point) in (first..).zip(&plan.points) {
            self.points
                .set(index, &wire_point(point, id, plan.runtime.wire))?;
        }
        touch_pages(file, &plan.points);
        let failed = |source| BpfError::AttachFile {
            file: name.to_owned(),
            points: plan.points.len(),
            source,
        };
        // The magic link leads to the inode that was inspected, also when its path is gone or names another.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let no_program = || failed(io::ErrorKind::NotFound.into());
        let links = match &self.means {
            Means::Multi(programs) => {
                let program = programs.get(&plan.runtime.wire).ok_or_else(no_program)?;
                let offsets: Vec<u64> = plan.points.iter().map(|point| point.offset.0).collect();
                let cookies: Vec<u64> = (u64::from(first)..).take(offsets.len()).collect();
                let path = CString::new(path).map_err(|error| failed(error.into()))?;
                Links::Multi(
                    syscall::link_multi_uprobe(program.as_fd(), &path, &offsets, &cookies).map_err(failed)?,
                )
            }
            Means::Perf(hooks, loaded) => {
                let mut loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
                let program: &mut UProbe = hooks
                    .get(&plan.runtime.wire)
                    .and_then(|hook| loaded.program_mut(hook))
                    .and_then(|program| program.try_into().ok())
                    .ok_or_else(no_program)?;
                let mut links = Vec::with_capacity(plan.points.len());
                for (cookie, point) in (u64::from(first)..).zip(&plan.points) {
                    let at = UProbeAttachPoint {
                        location: UProbeAttachLocation::AbsoluteOffset(point.offset.0),
                        cookie: Some(cookie),
                    };
                    let link = program
                        .attach(at, &path, UProbeScope::AllProcesses)
                        .and_then(|link| program.take_link(link))
                        .map_err(|error| failed(io::Error::other(error)))?;
                    links.push(link);
                }
                Links::Perf(links)
            }
        };
        self.points.arm(id, true, libraries)?;
        Ok(links)
    }

    /// Writes down which creations are to be told apart by caller. For those that find no room they are not: nothing else is
    /// lost.
    fn tell_libraries(&self, id: u32, plan: &HookPlan) -> Vec<LibraryKey> {
        let mut told = Vec::new();
        for place in &plan.libraries {
            let key = LibraryKey {
                plan: id,
                statement: place.statement,
            };
            let mut library = Library::default();
            for (range, code) in library.ranges.iter_mut().zip(&place.code) {
                *range = [code.start, code.end];
            }
            match self.points.set_library(key, &library) {
                Ok(()) => told.push(key),
                Err(error) => {
                    tracing::warn!(plan = id, %error, "callers of libraries are not told apart");
                    break;
                }
            }
        }
        told
    }

    fn forget_libraries(&self, libraries: &[LibraryKey]) {
        for key in libraries {
            if let Err(error) = self.points.forget_library(*key) {
                tracing::warn!(plan = key.plan, %error, "forget a library");
            }
        }
    }

    /// Detaches. Slow with perf links.
    pub fn detach(&mut self, attached: Attached) {
        let Attached {
            plan,
            first,
            count,
            libraries,
            links,
        } = attached;
        if let Err(error) = self.points.arm(plan.0, false, 0) {
            tracing::warn!(plan = plan.0, %error, "disarm plan");
        }
        drop(links);
        self.forget_libraries(&libraries);
        self.free.give(first, count);
        self.used_plans.remove(&plan.0);
    }

    /// Detaches all of them, for good. Most of the time of a detachment is a wait for the kernel's readers, who are the same
    /// for all links: on several threads they are waited for together. 100 files take 0.2 s instead of 5.
    pub fn detach_all(self, attached: Vec<Attached>) {
        for Attached { plan, .. } in &attached {
            if let Err(error) = self.points.arm(plan.0, false, 0) {
                tracing::warn!(plan = plan.0, %error, "disarm plan");
            }
        }
        let each = attached.len().div_ceil(DETACHERS).max(1);
        let mut attached = attached.into_iter();
        std::thread::scope(|scope| {
            loop {
                let part: Vec<Attached> = attached.by_ref().take(each).collect();
                if part.is_empty() {
                    break;
                }
                // Without a thread its part is dropped, and with it detached, right here.
                let _ = std::thread::Builder::new()
                    .name("detach".to_owned())
                    .stack_size(DETACHER_STACK)
                    .spawn_scoped(scope, move || drop(part));
            }
        });
    }

    /// Plan numbers go round, so that rows of a detached plan are gone before its number comes again.
    fn free_plan(&mut self) -> Option<u32> {
        for _ in 0..self.max_plans {
            let id = self.next_plan;
            self.next_plan = if id + 1 < self.max_plans { id + 1 } else { 1 };
            if !self.used_plans.contains(&id) {
                return Some(id);
            }
        }
        None
    }
}

fn wire_point(point: &PlanPoint, plan: u32, runtime: u32) -> Point {
    let (kind, site, reg, derefs, field) = match point.site {
        PointSite::Constant(site) => (from::CONSTANT, site, 0, 0, 0),
        PointSite::Register(reg) => (from::REGISTER, 0, reg, 0, 0),
        PointSite::Header { reg, derefs, field } => (from::HEADER, 0, reg, derefs, field),
        PointSite::Pair { base, field, saved } => match point.role {
            Role::Finish => (from::PAIR, base.0, 0, 0, field),
            Role::Spawn => {
                let words = saved.1.saturating_sub(saved.0) / 8;
                (
                    from::PAIR,
                    base.0,
                    u8::try_from(words).unwrap_or(u8::MAX),
                    0,
                    saved.0,
                )
            }
        },
    };
    Point {
        vaddr: point.vaddr.0,
        site,
        plan,
        runtime,
        field,
        role: match point.role {
            Role::Spawn => role::SPAWN,
            Role::Finish => role::FINISH,
        },
        from: kind,
        reg,
        derefs,
    }
}

/// Brings the pages of the points into the page cache. Attaching to one that is not there made ext4 of
/// kernel 6.18 print a warning.
fn touch_pages(file: &File, points: &[PlanPoint]) {
    let mut last = None;
    for point in points {
        let page = point.offset.0 / 4096;
        if last.replace(page) != Some(page) {
            // A failure shows in the attach that follows.
            let _ = file.read_at(&mut [0], point.offset.0);
        }
    }
}

/// Free ranges of point numbers.
struct Ranges {
    all: u32,
    /// Start → length; no two touch.
    free: BTreeMap<u32, u32>,
}

impl Ranges {
    fn new(all: u32) -> Self {
        Self {
            all,
            free: BTreeMap::from([(0, all)]),
        }
    }

    /// The first range that is large enough.
    fn take(&mut self, count: u32) -> Option<u32> {
        let (&start, &len) = self.free.iter().find(|(_, len)| **len >= count)?;
        self.free.remove(&start);
        if len > count {
            self.free.insert(start + count, len - count);
        }
        Some(start)
    }

    /// Gives a range back and joins it with its neighbours.
    fn give(&mut self, start: u32, count: u32) {
        let (mut start, mut count) = (start, count);
        if let Some((&before, &len)) = self.free.range(..start).next_back()
            && before + len == start
        {
            self.free.remove(&before);
            (start, count) = (before, len + count);
        }
        if let Some(after) = self.free.remove(&(start + count)) {
            count += after;
        }
        self.free.insert(start, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is taken and given back in any order ends as one whole range.
    #[test]
    fn ranges_given_back_are_whole_again() {
        let mut ranges = Ranges::new(100);
        let taken: Vec<_> = [10, 20, 30, 40]
            .iter()
            .map(|count| (ranges.take(*count).unwrap(), *count))
            .collect();
        assert_eq!(ranges.take(1), None);
        for index in [2, 0, 3, 1] {
            let (start, count) = taken[index];
            ranges.give(start, count);
        }
        assert_eq!(ranges.free, BTreeMap::from([(0, 100)]));
        assert_eq!(ranges.take(101), None);
        assert_eq!(ranges.take(100), Some(0));
    }
}
