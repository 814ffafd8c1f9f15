//! The state machine by itself: answers and time are made up, nothing is read.

use super::super::action::AttachmentKey;
use super::super::inspect::{self, Trouble, Verdict};
use super::super::job::{Answer, Asked, Work};
use super::super::look::{self, Lost, Seen, SeenFile};
use super::super::process::later;
use super::*;
use crate::sys::proc::{Found, ProcessId};
use crate::types::{BootTime, ExecutableId};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const SECOND: u64 = 1_000_000_000;

fn at(seconds: f64) -> BootTime {
    later(BootTime(1_000 * SECOND), Duration::from_secs_f64(seconds))
}

fn key(pid: u32) -> ProcessKey {
    ProcessKey {
        start_boottime: u64::from(pid) * SECOND + 77,
        tgid: pid,
        pad: 0,
    }
}

fn file_key(inode: u64) -> FileKey {
    FileKey {
        place: Place::Inode { dev: 1, inode },
        size: 1,
        mtime: 1,
    }
}

fn seen_file(inode: u64) -> SeenFile {
    SeenFile {
        key: file_key(inode),
        path: format!("/{inode}"),
        file: Some(Arc::new(fs::File::open("/dev/null").unwrap())),
    }
}

fn seen(digest: u64, inodes: &[u64]) -> look::Answer {
    look::Answer::Seen(Seen {
        comm: "app".to_owned(),
        exe: Some("/app".to_owned()),
        threads: 7,
        files: inodes.iter().map(|inode| seen_file(*inode)).collect(),
        digest,
        lost: Lost::default(),
    })
}

/// What a source says of this inode: every third is followed, every fourth cannot be.
fn verdict(inode: u64) -> inspect::Answer {
    inspect::Answer::Verdict(Verdict {
        id: ExecutableId::BuildId(inode.to_le_bytes().to_vec()),
        plans: if inode.is_multiple_of(3) {
            vec![Arc::new(plan())]
        } else {
            Vec::new()
        },
        unsupported: if inode.is_multiple_of(4) {
            vec![(None, "no".to_owned())]
        } else {
            Vec::new()
        },
        panics: 0,
        debug: inspect::DebugUse::None,
    })
}

fn attachment(inode: u64) -> AttachmentKey {
    AttachmentKey {
        file: file_key(inode),
        runtime: RUNTIME,
    }
}

/// What a scan says that finds these.
fn found(pids: &[u32]) -> Found {
    Found {
        processes: pids.iter().map(|pid| ProcessId::of(&key(*pid))).collect(),
        unreadable: 0,
    }
}

fn is_attach(action: &Action) -> bool {
    matches!(action, Action::Attach { .. })
}

fn is_follow(action: &Action) -> bool {
    matches!(action, Action::Follow { .. })
}

/// The machine, with jobs and other actions apart.
struct Bench {
    discovery: Discovery,
    jobs: Vec<Job>,
    log: Vec<Action>,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let mut bench = Self {
            discovery: Discovery::new(settings, at(0.0)),
            jobs: Vec::new(),
            log: Vec::new(),
        };
        bench.collect();
        bench
    }

    fn collect(&mut self) {
        while let Some(action) = self.discovery.next_action() {
            match action {
                Action::Run(job) => self.jobs.push(job),
                other => self.log.push(other),
            }
        }
    }

    fn notice(&mut self, notice: Notice, seconds: f64) {
        self.discovery.notice(notice, at(seconds));
        self.collect();
    }

    fn tick(&mut self, seconds: f64) {
        self.discovery.tick(at(seconds));
        self.collect();
    }

    fn answer(&mut self, answer: Answer, seconds: f64) {
        self.discovery.done(Done(answer), at(seconds));
        self.collect();
    }

    /// Takes the oldest look at this process out of the jobs: its round.
    fn look(&mut self, pid: u32) -> Option<u32> {
        let found = self
            .jobs
            .iter()
            .position(|job| matches!(&job.0, Work::Look(look) if look.process.tgid == pid))?;
        let Work::Look(look) = self.jobs.remove(found).0 else {
            return None;
        };
        Some(look.round)
    }

    fn answer_look(&mut self, pid: u32, round: u32, answer: look::Answer, seconds: f64) {
        let process = ProcessId::of(&key(pid));
        self.answer(
            Answer::Looked {
                process,
                round,
                answer,
            },
            seconds,
        );
    }

    /// Takes all inspections out of the jobs: their inodes.
    fn inspections(&mut self) -> Vec<u64> {
        let mut inodes = Vec::new();
        self.jobs.retain(|job| match &job.0 {
            Work::Inspect(inspect) => {
                let Place::Inode { inode, .. } = inspect.key.place else {
                    return true;
                };
                inodes.push(inode);
                false
            }
            _ => true,
        });
        inodes
    }

    fn answer_inspection(&mut self, inode: u64, answer: inspect::Answer, seconds: f64) {
        let file = file_key(inode);
        self.answer(Answer::Inspected { file, answer }, seconds);
    }

    fn attached(&mut self, inode: u64, result: Result<(), String>, seconds: f64) {
        self.discovery.attached(&attachment(inode), result, at(seconds));
        self.collect();
    }

    /// A process that executes these files, looked at.
    fn process(&mut self, pid: u32, inodes: &[u64], seconds: f64) {
        self.notice(Notice::Execed { process: key(pid) }, seconds);
        let round = self.look(pid).unwrap();
        self.answer_look(pid, round, seen(1, inodes), seconds);
    }

    fn counters(&self) -> Counters {
        self.discovery.counters()
    }

    fn count(&self, what: fn(&Action) -> bool) -> usize {
        self.log.iter().filter(|action| what(action)).count()
    }
}

