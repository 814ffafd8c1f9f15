//! Where the Go runtime's own variables are: read off the instructions that use them, so that no symbol is needed.

use super::layout::Layout;
use super::pclntab::{Function, Table};
use crate::elf::Image;
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of one function that are looked at.
const CODE_MAX: usize = 64 << 10;
/// Variables that may be the list of processors.
const CANDIDATES_MAX: usize = 64;

/// The function that the first goroutine starts with.
pub(super) const MAIN: &str = "runtime.main";

/// Functions whose instructions are looked at. Those that a version does not have are left out.
pub(super) const FUNCTIONS: &[&str] = &[
    "runtime.allgadd",
    "runtime.newproc1",
    "runtime.gfget",
    "runtime.gfput",
    "runtime.gdestroy",
    "runtime.goexit0",
    "runtime.schedule",
    "runtime.startm",
    "runtime.findRunnable",
    "runtime.findrunnable",
    "runtime.procresize",
    MAIN,
];

/// Addresses of variables, in the file's own numbering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    /// `allgs`: pointer, length and capacity of the list of all `g`s.
    pub(super) list: u64,
    /// `allglen`: its length, published last.
    pub(super) length: u64,
    /// `allgptr`: its pointer, published before the length.
    pub(super) pointer: u64,
    /// `sched`; `None` = not found for certain.
    pub(super) sched: Option<u64>,
    /// What may be `allp`: which one shows in the process.
    pub(super) processors: Vec<u64>,
}

/// What one function does with variables.
#[derive(Default)]
struct Uses {
    /// Addresses of memory operands and of those taken, in any form.
    all: BTreeSet<u64>,
    /// Addresses taken by `lea`.
    taken: BTreeSet<u64>,
    /// Compared with a register.
    compared: BTreeSet<u64>,
    /// Taken, and exchanged by the next `xchg`.
    exchanged: BTreeSet<u64>,
}

impl Addresses {
    /// Finds them; `None` = the list of all goroutines is not found.
    pub(super) fn find(
        image: &Image<'_>,
        table: &Table<'_>,
        functions: &BTreeMap<&'static str, Function>,
        layout: &Layout,
    ) -> Option<Self> {
        let uses: BTreeMap<&str, Uses> = functions
            .iter()
            .map(|(name, function)| (*name, Uses::of(image, table, *function)))
            .collect();
        let adds = uses.get("runtime.allgadd")?;
        let list = only(adds.all.iter().copied().filter(|at| {
            let follows = |distance| at.checked_add(distance).is_some_and(|at| adds.all.contains(&at));
            follows(8) && follows(16)
        }))?;
        let pointer = only(adds.compared.iter().copied().filter(|at| *at != list))?;
        // Where nothing is called for a store, that of the pointer looks the same.
        let length = only(adds.exchanged.iter().copied().filter(|at| *at != pointer))?;

        let taken: BTreeSet<u64> = uses
            .values()
            .flat_map(|uses| uses.taken.iter().copied())
            .collect();
        let is_sched = |at: &u64| {
            let takes = |offset| at.checked_add(offset).is_some_and(|at| taken.contains(&at));
            takes(layout.ngsys) && takes(layout.free_lock)
        };
        let begins = uses.get("runtime.newproc1");
        let sched = begins.and_then(|uses| only(uses.taken.iter().copied().filter(is_sched)));
        let resize = uses.get("runtime.procresize").map(|uses| &uses.all);
        let processors = resize.into_iter().flatten().copied();
        let processors = processors
            .filter(|at| {
                let next = at.checked_add(8);
                at.is_multiple_of(8) && next.is_some_and(|next| resize.is_some_and(|all| all.contains(&next)))
            })
            .take(CANDIDATES_MAX)
            .collect();
        Some(Self {
            list,
            length,
            pointer,
            sched,
            processors,
        })
    }
}

/// The one there is; `None` = none, or several.
fn only(mut candidates: impl Iterator<Item = u64>) -> Option<u64> {
    let first = candidates.next()?;
    candidates.next().is_none().then_some(first)
}

impl Uses {
    fn of(image: &Image<'_>, table: &Table<'_>, function: Function) -> Self {
        let mut uses = Self::default();
        let size = function.end.saturating_sub(function.entry);
        let size = usize::try_from(size).unwrap_or(usize::MAX).min(CODE_MAX);
        let bytes = image.bytes_from(function.entry).unwrap_or_default();
        let bytes = bytes.get(..size).unwrap_or(bytes);
        let mut last_taken: BTreeMap<Register, u64> = BTreeMap::new();
        for instruction in Decoder::with_ip(64, bytes, function.entry, DecoderOptions::NONE) {
            if let Some(at) = variable(&instruction).filter(|at| !is_code(table, *at)) {
                uses.all.insert(at);
                match instruction.mnemonic() {
                    Mnemonic::Lea => {
                        uses.taken.insert(at);
                        last_taken.insert(instruction.op0_register(), at);
                        continue;
                    }
                    Mnemonic::Cmp => {
                        let kinds = [instruction.op0_kind(), instruction.op1_kind()];
                        if kinds.contains(&OpKind::Register) && instruction.memory_size().size() == 8 {
                            uses.compared.insert(at);
                        }
                    }
                    Mnemonic::Xchg => {
                        uses.exchanged.insert(at);
                    }
                    _ => {}
                }
            }
            if instruction.mnemonic() == Mnemonic::Xchg
                && let Some(at) = last_taken.get(&instruction.memory_base())
            {
                uses.exchanged.insert(*at);
            }
        }
        uses
    }
}

/// The address of a memory operand that is given relative to the instruction, or outright.
fn variable(instruction: &Instruction) -> Option<u64> {
    let memory = (0..instruction.op_count()).any(|index| instruction.op_kind(index) == OpKind::Memory);
    (memory && instruction.is_ip_rel_memory_operand()).then(|| instruction.ip_rel_memory_address())
}

fn is_code(table: &Table<'_>, at: u64) -> bool {
    table.function_of(at).is_some()
}
