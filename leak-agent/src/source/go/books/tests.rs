//! A made-up Go process (1.24), whose books are read while somebody changes them.

use crate::elf::Elf;
use crate::source::books::{BooksError, Budget, Listing, ProcessBooks};
use crate::source::go::Go;
use crate::source::go::fixture::{DATA, LIST, PROCESSORS, Parts, SCHED, entry};
use crate::source::{Inspection, Source as _};
use crate::sys::memory::{Batch, Memory, MemoryError};
use crate::types::ExecutableId;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

const BIAS: u64 = 0x5555_0000_0000;
/// The list of goroutines itself, where it is moved to, the `g`s, and the stacks.
const ENTRIES: u64 = 0xc000_0000;
const MOVED: u64 = 0xc001_0000;
const GS: u64 = 0xc010_0000;
const G_SIZE: u64 = 0x1000;
const STACKS: u64 = 0xc100_0000;
const P: u64 = 0xc020_0000;
/// What goroutines wait with, one each; channels, and threads.
const SUDOGS: u64 = 0xc030_0000;
const CHANNELS: u64 = 0xc040_0000;
const THREADS: u64 = 0xc050_0000;

type Hook = Box<dyn FnMut(u64, &Fake)>;

/// Bytes by address, in pages.
struct Fake {
    pages: RefCell<BTreeMap<u64, Vec<u8>>>,
    reads: Cell<u64>,
    hook: RefCell<Option<Hook>>,
    gone: Cell<bool>,
    threads: Cell<Option<u64>>,
}

impl Memory for Fake {
    fn read_some(&self, at: u64, into: &mut [u8]) -> Result<usize, MemoryError> {
        let number = self.reads.replace(self.reads.get() + 1);
        let hook = self.hook.borrow_mut().take();
        if let Some(mut hook) = hook {
            hook(number, self);
            *self.hook.borrow_mut() = Some(hook);
        }
        if self.gone.get() {
            return Err(MemoryError::Gone { pid: 1 });
        }
        let pages = self.pages.borrow();
        let mut got = 0;
        for byte in into.iter_mut() {
            let at = at.wrapping_add(got as u64);
            let Some(page) = pages.get(&(at & !0xfff)) else {
                break;
            };
            *byte = page[usize::try_from(at & 0xfff).unwrap()];
            got += 1;
        }
        Ok(got)
    }

    fn read_many(&self, batch: &mut Batch) -> Result<(), MemoryError> {
        batch.fill(|at, into| Ok(self.read_some(at, into)? == into.len()))
    }

    fn pid(&self) -> u32 {
        1
    }

    fn threads(&self) -> Option<u64> {
        self.threads.get()
    }
}

impl Fake {
    fn put(&self, at: u64, bytes: &[u8]) {
        let mut pages = self.pages.borrow_mut();
        for (at, byte) in (at..).zip(bytes) {
            let page = pages.entry(at & !0xfff).or_insert_with(|| vec![0; 0x1000]);
            page[usize::try_from(at & 0xfff).unwrap()] = *byte;
        }
    }

    fn word(&self, at: u64, word: u64) {
        self.put(at, &word.to_le_bytes());
    }

    /// A goroutine of this number, status, and function.
    fn goroutine(&self, number: u64, status: u32, function: u64) {
        let at = GS + number * G_SIZE;
        let stack = STACKS + number * 0x1000;
        self.word(at, stack);
        self.word(at + 8, stack + 0x1000);
        self.word(at + 56, stack + 0x800);
        self.word(at + 64, BIAS + entry(7) + 4);
        self.word(at + 72, at);
        self.word(at + 112, if status == 3 { stack + 0x800 } else { 0 });
        self.put(at + 152, &status.to_le_bytes());
        self.word(at + 160, number + 1);
        self.put(at + 184, &[14]); // chan receive
        self.word(
            at + 48,
            if status & 7 == 3 {
                THREADS + number * 0x1000
            } else {
                0
            },
        );
        let waits = if status == 4 { SUDOGS + number * 0x100 } else { 0 };
        self.word(at + 320, waits);
        self.word(SUDOGS + number * 0x100, at);
        self.word(SUDOGS + number * 0x100 + 80, CHANNELS + number * 0x100);
        self.word(THREADS + number * 0x1000 + 368, 0);
        self.word(at + 280, number); // created by the one before it
        self.word(at + 288, BIAS + entry(5) + 16);
        self.word(at + 304, BIAS + function);
        self.word(ENTRIES + 8 * number, at);
    }

    fn list(&self, begin: u64, count: u64) {
        self.word(BIAS + LIST, begin);
        self.word(BIAS + LIST + 8, count);
        self.word(BIAS + LIST + 16, count);
        self.word(BIAS + LIST + 0x100, begin);
        self.word(BIAS + LIST + 0x200, count);
    }

    fn site(listing: &Listing, function: u64) -> u64 {
        let sites = listing.groups.iter().flat_map(|group| &group.sites);
        let mine = sites.filter(|site| site.site.0 & 0xffff_ffff == entry(function) - entry(0));
        mine.map(|site| site.live).sum()
    }
}

