//! The code of one function, decoded: instructions, where control goes, where blocks begin.
//!
//! A listing lives as long as one question about one function; nothing decoded is kept for the whole file.

use crate::elf::{Function, Image, Pointers};
use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register,
};

/// Code of one function, bytes. The largest seen in a shipped executable has 0.4 MB.
pub(super) const MAX_FUNCTION_BYTES: u64 = 4 << 20;
/// Instructions decoded per executable: about ten seconds on a slow machine.
pub(super) const MAX_DECODED: u64 = 100 << 20;
/// Targets read per jump table.
const MAX_TABLE: u64 = 4096;
/// How far before a call through a register the register's load is looked for, instructions.
const REGISTER_WINDOW: usize = 4096;
/// How far before an indirect jump its table's address is looked for, instructions.
const TABLE_WINDOW: usize = 64;

/// What decoding may still cost.
#[derive(Debug)]
pub(super) struct Budget {
    left: u64,
}

impl Budget {
    /// The whole of [`MAX_DECODED`].
    #[must_use]
    pub(super) fn full() -> Self {
        Self { left: MAX_DECODED }
    }

    /// Takes from it; `false` if it does not suffice.
    pub(super) fn take(&mut self, instructions: u64) -> bool {
        match self.left.checked_sub(instructions) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                self.left = 0;
                false
            }
        }
    }

    /// Whether something had to be left out.
    #[must_use]
    pub(super) fn exhausted(&self) -> bool {
        self.left == 0
    }
}

/// The decoded code of one function.
#[derive(Debug)]
pub(super) struct Listing {
    /// Its instructions in the order of addresses; bytes that are no instruction become invalid ones.
    pub(super) instructions: Vec<Instruction>,
}

impl Listing {
    /// Decodes a function. `None` if it is too large, is not in the file, or the budget is used up.
    #[must_use]
    pub(super) fn decode(image: &Image<'_>, function: Function, budget: &mut Budget) -> Option<Self> {
        let size = function.size();
        if size > MAX_FUNCTION_BYTES || budget.exhausted() {
            return None;
        }
        let bytes = image.bytes(function.start, usize::try_from(size).ok()?)?;
        let mut decoder = Decoder::with_ip(64, bytes, function.start, DecoderOptions::NONE);
        let mut instructions = Vec::with_capacity(bytes.len() / 4);
        while decoder.can_decode() {
            instructions.push(decoder.decode());
        }
        budget
            .take(instructions.len() as u64)
            .then_some(Self { instructions })
    }

    /// The place of the instruction that begins at the address.
    #[must_use]
    pub(super) fn index(&self, vaddr: u64) -> Option<usize> {
        self.instructions
            .binary_search_by_key(&vaddr, Instruction::ip)
            .ok()
    }
}

impl Listing {
    /// Where a call or jump leads if the file says it: directly, through a relocated slot, or through a register
    /// that the nearest instruction before to write it loads from such a slot.
    #[must_use]
    pub(super) fn callee(&self, index: usize, pointers: &Pointers) -> Option<u64> {
        let instruction = self.instructions.get(index)?;
        let indirect = matches!(
            instruction.flow_control(),
            FlowControl::IndirectCall | FlowControl::IndirectBranch
        );
        if !indirect || instruction.op0_kind() != OpKind::Register {
            return branch_target(instruction, pointers);
        }
        let register = instruction.op0_register();
        let mut infos = InstructionInfoFactory::new();
        // A pop on the way restores the register at another exit of the function.
        let load = self.instructions[..index]
            .iter()
            .rev()
            .take(REGISTER_WINDOW)
            .filter(|before| before.mnemonic() != Mnemonic::Pop)
            .find(|before| {
                infos.info(before).used_registers().iter().any(|used| {
                    used.register().full_register() == register
                        && !matches!(
                            used.access(),
                            OpAccess::Read | OpAccess::CondRead | OpAccess::None
                        )
                })
            })?;
        (load.mnemonic() == Mnemonic::Mov && load.is_ip_rel_memory_operand())
            .then(|| pointers.target(load.ip_rel_memory_address()))?
    }
}

/// Where a direct call or jump leads, through a relocated slot too (`call [rip+slot]`).
#[must_use]
pub(super) fn branch_target(instruction: &Instruction, pointers: &Pointers) -> Option<u64> {
    match instruction.flow_control() {
        FlowControl::Call | FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
            (instruction.op0_kind() == OpKind::NearBranch64).then(|| instruction.near_branch64())
        }
        FlowControl::IndirectCall | FlowControl::IndirectBranch => (instruction.op0_kind() == OpKind::Memory
            && instruction.is_ip_rel_memory_operand())
        .then(|| pointers.target(instruction.ip_rel_memory_address()))?,
        _ => None,
    }
}

