//! Go executables whose tables lie, and the memory of a Go process that means harm, while it changes under the reader's
//! eyes.
#![no_main]

use leak_agent::elf::Elf;
use leak_agent::source::books::{Budget, ProcessBooks};
use leak_agent::source::go::Go;
use leak_agent::source::go::fixture::{DATA, LIST, PROCESSORS, Parts, SCHED, entry};
use leak_agent::source::stacks::UNWOUND_MAX;
use leak_agent::source::{Inspection, Source as _};
use leak_agent::sys::memory::{Batch, Memory, MemoryError};
use libfuzzer_sys::fuzz_target;
use std::cell::{Cell, RefCell};

/// Tasks that are asked for one by one.
const LIMIT: usize = 8;
/// Bytes of one change of the memory: where (2), and what.
const CHANGE: usize = 3;
/// Where the process's variables are within the input.
const VARIABLES: u64 = LIST;

fuzz_target!(
    init: leak_agent_fuzz::write_seeds_if_asked(seeds),
    |bytes: &[u8]| match bytes {
        [0, low, high, rest @ ..] => tables(rest, u16::from_le_bytes([*low, *high])),
        [1, changes, rest @ ..] => memory(rest, *changes),
        _ => {}
    }
);

fn tables(bytes: &[u8], length: u16) {
    let (table, code) = bytes.split_at(usize::from(length).min(bytes.len()));
    let mut parts = Parts::valid();
    parts.table = table.to_vec();
    for (into, byte) in parts.code.iter_mut().zip(code) {
        *into = *byte;
    }
    let file = parts.file();
    let elf = Elf {
        data: &file,
        id: leak_agent_fuzz::identity(),
        debug: None,
    };
    let _ = Go.stack_code(&elf);
    if let Inspection::Plan(plan) = Go.inspect(&elf) {
        assert!(plan.points.iter().all(|point| point.offset.0 < file.len() as u64));
        let numbers: Vec<u64> = (0..0x240_u64)
            .step_by(9)
            .map(|at| (at << 32) | (0x240 - at))
            .collect();
        let names = plan.names.expect("sites of Go are named as they are seen");
        assert!(names.names(&elf, &numbers).len() <= numbers.len());
    }
}

fn memory(bytes: &[u8], changes: u8) {
    let parts = Parts::valid();
    let file = parts.file();
    let elf = Elf {
        data: &file,
        id: leak_agent_fuzz::identity(),
        debug: None,
    };
    let Inspection::Plan(plan) = Go.inspect(&elf) else {
        panic!("the example is not planned");
    };
    let (changes, image) = bytes.split_at((usize::from(changes) * CHANGE).min(bytes.len()));
    let memory = Changing {
        data: file[0x1000 + parts.code.len()..].to_vec(),
        bytes: RefCell::new(image.to_vec()),
        changes: changes.to_vec(),
        reads: Cell::new(0),
    };
    let mut books = plan.books.expect("the example has books").open(0);
    check(&mut *books, &memory, &elf);
}

/// What holds whatever the memory says; an address that is not there is an error like any other.
fn check(books: &mut dyn ProcessBooks, memory: &Changing, elf: &Elf<'_>) {
    for _ in 0..2 {
        let _ = books.find(memory, &[], &[], &Budget::default());
        if let Ok(counters) = books.counters(memory) {
            assert!(counters.len() <= 1);
        }
        if let Ok(Some(work)) = books.threads(memory) {
            let all: u64 = work.activities.iter().map(|activity| activity.threads).sum();
            assert!(work.bound <= all, "{work:?}");
        }
        let Ok(listing) = books.list(memory, LIMIT) else {
            continue;
        };
        assert!(listing.tasks.len() <= LIMIT, "no more than were asked for");
        if let Ok(details) = books.details(memory, &listing.tasks) {
            assert_eq!(details.len(), listing.tasks.len());
        }
        let _ = books.unprobed(memory);
        if let Ok(Some(stacks)) = books.stacks(memory, elf, LIMIT) {
            assert!(stacks.tasks.len() <= LIMIT, "no more than were asked for");
            let frames = stacks.stacks.iter().map(|stack| stack.frames.len());
            assert!(
                frames.max().unwrap_or(0) <= 65 * UNWOUND_MAX,
                "bounded, inlined ones too"
            );
        }
        for group in &listing.groups {
            let sum: u64 = group.sites.iter().map(|site| site.live).sum();
            assert_eq!(sum, group.walked, "{group:?}");
        }
    }
}