/// The main goroutine, three that work, one that is free, and a processor.
fn process() -> (Fake, Box<dyn ProcessBooks>) {
    let parts = Parts::valid();
    let file = parts.file();
    let elf = Elf {
        data: &file,
        id: ExecutableId::BuildId(vec![]),
        debug: None,
    };
    let Inspection::Plan(plan) = Go.inspect(&elf) else {
        panic!("no plan");
    };
    let fake = Fake {
        pages: RefCell::default(),
        reads: Cell::default(),
        hook: RefCell::default(),
        gone: Cell::default(),
        threads: Cell::default(),
    };
    // The table of functions, as it is mapped.
    fake.put(BIAS + DATA, &file[0x1000 + parts.code.len()..]);
    fake.put(BIAS + LIST, &[0; 0x1000]);
    fake.put(ENTRIES, &[0; 0x1000]);
    fake.put(CHANNELS, &[0; 0x1000]);
    fake.goroutine(0, 4, entry(0));
    fake.goroutine(1, 4, entry(7));
    fake.goroutine(2, 0x1001, entry(7)); // runnable, and looked at by the garbage collector
    fake.goroutine(3, 3, entry(7));
    fake.goroutine(4, 6, entry(7)); // free
    fake.list(ENTRIES, 5);
    fake.word(BIAS + SCHED, 16); // identifiers given out
    fake.word(BIAS + PROCESSORS, P);
    fake.word(BIAS + PROCESSORS + 8, 1);
    fake.word(BIAS + PROCESSORS + 16, 1);
    fake.word(P, P + 0x1000);
    fake.put(P + 0x1000, &[0; 0x1000]);
    fake.word(P + 0x1000 + 376, 6);
    fake.word(P + 0x1000 + 384, 17);
    fake.put(P + 0x1000 + 2464, &1_u32.to_le_bytes());
    (fake, plan.books.unwrap().open(BIAS))
}

fn find(books: &mut dyn ProcessBooks, fake: &Fake) -> Vec<String> {
    books.find(fake, &[], &[], &Budget::default()).unwrap().refused
}

/// Goroutines by site, in any status, and what the scheduler counts.
#[test]
fn goroutines_of_a_process_are_listed_and_counted() {
    let (fake, mut books) = process();
    assert!(!books.searches());
    assert_eq!(find(&mut *books, &fake), Vec::<String>::new());
    let listing = books.list(&fake, 2).unwrap();
    assert_eq!(listing.groups[0].walked, 4);
    assert!(listing.groups[0].complete, "{listing:?}");
    assert_eq!((Fake::site(&listing, 0), Fake::site(&listing, 7)), (1, 3));
    let [main, worker] = listing.tasks.as_slice() else {
        panic!("{:?}", listing.tasks);
    };
    assert_eq!((main.id, main.waits_for), (Some(1), Some("chan receive")));
    let stack = main.stack.unwrap();
    assert_eq!((stack.sp, stack.pc), (STACKS + 0x800, BIAS + entry(7) + 4));
    assert_eq!(worker.id, Some(2));
    let counters = books.counters(&fake).unwrap();
    assert_eq!((counters[0].live, counters[0].added), (4, Some(5)));
    // One is done with, one is new.
    fake.goroutine(1, 6, entry(7));
    fake.goroutine(5, 1, entry(5));
    fake.list(ENTRIES, 6);
    let listing = books.list(&fake, 0).unwrap();
    assert_eq!((Fake::site(&listing, 7), Fake::site(&listing, 5)), (2, 1));
}

/// A goroutine made for callbacks from C is in no list and no counter; it is counted while it lives, and named from then on.
#[test]
fn callbacks_are_counted_apart_while_they_live() {
    let (fake, mut books) = process();
    let callback = |status: u32| {
        fake.goroutine(5, status, entry(7));
        fake.word(GS + 5 * G_SIZE + 288, 0);
        fake.word(GS + 5 * G_SIZE + 304, 0);
        fake.list(ENTRIES, 6);
    };
    callback(11);
    assert_eq!(find(&mut *books, &fake), Vec::<String>::new());
    assert_eq!(books.unprobed(&fake).unwrap(), []);
    callback(4);
    let unprobed = books.unprobed(&fake).unwrap();
    assert_eq!((unprobed.len(), unprobed[0].live), (1, 1));
    let listing = books.list(&fake, 16).unwrap();
    assert_eq!((listing.groups[0].walked, listing.tasks.len()), (4, 5));
    assert!(listing.groups[0].complete, "{listing:?}");
    assert_eq!(books.counters(&fake).unwrap()[0].live, 4);
    let details = books.details(&fake, &listing.tasks).unwrap();
    let channel = details[0].as_ref().unwrap().waits_on[0].channel.unwrap();
    assert_eq!(
        (channel.address, channel.capacity, channel.closed),
        (CHANNELS, 0, false)
    );
    callback(11);
    assert_eq!(books.unprobed(&fake).unwrap()[0].live, 0);
}

