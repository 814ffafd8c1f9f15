//! Made-up threads, in memory that may lie.

use super::*;
use std::cell::RefCell;

const FIRST: u64 = 0x1000;
const THREAD: u64 = 0x10_0000;
const G0: u64 = 0x20_0000;

/// Words by address; what is not there is not mapped.
#[derive(Default)]
struct Fake(RefCell<BTreeMap<u64, u8>>);

impl Fake {
    fn put(&self, at: u64, bytes: &[u8]) {
        self.0.borrow_mut().extend((at..).zip(bytes.iter().copied()));
    }

    /// So many threads in a list, each with an own goroutine that leads back.
    fn with(threads: u64) -> Self {
        let fake = Self::default();
        fake.put(FIRST, &(THREAD * u64::from(threads > 0)).to_le_bytes());
        for number in 0..threads {
            let (at, own) = (THREAD + 0x1000 * number, G0 + 0x100 * number);
            fake.put(at, &vec![0; list().fields.size()]);
            fake.put(at, &own.to_le_bytes());
            fake.put(at + list().fields.procid as u64, &(100 + number).to_le_bytes());
            fake.put(own + G_M, &at.to_le_bytes());
            if number + 1 < threads {
                fake.put(at + list().fields.next as u64, &(at + 0x1000).to_le_bytes());
            }
        }
        fake
    }

    fn read(&self) -> Option<ThreadsAtWork> {
        list().read(self, Layout::of(27).unwrap(), 0).unwrap()
    }
}

impl Memory for Fake {
    fn read_some(&self, at: u64, into: &mut [u8]) -> Result<usize, MemoryError> {
        let bytes = self.0.borrow();
        let all = (at..).zip(into.iter_mut());
        Ok(all
            .map_while(|(at, byte)| bytes.get(&at).map(|known| *byte = *known))
            .count())
    }

    fn read_many(&self, batch: &mut Batch) -> Result<(), MemoryError> {
        batch.fill(|at, into| Ok(self.read_some(at, into)? == into.len()))
    }

    fn pid(&self) -> u32 {
        1
    }
}

fn list() -> ThreadList {
    ThreadList {
        fields: Fields::of(27).unwrap(),
        first: FIRST,
        services: [Some(0x77), None],
    }
}

/// Every thread of a list that is one is counted once; an empty list is none, and so is one whose entries do not lead back,
/// that never ends, or that leads nowhere.
#[test]
fn list_that_does_not_prove_itself_is_not_told() {
    let work = Fake::with(3).read().unwrap();
    assert_eq!(work.bound, 0);
    assert_eq!(work.activities.len(), Activity::ALL.len());
    for each in work.activities {
        assert_eq!(each.threads, if each.name == "idle" { 3 } else { 0 }, "{each:?}");
    }
    assert_eq!(Fake::with(0).read(), None);
    let foreign = Fake::with(3);
    foreign.put(G0 + 0x100 + G_M, &[0xff]);
    assert_eq!(foreign.read(), None);
    let next = list().fields.next as u64;
    let endless = Fake::with(1);
    endless.put(THREAD + next, &THREAD.to_le_bytes());
    assert_eq!(endless.read(), None);
    let nowhere = Fake::with(1);
    nowhere.put(THREAD + next, &0xdead_0000_u64.to_le_bytes());
    assert_eq!(nowhere.read(), None);
    assert_eq!(Fake::default().read(), None);
}

/// What a thread does, by its fields and by the goroutine that it runs.
#[test]
fn activity_of_each_sort_of_thread() {
    let idle = Thread {
        at: 1,
        own: 2,
        id: 3,
        starts_with: 0,
        runs: 0,
        processor: 0,
        spinning: false,
        in_c: false,
        extra: false,
        next: 0,
        locked: 0,
    };
    let goroutine = |status: u32, statement: u64| {
        let layout = Layout::of(27).unwrap();
        let mut bytes = vec![0; goroutine::size(layout)];
        bytes[layout.status..layout.status + 4].copy_from_slice(&status.to_le_bytes());
        let gopc = layout.gopc as usize;
        bytes[gopc..gopc + 8].copy_from_slice(&statement.to_le_bytes());
        Goroutine::read(&bytes, layout).unwrap()
    };
    let (runs, in_call, callback) = (goroutine(2, 9), goroutine(3, 9), goroutine(2, 0));
    let table = [
        (idle, None, false, Some(Activity::Idle)),
        (idle, None, true, Some(Activity::Service)),
        (Thread { id: 0, ..idle }, None, false, None),
        (Thread { extra: true, ..idle }, Some(runs), false, None),
        (idle, Some(callback), false, None),
        (idle, Some(runs), false, Some(Activity::Running)),
        (idle, Some(in_call), false, Some(Activity::Syscall)),
        (
            Thread { in_c: true, ..idle },
            Some(in_call),
            false,
            Some(Activity::Cgo),
        ),
        (
            Thread { locked: 7, ..idle },
            None,
            false,
            Some(Activity::LockedIdle),
        ),
        (
            Thread { locked: 7, ..idle },
            Some(in_call),
            false,
            Some(Activity::Syscall),
        ),
        (
            Thread {
                spinning: true,
                ..idle
            },
            None,
            false,
            Some(Activity::Searching),
        ),
        (
            Thread { processor: 5, ..idle },
            None,
            false,
            Some(Activity::Searching),
        ),
    ];
    for (thread, goroutine, service, expected) in table {
        assert_eq!(
            thread.activity(goroutine.as_ref(), service),
            expected,
            "{thread:?} {goroutine:?}"
        );
    }
}