/// The answer to a look that began before an `exec` says nothing of the new image.
#[test]
fn look_from_before_an_exec_is_ignored() {
    let mut bench = Bench::new(Settings::default());
    bench.notice(Notice::Execed { process: key(7) }, 0.0);
    let old = bench.look(7).unwrap();
    bench.notice(Notice::Execed { process: key(7) }, 0.1);
    let new = bench.look(7).unwrap();
    bench.answer_look(7, old, seen(1, &[3]), 0.2);
    assert!(bench.log.is_empty() && bench.inspections().is_empty());
    bench.answer_look(7, new, seen(2, &[6]), 0.2);
    assert_eq!(bench.inspections(), [6]);
    assert!(matches!(&bench.log[..], [Action::Describe { process, .. }] if *process == key(7)));
}

/// A process that ends too early is counted by how far we had come with it.
#[test]
fn process_that_ends_early_is_counted_by_how_far_we_had_come() {
    let mut bench = Bench::new(Settings::default());
    bench.notice(Notice::Execed { process: key(1) }, 0.0);
    bench.notice(Notice::Exited { process: key(1) }, 0.1);
    bench.notice(Notice::Exited { process: key(1) }, 0.1);
    assert_eq!(bench.counters().vanished_before_look, 1);

    bench.process(2, &[3], 0.2);
    bench.notice(Notice::Exited { process: key(2) }, 0.3);
    assert_eq!(bench.counters().vanished_before_inspection, 1);
    bench.answer_inspection(3, verdict(3), 0.4);
    assert_eq!(bench.count(is_attach), 0, "nobody is left to follow");

    bench.process(3, &[3], 0.5);
    assert_eq!(bench.count(is_attach), 1, "the answer was kept");
    bench.notice(Notice::Exited { process: key(3) }, 0.6);
    assert_eq!(bench.counters().missed_short_lived, 1);
    bench.attached(3, Ok(()), 0.7);
    assert_eq!(bench.count(is_follow), 0);

    bench.process(4, &[3], 0.8);
    bench.notice(Notice::Exited { process: key(4) }, 0.9);
    assert_eq!(
        (bench.count(is_attach), bench.count(is_follow)),
        (1, 1),
        "it lingers for the next process"
    );
    let c = bench.counters();
    assert_eq!(
        (
            c.vanished_before_look,
            c.vanished_before_inspection,
            c.missed_short_lived
        ),
        (1, 1, 1)
    );
    assert_eq!(bench.discovery.sizes().processes, 0);
}

/// Looks are repeated at 1, 5 and 30 seconds, then each minute; an `exec` begins anew.
#[test]
fn looks_are_repeated_at_growing_delays() {
    let mut bench = Bench::new(Settings {
        scan_every: Duration::from_secs(100_000),
        ..Settings::default()
    });
    bench.process(5, &[], 0.0);
    let mut due = Vec::new();
    let mut last = 0.0;
    for second in 1..200 {
        let now = f64::from(second);
        bench.tick(now);
        if let Some(round) = bench.look(5) {
            due.push(now - last);
            last = now;
            bench.answer_look(5, round, look::Answer::Unchanged { threads: 1 }, now);
        }
    }
    assert_eq!(due, [1.0, 5.0, 30.0, 60.0, 60.0]);
    bench.process(5, &[], 200.0);
    bench.tick(201.0);
    assert!(bench.look(5).is_some());
}

