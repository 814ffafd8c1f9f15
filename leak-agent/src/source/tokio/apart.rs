//! Tells the finishes of types apart in the code, so that the probe need not read the task.
//!
//! Optimised code has one `State::transition_to_complete` that all types call: a probe in it must read the task's header to
//! know the type, and that read costs more than all else that a probe does. Behind each *call* of it the type is
//! known where the caller's code is of one type alone; where types share the caller, the header's address is in a
//! register that the call preserves. Only if every call in the file can be hooked so does one hook the calls.

use super::code::{Budget, Flow, Listing, direct_target};
use super::finish::{FinishPoint, FinishSite, Search, exits};
use super::owner::Owners;
use super::snap::{Calls, Probing, Snapper, callee_saved};
use super::vtable::TaskVtable;
use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Calls that are hooked in one file instead of what they call: each costs some microseconds to attach.
const MAX_CALLS: usize = 4096;
/// How far before a call the header's address is put into rdi, instructions.
const ARGUMENT_WINDOW: usize = 8;

/// Where control is right after a finish.
struct CallSite {
    caller: u32,
    vaddr: u64,
    /// What holds the header's address there, if a register that calls preserve does.
    header: Option<Register>,
}

/// Of functions that finish tasks (places in the list of functions) with the points inside them: the points to hook.
/// `exported`: addresses that other files may call, sorted; `None` = not known, or calls may be missed.
pub(super) fn points(
    search: &Search<'_>,
    vtables: &[TaskVtable],
    exported: Option<&[u64]>,
    finishers: &BTreeMap<u32, Vec<FinishPoint>>,
    budget: &mut Budget,
) -> Vec<FinishPoint> {
    let inside = || finishers.values().flatten().copied().collect();
    let Some(exported) = exported else {
        return inside();
    };
    let mut calls: BTreeMap<u32, Vec<CallSite>> = BTreeMap::new();
    let mut left = MAX_CALLS;
    for finisher in finishers.keys() {
        if let Some(sites) = calls_of(search, *finisher, &mut left, budget) {
            calls.insert(*finisher, sites);
        }
    }
    let mut functions: BTreeSet<u32> = finishers.keys().copied().collect();
    functions.extend(calls.values().flatten().map(|site| site.caller));
    let owners = Owners::find(search, vtables, exported, &functions);
    let mut points = Vec::new();
    for (finisher, own) in finishers {
        let apart = calls
            .get(finisher)
            .filter(|_| owners.is_only_called(*finisher))
            .and_then(|sites| behind(sites, &owners));
        match (apart, owners.owner(*finisher)) {
            (_, Some(owner)) => points.extend(own.iter().map(|point| FinishPoint {
                site: FinishSite::Constant(owner),
                ..*point
            })),
            (Some(apart), None) => points.extend(apart),
            (None, None) => points.extend_from_slice(own),
        }
    }
    let distinct: HashSet<u64> = points.iter().map(|point| point.vaddr).collect();
    if distinct.len() == points.len() {
        points
    } else {
        inside()
    }
}

/// A point for each call; `None` if one has none, or if no type would be known.
fn behind(sites: &[CallSite], owners: &Owners) -> Option<Vec<FinishPoint>> {
    let points: Vec<FinishPoint> = sites
        .iter()
        .map(|site| {
            let known = owners.owner(site.caller).map(FinishSite::Constant);
            Some(FinishPoint {
                vaddr: site.vaddr,
                site: known.or(site.header.map(FinishSite::Header))?,
                emulated: true,
            })
        })
        .collect::<Option<_>>()?;
    points
        .iter()
        .any(|point| matches!(point.site, FinishSite::Constant(_)))
        .then_some(points)
}

/// All calls of a function that does nothing but finish a task; `None` if it does else, or if not all calls of it are
/// understood.
fn calls_of(
    search: &Search<'_>,
    finisher: u32,
    left: &mut usize,
    budget: &mut Budget,
) -> Option<Vec<CallSite>> {
    let listing = search.listing(finisher, budget)?;
    let start = listing.instructions.first()?.ip();
    with_snapper(search, &listing, |snapper| always_finishes(snapper).then_some(()))?;
    let mut sites = Vec::new();
    for caller in search.scan.callers(finisher) {
        if caller == finisher {
            continue; // its own loop
        }
        let listing = search.listing(caller, budget)?;
        let before = sites.len();
        with_snapper(search, &listing, |snapper| {
            for at in 0..listing.instructions.len() {
                if listing.callee(at, search.pointers) != Some(start) {
                    continue;
                }
                *left = left.checked_sub(1)?;
                let (vaddr, header) = after_call(snapper, at)?;
                sites.push(CallSite {
                    caller,
                    vaddr,
                    header,
                });
            }
            Some(())
        })?;
        if sites.len() == before {
            return None; // the pass saw something that is no call
        }
    }
    (!sites.is_empty()).then_some(sites)
}