/// Whether it ends a straight line: control never reaches the next instruction from here.
#[must_use]
pub(super) fn never_falls_through(instruction: &Instruction) -> bool {
    matches!(
        instruction.flow_control(),
        FlowControl::UnconditionalBranch
            | FlowControl::IndirectBranch
            | FlowControl::Return
            | FlowControl::Exception
    ) || instruction.code() == Code::INVALID
}

/// Where control goes within one function.
#[derive(Debug)]
pub(super) struct Flow {
    /// Per instruction: some jump of the function, or a jump table, leads to it.
    target: Vec<bool>,
    /// Indirect jumps with the instructions their tables name, sorted by the jump.
    tables: Vec<(usize, Vec<usize>)>,
}

impl Flow {
    /// Finds the jump targets of a function, those of its jump tables included.
    #[must_use]
    pub(super) fn of(listing: &Listing, image: &Image<'_>) -> Self {
        let mut flow = Self {
            target: vec![false; listing.instructions.len()],
            tables: Vec::new(),
        };
        for (index, instruction) in listing.instructions.iter().enumerate() {
            match instruction.flow_control() {
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                    if let Some(target) = direct_target(listing, instruction) {
                        flow.mark(target);
                    }
                }
                FlowControl::IndirectBranch => {
                    let targets = jump_table(listing, index, image);
                    for target in &targets {
                        flow.mark(*target);
                    }
                    flow.tables.push((index, targets));
                }
                _ => {}
            }
        }
        flow
    }

    fn mark(&mut self, index: usize) {
        if let Some(target) = self.target.get_mut(index) {
            *target = true;
        }
    }

    /// Whether a jump of the function leads to this instruction.
    #[must_use]
    pub(super) fn is_target(&self, index: usize) -> bool {
        self.target.get(index).copied().unwrap_or(true)
    }

    /// The instructions that the jump table of an indirect jump names.
    #[must_use]
    pub(super) fn table(&self, jump: usize) -> &[usize] {
        match self.tables.binary_search_by_key(&jump, |(at, _)| *at) {
            Ok(found) => self.tables.get(found).map_or(&[], |(_, targets)| targets),
            Err(_) => &[],
        }
    }
}

/// The instruction of the same function that a direct jump leads to.
#[must_use]
pub(super) fn direct_target(listing: &Listing, jump: &Instruction) -> Option<usize> {
    (jump.op0_kind() == OpKind::NearBranch64)
        .then(|| listing.index(jump.near_branch64()))
        .flatten()
}

/// The instructions named by the table of an indirect jump: `lea b,[rip+table]; movsxd r,[b+i*4]; add r,b;
/// jmp r`, or `jmp [table+i*8]` in code of fixed addresses. Reads entries while they are instructions of
/// the function, so it may name some too many; empty if there is no table (a tail call).
fn jump_table(listing: &Listing, jump: usize, image: &Image<'_>) -> Vec<usize> {
    let Some(instruction) = listing.instructions.get(jump) else {
        return Vec::new();
    };
    if instruction.op0_kind() == OpKind::Memory {
        let scaled = instruction.memory_index_scale() == 8 && instruction.memory_base() == Register::None;
        return if scaled {
            let at = instruction.memory_displacement64();
            entries(listing, |index| image.u64_at(at.checked_add(8 * index)?))
        } else {
            Vec::new()
        };
    }
    let mut base = None;
    for before in listing.instructions[..jump].iter().rev().take(TABLE_WINDOW) {
        if base.is_none() {
            let loads_entry = before.mnemonic() == Mnemonic::Movsxd
                && before.op1_kind() == OpKind::Memory
                && before.memory_index_scale() == 4;
            if loads_entry {
                base = Some(before.memory_base());
                break;
            }
        }
    }
    let Some(base) = base else { return Vec::new() };
    // The address may be loaded far ahead of the jump, out of a loop: the nearest load of it before the jump,
    // else the nearest anywhere.
    let is_table = |candidate: &&Instruction| {
        candidate.mnemonic() == Mnemonic::Lea
            && candidate.op0_register() == base
            && candidate.is_ip_rel_memory_operand()
    };
    let (before, after) = listing.instructions.split_at(jump);
    let table = before
        .iter()
        .rev()
        .find(is_table)
        .or_else(|| after.iter().find(is_table));
    let Some(table) = table.map(Instruction::ip_rel_memory_address) else {
        return Vec::new();
    };
    entries(listing, |index| {
        let entry = image.u32_at(table.checked_add(4 * index)?)?;
        Some(table.wrapping_add_signed(i64::from(entry.cast_signed())))
    })
}

/// Reads table entries while they are instructions of the function.
fn entries(listing: &Listing, entry: impl Fn(u64) -> Option<u64>) -> Vec<usize> {
    let mut targets: Vec<usize> = (0..MAX_TABLE)
        .map_while(|index| listing.index(entry(index)?))
        .collect();
    targets.sort_unstable();
    targets.dedup();
    targets
}