/// Repeated looks have a budget per second; first looks do not wait for it, and what is put off is done later.
#[test]
fn repeated_looks_beyond_the_budget_are_put_off_and_first_looks_are_not() {
    let mut bench = Bench::new(Settings {
        looks_per_second: 3,
        scan_every: Duration::from_secs(100_000),
        ..Settings::default()
    });
    for pid in 1..=10 {
        bench.process(pid, &[], 0.0);
    }
    bench.jobs.clear();
    bench.tick(10.0);
    assert_eq!(bench.jobs.len(), 3);
    bench.notice(Notice::Execed { process: key(99) }, 10.1);
    assert!(bench.look(99).is_some());
    assert_eq!(
        bench.discovery.next_wake(),
        at(11.0),
        "no earlier than the next budget"
    );
    for second in 11..14 {
        bench.tick(f64::from(second));
    }
    assert_eq!(bench.jobs.len(), 10);
    assert_eq!(bench.counters().looks_put_off, 10);
}

/// Without an exact key nothing can be said; once it is there, everything is, in order.
#[test]
fn process_found_by_a_scan_is_introduced_when_its_key_comes() {
    let mut bench = Bench::new(Settings::default());
    let found = Ok(found(&[8]));
    bench.answer(
        Answer::Scanned {
            asked: at(0.0),
            found,
        },
        0.1,
    );
    let round = bench.look(8).unwrap();
    bench.answer_look(8, round, seen(1, &[12]), 0.2);
    bench.answer_inspection(12, verdict(12), 0.3);
    assert!(matches!(&bench.log[..], [Action::Attach { .. }]));
    bench.attached(12, Ok(()), 0.4);
    assert_eq!(bench.log.len(), 1);
    bench.notice(Notice::Counted { process: key(8) }, 0.5);
    assert!(matches!(
        &bench.log[1..],
        [Action::Describe { .. }, Action::Unsupported { .. }, Action::Follow { process, .. }] if *process == key(8)
    ));
    assert!(bench.look(8).is_none(), "nothing new to look at");
}

/// A process that the kernel's books do not have is counted by looks, once a second, until it ends; one that is in them, by
/// its key. Once it is counted after all, it is said that it was not.
#[test]
fn process_that_the_kernel_does_not_count_is_counted_by_looks() {
    let mut bench = Bench::new(Settings::default());
    let found = Ok(found(&[1, 8]));
    let asked = at(0.0);
    bench.answer(Answer::Scanned { asked, found }, 0.1);
    for pid in [1, 8] {
        let round = bench.look(pid).unwrap();
        bench.answer_look(pid, round, seen(1, &[]), 0.2);
    }
    assert_eq!(
        bench.discovery.uncounted().count(),
        0,
        "the books were not read yet"
    );
    bench
        .discovery
        .counted_all(|id| (id.tgid == 8).then(|| key(8)), at(1.0));
    bench.collect();
    let threads = |bench: &Bench| {
        let uncounted = bench.discovery.uncounted();
        uncounted
            .map(|found| (found.process.tgid, found.threads))
            .collect::<Vec<_>>()
    };
    assert_eq!(threads(&bench), [(1, 7)]);
    assert!(matches!(&bench.log[..], [Action::Describe { process, .. }] if *process == key(8)));

    bench.tick(1.3);
    let round = bench.look(1).unwrap();
    bench.answer_look(1, round, look::Answer::Unchanged { threads: 9 }, 1.4);
    assert_eq!(threads(&bench), [(1, 9)]);
    bench.tick(2.5);
    assert!(bench.look(1).is_some(), "looked at again a second later");

    bench.notice(Notice::Counted { process: key(1) }, 2.6);
    assert_eq!(threads(&bench), []);
    assert!(matches!(
        &bench.log[1..],
        [Action::Unlisted { process }, Action::Describe { .. }] if *process == key(1)
    ));
}