fn with_snapper<T>(
    search: &Search<'_>,
    listing: &Listing,
    ask: impl FnOnce(&Snapper<'_>) -> Option<T>,
) -> Option<T> {
    let flow = Flow::of(listing, search.image);
    ask(&Snapper {
        image: search.image,
        functions: search.functions,
        pointers: search.pointers,
        listing,
        flow: &flow,
    })
}

/// The first emulated instruction behind a call, passed exactly when the call has returned, and the register that
/// holds the header's address there.
fn after_call(snapper: &Snapper<'_>, call: usize) -> Option<(u64, Option<Register>)> {
    let instructions = &snapper.listing.instructions;
    let calls = matches!(
        instructions.get(call)?.flow_control(),
        FlowControl::Call | FlowControl::IndirectCall
    );
    let next = call.checked_add(1)?;
    if !calls || snapper.flow.is_target(next) {
        return None;
    }
    let header =
        argument(snapper, call).filter(|register| snapper.forward(next, &[*register], Calls::Stop).is_some());
    let point = snapper.forward(next, &[], Calls::Stop)?;
    let vaddr = instructions.get(point)?.ip();
    (snapper.probing(point) == Probing::Emulated).then_some((vaddr, header))
}

/// The preserved register that is copied to rdi in the straight line before a call and not changed until then.
fn argument(snapper: &Snapper<'_>, call: usize) -> Option<Register> {
    for distance in 1..=ARGUMENT_WINDOW {
        let at = call.checked_sub(distance)?;
        let instruction = snapper.listing.instructions.get(at)?;
        if instruction.flow_control() != FlowControl::Next || snapper.flow.is_target(at + 1) {
            return None;
        }
        if is_copy_to_rdi(instruction) {
            let register = instruction.op1_register();
            let kept = snapper.unchanged(at + 1..call, register);
            return (callee_saved(register) && kept).then_some(register);
        }
        if !snapper.unchanged(at..at + 1, Register::RDI) {
            return None;
        }
    }
    None
}

fn is_copy_to_rdi(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Mov
        && instruction.op0_kind() == OpKind::Register
        && instruction.op0_register() == Register::RDI
        && instruction.op1_kind() == OpKind::Register
        && instruction.op1_register().is_gpr64()
}

/// Whether the function returns only through the exit of such a loop, and passes one once.
fn always_finishes(snapper: &Snapper<'_>) -> bool {
    let exits = exits(snapper.listing);
    let walls: BTreeSet<usize> = exits.iter().map(|exit| exit.at).collect();
    let starts: Vec<usize> = walls.iter().copied().collect();
    let before = walk(snapper, &[0], &walls, false);
    let behind = walk(snapper, &starts, &BTreeSet::new(), true);
    before.zip(behind).is_some_and(|(before, behind)| {
        exits
            .iter()
            .all(|exit| before.contains(&exit.jump) && !behind.contains(&exit.jump))
    })
}

/// What can be reached from these instructions without a step onto one of the walls; `None` if the function can be left on
/// such a way otherwise than by a return, if that is allowed, or control goes where it is not seen.
fn walk(
    snapper: &Snapper<'_>,
    starts: &[usize],
    walls: &BTreeSet<usize>,
    may_return: bool,
) -> Option<BTreeSet<usize>> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<usize> = starts.to_vec();
    while let Some(at) = open.pop() {
        if !seen.insert(at) {
            continue;
        }
        let instruction = snapper.listing.instructions.get(at)?;
        let mut step = |to: usize| {
            if !walls.contains(&to) {
                open.push(to);
            }
        };
        match instruction.flow_control() {
            FlowControl::Return if may_return => {}
            FlowControl::Exception => {}
            FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => {
                if snapper.falls_through(at) {
                    step(at + 1);
                }
            }
            FlowControl::ConditionalBranch => {
                step(at + 1);
                step(direct_target(snapper.listing, instruction)?);
            }
            FlowControl::UnconditionalBranch => step(direct_target(snapper.listing, instruction)?),
            _ => return None,
        }
    }
    Some(seen)
}

#[cfg(test)]
mod tests;