/// The executable's data, and bytes of which one is changed before each read.
struct Changing {
    data: Vec<u8>,
    bytes: RefCell<Vec<u8>>,
    changes: Vec<u8>,
    reads: Cell<usize>,
}

impl Memory for Changing {
    fn read_some(&self, at: u64, into: &mut [u8]) -> Result<usize, MemoryError> {
        let mut bytes = self.bytes.borrow_mut();
        let number = self.reads.replace(self.reads.get() + 1);
        if let Some([low, high, value]) = self.changes.chunks_exact(CHANGE).nth(number)
            && let Some(byte) = bytes.get_mut(usize::from(u16::from_le_bytes([*low, *high])))
        {
            *byte = *value;
        }
        let (start, from): (u64, &[u8]) = if at >= VARIABLES {
            (VARIABLES, &bytes)
        } else {
            (DATA, &self.data)
        };
        let start = usize::try_from(at.wrapping_sub(start)).unwrap_or(usize::MAX);
        let found = from.get(start..).unwrap_or_default();
        let got = found.len().min(into.len());
        into[..got].copy_from_slice(&found[..got]);
        Ok(got)
    }

    fn read_many(&self, batch: &mut Batch) -> Result<(), MemoryError> {
        batch.fill(|at, into| Ok(self.read_some(at, into)? == into.len()))
    }

    fn pid(&self) -> u32 {
        1
    }
}

/// The example's tables, and a process with two goroutines and a processor, at rest and with a list that moves.
fn seeds() -> Vec<Vec<u8>> {
    let parts = Parts::valid();
    let length = u16::try_from(parts.table.len()).unwrap_or(0).to_le_bytes();
    let mut tables = vec![0, length[0], length[1]];
    tables.extend(&parts.table);
    tables.extend(&parts.code);
    let mut seeds = vec![tables];
    for changes in [&[][..], &[0x00, 0x01, 8, 0x01, 0x08, 1]] {
        let mut seed = vec![1, u8::try_from(changes.len() / CHANGE).unwrap_or(0)];
        seed.extend(changes);
        seed.extend(image());
        seeds.push(seed);
    }
    seeds
}

fn image() -> Vec<u8> {
    let mut image = vec![0_u8; 0x3000];
    let mut put = |at: u64, word: u64| {
        let at = usize::try_from(at - VARIABLES).unwrap_or(0);
        image[at..at + 8].copy_from_slice(&word.to_le_bytes());
    };
    let (entries, first, processor) = (LIST + 0x800, LIST + 0x1000, LIST + 0x2000);
    put(LIST, entries);
    put(LIST + 0x100, entries);
    put(LIST + 0x200, 2);
    put(SCHED, 16);
    put(PROCESSORS, LIST + 0x900);
    put(PROCESSORS + 8, 1);
    put(PROCESSORS + 16, 1);
    put(LIST + 0x900, processor);
    put(processor + 376, 3);
    put(processor + 384, 17);
    for (number, function) in [(0, 0), (1, 7)] {
        let at = first + 0x400 * number;
        put(entries + 8 * number, at);
        put(at, at);
        put(at + 8, at + 0x800);
        put(at + 56, at + 0x40);
        put(at + 64, entry(7) + 4);
        put(at + 72, at);
        put(at + 152, 4);
        put(at + 160, number + 1);
        put(at + 184, 14);
        put(at + 280, number);
        put(at + 320, LIST + 0x2c00 + 0x100 * number);
        put(LIST + 0x2c00 + 0x100 * number, at);
        put(at + 288, entry(5) + 16);
        put(at + 304, entry(function));
    }
    image
}
