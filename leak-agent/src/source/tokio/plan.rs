//! Puts the hook plan of an executable together: version, vtables, finishes, spawns, and what is left out.

use super::books::TokioBooks;
use super::code::Budget;
use super::finish::{Coverage, FinishSite, Finishes};
use super::scan::{Scan, Wanted};
use super::spawn::{Spawns, Which};
use super::version::{Traces, Version};
use super::vtable::{self, Class, TaskVtable};
use super::{RUNTIME, finish, names, reference, spawn};
use crate::elf::{Bounds, Elf, Functions, Image, Pointers, function_symbols};
use crate::source::{Evidence, Gap, HookPlan, Inspection, PlanPoint, PlannedSite, PointSite, Role};
use crate::types::Vaddr;
use iced_x86::Register;
use memchr::memmem::Finder;
use object::elf::EM_X86_64;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Attach points per executable. A shipped executable of 215 MB has 4 048.
const MAX_POINTS: usize = 1 << 16;

/// Inspects an executable.
pub(super) fn inspect(elf: &Elf<'_>) -> Inspection {
    let Ok(image) = Image::parse(elf) else {
        return Inspection::NotMine;
    };
    let traces = Traces::find(&image);
    if !traces.mentioned {
        return Inspection::NotMine;
    }
    if image.machine() != EM_X86_64 {
        return match traces.versions.first() {
            Some((version, _)) => unsupported(format!(
                "tokio {version} is in code for another processor than x86-64"
            )),
            None => Inspection::NotMine,
        };
    }
    let pointers = match Pointers::read(&image) {
        Ok(pointers) => pointers,
        Err(error) if traces.versions.is_empty() => {
            tracing::debug!(%error, "no tokio version, pointers not readable");
            return Inspection::NotMine;
        }
        Err(error) => return unsupported(error.to_string()),
    };
    let newest = traces.versions.iter().map(|(version, _)| *version).max();
    let modern = vtable::modern(&image, &pointers);
    if modern.is_empty() {
        return match newest {
            None => Inspection::NotMine,
            Some(version) if version < Version::FIRST_FOLLOWED => unsupported(format!(
                "tokio {version} marks a task complete only when somebody holds its handle (followed from {})",
                Version::FIRST_FOLLOWED
            )),
            Some(version) if version >= Version::MODERN_VTABLE => Inspection::NotMine, // its channels, no tasks
            Some(version) => Planner::new(elf, &image, &pointers, &traces, Some(version)).legacy(),
        };
    }
    let version = traces
        .versions
        .iter()
        .map(|(version, _)| *version)
        .find(|version| *version >= Version::MODERN_VTABLE);
    Planner::new(elf, &image, &pointers, &traces, version).modern(modern)
}

fn unsupported(reason: String) -> Inspection {
    Inspection::Unsupported {
        runtime: RUNTIME,
        reason,
    }
}

/// Makes the plan of one executable.
struct Planner<'a> {
    elf: &'a Elf<'a>,
    image: &'a Image<'a>,
    pointers: &'a Pointers,
    functions: Functions,
    traces: &'a Traces,
    version: Option<Version>,
}

impl<'a> Planner<'a> {
    fn new(
        elf: &'a Elf<'a>,
        image: &'a Image<'a>,
        pointers: &'a Pointers,
        traces: &'a Traces,
        version: Option<Version>,
    ) -> Self {
        Self {
            elf,
            image,
            pointers,
            functions: Functions::find(image, pointers),
            traces,
            version,
        }
    }

    /// tokio 1.23 and later.
    fn modern(&self, vtables: Vec<TaskVtable>) -> Inspection {
        let (slots, wanted) = self.wanted(&vtables);
        let scan = Scan::run(self.image, &self.functions, self.pointers, &wanted);
        self.plan(vtables, &slots, &scan)
    }

    /// tokio 1.10 to 1.22: a vtable is known only by being referred to.
    fn legacy(&self) -> Inspection {
        let Some(version) = self.version else {
            return Inspection::NotMine;
        };
        let shape = vtable::LegacyShape::of(version);
        let (slots, wanted) = self.wanted_places(shape.candidates(self.image, self.pointers));
        let scan = Scan::run(self.image, &self.functions, self.pointers, &wanted);
        let mut budget = Budget::full();
        let referred: Vec<u64> = reference::confirmed(self.image, &self.functions, &scan, &mut budget)
            .into_iter()
            .map(|address| slots.get(&address).copied().unwrap_or(address))
            .collect();
        let vtables = shape.find(self.image, self.pointers, &self.functions, referred);
        if vtables.is_empty() {
            return Inspection::NotMine;
        }
        let (slots, _) = self.wanted(&vtables);
        self.plan(vtables, &slots, &scan)
    }

