//! Where tasks finish: the exit of the loop that flips a task's state from running to complete.
//!
//! `State::transition_to_complete` is `fetch_xor(RUNNING | COMPLETE)` with the old value used, which x86-64 can
//! only do as a compare-exchange loop: `xor r, 3; lock cmpxchg [header], r; jne`. The loop is inlined here and
//! shared there, so every loop that the `poll` or `shutdown` code of a vtable reaches is hooked, behind its exit, or
//! behind all calls of the function that it is in ([`super::apart`]).

use super::apart;
use super::code::{Budget, Flow, Listing, direct_target};
use super::scan::Scan;
use super::snap::{Calls, Probing, Snapper};
use super::unoptimised;
use super::vtable::TaskVtable;
use crate::elf::{Bounds, Functions, Image, Pointers, exported_functions};
use iced_x86::{
    Code, ConditionCode, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// `RUNNING | COMPLETE` in the state of a task (tokio 1.10 to 1.54).
const RUNNING_OR_COMPLETE: u64 = 3;
/// How far before the exchange the new state is computed, instructions.
const XOR_WINDOW: usize = 6;
/// How far behind the exchange its jump is, instructions.
const JUMP_WINDOW: usize = 3;
/// Direct calls from a vtable's code to a loop. One to three were seen.
const MAX_DEPTH: u32 = 5;
/// Functions from which loops can be reached.
const MAX_REACHING: usize = 1 << 18;

/// A point that tasks pass when they finish.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct FinishPoint {
    /// The instruction to hook.
    pub(super) vaddr: u64,
    /// Where the task's type is known from.
    pub(super) site: FinishSite,
    /// Whether the kernel emulates the instruction.
    pub(super) emulated: bool,
}

/// Where a finished task's type is known from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum FinishSite {
    /// The header, whose address is in this register.
    Header(Register),
    /// The place in the code: only tasks of this vtable pass it.
    Constant(u64),
}

/// How a vtable's tasks finish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Coverage {
    /// Every way passes one of the points.
    Followed,
    /// Some way may not, because …
    Missed(&'static str),
}

/// What is known of all finishes.
#[derive(Debug)]
pub(super) struct Finishes {
    /// Every point, sorted, without repeats.
    pub(super) points: Vec<FinishPoint>,
    /// Per vtable.
    pub(super) coverage: Vec<Coverage>,
    /// Some point is the entry of a function that a symbol names, rather than behind a loop.
    pub(super) by_symbol: bool,
}

/// A function that finishes tasks.
#[derive(Debug, Default)]
struct Finisher {
    points: Vec<FinishPoint>,
    /// A loop whose exit is shared with other paths, or cannot be hooked.
    unhooked: bool,
    /// It is hooked at its entry, as a symbol says what it is.
    by_symbol: bool,
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
}

