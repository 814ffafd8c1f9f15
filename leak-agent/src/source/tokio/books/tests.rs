//! The books of a made-up process: what is right is read, what is wrong in any way is refused.

use super::Layouts;
use super::fixture::{
    BLOCKING, HANDLE, HEAP, LOCAL_ENDS, LONG, OWNED, OWNER, Process, SHORT, STACK, offsets, open, unlink,
};
use super::layout::Links;
use crate::source::books::{BooksError, Budget, Found, Group, GroupKind, Listing, ProcessBooks, TaskState};
use crate::source::tokio::version::Version;
use crate::sys::memory::MemoryError;
use std::cell::Cell;
use std::rc::Rc;

const NEW: Version = Version::new(1, 54);
const OWNED_GROUP: Group = Group {
    owner: OWNER,
    kind: GroupKind::Owned,
};

fn find(books: &mut dyn ProcessBooks, process: &Process) -> Found {
    books
        .find(process, &Process::ranges(), &[], &Budget::default())
        .unwrap()
}

fn list(books: &mut dyn ProcessBooks, process: &Process) -> Listing {
    books.list(process, usize::MAX).unwrap()
}

/// No number is given of the runtime's tasks, neither now nor later.
fn assert_refused(books: &mut dyn ProcessBooks, process: &Process, what: &str) {
    let found = find(books, process);
    let counters = books.counters(process).unwrap();
    assert!(
        counters
            .iter()
            .all(|counters| !counters.confirmed && counters.live == 0),
        "{what}: {counters:?} {found:?}"
    );
    let listing = list(books, process);
    assert!(
        listing
            .groups
            .iter()
            .all(|group| !group.complete || group.walked == 0),
        "{what}: {listing:?}"
    );
}

/// Check that the books of a runtime at rest are read in full, in each version's form.
#[test]
fn runtime_at_rest_is_listed_in_full() {
    for minor in [35, 38, 39, 54] {
        let version = Version::new(1, minor);
        let process = Process::with_twenty_tasks(version);
        let mut books = open(version, |_| {});
        let found = find(&mut *books, &process);
        assert_eq!(found.groups, [OWNED_GROUP], "{version}");
        assert_eq!((found.complete, &found.refused[..]), (true, &[][..]));
        let counters = books.counters(&process).unwrap();
        assert_eq!(counters.len(), 1);
        assert_eq!((counters[0].live, counters[0].confirmed), (20, true));
        assert_eq!(counters[0].added, (minor >= 39).then_some(25));
        let listing = list(&mut *books, &process);
        let group = &listing.groups[0];
        assert_eq!(
            (group.before, group.after, group.walked, group.complete),
            (Some(20), Some(20), 20, true)
        );
        let sites: Vec<(u64, u64)> = group.sites.iter().map(|site| (site.site.0, site.live)).collect();
        assert_eq!(sites, [(SHORT, 13), (LONG, 7)]);
        let mut ids: Vec<u64> = listing.tasks.iter().map(|task| task.id.unwrap()).collect();
        ids.sort_unstable();
        assert_eq!(ids, (1..=20).collect::<Vec<u64>>());
        assert!(
            listing
                .tasks
                .iter()
                .all(|task| task.state == TaskState::Idle && task.refs == 1 && task.join_handle)
        );
        assert_eq!(books.list(&process, 6).unwrap().tasks.len(), 6);
    }
}

/// Check that one task's header is as good a beginning as a search.
#[test]
fn hint_alone_leads_to_the_books() {
    let process = Process::with_twenty_tasks(NEW);
    let task = process.spawn(SHORT);
    let mut books = open(NEW, |_| {});
    let found = books
        .find(&process, &[], &[HEAP + 8, task, 3], &Budget::default())
        .unwrap();
    assert_eq!(found.groups, [OWNED_GROUP]);
    assert_eq!(books.counters(&process).unwrap()[0].live, 21);
}

