//! One linear pass over all code: who calls whom, who refers to given addresses, where loops may be that
//! flip a task's state.
//!
//! The pass looks at bytes, not at instructions, so it is fast and may see too much: a chance sequence of
//! bytes looks like a call. What matters is confirmed by decoding the function it is in ([`super::code`]).

use crate::elf::{Functions, Image, Pointers};

/// Calls kept, 8 bytes each. A shipped executable of 215 MB has 2 million.
const MAX_CALLS: usize = 16 << 20;
/// Loads of functions' addresses kept, 4 bytes each.
const MAX_TAKEN: usize = 8 << 20;
/// References to wanted addresses kept.
const MAX_REFERENCES: usize = 1 << 20;
/// Compare-exchange instructions kept.
const MAX_EXCHANGES: usize = 1 << 20;

/// A set of addresses with a fast negative answer.
#[derive(Debug)]
pub(super) struct Wanted {
    sorted: Vec<u64>,
    filter: Vec<u64>,
}

/// Words of the filter: 512 Ki bits, 64 KiB.
const FILTER_WORDS: usize = 1 << 13;

impl Wanted {
    /// A set of these addresses.
    #[must_use]
    pub(super) fn new(mut addresses: Vec<u64>) -> Self {
        addresses.sort_unstable();
        addresses.dedup();
        let mut filter = vec![0_u64; FILTER_WORDS];
        for address in &addresses {
            let (word, bit) = Self::place(*address);
            if let Some(word) = filter.get_mut(word) {
                *word |= bit;
            }
        }
        Self {
            sorted: addresses,
            filter,
        }
    }

    fn place(address: u64) -> (usize, u64) {
        let hash = address ^ (address >> 19);
        let word = usize::try_from(hash >> 6).unwrap_or(usize::MAX) % FILTER_WORDS;
        (word, 1 << (hash % 64))
    }

    /// Whether the address is in the set.
    #[must_use]
    pub(super) fn contains(&self, address: u64) -> bool {
        let (word, bit) = Self::place(address);
        self.filter.get(word).is_some_and(|word| word & bit != 0)
            && self.sorted.binary_search(&address).is_ok()
    }
}

/// What the pass saw.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// (called function, calling function), both as places in the list of functions, sorted.
    calls: Vec<(u32, u32)>,
    /// Functions whose address is loaded somewhere, sorted.
    taken: Vec<u32>,
    /// (calling function, wanted address), sorted: operands that are or hold wanted addresses.
    pub(super) references: Vec<(u32, u64)>,
    /// Functions with a `lock cmpxchg` of 8 bytes.
    pub(super) exchanging: Vec<u32>,
    /// Some table was full: the pass is incomplete.
    pub(super) overflow: bool,
}

impl Scan {
    /// Makes the pass. `wanted` are the addresses whose references are collected: as operand of
    /// `lea`, of a load, or as an immediate in an image of fixed addresses.
    #[must_use]
    pub(super) fn run(
        image: &Image<'_>,
        functions: &Functions,
        pointers: &Pointers,
        wanted: &Wanted,
    ) -> Self {
        let mut scan = Self::default();
        for (index, function) in functions.all().iter().enumerate() {
            let (Ok(index), Ok(size)) = (u32::try_from(index), usize::try_from(function.size())) else {
                break;
            };
            if let Some(bytes) = image.bytes(function.start, size) {
                let mut pass = Pass {
                    functions,
                    pointers,
                    wanted,
                    index,
                    start: function.start,
                    bytes,
                    fixed: image.is_fixed(),
                    scan: &mut scan,
                };
                pass.run();
            }
        }
        scan.calls.sort_unstable();
        scan.calls.dedup();
        scan.taken.sort_unstable();
        scan.taken.dedup();
        scan.references.sort_unstable();
        scan.references.dedup();
        scan.exchanging.dedup();
        scan
    }

    /// Whether the function's address may be loaded somewhere by `lea`, as what is called through a register is.
    #[must_use]
    pub(super) fn is_taken(&self, function: u32) -> bool {
        self.taken.binary_search(&function).is_ok()
    }

