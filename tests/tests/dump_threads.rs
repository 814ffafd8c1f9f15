//! Dumps of threads: the stacks that a debugger finds, without stopping anything; and processes of which there are none.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness fails by panicking, with the reason

use leak_agent::dump::Group;
use leak_agent_tests::debugger::{self, Stack};
use leak_agent_tests::dumping::{named, run, take, take_of};
use leak_agent_tests::golang::{Flavour, GoProbe};
use leak_agent_tests::wait::until_true;
use leak_agent_tests::{Target, privilege, programs};
use std::path::Path;
use std::process::{Command, Stdio};

/// Waits as they are seen from outside: the thread's name, its system call, and the function of the program it waits in.
const WAITS: &[(&str, &str, &str)] = &[
    ("mutex", "futex", "in_mutex"),
    ("cond", "futex", "in_cond"),
    ("rwlock", "futex", "in_rwlock"),
    ("barrier", "futex", "in_barrier"),
    ("semaphore", "futex", "in_semaphore"),
    ("read", "read", "in_read"),
    ("poll", "poll", "in_poll"),
    ("select", "pselect6", "in_select"),
    ("epoll", "epoll_wait", "in_epoll"),
    ("sleep", "clock_nanosleep", "in_sleep"),
    ("nanosleep", "clock_nanosleep", "in_nanosleep"),
    ("pause", "pause", "in_pause"),
    ("accept", "accept", "in_accept"),
    ("recv", "recvfrom", "in_recv"),
    ("sigwait", "rt_sigtimedwait", "in_sigwait"),
    ("waitpid", "wait4", "in_waitpid"),
    ("flock", "flock", "in_flock"),
    ("futex", "futex", "in_futex"),
    ("join", "futex", "in_join"),
    ("recursion", "pause", "in_recursion"),
    ("alloca", "pause", "in_alloca"),
    ("callback", "pause", "in_callback"),
    ("signal", "pause", "in_signal"),
];

/// The frames of the program's own source file: function and line.
fn own(frames: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    frames
        .filter(|(_, place)| place.contains("parked.c:"))
        .map(|(function, place)| (function, place.rsplit('/').next().unwrap().to_owned()))
        .collect()
}

fn own_of_group(group: &Group) -> Vec<(String, String)> {
    own(group.frames.iter().map(|frame| {
        let place = frame.file.as_ref().zip(frame.line);
        let place = place.map_or_else(String::new, |(file, line)| format!("{file}:{line}"));
        (frame.function.clone(), place)
    }))
}

fn own_of_stack(stack: &Stack) -> Vec<(String, String)> {
    own(stack
        .frames
        .iter()
        .map(|frame| (frame.function.clone(), frame.place.clone())))
}

/// Every thread that waits has the frames that gdb finds, with the same lines, inlined ones too; and its wait is named.
#[test]
fn stacks_of_threads_are_those_of_gdb() {
    if !privilege::privileged() {
        return;
    }
    let target = Target::start_with(&programs::parked(), &["spin"]);
    let dump = take(target.pid()).unwrap();
    let stacks = debugger::stacks(target.pid());
    assert_eq!(dump.notes, [] as [String; 0]);
    for (name, call, function) in WAITS {
        let groups = named(&dump, name);
        let [group] = groups.as_slice() else {
            panic!("{name}: {groups:?}");
        };
        assert!(group.complete && group.count == 1, "{group:?}");
        assert_eq!(
            (group.state.as_str(), group.site.as_str()),
            ("sleeping", *function)
        );
        let reason = group.reason.as_deref().unwrap();
        assert!(
            reason.split(' ').next() == Some(call) && reason.ends_with(')'),
            "{reason}"
        );
        let stack = stacks.iter().find(|stack| stack.name == *name).unwrap();
        assert_eq!(own_of_group(group), own_of_stack(stack), "{name}");
        assert!(!own_of_group(group).is_empty(), "{group:?}");
        // gdb and the agent differ in what was inlined in the C library: physical frames are compared.
        if name != &"recursion" {
            assert!(group.frames.len() >= 3, "{group:?}");
        }
    }
    // Deeper than anybody reads: cut, and marked.
    let groups = named(&dump, "deep-recursion");
    assert!(
        !groups[0].complete && groups[0].frames.len() >= 500,
        "{:?}",
        groups[0].frames.len()
    );
    // One that never sleeps is told as running, and its frames are those of one moment.
    let groups = named(&dump, "spins");
    assert_eq!((groups[0].state.as_str(), groups[0].complete), ("running", false));
    let main = dump.groups.iter().find(|group| group.kind == "main").unwrap();
    assert!(
        main.frames.iter().any(|frame| frame.function == "main"),
        "{main:?}"
    );
}

/// Without BPF there are the same stacks, or shorter ones that are marked.
#[test]
fn stacks_without_bpf_are_the_same_or_shorter() {
    if !privilege::privileged() {
        return;
    }
    let target = Target::start(&programs::parked());
    let with = take(target.pid()).unwrap();
    let output = run(target.pid(), &["--no-bpf", "--format", "json"]);
    let without: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        without["notes"][0].as_str().unwrap().contains("frame pointer"),
        "{without}"
    );
    let mut complete = 0;
    for (name, ..) in WAITS {
        let group = named(&with, name)[0];
        let groups = without["groups"].as_array().unwrap();
        let other = groups
            .iter()
            .find(|group| group["labels"][0]["labels"][0][1] == *name)
            .unwrap_or_else(|| panic!("{name}"));
        let frames: Vec<&str> = other["frames"]
            .as_array()
            .unwrap()
            .iter()
            .map(|frame| frame["function"].as_str().unwrap())
            .collect();
        let all: Vec<&str> = group.frames.iter().map(|frame| frame.function.as_str()).collect();
        assert!(all.starts_with(&frames), "{name}: {frames:?} {all:?}");
        assert!(!frames.is_empty(), "{name}");
        let whole = other["complete"].as_bool().unwrap();
        assert_eq!(whole, frames.len() == all.len(), "{name}");
        complete += usize::from(whole);
    }
    assert!(complete > WAITS.len() / 2, "{complete}");
}