/// Check that each offset that is claimed is also tested: wrong by one word, it makes the books unbelievable.
#[test]
fn each_offset_that_is_wrong_is_refused() {
    type Change = fn(&mut Layouts, i64);
    fn moved(offset: usize, by: i64) -> usize {
        offset.saturating_add_signed(isize::try_from(8 * by).unwrap())
    }
    fn moved_in_types(layouts: &mut Layouts, by: i64, trailer: bool, id: bool) {
        layouts.types.change(|each| {
            let add = |offset: Option<u64>, wanted: bool| {
                offset.map(|offset| {
                    if wanted {
                        offset.wrapping_add_signed(8 * by)
                    } else {
                        offset
                    }
                })
            };
            each.links = add(each.links, trailer);
            each.id = add(each.id, id);
        });
    }
    let changes: [(&str, Change); 11] = [
        ("lists", |l, by| {
            l.forms[0].lists = moved(l.forms[0].lists, by.abs());
        }),
        ("shards", |l, by| l.forms[0].shards = moved(l.forms[0].shards, by)),
        // One further is the count itself, and a runtime may well have counted no task out yet.
        ("added", |l, by| {
            l.forms[0].added = l.forms[0].added.map(|at| moved(at, -by.abs()));
        }),
        ("count", |l, by| l.forms[0].count = moved(l.forms[0].count, by)),
        ("mask", |l, by| l.forms[0].mask = moved(l.forms[0].mask, by)),
        ("id", |l, by| l.forms[0].id = moved(l.forms[0].id, by)),
        ("closed", |l, by| l.forms[0].closed = moved(l.forms[0].closed, by)),
        ("vtable", |l, by| l.header.vtable = moved(l.header.vtable, by)),
        ("owner", |l, by| l.header.owner = moved(l.header.owner, by)),
        ("trailer", |l, by| moved_in_types(l, by, true, false)),
        ("task id", |l, by| moved_in_types(l, by, false, true)),
    ];
    for (name, change) in changes {
        for by in [-1, 1] {
            let process = Process::with_twenty_tasks(NEW);
            let mut books = open(NEW, |layouts| change(layouts, by));
            assert_refused(&mut *books, &process, &format!("{name} {by:+}"));
        }
    }
    let process = Process::with_twenty_tasks(NEW);
    let mut books = open(NEW, |layouts| layouts.header.links = Links::Header(8));
    assert_refused(&mut *books, &process, "links in the header");
}

/// Check that a wrong place of the scheduler leads to no books: a hint is followed into nothing.
#[test]
fn wrong_place_of_the_scheduler_leads_nowhere() {
    for by in [-8_i64, 8] {
        let process = Process::with_twenty_tasks(NEW);
        let task = process.spawn(SHORT);
        let mut books = open(NEW, |layouts| {
            layouts
                .types
                .change(|each| each.scheduler = each.scheduler.map(|at| at.wrapping_add_signed(by)));
        });
        let found = books.find(&process, &[], &[task], &Budget::default()).unwrap();
        assert!(
            found.groups.iter().all(|group| group.kind == GroupKind::Unknown),
            "{found:?}"
        );
        assert_eq!(books.counters(&process).unwrap(), []);
    }
}

/// Check that a version's form is not mistaken for that of another version.
#[test]
fn form_of_another_version_is_refused() {
    for (real, assumed) in [(54, 38), (38, 54)] {
        let process = Process::with_twenty_tasks(Version::new(1, real));
        let mut books = open(Version::new(1, assumed), |_| {});
        assert_refused(&mut *books, &process, &format!("1.{real} taken for 1.{assumed}"));
    }
}

/// Check that a list that comes back to itself is refused, and that the walk ends.
#[test]
fn cyclic_list_is_refused() {
    let process = Process::with_twenty_tasks(NEW);
    let (head, tail) = (process.word(Process::ends(1)), process.word(Process::ends(1) + 8));
    let kind = process.word(head + 0x10) - super::fixture::BIAS;
    process.put(head + process.links(kind), tail);
    let kind = process.word(tail + 0x10) - super::fixture::BIAS;
    process.put(tail + process.links(kind) + 8, head);
    let mut books = open(NEW, |_| {});
    let found = find(&mut *books, &process);
    assert!(found.refused[0].contains("circle"), "{found:?}");
    assert_refused(&mut *books, &process, "cycle");
}

