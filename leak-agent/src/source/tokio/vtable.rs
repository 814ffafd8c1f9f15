//! tokio's task vtables, recognised by their shape: one per spawned future type and scheduler.
//!
//! Checked against `runtime/task/raw.rs` of tokio 1.10 to 1.54 and against the symbols of builds of them.

use super::version::Version;
use crate::elf::{Functions, Image, Pointers};
use crate::types::Vaddr;

/// A shipped executable of 215 MB was seen with 2 631.
pub const MAX_VTABLES: usize = 1 << 16;

/// Code pointers of a vtable of tokio 1.23 and later: `poll, schedule, dealloc, try_read_output,
/// drop_join_handle_slow, drop_abort_handle, shutdown`.
const MODERN_SLOTS: usize = 7;
/// Where the scheduler may be in a cell, bytes.
const SCHEDULER_RANGE: std::ops::RangeInclusive<u64> = 0x18..=0x1000;
/// The largest scheduler handle, bytes, with room to spare: 32 was seen.
const MAX_SCHEDULER_SIZE: u64 = 64;
/// No task is larger than this, bytes.
const MAX_TRAILER: u64 = 1 << 28;

/// Where the parts of a task's cell are, in bytes from its header. tokio 1.23 and later state them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellOffsets {
    /// The trailer (list links, join waker).
    pub trailer: u64,
    /// The scheduler handle.
    pub scheduler: u64,
    /// The task's id; the stage (future or output) follows it.
    pub id: u64,
}

/// How a task is scheduled, as far as the vtable tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A future on a runtime or on a `LocalSet`: its scheduler handle is one `Arc`.
    Async,
    /// A closure on the blocking pool, tokio's own worker threads included.
    Blocking,
    /// Before tokio 1.23 the vtable does not say.
    Unknown,
}

impl Class {
    /// The word people are shown.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Blocking => "blocking",
            Self::Async | Self::Unknown => "async",
        }
    }
}

/// The vtable of one pair of future type and scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskVtable {
    /// Its address in the file: the number of the site.
    pub vaddr: Vaddr,
    /// Its code pointers in order. The first is `poll`, the last `shutdown`.
    pub slots: Vec<Vaddr>,
    /// Where the parts of a cell are; `None` before tokio 1.23.
    pub offsets: Option<CellOffsets>,
}

impl TaskVtable {
    /// `raw::poll::<T, S>`.
    #[must_use]
    pub fn poll(&self) -> Option<Vaddr> {
        self.slots.first().copied()
    }

    /// `raw::shutdown::<T, S>`.
    #[must_use]
    pub fn shutdown(&self) -> Option<Vaddr> {
        self.slots.last().copied()
    }

    /// `raw::schedule::<S>`: tasks of equal value share a scheduler type. `None` before tokio 1.23.
    #[must_use]
    pub fn schedule(&self) -> Option<Vaddr> {
        self.offsets?;
        self.slots.get(1).copied()
    }

    /// How it is scheduled: the size of its scheduler handle tells.
    #[must_use]
    pub fn class(&self) -> Class {
        match self.offsets {
            None => Class::Unknown,
            Some(offsets) if offsets.id.wrapping_sub(offsets.scheduler) == 8 => Class::Async,
            Some(_) => Class::Blocking,
        }
    }
}

/// The task vtables of tokio 1.23 and later: seven relocated code pointers, and behind them the
/// offsets of trailer, scheduler and id. One pass over the image's pointers; at most [`MAX_VTABLES`].
#[must_use]
pub fn modern(image: &Image<'_>, pointers: &Pointers) -> Vec<TaskVtable> {
    let mut found = Vec::new();
    for run in code_runs(image, pointers) {
        let Some(slots) = run.len().checked_sub(MODERN_SLOTS).and_then(|at| run.get(at..)) else {
            continue;
        };
        let Some((vaddr, _)) = slots.first() else {
            continue;
        };
        if let Some(offsets) = cell_offsets(image, pointers, *vaddr) {
            found.push(TaskVtable {
                vaddr: Vaddr(*vaddr),
                slots: slots.iter().map(|(_, target)| Vaddr(*target)).collect(),
                offsets: Some(offsets),
            });
            if found.len() == MAX_VTABLES {
                break;
            }
        }
    }
    found
}

/// Maximal runs of neighbouring words that point into code: slices of (place, target).
fn code_runs<'a>(image: &'a Image<'_>, pointers: &'a Pointers) -> impl Iterator<Item = &'a [(u64, u64)]> {
    pointers
        .all()
        .chunk_by(move |one, next| {
            one.0.checked_add(8) == Some(next.0) && image.is_code(one.1) == image.is_code(next.1)
        })
        .filter(move |run| {
            run.first()
                .is_some_and(|(place, target)| place % 8 == 0 && image.is_code(*target))
        })
}

/// The three integers behind the code pointers of the vtable, if they are what tokio puts there.
fn cell_offsets(image: &Image<'_>, pointers: &Pointers, vtable: u64) -> Option<CellOffsets> {
    let integer = |index: u64| {
        let place = vtable.checked_add(8 * index)?;
        let relocated = pointers
            .target(place)
            .is_some_and(|target| !image.is_fixed() || image.is_code(target));
        image.u64_at(place).filter(|value| !relocated && value % 8 == 0)
    };
    let offsets = CellOffsets {
        trailer: integer(7)?,
        scheduler: integer(8)?,
        id: integer(9)?,
    };
    let plausible = SCHEDULER_RANGE.contains(&offsets.scheduler)
        && offsets.id >= offsets.scheduler
        && offsets.id - offsets.scheduler <= MAX_SCHEDULER_SIZE
        && offsets.trailer > offsets.id
        && offsets.trailer < MAX_TRAILER;
    plausible.then_some(offsets)
}

