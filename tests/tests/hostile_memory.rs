//! A living process whose memory was made to lie: what is read of it is refused, in bounded time, and believed again once
//! it tells the truth.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness fails by panicking, with the reason

use leak_agent::source::books::{LiveTask, TaskState};
use leak_agent_tests::books::{Reader, plan};
use leak_agent_tests::compare::until_exact;
use leak_agent_tests::{Agent, Target, privilege, programs};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PARKED: u64 = 1_000;
/// Where the vtable is in a header, and the offset of a task's trailer in a vtable (tokio 1.54).
const VTABLE: u64 = 0x10;
const TRAILER: u64 = 7 * 8;

/// The memory of the target, to write in.
struct Memory(File);

impl Memory {
    fn of(target: &Target) -> Self {
        let path = format!("/proc/{}/mem", target.pid());
        Self(File::options().read(true).write(true).open(path).unwrap())
    }

    fn word(&self, at: u64) -> u64 {
        let mut word = [0; 8];
        self.0.read_exact_at(&mut word, at).unwrap();
        u64::from_le_bytes(word)
    }

    fn put(&self, at: u64, word: u64) {
        self.0.write_all_at(&word.to_le_bytes(), at).unwrap();
    }

    /// Where the links of a task's list are: two words, the task before and the task behind.
    fn links(&self, task: &LiveTask) -> u64 {
        task.header + self.word(self.word(task.header + VTABLE) + TRAILER)
    }
}

/// A task whose links lead back to itself, to a task far before it, into nowhere, or whose vtable is none.
#[test]
fn lists_that_were_made_to_lie_are_refused_until_they_tell_the_truth() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::tokio_probe();
    let plan = plan(&path);
    let mut target = Target::start(&path);
    target.command(&format!("park {PARKED}"));
    let mut reader = Reader::open(target.pid(), &path, &plan);
    assert_eq!(reader.find().refused, [] as [String; 0]);
    let tasks = reader.list(usize::MAX).tasks;
    assert_eq!(tasks.len() as u64, PARKED);
    assert!(
        tasks.iter().all(|task| task.state == TaskState::Idle),
        "{tasks:?}"
    );
    let memory = Memory::of(&target);
    let (victim, other) = (&tasks[500], &tasks[20]);
    let (links, vtable) = (memory.links(victim), victim.header + VTABLE);
    let lies: [(&str, &[(u64, u64)]); 5] = [
        (
            "a task is its own neighbour",
            &[(links, victim.header), (links + 8, victim.header)],
        ),
        (
            "a task leads back to another",
            &[(links, other.header), (links + 8, other.header)],
        ),
        (
            "a task leads into nowhere",
            &[(links, 0x1000), (links + 8, 0x1000)],
        ),
        (
            "a task leads to the kernel",
            &[(links, 0xffff_8000_0000_0000), (links + 8, u64::MAX)],
        ),
        ("a vtable that is none", &[(vtable, victim.header)]),
    ];
    for (lie, words) in lies {
        let truth: Vec<u64> = words.iter().map(|(at, _)| memory.word(*at)).collect();
        for (at, word) in words {
            memory.put(*at, *word);
        }
        let begin = Instant::now();
        let listing = reader.list(usize::MAX);
        assert!(!listing.refused.is_empty(), "{lie}: {listing:?}");
        assert!(
            listing.groups.iter().all(|group| !group.complete),
            "{lie}: {listing:?}"
        );
        // Finding them anew believes it no more.
        let found = Reader::open(target.pid(), &path, &plan).find();
        assert_eq!(found.groups, [], "{lie}");
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "{lie} took {:?}",
            begin.elapsed()
        );
        for ((at, _), word) in words.iter().zip(truth) {
            memory.put(*at, word);
        }
        let mut anew = Reader::open(target.pid(), &path, &plan);
        assert_eq!(anew.find().refused, [] as [String; 0], "after: {lie}");
        assert_eq!(anew.list(0).groups[0].walked, PARKED, "after: {lie}");
    }
    // The program never noticed.
    let truth = target.command("release");
    assert_eq!(truth.live, 0);
}

/// A process that is killed while its lists are walked through is gone, and nothing else.
#[test]
fn process_that_dies_during_the_walk_is_gone() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::tokio_probe();
    let plan = plan(&path);
    let mut target = Target::start(&path);
    target.command("park 100000");
    let mut reader = Reader::open(target.pid(), &path, &plan);
    assert_eq!(reader.find().refused, [] as [String; 0]);
    let walker = std::thread::spawn(move || {
        let begin = Instant::now();
        let mut whole = 0_u32;
        while begin.elapsed() < Duration::from_secs(60) {
            match reader.books.list(&reader.memory, 0) {
                Ok(listing) if listing.refused.is_empty() && !listing.groups.is_empty() => whole += 1,
                Ok(_) => {}
                Err(error) => return (whole, Some(error.to_string())),
            }
        }
        (whole, None)
    });
    std::thread::sleep(Duration::from_millis(300));
    target.kill();
    let (whole, end) = walker.join().unwrap();
    assert!(whole > 0, "no walk before the end");
    let end = end.expect("the walks go on without a process");
    assert!(end.contains("gone"), "{end}");
}

/// A reader that walks through the lists, over and over, on a thread of its own.
struct Walker {
    stop: Arc<AtomicBool>,
    whole: Arc<AtomicU32>,
    refused: Arc<AtomicU32>,
    thread: JoinHandle<Reader>,
}