/// Check that a list to which the program adds faster than it is walked is given up, not followed for ever.
#[test]
fn endless_list_is_refused() {
    let process = Process::with_twenty_tasks(NEW);
    let (ends, links) = (Process::ends(0), offsets(SHORT).trailer);
    let first = process.task(SHORT, 0x48, OWNER, HANDLE);
    process.put(first + 0x28, 4);
    let id = Rc::new(Cell::new(4));
    // Whatever is read, the youngest task has got a younger neighbour: itself, under another id.
    process.put(ends, first);
    process.put(ends + 8, first);
    process.put(first + links, first);
    process.put(first + links + 8, first);
    process.before_each_read(move |_, bytes| {
        id.set(id.get() + 4);
        bytes.put(first + 0x28, id.get());
    });
    let mut books = open(NEW, |_| {});
    let found = find(&mut *books, &process);
    let refused = &found.refused[0];
    assert!(
        refused.contains("no end") || refused.contains("circle"),
        "{found:?}"
    );
}

/// Check that a task with a vtable that the file does not have is not taken for one.
#[test]
fn crafted_vtable_is_refused() {
    let process = Process::with_twenty_tasks(NEW);
    let tail = process.word(Process::ends(2) + 8);
    process.put(tail + 0x10, super::fixture::BIAS + SHORT + 8);
    let mut books = open(NEW, |_| {});
    let found = find(&mut *books, &process);
    assert!(found.refused[0].contains("no task of it"), "{found:?}");
    assert_refused(&mut *books, &process, "vtable");
}

/// Check that one foreign task far inside a list is noticed, too, and so is one of another runtime.
#[test]
fn foreign_task_inside_a_list_is_refused() {
    for (offset, word) in [(0x18, OWNER + 1), (0x10, 0xdead_0000), (0x00, 3)] {
        let process = Process::with_twenty_tasks(NEW);
        let tail = process.word(Process::ends(2) + 8);
        let kind = process.word(tail + 0x10) - super::fixture::BIAS;
        let second = process.word(tail + process.links(kind));
        process.put(second + offset, word);
        let mut books = open(NEW, |_| {});
        assert_refused(&mut *books, &process, &format!("{offset:#x}"));
    }
}

/// Check that neighbours that do not point at each other are refused in a process at rest.
#[test]
fn neighbours_that_disagree_are_refused() {
    let process = Process::with_twenty_tasks(NEW);
    let head = process.word(Process::ends(3));
    let kind = process.word(head + 0x10) - super::fixture::BIAS;
    process.put(head + process.links(kind) + 8, HEAP + 0x100);
    let mut books = open(NEW, |_| {});
    let found = find(&mut *books, &process);
    assert!(found.refused[0].contains("point at each other"), "{found:?}");
}

/// Check that a number of tasks other than the runtime's own is refused.
#[test]
fn walk_that_finds_another_number_than_counted_is_refused() {
    for more in [1, 100] {
        let process = Process::with_twenty_tasks(NEW);
        process.count(more, more);
        let mut books = open(NEW, |_| {});
        let found = find(&mut *books, &process);
        assert!(found.refused[0].contains("its lists have 20"), "{found:?}");
        assert_refused(&mut *books, &process, "count");
    }
}

/// Check that memory that is not there ends the walk with a refusal, and a process that ends with *gone*.
#[test]
fn memory_that_disappears_is_refused_or_gone() {
    let process = Process::with_twenty_tasks(NEW);
    let tail = process.word(Process::ends(2) + 8);
    process.bytes.borrow_mut().unmap(tail);
    let mut books = open(NEW, |_| {});
    let found = find(&mut *books, &process);
    assert!(found.refused[0].contains("not there"), "{found:?}");

    let whole = Process::with_twenty_tasks(NEW);
    find(&mut *open(NEW, |_| {}), &whole);
    for ends_at in 0..whole.reads.get() {
        let process = Process::with_twenty_tasks(NEW);
        process.ends_at.set(ends_at);
        let mut books = open(NEW, |_| {});
        let result = books.find(&process, &Process::ranges(), &[], &Budget::default());
        assert!(
            matches!(result, Err(BooksError::Memory(MemoryError::Gone { .. }))),
            "{ends_at}: {result:?}"
        );
    }
}

