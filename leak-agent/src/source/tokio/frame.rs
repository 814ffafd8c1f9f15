//! How one function uses its stack frame: which slots are spills of a register, and where objects with an address
//! lie.

use super::code::Listing;
use iced_x86::{Instruction, Mnemonic, OpKind, Register};
use std::collections::{BTreeMap, BTreeSet};

/// Instructions at the start of a function among which a frame pointer is set up.
const PROLOGUE: usize = 24;
/// Instructions before a call among which its arguments are set up.
const ARGUMENTS: usize = 16;
/// The widest access looked for around a slot, bytes.
const WIDEST: i64 = 64;

/// The frame of one function.
#[derive(Debug)]
pub(super) struct Frame {
    /// rbp addresses the frame.
    pointer: bool,
    /// (base, displacement) → sizes of direct reads and writes there.
    accesses: BTreeMap<(Register, i64), BTreeSet<i64>>,
    /// Places whose address is taken.
    addressed: BTreeSet<(Register, i64)>,
}

impl Frame {
    /// Looks at every instruction once.
    pub(super) fn of(listing: &Listing) -> Self {
        let mut frame = Self {
            pointer: has_frame_pointer(listing),
            accesses: BTreeMap::new(),
            addressed: BTreeSet::new(),
        };
        for instruction in &listing.instructions {
            if let Some(place) = frame.place(instruction) {
                if instruction.mnemonic() == Mnemonic::Lea {
                    frame.addressed.insert(place);
                } else {
                    let size = i64::try_from(instruction.memory_size().size()).unwrap_or(8);
                    frame.accesses.entry(place).or_default().insert(size.max(1));
                }
            }
        }
        frame
    }

    /// The place in the frame that a memory operand names: (base, displacement).
    pub(super) fn place(&self, instruction: &Instruction) -> Option<(Register, i64)> {
        let base = instruction.memory_base();
        let frame = base == Register::RSP || (base == Register::RBP && self.pointer);
        let plain = instruction.memory_index() == Register::None;
        let at = instruction.memory_displacement64().cast_signed();
        (frame && plain).then_some((base, at))
    }

    /// Whether the eight bytes there are only ever accessed as one unit (or half of one of sixteen bytes) whose
    /// address is not taken: the spill of a register, which no call can change.
    pub(super) fn is_spill(&self, (base, at): (Register, i64)) -> bool {
        let from = at.saturating_sub(WIDEST);
        let to = at.saturating_add(WIDEST);
        let overlapping = |start: i64, size: i64| {
            self.accesses
                .range((base, from)..(base, to))
                .flat_map(|((_, place), sizes)| sizes.iter().map(|size| (*place, *size)))
                .filter(move |(place, other)| *place < start + size && *place + *other > start)
        };
        let Some((start, size)) = overlapping(at, 8).max_by_key(|(_, size)| *size) else {
            return false;
        };
        let consistent = overlapping(start, size)
            .all(|unit| unit == (start, size) || (size > 8 && unit.1 == 8 && (unit.0 - start) % 8 == 0));
        consistent
            && self
                .addressed
                .range((base, start)..(base, start + size))
                .next()
                .is_none()
    }

    /// Whether the address of this very place is taken.
    pub(super) fn is_addressed(&self, place: (Register, i64)) -> bool {
        self.addressed.contains(&place)
    }

    /// Places whose addresses are put into registers right before a call: the callee may write there and above.
    pub(super) fn passed(&self, listing: &Listing, call: usize) -> Vec<(Register, i64)> {
        let mut passed = Vec::new();
        for instruction in listing.instructions[..call].iter().rev().take(ARGUMENTS) {
            if instruction.is_call_near() || instruction.is_call_near_indirect() {
                break;
            }
            if instruction.mnemonic() == Mnemonic::Lea {
                passed.extend(self.place(instruction));
            } else if instruction.mnemonic() == Mnemonic::Mov
                && instruction.op1_kind() == OpKind::Register
                && instruction.op0_kind() == OpKind::Register
                && instruction.op1_register() == Register::RSP
            {
                passed.push((Register::RSP, 0));
            }
        }
        passed
    }
}

/// Whether rbp addresses the frame: it is set from rsp near the start.
fn has_frame_pointer(listing: &Listing) -> bool {
    listing.instructions.iter().take(PROLOGUE).any(|instruction| {
        let from_rsp = match instruction.mnemonic() {
            Mnemonic::Mov => instruction.op1_register() == Register::RSP,
            Mnemonic::Lea => instruction.memory_base() == Register::RSP,
            _ => false,
        };
        from_rsp && instruction.op0_register() == Register::RBP
    })
}
