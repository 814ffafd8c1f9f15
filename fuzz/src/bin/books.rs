//! The memory of a process that means harm, read as tokio's books, while it changes under the reader's eyes.
#![no_main]

use leak_agent::source::Books as _;
use leak_agent::source::books::{Budget, Listing};
use leak_agent::source::tokio::books::TokioBooks;
use leak_agent::source::tokio::version::Version;
use leak_agent::source::tokio::vtable::{CellOffsets, TaskVtable};
use leak_agent::sys::memory::{Batch, Memory, MemoryError};
use leak_agent::types::Vaddr;
use libfuzzer_sys::fuzz_target;
use std::cell::{Cell, RefCell};

const VERSIONS: [Version; 6] = [
    Version::new(1, 54),
    Version::new(1, 38),
    Version::new(1, 32),
    Version::new(1, 28),
    Version::new(1, 22),
    Version::new(1, 20),
];
/// Where the bytes are, and the vtables, each with where its tasks have their links.
const HEAP: u64 = 0x7f00_0000_0000;
const BIAS: u64 = 0x5555_0000_0000;
const TYPES: [(u64, u64, u64); 3] = [(0x1000, 0x60, 0x28), (0x1080, 0x40, 0x28), (0x1100, 0x50, 0x30)];
/// Tasks that are asked for one by one.
const LIMIT: usize = 8;
/// Bytes of one change of the memory: where (2), and what.
const CHANGE: usize = 3;

fuzz_target!(
    init: leak_agent_fuzz::write_seeds_if_asked(seeds),
    |bytes: &[u8]| {
        let [version, changes, rest @ ..] = bytes else { return };
        let version = VERSIONS[usize::from(*version) % VERSIONS.len()];
        let (changes, image) = rest.split_at((usize::from(*changes) * CHANGE).min(rest.len()));
        let mut image = image.to_vec();
        image.resize(image.len().next_multiple_of(4096), 0); // whole pages, as memory has them
        let end = HEAP + image.len() as u64;
        let memory = Changing {
            bytes: RefCell::new(image),
            changes: changes.to_vec(),
            reads: Cell::new(0),
        };
        let vtables = TYPES.map(|(vaddr, trailer, id)| TaskVtable {
            vaddr: Vaddr(vaddr),
            slots: Vec::new(),
            offsets: (version >= Version::MODERN_VTABLE).then_some(CellOffsets { trailer, scheduler: 0x20, id }),
        });
        let books = TokioBooks::new(&[version], &vtables, |_| Some(0x60));
        let mut books = books.open(BIAS);
        let budget = Budget { bytes: 1 << 20, tasks: 1 << 16 };
        for hints in [&[][..], &[HEAP, HEAP + 0x100, 8]] {
            let ranges = [HEAP..end, u64::MAX - 9..u64::MAX];
            books.find(&memory, &ranges, hints, &budget).expect("this memory is never gone");
            for counters in books.counters(&memory).expect("as above") {
                assert!(counters.added.is_none_or(|added| counters.live <= added), "{counters:?}");
            }
            check(&books.list(&memory, LIMIT).expect("as above"));
        }
    }
);

/// What holds of every listing, whatever it was read from.
fn check(listing: &Listing) {
    assert!(listing.tasks.len() <= LIMIT, "no more tasks than were asked for");
    for group in &listing.groups {
        let sum: u64 = group.sites.iter().map(|site| site.live).sum();
        assert_eq!(sum, group.walked, "{group:?}");
        if group.complete {
            let all = Some(group.walked + group.ending);
            assert!(
                group.before == group.after && (group.before.is_none() || group.before == all),
                "{group:?}"
            );
        }
    }
    for task in &listing.tasks {
        assert!(
            TYPES.iter().any(|(vtable, ..)| task.site.0 == *vtable),
            "{task:?}"
        );
    }
}

/// Bytes of which one is changed before each read.
struct Changing {
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
        let start = usize::try_from(at.wrapping_sub(HEAP)).unwrap_or(usize::MAX);
        let found = bytes.get(start..).unwrap_or_default();
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

/// For each version a runtime with three tasks, at rest and with a task leaving.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (number, version) in VERSIONS.iter().enumerate() {
        let image = image(*version);
        for changes in [&[][..], &[0x18, 0, 2, 0, 4, 0x4a, 0x60, 4, 0]] {
            let count = u8::try_from(changes.len() / CHANGE).unwrap_or(0);
            let mut seed = vec![u8::try_from(number).unwrap_or(0), count];
            seed.extend(changes);
            seed.extend(&image);
            seeds.push(seed);
        }
    }
    seeds
}

/// `OwnedTasks` at the beginning, its lists at 0x80, tasks from 0x400 on; tasks 2 and 6 share a list.
fn image(version: Version) -> Vec<u8> {
    let mut image = vec![0; 0x800];
    let mut put = |at: u64, words: &[u64]| {
        let at = at as usize;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        image[at..at + bytes.len()].copy_from_slice(&bytes);
    };
    let tasks = [(2, HEAP + 0x400), (6, HEAP + 0x500), (3, HEAP + 0x600)];
    let short = version < Version::SHORT_HEADER;
    match version.minor {
        39.. => put(0, &[HEAP + 0x80, 4, 3, 3, 3, 1, 0]),
        35..39 => put(0, &[HEAP + 0x80, 4, 3, 3, 1, 0]),
        29..35 => put(0, &[1, 0, tasks[1].1, tasks[0].1, 2, 0]),
        _ => put(0, &[0, tasks[1].1, tasks[0].1, 0, 1]),
    }
    put(0x80 + 2 * 24 + 8, &[tasks[1].1, tasks[0].1]);
    put(0x80 + 3 * 24 + 8, &[tasks[2].1, tasks[2].1]);
    for (id, at) in tasks {
        let (prev, next) = match id {
            2 => (tasks[1].1, 0),
            6 => (0, tasks[0].1),
            _ => (0, 0),
        };
        let at = at - HEAP;
        if short {
            put(at, &[0x48, prev, next, 0, BIAS + TYPES[0].0, 1]);
        } else {
            put(at, &[0x48, 0, BIAS + TYPES[0].0, 1, HEAP, id]);
            put(at + 0x60, &[prev, next]);
        }
    }
    image
}