/// Check that a task that leaves while the walk stands on it or before it hides no other.
#[test]
fn task_taken_out_under_the_walk_hides_no_other() {
    let quiet = Process::with_twenty_tasks(NEW);
    let mut books = open(NEW, |_| {});
    find(&mut *books, &quiet);
    let begin = quiet.reads.get();
    list(&mut *books, &quiet);
    let reads = quiet.reads.get() - begin;
    for number in 0..20 {
        for at in 0..reads {
            let process = Process::with_twenty_tasks(NEW);
            let mut books = open(NEW, |_| {});
            let hint = process.word(Process::ends(0));
            books.find(&process, &[], &[hint], &Budget::default()).unwrap();
            let (task, ends) = (HEAP + 0x1_0000 + number * 0x1000, Process::ends((number + 1) & 3));
            let begin = process.reads.get();
            process.before_each_read(move |read, bytes| {
                if read == begin + at {
                    unlink(bytes, task, |kind| offsets(kind).trailer, ends);
                    let count = bytes.word(OWNED + 24);
                    bytes.put(OWNED + 24, count - 1);
                    bytes.put(task, 0x4a);
                }
            });
            let listing = list(&mut *books, &process);
            let group = &listing.groups[0];
            assert_eq!(listing.refused, [] as [String; 0], "task {number}, read {at}");
            assert!(
                (19..=20).contains(&group.walked),
                "task {number}, read {at}: {group:?}"
            );
            assert!(group.complete, "task {number}, read {at}: {group:?}");
        }
    }
}

/// Check that of several copies of the books the one that counts on is read, also when all looked alike at first.
#[test]
fn stale_copies_of_the_books_are_not_read() {
    let process = Process::new(NEW);
    process.bytes.borrow_mut().copy(OWNED, STACK, 8);
    process.bytes.borrow_mut().copy(OWNED, STACK + 0x200, 8);
    let mut books = open(NEW, |_| {});
    let found = find(&mut *books, &process);
    assert_eq!(found.groups, [OWNED_GROUP]);
    let counters = books.counters(&process).unwrap();
    assert_eq!((counters[0].live, counters[0].confirmed), (0, false));
    for _ in 0..9 {
        process.spawn(SHORT);
    }
    let counters = books.counters(&process).unwrap();
    assert_eq!(
        (counters[0].live, counters[0].added, counters[0].confirmed),
        (9, Some(9), true)
    );
    assert!(list(&mut *books, &process).groups[0].complete);
}

/// Check that a counter that is caught in the middle of a change is read again.
#[test]
fn counter_read_in_the_middle_of_a_change_is_read_again() {
    let process = Process::with_twenty_tasks(NEW);
    let mut books = open(NEW, |_| {});
    find(&mut *books, &process);
    for torn_at in 0..3 {
        let begin = process.reads.get();
        process.before_each_read(move |read, bytes| {
            bytes.put(OWNED + 16, if read == begin + torn_at { 25 + 0x100 } else { 25 });
        });
        let counters = books.counters(&process).unwrap();
        assert_eq!(counters[0].added, Some(25), "{torn_at}");
    }
}

/// Check that a runtime that is gone is no longer counted: its memory is something else, or it is shut down and empty.
#[test]
fn runtime_that_is_gone_is_left_out() {
    for (offset, word) in [(0, HEAP + 0x7000), (8, 8), (32, 100), (40, 8), (48, 2)] {
        let process = Process::with_twenty_tasks(NEW);
        let mut books = open(NEW, |_| {});
        find(&mut *books, &process);
        process.put(OWNED + offset, word);
        assert_eq!(books.counters(&process).unwrap(), [], "{offset}");
        assert_eq!(list(&mut *books, &process).groups, [], "{offset}");
    }
    let process = Process::new(NEW);
    let mut books = open(NEW, |_| {});
    assert_eq!(find(&mut *books, &process).groups, [OWNED_GROUP]);
    process.put(OWNED + 48, 1);
    assert_eq!(books.counters(&process).unwrap(), []);
    assert_eq!(find(&mut *open(NEW, |_| {}), &process).groups, []);
}