    /// The functions that may call this one (all are places in the list of functions).
    pub(super) fn callers(&self, called: u32) -> impl Iterator<Item = u32> {
        let from = self.calls.partition_point(|(target, _)| *target < called);
        self.calls
            .get(from..)
            .unwrap_or(&[])
            .iter()
            .take_while(move |(target, _)| *target == called)
            .map(|(_, caller)| *caller)
    }
}

/// The pass over one function.
struct Pass<'a> {
    functions: &'a Functions,
    pointers: &'a Pointers,
    wanted: &'a Wanted,
    index: u32,
    start: u64,
    bytes: &'a [u8],
    fixed: bool,
    scan: &'a mut Scan,
}

impl Pass<'_> {
    fn run(&mut self) {
        for at in 0..self.bytes.len() {
            let Some(rest) = self.bytes.get(at..) else { break };
            match *rest {
                [0xe8 | 0xe9, ..] => self.branch(at + 1),
                [0x0f, 0x80..=0x8f, ..] => self.branch(at + 2),
                [0xf0, 0x48..=0x4f, 0x0f, 0xb1, ..] => {
                    if self.scan.exchanging.len() < MAX_EXCHANGES {
                        self.scan.exchanging.push(self.index);
                    } else {
                        self.scan.overflow = true;
                    }
                }
                [0xff, 0x15 | 0x25, ..] => self.slot(at + 2),
                // mov r64,[rip+slot], for a call through the register
                [0x48 | 0x4c, 0x8b, modrm, ..] if modrm & 0xc7 == 0x05 => self.slot(at + 3),
                // lea r64,[rip+x]
                [0x48 | 0x4c, 0x8d, modrm, ..] if modrm & 0xc7 == 0x05 => self.lea(at + 3),
                _ => {}
            }
            // Any operand [rip+x]: modrm with mod 0 and rm 5.
            if rest.first().is_some_and(|byte| byte & 0xc7 == 0x05)
                && let Some(address) = self.relative(at + 1)
            {
                self.reference(address);
            }
            if self.fixed
                && let Some(word) = rest.first_chunk()
            {
                self.reference(u64::from(u32::from_le_bytes(*word)));
            }
        }
    }

    /// The address that a 32-bit distance at this place means, if it ends its instruction.
    fn relative(&self, at: usize) -> Option<u64> {
        let rel = i32::from_le_bytes(*self.bytes.get(at..)?.first_chunk()?);
        let next = self.start.wrapping_add(at as u64 + 4);
        Some(next.wrapping_add_signed(i64::from(rel)))
    }

    fn branch(&mut self, at: usize) {
        if let Some(target) = self.relative(at) {
            self.call(target);
        }
    }

    /// A function whose address a relocated slot holds.
    fn slot(&mut self, at: usize) {
        if let Some(target) = self.relative(at).and_then(|slot| self.pointers.target(slot)) {
            self.call(target);
        }
    }

    fn function(&self, start: u64) -> Option<u32> {
        u32::try_from(self.functions.starting(start)?).ok()
    }

    fn lea(&mut self, at: usize) {
        let Some(taken) = self.relative(at).and_then(|target| self.function(target)) else {
            return;
        };
        if self.scan.taken.len() < MAX_TAKEN {
            self.scan.taken.push(taken);
        } else {
            self.scan.overflow = true;
        }
    }

    fn call(&mut self, target: u64) {
        let Some(called) = self.function(target) else {
            return;
        };
        if self.scan.calls.len() < MAX_CALLS {
            self.scan.calls.push((called, self.index));
        } else {
            self.scan.overflow = true;
        }
    }

    fn reference(&mut self, address: u64) {
        if !self.wanted.contains(address) {
            return;
        }
        if self.scan.references.len() < MAX_REFERENCES {
            self.scan.references.push((self.index, address));
        } else {
            self.scan.overflow = true;
        }
    }
}