/// Processes that a scan can read nothing of are counted once, not with each scan.
#[test]
fn process_that_nothing_can_be_read_of_is_counted_once() {
    let mut bench = Bench::new(Settings::default());
    for (second, unreadable) in [(1.0, 2), (31.0, 2), (61.0, 3)] {
        let found = Ok(Found {
            processes: Vec::new(),
            unreadable,
        });
        let asked = at(second);
        bench.answer(Answer::Scanned { asked, found }, second);
    }
    assert_eq!(bench.counters().refused_unreadable_process, 3);
}

/// A process whose end nobody told is noticed by the next scan, one that came after the scan began is not touched.
#[test]
fn process_missing_from_a_scan_is_gone() {
    let mut bench = Bench::new(Settings::default());
    bench.process(1, &[], 0.0);
    bench.process(2, &[], 5.0);
    bench.answer(
        Answer::Scanned {
            asked: at(3.0),
            found: Ok(found(&[])),
        },
        6.0,
    );
    let gone: Vec<_> = bench
        .log
        .iter()
        .filter(|action| matches!(action, Action::Gone { .. }))
        .collect();
    assert!(matches!(gone[..], [Action::Gone { process }] if *process == key(1)));
    assert_eq!(
        (
            bench.counters().exits_unnoticed,
            bench.discovery.sizes().processes
        ),
        (1, 1)
    );
}

/// More processes than are allowed are refused and counted; room that becomes free is used.
#[test]
fn processes_beyond_the_cap_are_refused_until_there_is_room() {
    let mut bench = Bench::new(Settings {
        processes_max: 2,
        ..Settings::default()
    });
    for pid in 1..=3 {
        bench.notice(Notice::Counted { process: key(pid) }, 0.0);
    }
    assert_eq!(
        (
            bench.discovery.sizes().processes,
            bench.counters().refused_too_many_processes
        ),
        (2, 1)
    );
    let round = bench.look(1).unwrap();
    bench.answer_look(1, round, look::Answer::NotWanted, 0.1);
    bench.notice(Notice::Counted { process: key(3) }, 0.2);
    assert!(bench.look(3).is_some());
    bench.notice(Notice::Execed { process: key(1) }, 0.3);
    assert_eq!(
        bench.counters().refused_too_many_processes,
        2,
        "it was let go, and the room is taken"
    );
}

/// A child of a process that nobody wants is not wanted either, until it executes something.
#[test]
fn child_of_an_unwanted_process_is_looked_at_when_it_executes_something() {
    let mut bench = Bench::new(Settings::default());
    bench.notice(Notice::Counted { process: key(1) }, 0.0);
    let round = bench.look(1).unwrap();
    bench.answer_look(1, round, look::Answer::NotWanted, 0.0);
    let (process, parent) = (key(2), key(1));
    bench.notice(Notice::Forked { process, parent }, 1.0);
    bench.tick(2.0);
    assert_eq!(bench.look(2), None);
    bench.notice(Notice::Execed { process }, 3.0);
    assert!(bench.look(2).is_some());
}

/// A process is ignored from the look that found it not wanted until it executes something.
#[test]
fn process_is_ignored_only_while_it_is_known_not_to_be_wanted() {
    let mut bench = Bench::new(Settings::default());
    assert!(!bench.discovery.ignores(&key(1)), "nobody has looked at it");
    bench.notice(Notice::Counted { process: key(1) }, 0.0);
    let round = bench.look(1).unwrap();
    assert!(!bench.discovery.ignores(&key(1)));
    bench.answer_look(1, round, look::Answer::NotWanted, 0.0);
    assert!(bench.discovery.ignores(&key(1)));
    bench.notice(Notice::Execed { process: key(1) }, 1.0);
    assert!(!bench.discovery.ignores(&key(1)));
}

/// The cache keeps within its cap: it drops what was used least lately, never what somebody uses.
#[test]
fn cache_beyond_its_cap_drops_the_least_used_answer() {
    let mut bench = Bench::new(Settings {
        executables_max: 3,
        ..Settings::default()
    });
    bench.process(1, &[3, 1, 2], 0.0);
    for inode in bench.inspections() {
        bench.answer_inspection(inode, verdict(inode), 0.1);
    }
    bench.attached(3, Ok(()), 0.2);
    bench.process(2, &[1], 0.3); // 1 is used again, so that 2 is the oldest
    bench.process(3, &[5], 0.4);
    assert_eq!(bench.inspections(), [5]);
    bench.answer_inspection(5, verdict(5), 0.5);
    let counters = bench.counters();
    assert_eq!((counters.cache_evictions, counters.cache_misses), (1, 4));
    bench.process(4, &[3, 1], 0.6);
    assert!(
        bench.inspections().is_empty(),
        "3 is in use and 1 was used: both were kept"
    );
    bench.process(5, &[2], 0.7);
    assert_eq!(bench.inspections(), [2]);
    assert_eq!(bench.discovery.sizes().executables, 3);
}

