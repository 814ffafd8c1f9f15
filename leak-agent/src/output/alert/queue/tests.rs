use super::*;
use crate::output::alert::fixture::{alert, notification};
use std::fs;
use std::path::PathBuf;

/// A folder of its own for a test, gone at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("leak-agent-queue-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn files(&self, end: &str) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(&self.0)
            .unwrap()
            .map(|file| file.unwrap().path())
            .filter(|path| path.to_string_lossy().ends_with(end))
            .collect();
        files.sort();
        files
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn limits() -> QueueLimits {
    QueueLimits {
        entries: 100,
        bytes: 1 << 20,
    }
}

fn open(scratch: &Scratch) -> Queue {
    Queue::open(Some(&scratch.0), limits())
}

fn push(queue: &mut Queue, ids: &[&str]) {
    for id in ids {
        queue.push(&notification(id, vec![alert("a", 1, "/app")]));
    }
}

/// Takes all out, in order.
fn drain(queue: &mut Queue) -> Vec<String> {
    let mut ids = Vec::new();
    while let Some(notification) = queue.front() {
        assert!(queue.done(&notification.id));
        ids.push(notification.id);
    }
    ids
}

fn balanced(queue: &Queue, delivered: u64) {
    let counts = queue.counts();
    let dropped: u64 = counts.dropped.values().sum();
    assert_eq!(
        counts.taken,
        delivered + dropped + queue.len() as u64,
        "{counts:?}"
    );
}

/// What was put in comes out in order, whole, also of a queue that was opened anew.
#[test]
fn queue_opened_anew_has_what_was_put_in() {
    let scratch = Scratch::new("anew");
    let mut first = open(&scratch);
    push(&mut first, &["1", "2", "3"]);
    assert!(first.is_safe());
    let front = first.front().unwrap();
    assert_eq!(front, notification("1", vec![alert("a", 1, "/app")]));
    assert!(first.done("1"));
    drop(first);
    let mut second = open(&scratch);
    push(&mut second, &["4"]);
    assert_eq!(second.counts().taken, 3);
    assert_eq!(drain(&mut second), ["2", "3", "4"]);
    balanced(&second, 3);
    assert!(scratch.files(".entry").is_empty());
}

/// Only the agent may read what is in the folder.
#[test]
fn queue_is_for_our_eyes_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::new("eyes");
    let mut queue = open(&scratch);
    push(&mut queue, &["1"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&scratch.0), 0o700);
    assert_eq!(mode(&scratch.files(".entry")[0]), 0o600);
}

/// More than the limit: the oldest go, from the disk too, and are counted.
#[test]
fn full_queue_drops_the_oldest() {
    let scratch = Scratch::new("full");
    let few = QueueLimits {
        entries: 3,
        ..limits()
    };
    let mut queue = Queue::open(Some(&scratch.0), few);
    push(&mut queue, &["1", "2", "3", "4", "5"]);
    assert_eq!(queue.counts().dropped["queue_full"], 2);
    assert_eq!(scratch.files(".entry").len(), 3);
    balanced(&queue, 0);
    drop(queue);
    // A limit that was lowered meanwhile holds as well.
    let fewer = QueueLimits {
        entries: 1,
        ..limits()
    };
    let mut queue = Queue::open(Some(&scratch.0), fewer);
    assert_eq!(queue.counts().dropped["queue_full"], 2);
    assert_eq!(drain(&mut queue), ["5"]);
}

/// The size of all counts, and one that is larger than that is not taken at all.
#[test]
fn queue_is_bounded_by_bytes() {
    let scratch = Scratch::new("bytes");
    let small = QueueLimits {
        entries: 100,
        bytes: 4_000,
    };
    let mut queue = Queue::open(Some(&scratch.0), small);
    push(&mut queue, &["1", "2", "3", "4", "5", "6", "7", "8"]);
    assert!(queue.bytes() <= 4_000 && queue.len() > 1);
    let left = queue.len();
    let many = (0..50).map(|pid| alert("a", pid, "/app")).collect();
    queue.push(&notification("large", many));
    assert_eq!((queue.len(), queue.counts().dropped["too_large"]), (left, 1));
    balanced(&queue, 0);
}

/// Delivered after it was dropped from a full queue: the next one stays.
#[test]
fn delivery_of_a_dropped_entry_takes_nothing_out() {
    let few = QueueLimits {
        entries: 1,
        ..limits()
    };
    let mut queue = Queue::open(None, few);
    push(&mut queue, &["1"]);
    let under_way = queue.front().unwrap();
    push(&mut queue, &["2"]);
    assert!(!queue.done(&under_way.id));
    assert_eq!(drain(&mut queue), ["2"]);
}