impl Search<'_> {
    /// Finds the points of all vtables. `complete` is the function `State::transition_to_complete` if a symbol
    /// names it: used where it has no loop of its own (unoptimised code), by hooking its entry.
    pub(super) fn run(&self, vtables: &[TaskVtable], complete: &[u64], budget: &mut Budget) -> Finishes {
        let mut finishers = BTreeMap::new();
        for index in &self.scan.exchanging {
            if let Some(finisher) = self.finisher(*index, budget) {
                finishers.insert(*index, finisher);
            }
        }
        for vaddr in complete {
            let index = self
                .functions
                .starting(*vaddr)
                .and_then(|at| u32::try_from(at).ok());
            if let Some(index) = index
                && !finishers.contains_key(&index)
                && let Some(finisher) = self.entry(index, true, budget)
            {
                finishers.insert(index, finisher);
            }
        }
        if finishers.is_empty() {
            let flipping =
                unoptimised::flipping(self.image, self.functions, self.pointers, self.scan, budget);
            for index in flipping {
                if let Some(finisher) = self.entry(index, false, budget) {
                    finishers.insert(index, finisher);
                }
            }
        }
        let reaching = self.reaching(&finishers, budget);
        let mut used = BTreeSet::new();
        let coverage = vtables
            .iter()
            .map(|vtable| coverage(vtable, &reaching, &finishers, self.functions, &mut used))
            .collect();
        let mut hooked = BTreeMap::new();
        let mut by_symbol = false;
        for index in used {
            let Some(finisher) = finishers.get(&index) else {
                continue;
            };
            hooked.insert(index, finisher.points.clone());
            by_symbol |= finisher.by_symbol;
        }
        // At fixed addresses a function's address may be in any instruction.
        let whole = self.functions.bounds() == Bounds::UnwindTables
            && !self.scan.overflow
            && !by_symbol
            && !self.image.is_fixed();
        let exported = whole.then(|| exported_functions(self.image)).flatten();
        let mut points = apart::points(self, vtables, exported.as_deref(), &hooked, budget);
        points.sort_unstable();
        points.dedup_by_key(|point| point.vaddr);
        Finishes {
            points,
            coverage,
            by_symbol,
        }
    }

    pub(super) fn listing(&self, index: u32, budget: &mut Budget) -> Option<Listing> {
        let function = self.functions.all().get(index as usize)?;
        Listing::decode(self.image, *function, budget)
    }

    /// The entry of a function that gets `&State`, which is the header's address, in rdi.
    fn entry(&self, index: u32, by_symbol: bool, budget: &mut Budget) -> Option<Finisher> {
        let listing = self.listing(index, budget)?;
        let flow = Flow::of(&listing, self.image);
        let snapper = Snapper {
            image: self.image,
            functions: self.functions,
            pointers: self.pointers,
            listing: &listing,
            flow: &flow,
        };
        Some(Finisher {
            points: vec![point(&snapper, 0, Register::RDI)?],
            unhooked: false,
            by_symbol,
        })
    }

    /// The loops of a function; `None` if it has none.
    fn finisher(&self, index: u32, budget: &mut Budget) -> Option<Finisher> {
        let listing = self.listing(index, budget)?;
        let exits = exits(&listing);
        if exits.is_empty() {
            return None;
        }
        let flow = Flow::of(&listing, self.image);
        let snapper = Snapper {
            image: self.image,
            functions: self.functions,
            pointers: self.pointers,
            listing: &listing,
            flow: &flow,
        };
        let mut finisher = Finisher::default();
        for exit in &exits {
            match only_exits_lead_to(&snapper, exit, &exits).then(|| point(&snapper, exit.at, exit.register))
            {
                Some(Some(point)) => finisher.points.push(point),
                _ => finisher.unhooked = true,
            }
        }
        Some(finisher)
    }

    /// The functions from which a finisher is reached by at most [`MAX_DEPTH`] calls, with all functions
    /// that each of them calls. Walks from the finishers to their callers, and confirms each by decoding it.
    fn reaching(&self, finishers: &BTreeMap<u32, Finisher>, budget: &mut Budget) -> HashMap<u32, Vec<u32>> {
        let mut calls: HashMap<u32, Vec<u32>> = HashMap::new();
        let mut level: Vec<u32> = finishers.keys().copied().collect();
        for index in &level {
            let called = self.called_by(*index, budget);
            calls.insert(*index, called);
        }
        for _ in 0..MAX_DEPTH {
            let mut next = Vec::new();
            for called in &level {
                for caller in self.scan.callers(*called) {
                    if calls.contains_key(&caller) || calls.len() >= MAX_REACHING {
                        continue;
                    }
                    let targets = self.called_by(caller, budget);
                    if targets.binary_search(called).is_ok() {
                        calls.insert(caller, targets);
                        next.push(caller);
                    }
                }
            }
            level = next;
        }
        calls
    }

    /// The functions that a function calls or jumps to, sorted.
    fn called_by(&self, index: u32, budget: &mut Budget) -> Vec<u32> {
        let Some(listing) = self.listing(index, budget) else {
            return Vec::new();
        };
        let mut called: Vec<u32> = (0..listing.instructions.len())
            .filter_map(|at| listing.callee(at, self.pointers))
            .filter_map(|target| u32::try_from(self.functions.starting(target)?).ok())
            .collect();
        called.sort_unstable();
        called.dedup();
        called
    }
}

/// Follows the calls of a vtable's `poll` and `shutdown` to finishers.
fn coverage(
    vtable: &TaskVtable,
    reaching: &HashMap<u32, Vec<u32>>,
    finishers: &BTreeMap<u32, Finisher>,
    functions: &Functions,
    used: &mut BTreeSet<u32>,
) -> Coverage {
    let mut found = BTreeSet::new();
    for (slot, missed) in [
        (vtable.poll(), "no finish of its poll function was found"),
        (vtable.shutdown(), "no finish of its shutdown function was found"),
    ] {
        let start = slot
            .and_then(|slot| functions.starting(slot.0))
            .and_then(|at| u32::try_from(at).ok());
        let Some(start) = start else {
            return Coverage::Missed("its code has no function bounds");
        };
        let reached = reached_from(start, reaching, finishers);
        if reached.is_empty() {
            return Coverage::Missed(missed);
        }
        found.extend(reached);
    }
    let unhooked = |index: &u32| finishers.get(index).is_some_and(|finisher| finisher.unhooked);
    if found.iter().any(unhooked) {
        return Coverage::Missed("a finish shares its exit with other code, or cannot carry a probe");
    }
    used.extend(found);
    Coverage::Followed
}

