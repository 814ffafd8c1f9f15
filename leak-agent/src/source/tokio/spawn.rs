//! Where tasks are created: the instruction that writes a vtable's address into a new task's header.
//!
//! Every load of a vtable's address is followed to what becomes of it. Best is a store whose neighbours write the
//! other words of a header; else any store; else the call that gets the address; else, where a
//! function just returns it (unoptimised code), the calls of that function.

use super::code::{Budget, Flow, Listing};
use super::flow::{MAX_ORIGINS, Origin, Origins, Use, Uses, follow};
use super::frame::Frame;
use super::scan::Scan;
use super::snap::{Calls, Probing, Snapper};
use super::vtable::TaskVtable;
use crate::elf::{Functions, Image, Pointers};
use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Instructions around a store among which the other words of the header are written.
const NEIGHBOURS: usize = 14;

/// States of a new task: references (64 each), notified (4), a handle exists (8). 1.10 to 1.54 have three.
const NEW_STATES: [u64; 2] = [0x8c, 0xcc];

/// Where a spawn point finds the vtable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Which {
    /// It is always this one (place in the list of vtables).
    Vtable(usize),
    /// This register holds its address.
    Register(Register),
    /// So many bytes behind the address in this register its address is stored.
    Memory(Register, u32),
}

/// A point that tasks pass when they are created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SpawnPoint {
    /// The instruction to hook.
    pub(super) vaddr: u64,
    /// Whose task it is.
    pub(super) which: Which,
    /// Whether the kernel emulates the instruction.
    pub(super) emulated: bool,
}

/// What is known of all spawns.
#[derive(Debug, Default)]
pub(super) struct Spawns {
    /// Every point, sorted by address, no two at the same.
    pub(super) points: BTreeMap<u64, SpawnPoint>,
    /// Vtables (by place) of which some construction may not be seen, and why.
    pub(super) missed: BTreeMap<usize, &'static str>,
    /// Vtables (by place) with at least one point.
    pub(super) seen: BTreeSet<usize>,
}

/// What the search works on.
pub(super) struct Search<'a> {
    /// The image.
    pub(super) image: &'a Image<'a>,
    /// Its functions.
    pub(super) functions: &'a Functions,
    /// Its pointers.
    pub(super) pointers: &'a Pointers,
    /// The linear pass over its code.
    pub(super) scan: &'a Scan,
    /// The vtables, sorted by address.
    pub(super) vtables: &'a [TaskVtable],
    /// Offset of the vtable pointer in a header, bytes.
    pub(super) field: u32,
    /// Words that hold a vtable's address, with the vtable's place.
    pub(super) slots: &'a HashMap<u64, usize>,
}

/// How good a use is as the mark of a construction; the least is the best.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Rank {
    /// A header is written.
    Header,
    /// Something in memory is written.
    Store,
    /// A function gets the address.
    Argument,
    /// The function returns it.
    Returned,
}

/// A use that marks a construction.
#[derive(Clone, Debug)]
struct Mark {
    usage: Use,
    /// The vtables whose loads chose it.
    vtables: BTreeSet<usize>,
    /// It may be of something else too.
    or_other: bool,
}

impl Mark {
    /// The vtable, if it is always the same.
    fn single(&self) -> Option<usize> {
        let only = self.vtables.len() == 1 && !self.or_other;
        self.vtables.first().copied().filter(|_| only)
    }
}