    /// Words that hold an address of the list: (word → address), and all that a scan has to look for.
    fn wanted_places(&self, addresses: Vec<u64>) -> (HashMap<u64, u64>, Wanted) {
        let set = Wanted::new(addresses.clone());
        let slots: HashMap<u64, u64> = self
            .pointers
            .all()
            .iter()
            .filter(|(_, target)| set.contains(*target))
            .copied()
            .collect();
        let mut wanted = addresses;
        wanted.extend(slots.keys().copied());
        // A load of sixteen bytes may begin eight bytes before.
        wanted.extend(slots.keys().filter_map(|slot| slot.checked_sub(8)));
        (slots, Wanted::new(wanted))
    }

    /// The same for vtables: (word → place of the vtable).
    fn wanted(&self, vtables: &[TaskVtable]) -> (HashMap<u64, usize>, Wanted) {
        let (slots, wanted) = self.wanted_places(vtables.iter().map(|vtable| vtable.vaddr.0).collect());
        let slots = slots
            .into_iter()
            .filter_map(|(slot, address)| {
                let place = vtables
                    .binary_search_by_key(&address, |vtable| vtable.vaddr.0)
                    .ok()?;
                Some((slot, place))
            })
            .collect();
        (slots, wanted)
    }

    /// The plan for these vtables.
    fn plan(&self, mut vtables: Vec<TaskVtable>, slots: &HashMap<u64, usize>, scan: &Scan) -> Inspection {
        let mut budget = Budget::full();
        let complete = self.complete_symbols();
        let finishes = finish::Search {
            image: self.image,
            functions: &self.functions,
            pointers: self.pointers,
            scan,
        }
        .run(&vtables, &complete, &mut budget);
        if finishes.points.is_empty() {
            return self.no_finish();
        }
        vtables.sort_by_key(|vtable| vtable.vaddr);
        let spawns = spawn::Search {
            image: self.image,
            functions: &self.functions,
            pointers: self.pointers,
            scan,
            vtables: &vtables,
            field: self.field(),
            slots,
        }
        .run(&mut budget);
        if scan.overflow || budget.exhausted() {
            return unsupported("its code is too large to be looked through".to_owned());
        }
        self.assemble(&vtables, &finishes, &spawns)
    }

    /// Offset of the vtable pointer in a header, bytes.
    fn field(&self) -> u32 {
        self.version.map_or(0x10, Version::vtable_field)
    }

    /// No task of any vtable is seen to finish.
    fn no_finish(&self) -> Inspection {
        match self.version {
            None => Inspection::NotMine, // something that looks like vtables, and no tokio
            Some(version) => unsupported(format!(
                "tokio {version} is in it without a recognisable end of tasks"
            )),
        }
    }