/// Entries that are cut, altered, empty, of a newer version or no notification are set aside, and the others delivered.
#[test]
fn damaged_entries_are_set_aside() {
    let scratch = Scratch::new("damaged");
    let mut queue = open(&scratch);
    push(&mut queue, &["1", "2", "3", "4", "5", "6", "7"]);
    drop(queue);
    let files = scratch.files(".entry");
    let alter = |index: usize, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let bytes = fs::read(&files[index]).unwrap();
        fs::write(&files[index], change(bytes)).unwrap();
    };
    alter(0, &|bytes| bytes[..bytes.len() / 2].to_vec());
    alter(1, &|mut bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    });
    alter(2, &|_| Vec::new());
    alter(3, &|_| vec![0xff; 5_000]);
    let folder_entry = |body: &str| {
        let head = format!(
            "leak-agent-queue 1 {:08x} {}\n",
            crc32fast::hash(body.as_bytes()),
            body.len()
        );
        [head.as_bytes(), body.as_bytes()].concat()
    };
    alter(4, &|_| folder_entry("{\"version\":1}"));
    let mut newer = notification("newer", vec![]);
    newer.version = VERSION + 1;
    let newer = serde_json::to_string(&newer).unwrap();
    alter(5, &|_| folder_entry(&newer));

    let mut queue = open(&scratch);
    assert_eq!(drain(&mut queue), ["7"]);
    assert_eq!(queue.counts().dropped["damaged"], 6);
    balanced(&queue, 1);
    assert_eq!(scratch.files(".damaged").len(), 6);
}

/// Of what was set aside only so much is kept, and what a killed writer left is removed.
#[test]
fn leftovers_are_bounded() {
    let scratch = Scratch::new("leftovers");
    drop(open(&scratch));
    for number in 0..50 {
        fs::write(scratch.0.join(format!("{number:020}.damaged")), "x").unwrap();
    }
    fs::write(scratch.0.join("00000000000000000051.new"), "half").unwrap();
    fs::write(scratch.0.join("notes.txt"), "a person's").unwrap();
    let queue = open(&scratch);
    assert_eq!((queue.len(), scratch.files(".damaged").len()), (0, 16));
    assert!(scratch.files(".new").is_empty());
    assert_eq!(scratch.files(".txt").len(), 1);
}

/// A folder that another agent has open is not touched: the queue is in memory then.
#[test]
fn folder_in_use_is_left_alone() {
    let scratch = Scratch::new("in-use");
    let mut first = open(&scratch);
    push(&mut first, &["1"]);
    let mut second = open(&scratch);
    assert!(!second.is_safe());
    push(&mut second, &["2"]);
    assert_eq!(second.counts().disk_errors, 1);
    assert_eq!(scratch.files(".entry").len(), 1);
    // When the other has ended, what it left comes first, and everything is on disk.
    drop(first);
    push(&mut second, &["3"]);
    second.refresh();
    assert!(second.is_safe());
    assert_eq!(scratch.files(".entry").len(), 3);
    balanced(&second, 0);
    assert_eq!(drain(&mut second), ["1", "2", "3"]);
    balanced(&second, 3);
}

/// A disk that fails (here: the folder is gone) leaves entries in memory; when it works again they are written.
#[test]
fn failing_disk_leaves_entries_in_memory_until_it_works() {
    let scratch = Scratch::new("failing");
    let mut queue = open(&scratch);
    push(&mut queue, &["1"]);
    let away = scratch.0.with_extension("away");
    fs::rename(&scratch.0, &away).unwrap();
    push(&mut queue, &["2", "3"]);
    assert!(!queue.is_safe());
    assert_eq!(queue.counts().disk_errors, 2);
    // The first is on the disk that is away: it is as good as lost.
    fs::rename(&away, &scratch.0).unwrap();
    push(&mut queue, &["4"]);
    assert!(queue.is_safe());
    drop(queue);
    assert_eq!(drain(&mut open(&scratch)), ["1", "2", "3", "4"]);
}

/// What is kept beside the entries comes back, and a damaged memory is as none.
#[test]
fn memory_beside_the_queue_comes_back() {
    let scratch = Scratch::new("memory");
    let mut queue = open(&scratch);
    assert_eq!(queue.read_memory(), None);
    queue.write_memory(b"whom");
    queue.write_memory(b"whom and when");
    drop(queue);
    let queue = open(&scratch);
    assert_eq!(queue.read_memory().unwrap(), b"whom and when");
    drop(queue);
    fs::write(scratch.0.join("told"), "nonsense").unwrap();
    assert_eq!(open(&scratch).read_memory(), None);
}