impl Search<'_> {
    /// Finds the points of all vtables.
    pub(super) fn run(&self, budget: &mut Budget) -> Spawns {
        let mut spawns = Spawns::default();
        let mut returned: BTreeMap<u32, BTreeSet<usize>> = BTreeMap::new();
        let mut functions: Vec<u32> = self.scan.references.iter().map(|(index, _)| *index).collect();
        functions.dedup();
        for index in functions {
            self.function(index, budget, &mut spawns, &mut returned);
        }
        for (index, vtables) in returned {
            self.calls_of(index, &vtables, budget, &mut spawns);
        }
        spawns
    }

    fn listing(&self, index: u32, budget: &mut Budget) -> Option<Listing> {
        let function = self.functions.all().get(index as usize)?;
        Listing::decode(self.image, *function, budget)
    }

    /// The points in one function that refers to vtables.
    fn function(
        &self,
        index: u32,
        budget: &mut Budget,
        spawns: &mut Spawns,
        returned: &mut BTreeMap<u32, BTreeSet<usize>>,
    ) {
        let Some(listing) = self.listing(index, budget) else {
            let from = self
                .scan
                .references
                .partition_point(|(function, _)| *function < index);
            let here = self
                .scan
                .references
                .iter()
                .skip(from)
                .take_while(|(function, _)| *function == index);
            for (_, address) in here {
                if let Some(vtable) = self.vtable(*address).or_else(|| self.slots.get(address).copied()) {
                    spawns.missed.insert(
                        vtable,
                        "a function that creates its tasks is too large to look into",
                    );
                }
            }
            return;
        };
        let origins = self.origins(&listing);
        if origins.is_empty() {
            return; // chance bytes
        }
        let flow = Flow::of(&listing, self.image);
        let frame = Frame::of(&listing);
        let is_built = |at: usize, ahead: u8| self.is_built(&listing, &frame, at, ahead);
        let mut marks: BTreeMap<usize, Mark> = BTreeMap::new();
        for group in origins.chunks(MAX_ORIGINS) {
            let loads = group
                .iter()
                .enumerate()
                .map(|(number, (at, _, lane))| (*at, Origin { number, lane: *lane }))
                .collect();
            let uses = follow(&listing, &flow, &frame, &loads, &is_built);
            for (number, (_, vtable, _)) in group.iter().enumerate() {
                let best = self.best_uses(&listing, &uses, number);
                if best.is_empty() || uses.incomplete {
                    spawns.missed.insert(
                        *vtable,
                        "its address is loaded, and what becomes of it is not clear",
                    );
                }
                for (at, usage, all) in best {
                    if usage == Use::Return {
                        returned.entry(index).or_default().insert(*vtable);
                        continue;
                    }
                    let same = |origin: usize| group.get(origin).is_some_and(|(_, other, _)| other == vtable);
                    spawns.seen.insert(*vtable);
                    let mark = marks.entry(at).or_insert(Mark {
                        usage,
                        vtables: BTreeSet::new(),
                        or_other: false,
                    });
                    mark.vtables.insert(*vtable);
                    mark.or_other |= all.or_other() || !all.iter().all(same);
                }
            }
        }
        let snapper = Snapper {
            image: self.image,
            functions: self.functions,
            pointers: self.pointers,
            listing: &listing,
            flow: &flow,
        };
        for (at, mark) in &marks {
            if !place(&snapper, *at, mark, spawns) {
                for vtable in &mark.vtables {
                    spawns.missed.insert(
                        *vtable,
                        "the instruction that creates its tasks cannot carry a probe",
                    );
                }
            }
        }
    }

    /// Whether a store writes into a header that is built in the frame, rather than spills a register: the state of
    /// a new task is written before it, or the header's address is taken and its other words are written.
    fn is_built(&self, listing: &Listing, frame: &Frame, at: usize, ahead: u8) -> bool {
        let Some((base, at_base)) = listing.instructions.get(at).and_then(|store| frame.place(store)) else {
            return false;
        };
        let slot = at_base.wrapping_add(i64::from(ahead));
        if self.writes_new_state(listing, at, ahead) {
            return true;
        }
        let written = header_neighbours(listing, at, ahead);
        frame.is_addressed((base, slot.wrapping_sub(i64::from(self.field))))
            && (written == 3 || (written == 2 && !frame.is_spill((base, slot))))
    }

    /// Whether the state of a new task is written where the header's state is if the store writes its vtable
    /// pointer: two or three references, a handle, and notified.
    fn writes_new_state(&self, listing: &Listing, at: usize, ahead: u8) -> bool {
        let Some(store) = listing.instructions.get(at) else {
            return false;
        };
        let state = vtable_field(store, ahead).wrapping_sub(i64::from(self.field));
        near(listing, at).any(|instruction| {
            instruction.code() == Code::Mov_rm64_imm32
                && instruction.op0_kind() == OpKind::Memory
                && instruction.memory_base() == store.memory_base()
                && instruction.memory_index() == Register::None
                && instruction.memory_displacement64().cast_signed() == state
                && NEW_STATES.contains(&instruction.immediate(1))
        })
    }

    /// The loads of vtable addresses: (instruction, vtable, which eight bytes of a vector register).
    fn origins(&self, listing: &Listing) -> Vec<(usize, usize, u8)> {
        let mut origins = Vec::new();
        for (index, instruction) in listing.instructions.iter().enumerate() {
            if let Some((vtable, lane)) = self.origin(instruction) {
                origins.push((index, vtable, lane));
            }
        }
        origins
    }

    fn origin(&self, instruction: &Instruction) -> Option<(usize, u8)> {
        if instruction.mnemonic() == Mnemonic::Lea {
            let address = if instruction.is_ip_rel_memory_operand() {
                instruction.ip_rel_memory_address()
            } else if self.image.is_fixed() && instruction.memory_base() == Register::None {
                instruction.memory_displacement64()
            } else {
                return None;
            };
            return self.vtable(address).map(|vtable| (vtable, 0));
        }
        if self.image.is_fixed()
            && matches!(
                instruction.code(),
                Code::Mov_r32_imm32 | Code::Mov_rm64_imm32 | Code::Mov_r64_imm64 | Code::Mov_rm32_imm32
            )
        {
            return self.vtable(instruction.immediate(1)).map(|vtable| (vtable, 0));
        }
        let loads = instruction.op0_kind() == OpKind::Register
            && instruction.is_ip_rel_memory_operand()
            && !matches!(instruction.mnemonic(), Mnemonic::Cmp | Mnemonic::Test);
        if !loads {
            return None;
        }
        let address = instruction.ip_rel_memory_address();
        if instruction.mnemonic() == Mnemonic::Mov {
            return self.slots.get(&address).map(|vtable| (*vtable, 0));
        }
        let lanes = u64::try_from(instruction.memory_size().size() / 8).unwrap_or(0);
        if !instruction.op0_register().is_vector_register() {
            return None;
        }
        let high_half = matches!(instruction.mnemonic(), Mnemonic::Movhps | Mnemonic::Movhpd);
        (0..lanes).find_map(|lane| {
            let vtable = self.slots.get(&address.checked_add(8 * lane)?)?;
            let lane = if high_half { 1 } else { u8::try_from(lane).ok()? };
            Some((*vtable, lane))
        })
    }

    /// The best uses of one load: (instruction, use, all loads it may be of).
    fn best_uses(&self, listing: &Listing, uses: &Uses, number: usize) -> Vec<(usize, Use, Origins)> {
        let mut best: Option<Rank> = None;
        let mut confirmed = false;
        let mut found = Vec::new();
        for ((at, usage), origins) in &uses.all {
            if !origins.iter().any(|origin| origin == number) {
                continue;
            }
            let rank = match usage {
                Use::Store { slot: Some(slot), .. } if uses.reloaded.contains(&(*slot, number)) => continue,
                Use::Store { ahead, .. } if misaligned(listing, *at, *ahead) => continue,
                Use::Store { ahead, .. } if header_neighbours(listing, *at, *ahead) > 0 => Rank::Header,
                Use::Store { .. } => Rank::Store,
                Use::Argument(_) => Rank::Argument,
                Use::Return => Rank::Returned,
            };
            if best.is_none_or(|best| rank < best) {
                best = Some(rank);
                found.clear();
            }
            if best == Some(rank) {
                let new_state =
                    matches!(usage, Use::Store { ahead, .. } if self.writes_new_state(listing, *at, *ahead));
                confirmed |= new_state;
                found.push((*at, *usage, *origins, new_state));
            }
        }
        // Where the state of a new task confirms one place, a place that may get something else as well is a
        // stale slot or register.
        found
            .into_iter()
            .filter(|(_, _, origins, new_state)| !confirmed || *new_state || !origins.or_other())
            .map(|(at, usage, origins, _)| (at, usage, origins))
            .collect()
    }

    fn vtable(&self, address: u64) -> Option<usize> {
        self.vtables
            .binary_search_by_key(&address, |vtable| vtable.vaddr.0)
            .ok()
    }

    /// The points for a function that returns a vtable's address: its calls.
    fn calls_of(&self, index: u32, vtables: &BTreeSet<usize>, budget: &mut Budget, spawns: &mut Spawns) {
        let start = self
            .functions
            .all()
            .get(index as usize)
            .map(|function| function.start);
        let (Some(start), 1, Some(vtable)) = (start, vtables.len(), vtables.first().copied()) else {
            for vtable in vtables {
                spawns.missed.insert(
                    *vtable,
                    "a function returns the address of this vtable or of another",
                );
            }
            return;
        };
        for caller in self.scan.callers(index) {
            let Some(listing) = self.listing(caller, budget) else {
                spawns.missed.insert(
                    vtable,
                    "a function that creates its tasks is too large to look into",
                );
                continue;
            };
            let flow = Flow::of(&listing, self.image);
            let snapper = Snapper {
                image: self.image,
                functions: self.functions,
                pointers: self.pointers,
                listing: &listing,
                flow: &flow,
            };
            for at in 0..listing.instructions.len() {
                if listing.callee(at, self.pointers) == Some(start) {
                    let mark = Mark {
                        usage: Use::Return,
                        vtables: BTreeSet::from([vtable]),
                        or_other: false,
                    };
                    spawns.seen.insert(vtable);
                    if !place(&snapper, at, &mark, spawns) {
                        spawns.missed.insert(
                            vtable,
                            "the instruction that creates its tasks cannot carry a probe",
                        );
                    }
                }
            }
        }
    }
}