/// Threads that never rest have a stack of one moment, or are told as running.
#[test]
fn stacks_of_threads_in_motion_are_never_torn() {
    if !privilege::privileged() {
        return;
    }
    let target = Target::start_with(&programs::parked(), &["alternate"]);
    let mut rested = 0;
    // How many rest depends on what else the machine does.
    until_true("some were at rest", || {
        let dump = take_of(target.pid(), &["thread"]).unwrap();
        let mut threads = 0;
        for group in named(&dump, "alternates") {
            let has = |name: &str| group.frames.iter().any(|frame| frame.function == name);
            threads += group.count;
            if group.complete {
                assert!(!(has("left") && has("right")), "{group:?}");
                assert_ne!(group.state, "running");
                rested += group.count;
            } else {
                assert_eq!(group.state, "running", "{group:?}");
            }
        }
        assert_eq!(threads, 8);
        rested > 200
    });
}

/// The threads of a Go program run through code without unwind data: its own tables lead on.
#[test]
fn threads_of_go_are_unwound_by_its_own_tables() {
    if !privilege::privileged() {
        return;
    }
    for flavour in [Flavour::Default, Flavour::Cgo] {
        let probe = GoProbe {
            version: "1.27.3",
            flavour,
        };
        let target = Target::start(&probe.path());
        let dump = take_of(target.pid(), &["thread"]).unwrap();
        let parked = dump.groups.iter().find(|group| {
            let has = |name: &str| group.frames.iter().any(|frame| frame.function == name);
            has("runtime.stopm") || has("runtime.mPark")
        });
        let parked = parked.unwrap_or_else(|| panic!("{dump:?}"));
        assert!(parked.complete, "{parked:?}");
        assert_eq!(
            (parked.kind, parked.site.as_str()),
            ("go scheduler", "Go scheduler thread (M)")
        );
    }
}

fn refused(pid: u32, code: i32, said: &str) {
    let output = run(pid, &[]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{told}");
    assert!(told.contains(said), "{told}");
}

/// A pid that nobody has, the id of a thread, a thread of the kernel.
#[test]
fn what_is_no_process_is_said() {
    if !privilege::privileged() {
        return;
    }
    refused(4_194_303, 3, "no process has the pid");
    let target = Target::start(&programs::parked());
    let tasks = std::fs::read_dir(format!("/proc/{}/task", target.pid())).unwrap();
    let tids = tasks.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap());
    let tid: u32 = tids.filter(|tid: &u32| *tid != target.pid()).max().unwrap();
    refused(tid, 3, &format!("is a thread of process {}", target.pid()));
    if std::fs::read_to_string("/proc/2/comm").is_ok_and(|comm| comm.trim() == "kthreadd") {
        refused(2, 1, "it is a kernel thread");
    }
}

/// A process of 32 bits is refused, with that reason.
#[test]
fn process_of_32_bits_is_refused() {
    if !privilege::privileged() {
        return;
    }
    let Some(path) = programs::of_32_bits() else {
        panic!("no linker for programs of 32 bits (binutils has one)");
    };
    let mut child = Command::new(path).stdin(Stdio::null()).spawn().unwrap();
    until_true("it runs its own program", || {
        std::fs::read_link(format!("/proc/{}/exe", child.id())).is_ok_and(|exe| exe.ends_with("of-32-bits"))
    });
    let pid = child.id();
    let output = run(pid, &[]);
    child.kill().unwrap();
    child.wait().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("not a 64-bit program"), "{told}");
}

fn has_all(pid: u32) {
    let dump = take(pid).unwrap();
    for (name, _, function) in WAITS {
        let groups = named(&dump, name);
        assert_eq!(groups.len(), 1, "{name}");
        assert!(
            groups[0].frames.iter().any(|frame| frame.function == *function),
            "{:?}",
            groups[0]
        );
    }
}

/// An executable that was deleted, or replaced by another, is read as the process has it.
#[test]
fn deleted_executable_is_read() {
    if !privilege::privileged() {
        return;
    }
    let folder = programs::scratch("dump-deleted");
    let path = folder.join("parked");
    programs::copy(&programs::parked(), &path);
    let target = Target::start(&path);
    std::fs::remove_file(&path).unwrap();
    has_all(target.pid());
    std::fs::write(&path, "another").unwrap();
    has_all(target.pid());
    std::fs::remove_dir_all(folder).unwrap();
}

/// A process whose files are in a mount namespace of its own.
#[test]
fn process_in_another_mount_namespace_is_read() {
    if !privilege::privileged() {
        return;
    }
    let script = format!(
        "mount -t tmpfs none /mnt && cp {} /mnt/parked && exec /mnt/parked",
        programs::parked().display()
    );
    let target = Target::start_with(
        Path::new("/usr/bin/unshare"),
        &["--mount", "--propagation", "private", "sh", "-c", &script],
    );
    assert!(!Path::new("/mnt/parked").exists());
    has_all(target.pid());
}