/// Check that the tasks of a `LocalSet` are found through any of them, and their list stays known when it is empty.
#[test]
fn local_tasks_are_listed_through_any_of_them() {
    let process = Process::with_twenty_tasks(NEW);
    let tasks: Vec<u64> = (0..5).map(|_| process.spawn_local()).collect();
    for task in &tasks {
        let mut books = open(NEW, |_| {});
        let found = books.find(&process, &[], &[*task], &Budget::default()).unwrap();
        assert_eq!(found.groups.len(), 1, "{found:?}");
        assert_eq!(found.groups[0].kind, GroupKind::Local);
        let listing = list(&mut *books, &process);
        assert_eq!((listing.groups[0].walked, listing.groups[0].complete), (5, true));
        assert_eq!(books.counters(&process).unwrap(), []);
    }
    let mut books = open(NEW, |_| {});
    assert_eq!(find(&mut *books, &process).groups.len(), 2);
    for task in tasks {
        unlink(
            &mut process.bytes.borrow_mut(),
            task,
            |kind| offsets(kind).trailer,
            LOCAL_ENDS,
        );
        process.put(task, 0);
    }
    let listing = list(&mut *books, &process);
    assert_eq!(
        (listing.groups[1].walked, listing.groups[1].complete),
        (0, true),
        "{listing:?}"
    );
}

/// Check that tasks in no list and complete ones that are still held are found by their headers, and remains are not.
#[test]
fn unlisted_and_complete_tasks_are_found_by_their_headers() {
    let process = Process::with_twenty_tasks(NEW);
    let running = process.task(BLOCKING, 0x89, 0, 0);
    let held = process.task(SHORT, 0x4a, OWNER, HANDLE);
    process.task(SHORT, 0x0a, OWNER, HANDLE); // freed: no references
    process.task(BLOCKING, 0x43, 0, 0); // running and complete at once
    let mut books = open(NEW, |_| {});
    find(&mut *books, &process);
    let listing = list(&mut *books, &process);
    assert_eq!(
        (listing.blocking.count, listing.blocking.tasks[0].header),
        (1, running)
    );
    assert_eq!(
        (listing.retained.count, listing.retained.tasks[0].header),
        (1, held)
    );
    assert!(listing.blocking.complete && listing.retained.complete);
    assert_eq!(listing.retained.tasks[0].state, TaskState::Complete);
    process.put(running, 0x0a);
    process.put(held, 0);
    let listing = list(&mut *books, &process);
    assert_eq!((listing.blocking.count, listing.retained.count), (0, 0));
}

/// Check that a search that is cut off says so.
#[test]
fn search_beyond_its_budget_is_incomplete() {
    let process = Process::with_twenty_tasks(NEW);
    let mut books = open(NEW, |_| {});
    let budget = Budget {
        bytes: 0,
        ..Budget::default()
    };
    let found = books.find(&process, &Process::ranges(), &[], &budget).unwrap();
    assert!(!found.complete && found.groups.is_empty());
    let listing = list(&mut *books, &process);
    assert!(!listing.blocking.complete && !listing.retained.complete);
    let budget = Budget {
        tasks: 19,
        ..Budget::default()
    };
    let found = books.find(&process, &Process::ranges(), &[], &budget).unwrap();
    assert!(found.refused[0].contains("more than the 19 tasks"), "{found:?}");
}

/// Check that single lists, as tokio had them at first, are walked both ways from a task: with the links in the header, and
/// in the trailer.
#[test]
fn single_lists_of_old_versions_are_walked_from_any_task() {
    for minor in [10, 20, 22] {
        let version = Version::new(1, minor);
        let process = Process::new(version);
        let ends = HEAP + 0x6000;
        let tasks: Vec<u64> = (0..9)
            .map(|_| {
                let task = process.task(SHORT, 0x48, OWNER, 0);
                process.push(task, SHORT, ends);
                task
            })
            .collect();
        for task in tasks {
            let mut books = open(version, |_| {});
            books.find(&process, &[], &[task], &Budget::default()).unwrap();
            let listing = list(&mut *books, &process);
            assert_eq!(listing.groups.len(), 1, "{version}");
            assert_eq!(
                (listing.groups[0].walked, listing.groups[0].complete),
                (9, true),
                "{version}"
            );
            assert_eq!(listing.groups[0].before, None);
        }
    }
}