/// Displacement of the vtable pointer that a store writes.
fn vtable_field(store: &Instruction, ahead: u8) -> i64 {
    store
        .memory_displacement64()
        .cast_signed()
        .wrapping_add(i64::from(ahead))
}

/// The instructions around one.
fn near(listing: &Listing, at: usize) -> impl Iterator<Item = &Instruction> {
    let first = at.saturating_sub(NEIGHBOURS);
    listing.instructions.iter().skip(first).take(2 * NEIGHBOURS + 1)
}

/// How many words of the header around the vtable pointer are written by instructions around its store: the two
/// words before it (state, queue link) and the word behind it (owner).
fn header_neighbours(listing: &Listing, at: usize, ahead: u8) -> usize {
    let Some(store) = listing.instructions.get(at) else {
        return 0;
    };
    let base = store.memory_base();
    let field = vtable_field(store, ahead);
    let written: Vec<(i64, i64)> = near(listing, at)
        .filter(|instruction| {
            instruction.op0_kind() == OpKind::Memory
                && instruction.memory_base() == base
                && instruction.memory_index() == Register::None
                && is_store(instruction)
        })
        .map(|instruction| {
            let size = i64::try_from(instruction.memory_size().size()).unwrap_or(0);
            (instruction.memory_displacement64().cast_signed(), size)
        })
        .collect();
    [-16, -8, 8]
        .into_iter()
        .map(|distance: i64| field.wrapping_add(distance))
        .filter(|word| {
            written
                .iter()
                .any(|(from, size)| *from < word.wrapping_add(8) && from.wrapping_add(*size) > *word)
        })
        .count()
}