/// In the one thread of a child that was forked off without exec no goroutine lives, whatever its memory says.
#[test]
fn copy_of_a_process_in_one_thread_is_refused() {
    let (fake, mut books) = process();
    fake.threads.set(Some(1));
    let refused = find(&mut *books, &fake);
    assert!(refused[0].contains("forked without exec"), "{refused:?}");
    assert_eq!(books.list(&fake, 0).unwrap().refused, refused);
    fake.threads.set(Some(2));
    assert_eq!(find(&mut *books, &fake), Vec::<String>::new());
}

/// The list is moved to a larger place while it is read, and its old place filled with something else.
#[test]
fn list_that_moves_during_the_read_is_read_again() {
    let (fake, mut books) = process();
    *fake.hook.borrow_mut() = Some(Box::new(|number, fake: &Fake| {
        if number == 2 {
            for index in 0..5 {
                fake.word(MOVED + 8 * index, GS + index * G_SIZE);
                fake.word(ENTRIES + 8 * index, 0x1234);
            }
            fake.list(MOVED, 5);
        }
    }));
    assert_eq!(find(&mut *books, &fake), Vec::<String>::new());
    assert_eq!(books.list(&fake, 0).unwrap().groups[0].walked, 4);
}

/// A wrong word in any goroutine, and nothing is believed.
#[test]
fn books_that_are_wrong_are_refused_with_the_reason() {
    type Change = fn(&Fake);
    let wrongs: [(Change, &str); 13] = [
        (|fake| fake.goroutine(0, 6, entry(0)), "not the main one"),
        (|fake| fake.put(GS + G_SIZE + 152, &[77]), "status"),
        (|fake| fake.word(GS + G_SIZE + 160, 1), "same id"),
        (|fake| fake.word(GS + G_SIZE + 72, 8), "another goroutine"),
        (|fake| fake.word(GS + G_SIZE + 8, 7), "impossible size"),
        (|fake| fake.put(GS + G_SIZE + 184, &[200]), "reason"),
        (
            |fake| fake.word(GS + G_SIZE + 304, BIAS + entry(7) + 1),
            "middle of a function",
        ),
        (|fake| fake.word(ENTRIES + 8, 0x1234), "leads nowhere"),
        (|fake| fake.word(SUDOGS + 0x100, GS), "in the name of another"),
        (|fake| fake.word(GS + G_SIZE + 320, 0), "for no channel"),
        (
            |fake| fake.word(GS + 3 * G_SIZE + 216, THREADS + 0x3000),
            "not bound to it",
        ),
        (
            |fake| fake.word(THREADS + 0x3000 + 368, GS + 3 * G_SIZE),
            "not bound to it",
        ),
        (
            |fake| (1..5).for_each(|number| fake.word(GS + number * G_SIZE + 280, 1 << 40)),
            "another one created",
        ),
    ];
    for (change, reason) in wrongs {
        let (fake, mut books) = process();
        change(&fake);
        let refused = find(&mut *books, &fake);
        assert!(refused.iter().any(|found| found.contains(reason)), "{refused:?}");
        assert!(!books.list(&fake, 0).unwrap().refused.is_empty());
    }
}

/// Inside a C program the main goroutine has ended, and another one has its place: the counters bear witness instead.
#[test]
fn list_that_begins_with_another_goroutine_is_believed_if_the_counters_agree() {
    let (fake, mut books) = process();
    fake.goroutine(0, 4, entry(7));
    assert_eq!(find(&mut *books, &fake), Vec::<String>::new());
    assert_eq!(books.list(&fake, 0).unwrap().groups[0].walked, 4);
}

/// What the process tore under our eyes is looked at again before it is called wrong.
#[test]
fn goroutine_that_is_torn_once_is_believed() {
    let (fake, mut books) = process();
    fake.word(GS + G_SIZE + 72, 8);
    *fake.hook.borrow_mut() = Some(Box::new(|number, fake: &Fake| {
        if number == 14 {
            fake.word(GS + G_SIZE + 72, GS + G_SIZE);
        }
    }));
    assert_eq!(find(&mut *books, &fake), Vec::<String>::new());
}

/// Counters that do not agree with the list are not used; the list is.
#[test]
fn counters_that_disagree_are_not_used() {
    let (fake, mut books) = process();
    fake.put(P + 0x1000 + 2464, &3_u32.to_le_bytes());
    assert_eq!(find(&mut *books, &fake), Vec::<String>::new());
    assert!(books.counters(&fake).unwrap().is_empty());
    assert_eq!(books.list(&fake, 0).unwrap().groups[0].walked, 4);
}

/// A length without end, or a process that ends: an answer at once.
#[test]
fn list_without_end_and_process_that_ends_are_answered() {
    let (fake, mut books) = process();
    fake.list(ENTRIES, u64::MAX);
    let refused = find(&mut *books, &fake);
    assert!(refused[0].contains("does not keep still"), "{refused:?}");
    fake.gone.set(true);
    let gone = books.find(&fake, &[], &[], &Budget::default());
    assert!(matches!(gone, Err(BooksError::Memory(MemoryError::Gone { .. }))));
}