/// More files than may wait are put off, and taken when the process is looked at again.
#[test]
fn inspections_beyond_the_queue_are_done_later() {
    let mut bench = Bench::new(Settings {
        waiting_max: 2,
        ..Settings::default()
    });
    // Eight are handed out at once, two wait; the others are put off.
    let inodes: Vec<u64> = (1..=20).collect();
    let mut done = BTreeSet::new();
    bench.process(1, &inodes, 0.0);
    assert!(bench.counters().inspections_put_off > 0);
    for round in 1..20_u32 {
        let now = f64::from(round) * 1.5;
        for inode in bench.inspections() {
            assert!(done.insert(inode), "{inode} is inspected twice");
            bench.answer_inspection(inode, verdict(inode), now);
        }
        bench.tick(now);
        if let Some(look) = bench.look(1) {
            bench.answer_look(1, look, seen(1, &inodes), now);
        }
    }
    assert_eq!(done.len(), 20);
}

/// A job that the pool refuses comes again after a pause, not at once.
#[test]
fn rejected_jobs_come_again_after_a_pause() {
    let mut bench = Bench::new(Settings::default());
    bench.process(1, &[3], 0.0);
    bench.notice(Notice::Counted { process: key(2) }, 0.0);
    let jobs = std::mem::take(&mut bench.jobs);
    assert_eq!(jobs.len(), 3, "scan, look, inspection");
    for job in jobs {
        bench.discovery.rejected(job, at(0.0));
    }
    bench.tick(0.05);
    assert!(bench.jobs.is_empty());
    assert_eq!(bench.discovery.next_wake(), at(0.1));
    bench.tick(0.1);
    assert_eq!((bench.jobs.len(), bench.counters().jobs_rejected), (3, 3));
}

/// A file that was written to while it was read is inspected anew when its process is next looked at.
#[test]
fn file_that_changed_while_it_was_read_is_inspected_again() {
    let mut bench = Bench::new(Settings::default());
    bench.process(1, &[3], 0.0);
    assert_eq!(bench.inspections(), [3]);
    bench.answer_inspection(3, inspect::Answer::Later(Trouble::Changed), 0.1);
    bench.tick(1.5);
    let round = bench.look(1).unwrap();
    bench.answer_look(1, round, seen(1, &[3]), 1.5);
    assert_eq!(
        (bench.inspections(), bench.counters().inspections_file_changed),
        (vec![3], 1)
    );
    bench.answer(Answer::Panicked(Asked::File(file_key(3))), 1.6);
    assert_eq!(
        (bench.counters().job_panics, bench.discovery.sizes().executables),
        (1, 0)
    );
}

/// A plan that could not be attached is tried again when the file is used anew.
#[test]
fn failed_attachment_is_tried_again_for_a_later_process() {
    let mut bench = Bench::new(Settings::default());
    bench.process(1, &[3], 0.0);
    bench.answer_inspection(3, verdict(3), 0.0);
    bench.attached(3, Err("busy".to_owned()), 0.0);
    bench.process(2, &[3], 1.0);
    assert_eq!(
        bench.count(|action| matches!(action, Action::Unsupported { .. })),
        2
    );
    assert_eq!(
        (bench.count(is_attach), bench.discovery.sizes().attachments),
        (1, 0)
    );
    for pid in [1, 2] {
        bench.notice(Notice::Exited { process: key(pid) }, 2.0);
    }
    bench.tick(2.0 + 31.0);
    bench.process(3, &[3], 40.0);
    assert_eq!(bench.count(is_attach), 2);
}

/// More attachments than are allowed are refused with the reason.
#[test]
fn attachments_beyond_the_cap_are_unsupported() {
    let mut bench = Bench::new(Settings {
        attachments_max: 1,
        ..Settings::default()
    });
    bench.process(1, &[3, 6], 0.0);
    for inode in [3, 6] {
        bench.answer_inspection(inode, verdict(inode), 0.0);
    }
    bench.attached(3, Ok(()), 0.0);
    assert_eq!((bench.count(is_attach), bench.count(is_follow)), (1, 1));
    assert_eq!(
        bench.count(|action| matches!(action, Action::Unsupported { .. })),
        1
    );
    assert_eq!(bench.counters().refused_too_many_attachments, 1);
}