/// The vtables of tokio 1.10 to 1.22: code pointers alone, so that two of them may follow each other without
/// a seam. Where one begins is known from the code that refers to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LegacyShape {
    /// Code pointers.
    slots: usize,
    /// An integer follows: the trailer's offset (1.21 and 1.22).
    trailer: bool,
}

impl LegacyShape {
    /// The shape in a version before [`super::version::Version::MODERN_VTABLE`].
    #[must_use]
    pub fn of(version: Version) -> Self {
        Self {
            slots: match version.minor {
                ..=16 => 6,
                17 => 7,
                _ => 8,
            },
            trailer: version >= Version::SHORT_HEADER,
        }
    }

    /// Places at which a vtable may begin.
    #[must_use]
    pub fn candidates(self, image: &Image<'_>, pointers: &Pointers) -> Vec<u64> {
        code_runs(image, pointers)
            .filter(|run| run.len() >= self.slots)
            .flat_map(|run| run.iter().map(|(place, _)| *place))
            .collect()
    }

    /// The vtables among the candidates that the code refers to: all slots are starts of functions, no other
    /// reference leads into the middle, and behind the last slot another one begins or the pointers end.
    #[must_use]
    pub fn find(
        self,
        image: &Image<'_>,
        pointers: &Pointers,
        functions: &Functions,
        mut referred: Vec<u64>,
    ) -> Vec<TaskVtable> {
        referred.sort_unstable();
        referred.dedup();
        let is_referred = |place: u64| referred.binary_search(&place).is_ok();
        let mut found = Vec::new();
        for run in code_runs(image, pointers).filter(|run| run.len() >= self.slots) {
            for (at, slots) in run.windows(self.slots).enumerate() {
                let places = slots.iter().map(|(place, _)| *place);
                let begins =
                    places.clone().next().is_some_and(is_referred) && !places.skip(1).any(is_referred);
                let behind = run.get(at + self.slots).map(|(place, _)| *place);
                let ends = match behind {
                    Some(next) => !self.trailer && is_referred(next),
                    None => !self.trailer || self.has_trailer(image, slots),
                };
                let functions_only = slots
                    .iter()
                    .all(|(_, target)| functions.starting(*target).is_some());
                if begins && ends && functions_only && found.len() < MAX_VTABLES {
                    found.push(TaskVtable {
                        vaddr: Vaddr(slots.first().map_or(0, |(place, _)| *place)),
                        slots: slots.iter().map(|(_, target)| Vaddr(*target)).collect(),
                        offsets: None,
                    });
                }
            }
        }
        found
    }

    fn has_trailer(self, image: &Image<'_>, slots: &[(u64, u64)]) -> bool {
        slots
            .last()
            .and_then(|(place, _)| image.u64_at(place.checked_add(8)?))
            .is_some_and(|trailer| trailer % 8 == 0 && (0x20..MAX_TRAILER).contains(&trailer))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::elf::Elf;
    use crate::types::ExecutableId;

    fn found(words: &[u64]) -> Vec<u64> {
        let mut file = fixture::executable();
        for (index, word) in words.iter().enumerate() {
            let at = 0x2000 + 8 * index;
            file[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        let elf = Elf {
            data: &file,
            id: ExecutableId::BuildId(vec![1]),
            debug: None,
        };
        let image = Image::parse(&elf).unwrap();
        let pointers = Pointers::read(&image).unwrap();
        modern(&image, &pointers)
            .iter()
            .map(|vtable| (vtable.vaddr.0 - fixture::DATA) / 8)
            .collect()
    }

    const C: u64 = fixture::CODE;

    /// Check which words are a vtable: the last seven code pointers of a run, and three plausible offsets behind.
    #[test]
    fn words_of_a_vtable_are_told_from_those_that_are_not() {
        let cases: [(&str, [u64; 12], &[u64]); 8] = [
            ("exact", [C, C, C, C, C, C, C, 0x80, 0x20, 0x28, 0, 0], &[0]),
            (
                "behind another pointer",
                [C, C, C, C, C, C, C, C, 0x80, 0x20, 0x28, 0],
                &[1],
            ),
            ("six pointers", [7, C, C, C, C, C, C, 0x80, 0x20, 0x28, 0, 0], &[]),
            (
                "scheduler too near",
                [C, C, C, C, C, C, C, 0x80, 0x10, 0x18, 0, 0],
                &[],
            ),
            (
                "id before scheduler",
                [C, C, C, C, C, C, C, 0x80, 0x28, 0x20, 0, 0],
                &[],
            ),
            (
                "trailer before id",
                [C, C, C, C, C, C, C, 0x28, 0x20, 0x28, 0, 0],
                &[],
            ),
            ("odd offset", [C, C, C, C, C, C, C, 0x84, 0x20, 0x28, 0, 0], &[]),
            (
                "huge scheduler handle",
                [C, C, C, C, C, C, C, 0x180, 0x20, 0x68, 0, 0],
                &[],
            ),
        ];
        for (name, words, expected) in cases {
            assert_eq!(found(&words), expected, "{name}");
        }
    }

    /// Check that the size of the scheduler handle tells futures from blocking closures.
    #[test]
    fn class_follows_the_size_of_the_scheduler_handle() {
        for (size, class) in [
            (8, Class::Async),
            (0, Class::Blocking),
            (16, Class::Blocking),
            (32, Class::Blocking),
        ] {
            let vtable = TaskVtable {
                vaddr: Vaddr(0x1000),
                slots: vec![Vaddr(0x2000); 7],
                offsets: Some(CellOffsets {
                    trailer: 0x100,
                    scheduler: 0x20,
                    id: 0x20 + size,
                }),
            };
            assert_eq!(vtable.class(), class, "{size}");
        }
    }
}