/// The finishers at most [`MAX_DEPTH`] calls from a function.
fn reached_from(
    start: u32,
    reaching: &HashMap<u32, Vec<u32>>,
    finishers: &BTreeMap<u32, Finisher>,
) -> BTreeSet<u32> {
    let mut seen = HashSet::from([start]);
    let mut level = vec![start];
    let mut reached = BTreeSet::new();
    for _ in 0..=MAX_DEPTH {
        let mut next = Vec::new();
        for index in level {
            if finishers.contains_key(&index) {
                reached.insert(index);
            }
            for called in reaching.get(&index).map_or(&[][..], Vec::as_slice) {
                if reaching.contains_key(called) && seen.insert(*called) {
                    next.push(*called);
                }
            }
        }
        level = next;
    }
    reached
}

/// Where a loop is left after the exchange succeeded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Exit {
    /// The first instruction behind the loop.
    pub(super) at: usize,
    /// The jump that leaves it, or behind which it is left.
    pub(super) jump: usize,
    /// The register that holds the header's address.
    register: Register,
}

/// The exits of all loops that flip a task's state to complete.
pub(super) fn exits(listing: &Listing) -> Vec<Exit> {
    let mut infos = InstructionInfoFactory::new();
    (0..listing.instructions.len())
        .filter_map(|index| exit(listing, index, &mut infos))
        .collect()
}

fn exit(listing: &Listing, exchange: usize, infos: &mut InstructionInfoFactory) -> Option<Exit> {
    let instruction = listing.instructions.get(exchange)?;
    let plain = instruction.code() == Code::Cmpxchg_rm64_r64
        && instruction.has_lock_prefix()
        && instruction.op0_kind() == OpKind::Memory
        && instruction.memory_base().is_gpr64()
        && instruction.memory_index() == Register::None
        && instruction.memory_displacement64() == 0;
    if !plain || !flips(listing, exchange, instruction.op1_register(), infos) {
        return None;
    }
    for index in exchange + 1..=exchange + JUMP_WINDOW {
        let jump = listing.instructions.get(index)?;
        match (jump.flow_control(), jump.condition_code()) {
            (FlowControl::ConditionalBranch, ConditionCode::ne) => {
                return Some(Exit {
                    at: index + 1,
                    jump: index,
                    register: instruction.memory_base(),
                });
            }
            (FlowControl::ConditionalBranch, ConditionCode::e) => {
                return Some(Exit {
                    at: direct_target(listing, jump)?,
                    jump: index,
                    register: instruction.memory_base(),
                });
            }
            (FlowControl::Next, _) if jump.rflags_modified() == 0 => {}
            _ => return None,
        }
    }
    None
}

/// Whether the register gets its value by `xor register, 3` in the straight line before the exchange.
fn flips(listing: &Listing, exchange: usize, register: Register, infos: &mut InstructionInfoFactory) -> bool {
    for instruction in listing.instructions[..exchange].iter().rev().take(XOR_WINDOW) {
        if instruction.flow_control() != FlowControl::Next {
            return false;
        }
        let to_register = instruction.op0_kind() == OpKind::Register
            && instruction.op0_register().full_register() == register;
        if instruction.mnemonic() == Mnemonic::Xor && to_register && is_immediate(instruction) {
            return instruction.immediate(1) == RUNNING_OR_COMPLETE;
        }
        let changed = infos
            .info(instruction)
            .used_registers()
            .iter()
            .any(|used| used.register().full_register() == register && used.access() != OpAccess::Read);
        if changed {
            return false;
        }
    }
    false
}

fn is_immediate(instruction: &Instruction) -> bool {
    !matches!(instruction.op1_kind(), OpKind::Register | OpKind::Memory)
}

/// The point for an instruction at which the register holds the header's address: the nearest emulated one from
/// there on, else itself.
fn point(snapper: &Snapper<'_>, at: usize, register: Register) -> Option<FinishPoint> {
    let index = snapper.forward(at, &[register], Calls::Stop).unwrap_or(at);
    let probing = snapper.probing(index);
    (probing != Probing::Refused).then_some(FinishPoint {
        vaddr: snapper.listing.instructions.get(index)?.ip(),
        site: FinishSite::Header(register),
        emulated: probing == Probing::Emulated,
    })
}

/// Whether the first instruction behind a loop is reached only from exits of such loops with the header in the
/// same register.
fn only_exits_lead_to(snapper: &Snapper<'_>, exit: &Exit, exits: &[Exit]) -> bool {
    let instructions = &snapper.listing.instructions;
    let is_exit = |jump: usize| {
        exits
            .iter()
            .any(|other| other.jump == jump && other.at == exit.at && other.register == exit.register)
    };
    let falls_in = exit
        .at
        .checked_sub(1)
        .is_some_and(|before| snapper.falls_through(before) && !is_exit(before));
    if falls_in {
        return false;
    }
    if !snapper.flow.is_target(exit.at) {
        return true;
    }
    instructions.iter().enumerate().all(|(index, instruction)| {
        let leads = match instruction.flow_control() {
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                direct_target(snapper.listing, instruction) == Some(exit.at)
            }
            FlowControl::IndirectBranch => snapper.flow.table(index).contains(&exit.at),
            _ => false,
        };
        !leads || is_exit(index)
    })
}