impl Walker {
    fn start(mut reader: Reader) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let [whole, refused] = [(); 2].map(|()| Arc::new(AtomicU32::new(0)));
        let (until, good, bad) = (Arc::clone(&stop), Arc::clone(&whole), Arc::clone(&refused));
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let count = match reader.books.list(&reader.memory, 0) {
                    Ok(listing) if listing.refused.is_empty() && !listing.groups.is_empty() => &good,
                    Ok(_) | Err(_) => &bad,
                };
                count.fetch_add(1, Ordering::Relaxed);
            }
            reader
        });
        Self {
            stop,
            whole,
            refused,
            thread,
        }
    }

    /// Waits for a walk of this kind that ends from now on.
    fn wait_for(&self, walks: &AtomicU32) {
        let before = walks.load(Ordering::Relaxed);
        let begin = Instant::now();
        while walks.load(Ordering::Relaxed) == before {
            assert!(begin.elapsed() < Duration::from_secs(120), "the walker hangs");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn end(self) -> Reader {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the walker panicked")
    }
}

/// Tasks of a reader that was just opened.
fn walked(target: &Target, path: &std::path::Path, plan: &leak_agent::source::HookPlan) -> u64 {
    let mut anew = Reader::open(target.pid(), path, plan);
    assert_eq!(anew.find().refused, [] as [String; 0]);
    anew.list(0).groups.iter().map(|group| group.walked).sum()
}

/// A process whose tasks end while they are walked through, and whose memory is unmapped with each: what is gone is
/// refused or left out, and afterwards what is there is read, by the same reader, too.
#[test]
fn memory_that_is_unmapped_during_the_walk_is_refused_and_what_is_left_is_read() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::tokio_probe();
    let plan = plan(&path);
    let mut target = Target::start_unmapping(&path);
    target.command(&format!("park {PARKED}"));
    target.command("runtimes 1 20000");
    let mut reader = Reader::open(target.pid(), &path, &plan);
    assert_eq!(reader.find().refused, [] as [String; 0]);
    let tasks = reader.list(usize::MAX).tasks;
    assert_eq!(tasks.len() as u64, PARKED + 20_000);
    let memory = Memory::of(&target);
    let readable = |header: u64| memory.0.read_exact_at(&mut [0; 8], header).is_ok();
    assert!(tasks.iter().all(|task| readable(task.header)));

    let walker = Walker::start(reader);
    walker.wait_for(&walker.whole);
    target.command("runtimes-drop");
    let gone = tasks.iter().filter(|task| !readable(task.header)).count();
    assert!(gone > 15_000, "only {gone} of the tasks are unmapped");
    // One of the runtimes that it knows is no more; the other goes on being read.
    walker.wait_for(&walker.whole);
    for _ in 0..5 {
        target.command("runtimes 1 20000");
        target.command("runtimes-drop");
    }
    let mut reader = walker.end();
    assert_eq!(walked(&target, &path, &plan), PARKED);
    assert_eq!(reader.find().refused, [] as [String; 0]);
    assert_eq!(
        reader
            .list(0)
            .groups
            .iter()
            .map(|group| group.walked)
            .sum::<u64>(),
        PARKED
    );
    assert_eq!(target.command("release").live, 0);
}

/// A process that replaces itself while its lists are walked through: nothing of the old program is told of the new one, and
/// the new one is read.
#[test]
fn process_that_execs_during_the_walk_is_refused_and_then_read_anew() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::tokio_probe();
    let plan = plan(&path);
    let mut target = Target::start(&path);
    target.command("park 100000");
    let mut reader = Reader::open(target.pid(), &path, &plan);
    assert_eq!(reader.find().refused, [] as [String; 0]);
    let walker = Walker::start(reader);
    walker.wait_for(&walker.whole);
    assert_eq!(target.command("exec").live, 0);
    walker.wait_for(&walker.refused);
    let whole = walker.whole.load(Ordering::Relaxed);
    target.command("park 7");
    walker.wait_for(&walker.refused);
    assert_eq!(
        walker.whole.load(Ordering::Relaxed),
        whole,
        "the old books are believed"
    );
    walker.end();
    assert_eq!(walked(&target, &path, &plan), 7);
}

/// The agent, whatever moment it is at with the books of a process that unmaps them: it lives, and is right afterwards.
#[test]
fn agent_over_a_process_that_unmaps_its_books_is_right_afterwards() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::tokio_probe();
    let mut target = Target::start_unmapping(&path);
    target.command("park 300");
    target.command("runtimes 1 20000");
    let agent = Agent::start(&["--exe", path.to_str().unwrap(), "--reconcile", "1s"]);
    for _ in 0..10 {
        target.command("runtimes-drop");
        target.command("runtimes 2 10000");
    }
    let truth = target.command("runtimes-drop");
    assert_eq!(truth.live, 300);
    until_exact(&agent, target.pid(), "tokio", &truth);
    let truth = target.command("release");
    until_exact(&agent, target.pid(), "tokio", &truth);
}

/// The agent, whatever moment it is at with the baseline of a process that replaces itself: the new image is exact.
#[test]
fn agent_over_a_process_that_execs_is_right_afterwards() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::tokio_probe();
    for delay in [0, 50, 150, 400] {
        let mut target = Target::start(&path);
        target.command("park 100000");
        let agent = Agent::on(&[&path]);
        std::thread::sleep(Duration::from_millis(delay));
        target.command("exec");
        let truth = target.command("park 7");
        let found = until_exact(&agent, target.pid(), "tokio", &truth);
        assert_eq!(found.live, 7);
    }
}