/// Whether no vtable pointer can be there: in the frame, whose alignment is known.
fn misaligned(listing: &Listing, at: usize, ahead: u8) -> bool {
    listing.instructions.get(at).is_some_and(|store| {
        store.memory_base() == Register::RSP && vtable_field(store, ahead).rem_euclid(8) != 0
    })
}

fn is_store(instruction: &Instruction) -> bool {
    let name = instruction.mnemonic();
    name == Mnemonic::Mov
        || (instruction.op1_kind() == OpKind::Register && instruction.op1_register().is_vector_register())
}

/// Puts a point for a construction; `false` if no instruction can carry it.
fn place(snapper: &Snapper<'_>, at: usize, mark: &Mark, spawns: &mut Spawns) -> bool {
    let Some(instruction) = snapper.listing.instructions.get(at) else {
        return false;
    };
    let (which, keep) = match (mark.single(), mark.usage) {
        (Some(vtable), _) => (Which::Vtable(vtable), Vec::new()),
        (
            None,
            Use::Argument(register)
            | Use::Store {
                register: Some(register),
                ..
            },
        ) => (Which::Register(register), vec![register]),
        (None, Use::Store { ahead, .. }) => {
            let base = instruction.memory_base();
            let field = instruction.memory_displacement64().checked_add(u64::from(ahead));
            let field = field.and_then(|field| u32::try_from(field).ok());
            match field {
                Some(field) if base.is_gpr64() && instruction.memory_index() == Register::None => {
                    (Which::Memory(base, field), vec![base])
                }
                _ => return false,
            }
        }
        (None, Use::Return) => return false,
    };
    let after = matches!(which, Which::Memory(..));
    let candidates = if after {
        let next = (!snapper.flow.is_target(at + 1)).then_some(at + 1);
        vec![
            snapper.forward(at, &keep, Calls::Stop),
            snapper.forward(at, &keep, Calls::Cross),
            next,
        ]
    } else {
        vec![
            snapper.forward(at, &keep, Calls::Stop),
            snapper.backward(at, &keep, Calls::Stop),
            snapper.forward(at, &keep, Calls::Cross),
            snapper.backward(at, &keep, Calls::Cross),
            Some(at),
        ]
    };
    for index in candidates.into_iter().flatten() {
        let Some(instruction) = snapper.listing.instructions.get(index) else {
            continue;
        };
        let probing = snapper.probing(index);
        if probing == Probing::Refused || spawns.points.contains_key(&instruction.ip()) {
            continue; // another construction in the same straight line has it: each needs its own
        }
        spawns.points.insert(
            instruction.ip(),
            SpawnPoint {
                vaddr: instruction.ip(),
                which,
                emulated: probing == Probing::Emulated,
            },
        );
        return true;
    }
    false
}
