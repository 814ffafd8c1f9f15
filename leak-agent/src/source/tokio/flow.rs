//! Where a vtable's address goes within one function: through registers, halves of vector registers and stack
//! slots, to the stores, calls and returns that use it.
//!
//! An abstract interpretation to a fixed point: per place the set of loads of a vtable's address whose value it
//! may hold. Joins unite, so "may hold something else as well" is part of the set.

use super::code::{Flow, Listing, direct_target, never_falls_through};
use super::frame::Frame;
use super::snap::callee_saved;
use super::transfer::{Place, is_conditional_move, lane, slot, stored, transfers};
use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};
use std::collections::{BTreeMap, BTreeSet};

/// Loads of vtable addresses followed at once: the bits of a [`Origins`] but one.
pub(super) const MAX_ORIGINS: usize = 127;
/// Places that hold a vtable's address at once.
const MAX_PLACES: usize = 256;
/// Visits of instructions per function, times its instructions.
const MAX_ROUNDS: u64 = 64;

/// A set of loads of vtable addresses (by number), and possibly "something else".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Origins(u128);

impl Origins {
    const OTHER: Self = Self(1 << MAX_ORIGINS);

    /// Just this one.
    fn only(origin: usize) -> Self {
        Self(
            1_u128
                .checked_shl(u32::try_from(origin).unwrap_or(u32::MAX))
                .unwrap_or(0),
        )
    }

    fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it may be something else than a vtable's address.
    #[must_use]
    pub(super) fn or_other(self) -> bool {
        self.0 & Self::OTHER.0 != 0
    }

    /// The numbers of the loads.
    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        let mut bits = self.0 & !Self::OTHER.0;
        std::iter::from_fn(move || {
            let next = bits.trailing_zeros() as usize;
            (bits != 0).then(|| {
                bits &= bits - 1;
                next
            })
        })
    }
}

/// What became of a vtable's address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Use {
    /// Stored to memory, `bytes` behind what the operand addresses.
    Store {
        /// What was stored, if it is a general register.
        register: Option<Register>,
        /// Distance from the operand's address to the stored vtable address, bytes.
        ahead: u8,
        /// The slot of the frame, if it is one.
        slot: Option<Place>,
    },
    /// Passed to a call in this register.
    Argument(Register),
    /// Returned in rax.
    Return,
}

/// All that became of the loads in a function.
#[derive(Debug, Default)]
pub(super) struct Uses {
    /// (instruction, use) → the loads it may be of.
    pub(super) all: BTreeMap<(usize, Use), Origins>,
    /// (slot, load): the slot was read while it held the value of the load.
    pub(super) reloaded: BTreeSet<(Place, usize)>,
    /// The limits were hit: uses may be missing.
    pub(super) incomplete: bool,
}

/// The value of every place that may hold a vtable's address.
type State = BTreeMap<Place, Origins>;

/// A load of a vtable's address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Origin {
    /// Its number, below [`MAX_ORIGINS`].
    pub(super) number: usize,
    /// Which eight bytes of a vector register get the address, if it loads one.
    pub(super) lane: u8,
}

/// Follows the loads, given by their instructions. `is_built` says of a store (instruction, bytes behind its
/// operand's address) that it writes into a header built in the frame: the value is then not followed further.
#[must_use]
pub(super) fn follow(
    listing: &Listing,
    flow: &Flow,
    frame: &Frame,
    origins: &BTreeMap<usize, Origin>,
    is_built: &dyn Fn(usize, u8) -> bool,
) -> Uses {
    let mut walk = Walk {
        listing,
        flow,
        origins,
        frame,
        is_built,
        infos: InstructionInfoFactory::new(),
        uses: Uses::default(),
    };
    walk.run();
    walk.uses
}

struct Walk<'a> {
    listing: &'a Listing,
    flow: &'a Flow,
    origins: &'a BTreeMap<usize, Origin>,
    frame: &'a Frame,
    is_built: &'a dyn Fn(usize, u8) -> bool,
    infos: InstructionInfoFactory,
    uses: Uses,
}