/// A look that found a file attached which is let go before the answer arrives makes another look, with a descriptor.
#[test]
fn file_let_go_while_a_look_is_under_way_is_attached_again() {
    let mut bench = Bench::new(Settings::default());
    bench.process(1, &[3], 0.0);
    bench.answer_inspection(3, verdict(3), 0.0);
    bench.attached(3, Ok(()), 0.0);
    bench.notice(Notice::Exited { process: key(1) }, 0.0);
    bench.notice(Notice::Execed { process: key(2) }, 29.9);
    let round = bench.look(2).unwrap();
    bench.tick(30.0);
    assert_eq!(bench.count(|action| matches!(action, Action::Detach { .. })), 1);
    let mut answer = seen(1, &[3]);
    if let look::Answer::Seen(seen) = &mut answer {
        seen.files[0].file = None;
    }
    bench.answer_look(2, round, answer, 30.1);
    assert_eq!(bench.count(is_attach), 1);
    bench.tick(31.2);
    let round = bench.look(2).unwrap();
    bench.answer_look(2, round, seen(1, &[3]), 31.2);
    bench.attached(3, Ok(()), 31.2);
    assert_eq!((bench.count(is_attach), bench.count(is_follow)), (2, 2));
}

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Fork(u32, u32),
    Exec(u32),
    Exit(u32),
    Counted(u32),
    /// Answers the n-th job, perhaps with what a dying or changing process would give.
    Answer(usize, u8, Vec<u64>),
    Reject(usize),
    Attached(u64, bool),
    Scan(Vec<u32>),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pid = 1..12_u32;
    let files = proptest::collection::vec(1..15_u64, 0..6);
    let step = prop_oneof![
        2 => (pid.clone(), pid.clone()).prop_map(|(a, b)| Step::Fork(a, b)),
        4 => pid.clone().prop_map(Step::Exec),
        3 => pid.clone().prop_map(Step::Exit),
        2 => pid.clone().prop_map(Step::Counted),
        12 => (0..20_usize, any::<u8>(), files).prop_map(|(n, how, files)| Step::Answer(n, how, files)),
        1 => (0..20_usize).prop_map(Step::Reject),
        4 => (1..15_u64, any::<bool>()).prop_map(|(inode, ok)| Step::Attached(inode, ok)),
        1 => proptest::collection::vec(pid, 0..12).prop_map(Step::Scan),
        3 => (1..40_000_u64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..250)
}

/// What the actions of a history have made of the world.
#[derive(Default)]
struct Model {
    attached: BTreeSet<AttachmentKey>,
    confirmed: BTreeSet<AttachmentKey>,
    follows: BTreeMap<ProcessKey, BTreeSet<AttachmentKey>>,
    described: BTreeSet<ProcessKey>,
}

impl Model {
    fn apply(&mut self, action: &Action) -> Result<(), TestCaseError> {
        match action {
            Action::Attach { attachment, .. } => {
                prop_assert!(
                    self.attached.insert(*attachment),
                    "attached twice: {attachment:?}"
                );
            }
            Action::Detach { attachment } => {
                prop_assert!(
                    self.attached.remove(attachment),
                    "detached, but not attached: {attachment:?}"
                );
                self.confirmed.remove(attachment);
                for (process, files) in &self.follows {
                    prop_assert!(!files.contains(attachment), "detached from under {process:?}");
                }
            }
            Action::Follow { process, attachment } => {
                prop_assert!(
                    self.confirmed.contains(attachment),
                    "followed before it is attached"
                );
                prop_assert!(
                    self.described.contains(process),
                    "followed before it is described"
                );
                prop_assert!(
                    self.follows.entry(*process).or_default().insert(*attachment),
                    "followed twice"
                );
            }
            Action::Unfollow { process, attachment } => {
                let was = self
                    .follows
                    .get_mut(process)
                    .is_some_and(|files| files.remove(attachment));
                prop_assert!(was, "unfollowed, but not followed");
            }
            Action::Unlisted { .. } => {}
            Action::Describe { process, .. } => {
                self.described.insert(*process);
            }
            Action::Gone { process } => {
                self.follows.remove(process);
            }
            Action::Run(_) | Action::Unsupported { .. } => {}
        }
        Ok(())
    }
}