    /// `State::transition_to_complete`, if the file has symbols.
    fn complete_symbols(&self) -> Vec<u64> {
        let name = Finder::new("5State22transition_to_complete");
        let mut found: Vec<u64> = function_symbols(self.image)
            .filter(|symbol| name.find(symbol.name).is_some())
            .map(|symbol| symbol.vaddr.0)
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    fn assemble(&self, vtables: &[TaskVtable], finishes: &Finishes, spawns: &Spawns) -> Inspection {
        let mut gaps = Vec::new();
        let mut followed = vec![false; vtables.len()];
        for (place, vtable) in vtables.iter().enumerate() {
            let reason = match (finishes.coverage.get(place), spawns.missed.get(&place)) {
                (Some(Coverage::Missed(reason)), _) | (Some(Coverage::Followed), Some(reason)) => {
                    Some(*reason)
                }
                (None, _) => Some("it was not looked at"),
                (Some(Coverage::Followed), None) if !spawns.seen.contains(&place) => {
                    Some("nothing in the code is seen to create its tasks")
                }
                (Some(Coverage::Followed), None) => None,
            };
            if let Some(reason) = reason {
                gaps.push(Gap {
                    site: Some(vtable.vaddr.0),
                    reason: reason.to_owned(),
                });
            } else if let Some(followed) = followed.get_mut(place) {
                *followed = true;
            }
        }
        gaps.extend(self.gaps());
        let field = self.field();
        let mut points: BTreeMap<u64, PlanPoint> = BTreeMap::new();
        let mut add = |vaddr: u64, role: Role, site: PointSite, emulated: bool| {
            let vaddr = Vaddr(vaddr);
            if let Some(offset) = self.image.file_offset(vaddr) {
                points.insert(
                    offset.0,
                    PlanPoint {
                        vaddr,
                        offset,
                        role,
                        site,
                        emulated,
                    },
                );
            }
        };
        for point in &finishes.points {
            let site = match point.site {
                FinishSite::Constant(vtable) => {
                    let place = vtables.binary_search_by_key(&vtable, |each| each.vaddr.0);
                    if !place.is_ok_and(|place| followed.get(place) == Some(&true)) {
                        continue;
                    }
                    PointSite::Constant(vtable)
                }
                FinishSite::Header(register) => match number(register) {
                    Some(reg) => PointSite::Header {
                        reg,
                        derefs: 0,
                        field,
                    },
                    None => continue,
                },
            };
            add(point.vaddr, Role::Finish, site, point.emulated);
        }
        for point in spawns.points.values() {
            let site = match point.which {
                Which::Vtable(place) if followed.get(place) != Some(&true) => continue,
                Which::Vtable(place) => match vtables.get(place) {
                    Some(vtable) => PointSite::Constant(vtable.vaddr.0),
                    None => continue,
                },
                Which::Register(register) => match number(register) {
                    Some(reg) => PointSite::Register(reg),
                    None => continue,
                },
                Which::Memory(register, field) => match number(register) {
                    Some(reg) => PointSite::Header {
                        reg,
                        derefs: 0,
                        field,
                    },
                    None => continue,
                },
            };
            add(point.vaddr, Role::Spawn, site, point.emulated);
        }
        if points.len() > MAX_POINTS {
            return unsupported(format!(
                "{} attach points, at most {MAX_POINTS} are used",
                points.len()
            ));
        }
        let books = self.books(vtables);
        let (infos, named_by) =
            names::describe(self.image, self.pointers, &self.functions, vtables, self.elf);
        let sites = vtables
            .iter()
            .zip(infos)
            .zip(&followed)
            .filter(|(_, followed)| **followed)
            .map(|((vtable, info), _)| PlannedSite {
                number: vtable.vaddr.0,
                holds: match (vtable.class(), info.system) {
                    (Class::Blocking, true) => Some("worker"),
                    (Class::Blocking, false) => Some("blocking"),
                    _ => None,
                },
                info,
                listed: vtable.class() != Class::Blocking,
            })
            .collect();
        Inspection::Plan(Box::new(HookPlan {
            runtime: RUNTIME,
            version: self.version.map(|version| version.to_string()),
            points: points.into_values().collect(),
            sites,
            libraries: Vec::new(),
            gaps,
            finish_is_early: finishes.by_symbol,
            evidence: Evidence {
                points: match (finishes.by_symbol, self.functions.bounds()) {
                    (false, Bounds::UnwindTables) => "structure".to_owned(),
                    (true, Bounds::UnwindTables) => "structure + 1 symbol".to_owned(),
                    (false, Bounds::Estimated) => "structure, function bounds estimated".to_owned(),
                    (true, Bounds::Estimated) => "structure + 1 symbol, function bounds estimated".to_owned(),
                },
                names: Some(named_by),
                books: Some(books.known_by()),
            },
            books: Some(Arc::new(books)),
            names: None,
            stacks: None,
        }))
    }

    /// How the tokio of these vtables keeps its books.
    fn books(&self, vtables: &[TaskVtable]) -> TokioBooks {
        let modern = vtables.iter().any(|vtable| vtable.offsets.is_some());
        let versions: Vec<Version> = self
            .traces
            .versions
            .iter()
            .map(|(version, _)| *version)
            .filter(|version| (*version >= Version::MODERN_VTABLE) == modern)
            .filter(|version| modern || Some(*version) == self.version)
            .collect();
        let trailer = |vtable: &TaskVtable| {
            let behind = vtable.vaddr.0.checked_add(8 * vtable.slots.len() as u64)?;
            self.version
                .filter(|version| *version >= Version::SHORT_HEADER)
                .and_then(|_| self.image.u64_at(behind))
        };
        TokioBooks::new(&versions, vtables, trailer)
    }

    /// What the version says is not followed.
    fn gaps(&self) -> Vec<Gap> {
        let mut gaps = Vec::new();
        let old = self
            .traces
            .versions
            .iter()
            .map(|(version, _)| *version)
            .filter(|version| *version < Version::MODERN_VTABLE && Some(*version) != self.version);
        for version in old {
            gaps.push(Gap {
                site: None,
                reason: format!("tasks of the second tokio in it, {version}, are not counted"),
            });
        }
        gaps
    }
}

/// The number of a general register in machine code.
fn number(register: Register) -> Option<u8> {
    register
        .is_gpr64()
        .then(|| u8::try_from(register.number()).ok())
        .flatten()
}

#[cfg(test)]
mod tests;