impl Walk<'_> {
    /// Work list over straight lines; a line is walked again when the state at its beginning grew. Begins at
    /// the function's entry, then at loads that only unwinding or an unknown jump leads to.
    fn run(&mut self) {
        let mut at_start: BTreeMap<usize, State> = BTreeMap::from([(0, State::new())]);
        let mut work = BTreeSet::from([0]);
        let mut met = BTreeSet::new();
        let mut left = MAX_ROUNDS.saturating_mul(self.listing.instructions.len() as u64);
        loop {
            let unmet = |origin: &usize| !met.contains(origin);
            let start = work
                .pop_first()
                .or_else(|| self.origins.keys().copied().find(unmet));
            let Some(start) = start else { break };
            let mut state = at_start.get(&start).cloned().unwrap_or_default();
            let mut index = start;
            while let Some(instruction) = self.listing.instructions.get(index) {
                left = left.saturating_sub(1);
                if left == 0 || state.len() > MAX_PLACES {
                    self.uses.incomplete = true;
                    return;
                }
                if self.origins.contains_key(&index) {
                    met.insert(index);
                }
                self.step(index, instruction, &mut state);
                match instruction.flow_control() {
                    FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                        if let Some(target) = direct_target(self.listing, instruction)
                            && merge(&mut at_start, target, &state)
                        {
                            work.insert(target);
                        }
                    }
                    FlowControl::IndirectBranch => {
                        for target in self.flow.table(index) {
                            if merge(&mut at_start, *target, &state) {
                                work.insert(*target);
                            }
                        }
                    }
                    _ => {}
                }
                if never_falls_through(instruction) {
                    break;
                }
                index += 1;
                if self.flow.is_target(index) {
                    if merge(&mut at_start, index, &state) {
                        work.insert(index);
                    }
                    break;
                }
            }
        }
    }

    /// The effect of one instruction.
    fn step(&mut self, index: usize, instruction: &Instruction, state: &mut State) {
        if let Some(origin) = self.origins.get(&index) {
            self.load_origin(index, instruction, *origin, state);
            return;
        }
        if state.is_empty() {
            return;
        }
        match instruction.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall => {
                self.call(index, state);
                return;
            }
            FlowControl::Return => {
                self.arrive(index, Use::Return, Place::Register(Register::RAX), state);
                return;
            }
            FlowControl::UnconditionalBranch | FlowControl::IndirectBranch => {
                let leaves = match instruction.flow_control() {
                    FlowControl::UnconditionalBranch => direct_target(self.listing, instruction).is_none(),
                    _ => self.flow.table(index).is_empty(),
                };
                if leaves {
                    self.call(index, state); // a tail call
                }
                return;
            }
            _ => {}
        }
        self.stores(index, instruction, state);
        let moved = self.moved(index, instruction, state);
        self.kill(instruction, state);
        for (place, origins) in moved {
            state.insert(place, origins);
        }
        self.stack_pointer(instruction, state);
    }

    /// An instruction that loads a vtable's address: into a register, or (fixed addresses) straight into memory.
    fn load_origin(&mut self, index: usize, instruction: &Instruction, origin: Origin, state: &mut State) {
        let origins = Origins::only(origin.number);
        if instruction.op0_kind() == OpKind::Memory {
            let slot = slot(self.frame, instruction, 0).filter(|_| !(self.is_built)(index, 0));
            let usage = Use::Store {
                register: None,
                ahead: 0,
                slot,
            };
            self.record(index, usage, origins);
            if let Some(slot) = slot {
                state.insert(slot, origins);
            }
            return;
        }
        self.kill(instruction, state);
        let register = instruction.op0_register();
        if register.is_vector_register() {
            state.insert(lane(register, origin.lane), origins);
        } else {
            state.insert(Place::Register(register.full_register()), origins);
        }
    }

    /// Notes a use of whatever the place holds.
    fn arrive(&mut self, index: usize, usage: Use, place: Place, state: &State) {
        if let Some(origins) = state.get(&place) {
            self.record(index, usage, *origins);
        }
    }

    fn record(&mut self, index: usize, usage: Use, origins: Origins) {
        self.uses
            .all
            .entry((index, usage))
            .and_modify(|known| *known = known.union(origins))
            .or_insert(origins);
    }

    /// A call: takes arguments, and leaves only what functions preserve.
    fn call(&mut self, index: usize, state: &mut State) {
        for register in [
            Register::RDI,
            Register::RSI,
            Register::RDX,
            Register::RCX,
            Register::R8,
            Register::R9,
        ] {
            self.arrive(index, Use::Argument(register), Place::Register(register), state);
        }
        let passed = self.frame.passed(self.listing, index);
        state.retain(|place, _| match place {
            Place::Register(register) => callee_saved(*register),
            Place::Lane(..) => false,
            Place::Slot(base, at) => {
                let below = passed.iter().any(|(other, start)| other == base && start <= at);
                !below || self.frame.is_spill((*base, *at))
            }
        });
    }

    /// Notes stores of vtable addresses to memory.
    fn stores(&mut self, index: usize, instruction: &Instruction, state: &mut State) {
        if instruction.op0_kind() != OpKind::Memory || instruction.op1_kind() != OpKind::Register {
            return;
        }
        for (ahead, source) in stored(instruction) {
            if let Some(origins) = state.get(&source).copied() {
                let register = match source {
                    Place::Register(register) => Some(register),
                    _ => None,
                };
                let slot = slot(self.frame, instruction, i64::from(ahead))
                    .filter(|_| !(self.is_built)(index, ahead));
                self.record(
                    index,
                    Use::Store {
                        register,
                        ahead,
                        slot,
                    },
                    origins,
                );
            }
        }
    }

    /// What the instruction moves: the places that hold vtable addresses behind it, of those it writes.
    fn moved(&mut self, index: usize, instruction: &Instruction, state: &State) -> Vec<(Place, Origins)> {
        if instruction.op0_kind() == OpKind::Memory {
            return stored(instruction)
                .into_iter()
                .filter(|(ahead, _)| !(self.is_built)(index, *ahead))
                .filter_map(|(ahead, source)| {
                    let slot = slot(self.frame, instruction, i64::from(ahead))?;
                    Some((slot, *state.get(&source)?))
                })
                .collect();
        }
        if instruction.mnemonic() == Mnemonic::Push {
            let source = Place::Register(instruction.op0_register());
            // Named as before the shift that follows.
            return state
                .get(&source)
                .map(|origins| (Place::Slot(Register::RSP, -8), *origins))
                .into_iter()
                .collect();
        }
        let mut moved = Vec::new();
        for (target, sources) in transfers(instruction, self.frame) {
            let mut origins: Option<Origins> = None;
            let mut other = false;
            for source in sources {
                match state.get(&source) {
                    Some(found) => origins = Some(origins.map_or(*found, |known| known.union(*found))),
                    None => other = true,
                }
                if let (Place::Slot(..), Some(found)) = (source, state.get(&source)) {
                    for origin in found.iter() {
                        self.uses.reloaded.insert((source, origin));
                    }
                }
            }
            if let Some(origins) = origins {
                moved.push((
                    target,
                    if other {
                        origins.union(Origins::OTHER)
                    } else {
                        origins
                    },
                ));
            }
        }
        moved
    }

    /// Forgets what the instruction overwrites.
    fn kill(&mut self, instruction: &Instruction, state: &mut State) {
        for used in self.infos.info(instruction).used_registers() {
            if matches!(
                used.access(),
                OpAccess::Read | OpAccess::CondRead | OpAccess::None
            ) {
                continue;
            }
            let full = used.register().full_register();
            let keeps = is_conditional_move(instruction);
            if full.is_vector_register() {
                // The moves of one half name both halves as sources; all others replace the register.
                state.retain(|place, _| !matches!(place, Place::Lane(register, _) if *register == full));
            } else if !keeps {
                state.remove(&Place::Register(full));
            }
        }
        let writes_memory = instruction.op0_kind() == OpKind::Memory
            && !matches!(
                instruction.mnemonic(),
                Mnemonic::Cmp
                    | Mnemonic::Test
                    | Mnemonic::Call
                    | Mnemonic::Jmp
                    | Mnemonic::Push
                    | Mnemonic::Bt
            );
        if writes_memory && let Some(Place::Slot(base, at)) = slot(self.frame, instruction, 0) {
            let size = i64::try_from(instruction.memory_size().size())
                .unwrap_or(8)
                .max(1);
            state.retain(|place, _| match place {
                Place::Slot(other, slot) if *other == base => *slot + 8 <= at || *slot >= at + size,
                _ => true,
            });
        }
    }

    /// Renames the slots below rsp when rsp moves.
    fn stack_pointer(&self, instruction: &Instruction, state: &mut State) {
        let shift = match instruction.mnemonic() {
            Mnemonic::Push => 8,
            Mnemonic::Pop => -8,
            Mnemonic::Sub | Mnemonic::Add if instruction.op0_register() == Register::RSP => {
                if instruction.op1_kind() == OpKind::Register || instruction.op1_kind() == OpKind::Memory {
                    state.retain(|place, _| !matches!(place, Place::Slot(Register::RSP, _)));
                    return;
                }
                let amount = instruction.immediate(1).cast_signed();
                if instruction.mnemonic() == Mnemonic::Sub {
                    amount
                } else {
                    amount.wrapping_neg()
                }
            }
            Mnemonic::Lea
                if instruction.op0_register() == Register::RSP
                    && instruction.memory_base() == Register::RSP =>
            {
                instruction.memory_displacement64().cast_signed().wrapping_neg()
            }
            Mnemonic::Mov | Mnemonic::Lea | Mnemonic::And if instruction.op0_register() == Register::RSP => {
                state.retain(|place, _| !matches!(place, Place::Slot(Register::RSP, _)));
                return;
            }
            _ => return,
        };
        let shifted = state
            .iter()
            .map(|(place, origins)| match place {
                Place::Slot(Register::RSP, at) => {
                    (Place::Slot(Register::RSP, at.wrapping_add(shift)), *origins)
                }
                other => (*other, *origins),
            })
            .collect();
        *state = shifted;
    }
}

/// Unites a state into the one at the start of a line; `true` if that grew.
fn merge(at_start: &mut BTreeMap<usize, State>, index: usize, state: &State) -> bool {
    let Some(known) = at_start.get_mut(&index) else {
        at_start.insert(index, state.clone());
        return true;
    };
    let mut grew = false;
    for (place, origins) in known.iter_mut() {
        let united = origins.union(state.get(place).copied().unwrap_or(Origins::OTHER));
        grew |= united != *origins;
        *origins = united;
    }
    for (place, origins) in state {
        if !known.contains_key(place) {
            known.insert(*place, origins.union(Origins::OTHER));
            grew = true;
        }
    }
    grew
}