proptest! {
    /// Whatever happens in whatever order: each attachment is made and dropped once, nobody is followed in a file that is not attached,
    /// nothing is dropped from under a follower, and no table outgrows its cap.
    #[test]
    fn histories_of_any_order_keep_attachments_and_followers_consistent(steps in steps()) {
        let mut discovery = Discovery::new(
            Settings {
                processes_max: 8,
                executables_max: 6,
                waiting_max: 3,
                attachments_max: 2,
                linger: Duration::from_secs(5),
                ..Settings::default()
            },
            at(0.0),
        );
        let mut now = at(0.0);
        let mut jobs: Vec<Job> = Vec::new();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Fork(pid, parent) => {
                    discovery.notice(Notice::Forked { process: key(pid), parent: key(parent) }, now);
                }
                Step::Exec(pid) => discovery.notice(Notice::Execed { process: key(pid) }, now),
                Step::Exit(pid) => {
                    discovery.notice(Notice::Exited { process: key(pid) }, now);
                    model.follows.remove(&key(pid));
                }
                Step::Counted(pid) => discovery.notice(Notice::Counted { process: key(pid) }, now),
                Step::Answer(n, how, files) if !jobs.is_empty() => {
                    let n = n % jobs.len();
                    let answer = answer_to(jobs.remove(n), how, &files);
                    discovery.done(Done(answer), now);
                }
                Step::Reject(n) if !jobs.is_empty() => {
                    let n = n % jobs.len();
                    discovery.rejected(jobs.remove(n), now);
                }
                Step::Answer(..) | Step::Reject(_) => {}
                Step::Attached(inode, ok) => {
                    let attachment = attachment(inode);
                    if model.attached.contains(&attachment) && !model.confirmed.contains(&attachment) {
                        if ok {
                            model.confirmed.insert(attachment);
                        } else {
                            model.attached.remove(&attachment);
                        }
                        discovery.attached(&attachment, if ok { Ok(()) } else { Err("no".to_owned()) }, now);
                    }
                }
                Step::Scan(pids) => {
                    let found = Ok(found(&pids));
                    discovery.done(Done(Answer::Scanned { asked: now, found }), now);
                }
                Step::Wait(millis) => {
                    now = BootTime(now.0 + millis * 1_000_000);
                    discovery.tick(now);
                }
            }
            while let Some(action) = discovery.next_action() {
                model.apply(&action)?;
                if let Action::Run(job) = action {
                    jobs.push(job);
                }
            }
            let sizes = discovery.sizes();
            prop_assert!(sizes.processes <= sizes.processes_max);
            prop_assert!(sizes.executables <= sizes.executables_max);
            prop_assert!(sizes.attachments <= sizes.attachments_max);
            prop_assert!(sizes.attachments == model.attached.len(), "{sizes:?} {:?}", model.attached);
        }
    }
}

fn answer_to(job: Job, how: u8, files: &[u64]) -> Answer {
    match job.0 {
        Work::Scan(scan) => Answer::Scanned {
            asked: scan.asked,
            found: Ok(found(&(1..12).collect::<Vec<_>>())),
        },
        Work::Pin(_) => Answer::Panicked(Asked::Pin),
        Work::Look(look) => {
            let answer = match how % 10 {
                0 => look::Answer::Gone,
                1 => look::Answer::NotWanted,
                2 => look::Answer::Unchanged { threads: 1 },
                3 => return Answer::Panicked(Asked::Process(look.process, look.round)),
                _ => {
                    let mut answer = seen(u64::from(how), files);
                    if let look::Answer::Seen(seen) = &mut answer {
                        let mut met = BTreeSet::new();
                        seen.files.retain(|file| met.insert(file.key));
                        for file in &mut seen.files {
                            if look.known.has(&file.key) {
                                file.file = None;
                            }
                        }
                    }
                    answer
                }
            };
            Answer::Looked {
                process: look.process,
                round: look.round,
                answer,
            }
        }
        Work::Inspect(inspect) => {
            let Place::Inode { inode, .. } = inspect.key.place else {
                return Answer::Panicked(Asked::File(inspect.key));
            };
            let answer = match how % 6 {
                0 => inspect::Answer::Later(Trouble::Changed),
                1 => return Answer::Panicked(Asked::File(inspect.key)),
                _ => verdict(inode),
            };
            Answer::Inspected {
                file: inspect.key,
                answer,
            }
        }
    }
}
