//! Real processes, files and mappings.

use super::*;
use crate::sys::map;
use crate::sys::maps::Mapping;
use std::io::{Read, Seek, SeekFrom, Write};

/// A program that ran before us is attached after the scan, and described and followed when its exact key is known.
#[test]
fn running_program_is_attached_by_the_scan_and_followed_by_its_key() {
    let scratch = Scratch::new("running");
    let program = scratch.sleeper("app", "<plan>..");
    let process = Running::sleeping(&program).executing(&program);
    let mut world = World::new(scratch.settings());
    world.until("the attachment", |world| world.attaches() == 1);
    assert_eq!(world.describes(process.key()), None);
    world.notice(Notice::Counted {
        process: process.key(),
    });
    world.until("the process", |world| world.follows(process.key()));
    assert_eq!(world.describes(process.key()), Some(("app", program.to_str())));
    assert_eq!((world.log.len(), world.discovery.sizes().attachments), (3, 1));
}

/// Replicas share one attachment, and it goes a while after the last of them.
#[test]
fn replicas_share_one_attachment_that_ends_after_the_last() {
    let scratch = Scratch::new("replicas");
    let program = scratch.sleeper("app", "<plan>..");
    let mut first = Running::sleeping(&program).executing(&program);
    let mut second = Running::sleeping(&program).executing(&program);
    let (a, b) = (first.key(), second.key());
    let mut world = World::new(Settings {
        linger: Duration::from_millis(1),
        ..scratch.settings()
    });
    world.notice(Notice::Execed { process: a });
    world.notice(Notice::Execed { process: b });
    world.until("both", |world| world.follows(a) && world.follows(b));
    first.end();
    world.notice(Notice::Exited { process: a });
    std::thread::sleep(Duration::from_millis(20));
    world.discovery.tick(clock::now());
    world.act();
    assert_eq!((world.attaches(), world.detaches()), (1, 0));
    second.end();
    world.notice(Notice::Exited { process: b });
    world.until("the end", |world| world.detaches() == 1);
    assert_eq!((world.attaches(), world.discovery.sizes().attachments), (1, 0));
    let third = Running::sleeping(&program).executing(&program);
    world.notice(Notice::Execed { process: third.key() });
    world.until("the third", |world| world.follows(third.key()));
    assert_eq!(world.attaches(), 2, "the kept plan is attached anew");
    let (inspections, counters) = (world.discovery.counters().inspections, world.discovery.counters());
    assert!(
        counters.cache_hits > 0 && counters.cache_misses == inspections,
        "{counters:?}"
    );
}

/// The file of a deleted program is still at hand.
#[test]
fn deleted_program_is_attached_by_the_file_it_was() {
    let scratch = Scratch::new("deleted");
    let program = scratch.sleeper("app", "<plan>..");
    let process = Running::sleeping(&program).executing(&program);
    fs::remove_file(&program).unwrap();
    let mut world = World::new(scratch.settings());
    world.notice(Notice::Counted {
        process: process.key(),
    });
    world.until("the process", |world| world.follows(process.key()));
    assert_eq!(world.describes(process.key()), Some(("app", program.to_str())));
    let Some(Action::Attach { file, path, .. }) = world
        .log
        .iter()
        .find(|action| matches!(action, Action::Attach { .. }))
    else {
        panic!("no attachment")
    };
    let mut end = String::new();
    let mut file = file.try_clone().unwrap();
    file.seek(SeekFrom::End(-8)).unwrap();
    file.read_to_string(&mut end).unwrap();
    assert_eq!(
        (end.as_str(), path.as_str()),
        ("<plan>..", program.to_str().unwrap())
    );
}

/// A process that runs the old version is followed in the old file, one that runs the new version in the new one.
#[test]
fn replaced_program_has_an_attachment_per_version() {
    let scratch = Scratch::new("versions");
    let program = scratch.sleeper("app", "<plan>..");
    let old = Running::sleeping(&program).executing(&program);
    fs::rename(scratch.sleeper("next", "<plan>.2"), &program).unwrap();
    let new = Running::sleeping(&program).executing(&program);
    let mut world = World::new(scratch.settings());
    for process in [old.key(), new.key()] {
        world.notice(Notice::Counted { process });
    }
    world.until("both", |world| {
        world.follows(old.key()) && world.follows(new.key())
    });
    assert_eq!(world.attaches(), 2);
    let followed = |key| {
        world.log.iter().find_map(|action| match action {
            Action::Follow { process, attachment } if *process == key => Some(attachment.file.place),
            _ => None,
        })
    };
    assert_ne!(followed(old.key()), followed(new.key()));
}

/// A shell that executes a program becomes that program: what was told of the shell is replaced.
#[test]
fn process_that_executes_another_program_is_followed_in_that_one() {
    let scratch = Scratch::new("exec");
    let shell = scratch.program("/bin/sh", "shell", "<plan>.2");
    let program = scratch.sleeper("app", "<plan>..");
    let script = format!("read line; exec {} 1000", program.display());
    let process = Running(
        Command::new(&shell)
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap(),
    )
    .executing(&shell);
    let key = process.key();
    let mut world = World::new(scratch.settings());
    world.notice(Notice::Counted { process: key });
    world.until("the shell", |world| world.follows(key));
    assert_eq!(world.describes(key), Some(("shell", shell.to_str())));
    process.0.stdin.as_ref().unwrap().write_all(b"go\n").unwrap();
    let process = process.executing(&program);
    world.notice(Notice::Execed { process: key });
    assert!(!world.follows(key), "the old image is over at once");
    world.until("the program", |world| world.follows(key));
    assert_eq!(world.describes(key), Some(("app", program.to_str())));
    assert_eq!(world.attaches(), 2);
    drop(process);
}

/// A library that is opened later is found by a later look, one that is closed is let go.
#[test]
fn file_mapped_later_is_followed_and_unfollowed_when_unmapped() {
    let scratch = Scratch::new("later");
    let library = scratch.sleeper("library.so", "<plan>..");
    let me = std::process::id();
    let mut settings = Settings::default();
    settings.filter.pids = [me].into();
    let mut world = World::new(settings);
    let key = key_of(me);
    world.notice(Notice::Counted { process: key });
    world.until("ourselves", |world| world.describes(key).is_some());
    assert!(!world.follows(key));
    let file = fs::File::open(&library).unwrap();
    let mapping = map::map_executable(&file, 4096).unwrap();
    world.until("the library", |world| world.follows(key));
    drop(mapping);
    world.until("its end", |world| !world.follows(key));
}

/// A file of two gigabytes is inspected without costing memory, one beyond the cap is refused with the reason.
#[test]
fn huge_executable_mapping_costs_no_memory() {
    let scratch = Scratch::new("huge");
    let resident = || {
        let text = fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let sparse = |name: &str, size: u64| {
        let mut file = fs::File::create_new(scratch.0.join(name)).unwrap();
        file.write_all(b"\x7fELF\x02\x01").unwrap();
        file.set_len(size - 8).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        file.write_all(b"<plan>..").unwrap();
        fs::File::open(scratch.0.join(name)).unwrap()
    };
    let (large, too_large) = (
        sparse("large", 2 << 30),
        sparse("too-large", INSPECT_BYTES_MAX + 1),
    );
    let mappings = [
        map::map_executable(&large, 4096),
        map::map_executable(&too_large, 4096),
    ]
    .map(Result::unwrap);
    let me = std::process::id();
    let mut settings = Settings::default();
    settings.filter.pids = [me].into();
    let mut world = World::new(settings);
    let before = resident();
    world.notice(Notice::Counted { process: key_of(me) });
    world.until("both", |world| {
        world.follows(key_of(me)) && !world.unsupported(key_of(me)).is_empty()
    });
    assert!(resident() < before + (256 << 20), "{} bytes", resident() - before);
    assert_eq!(world.unsupported(key_of(me)), ["its file is larger than 4 GiB"]);
    drop(mappings);
}

/// An inspector that panics costs its file, with a reason and a counter; the next file is inspected all the same.
#[test]
fn inspector_that_panics_is_counted_and_its_file_unsupported() {
    let scratch = Scratch::new("panic");
    let (bad, good) = (
        scratch.sleeper("bad", "<panic>."),
        scratch.sleeper("good", "<plan>.."),
    );
    let sick = Running::sleeping(&bad).executing(&bad);
    let other = scratch.sleeper("other", "<cannot>");
    let cannot = Running::sleeping(&other).executing(&other);
    let well = Running::sleeping(&good).executing(&good);
    let mut world = World::new(scratch.settings());
    for process in [sick.key(), cannot.key(), well.key()] {
        world.notice(Notice::Counted { process });
    }
    world.until("all", |world| {
        let reasons = [sick.key(), cannot.key()].map(|key| world.unsupported(key).len());
        reasons == [1, 1] && world.follows(well.key())
    });
    assert_eq!(world.unsupported(cannot.key()), ["it says so"]);
    assert_eq!(world.discovery.counters().inspection_panics, 1);
    assert_eq!(world.discovery.counters().refused_unsupported, 2);
}

/// A plan that cannot be attached is told to each process of the file.
#[test]
fn plan_that_cannot_be_attached_is_unsupported_with_the_reason() {
    let scratch = Scratch::new("refused");
    let program = scratch.sleeper("app", "<plan>..");
    let process = Running::sleeping(&program).executing(&program);
    let mut world = World::new(scratch.settings());
    world.attach = Err("no such offset".to_owned());
    world.notice(Notice::Counted {
        process: process.key(),
    });
    world.until("the refusal", |world| {
        world.unsupported(process.key()) == ["no such offset"]
    });
    assert!(!world.follows(process.key()) && world.discovery.counters().refused_attach_failed == 1);
}

/// A pinned program is attached before anybody runs it, and again when it is replaced.
#[test]
fn pinned_program_is_attached_before_its_first_process() {
    let scratch = Scratch::new("pinned");
    let program = scratch.sleeper("app", "<plan>..");
    std::os::unix::fs::symlink("/../../../../etc/passwd", scratch.0.join("link")).unwrap();
    let mut world = World::new(Settings {
        scan_every: Duration::from_millis(50),
        linger: Duration::from_millis(1),
        ..scratch.settings()
    });
    let pattern = format!("{}/*", scratch.0.display());
    assert!(world.discovery.pin(&pattern, clock::now()));
    for refused in ["app*", "/srv/../app", "/srv/**/app", "/srv/[a"] {
        assert!(!world.discovery.pin(refused, clock::now()), "{refused}");
    }
    world.until("the attachment", |world| world.attaches() == 1);
    let process = Running::sleeping(&program).executing(&program);
    world.notice(Notice::Execed {
        process: process.key(),
    });
    world.until("the process", |world| world.follows(process.key()));
    assert_eq!(world.attaches(), 1);
    fs::rename(scratch.sleeper("next", "<plan>.2"), &program).unwrap();
    world.until("the new version", |world| world.attaches() == 2);
    drop(process);
    world.until("the end of the old version", |world| world.detaches() == 1);
    assert_eq!(world.discovery.counters().pins_refused, 4);
}

/// Hundreds of processes that live for a moment leave nothing behind, and each is accounted for.
#[test]
fn five_hundred_quick_processes_share_one_attachment_and_leave_nothing() {
    let scratch = Scratch::new("quick");
    let program = scratch.program("/bin/true", "quick", "<plan>..");
    let mut world = World::new(Settings {
        scan_every: Duration::from_millis(100),
        ..scratch.settings()
    });
    let parent = key_of(std::process::id());
    for _ in 0..500 {
        let mut child = Running::start(&mut Command::new(&program));
        let process = child.key();
        world.notice(Notice::Forked { process, parent });
        world.notice(Notice::Execed { process });
        child.end();
        world.notice(Notice::Exited { process });
        world.discovery.tick(clock::now());
        while let Ok(done) = world.answers.try_recv() {
            world.discovery.done(done, clock::now());
            world.act();
        }
    }
    world.until("silence", |world| world.discovery.sizes().processes == 0);
    let counters = world.discovery.counters();
    assert!(world.attaches() <= 1, "{counters:?}");
    assert!(counters.processes_seen >= 500, "{counters:?}");
    assert_eq!(counters.jobs_rejected, 0);
    let looked_at = world.count(|action| matches!(action, Action::Describe { .. })) as u64;
    assert!(
        counters.vanished_before_look + looked_at >= 500,
        "{counters:?}, {looked_at} looked at"
    );
}

/// The main thread has ended, the others go on: the process is still there, with its executable.
#[test]
fn process_whose_main_thread_has_ended_is_followed() {
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: python3 is not there to end its main thread");
        return;
    }
    let scratch = Scratch::new("leaderless");
    let library = scratch.sleeper("library.so", "<plan>..");
    let script = format!(
        "import ctypes, mmap, threading, time\n\
         f = open({library:?}, 'rb')\n\
         m = mmap.mmap(f.fileno(), 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)\n\
         threading.Thread(target=time.sleep, args=(1000,)).start()\n\
         ctypes.CDLL(None).syscall({exit}, 0)\n",
        exit = libc::SYS_exit,
    );
    let process = Running::start(Command::new("python3").args(["-c", &script]));
    let pid = process.0.id();
    let leaderless = || {
        let stat = proc::ProcDir::open(pid)
            .unwrap()
            .unwrap()
            .stat()
            .unwrap()
            .unwrap();
        stat.state == b'Z' && stat.threads > 1
    };
    wait_for(leaderless);
    let mut settings = Settings::default();
    settings.filter.pids = [pid].into();
    let mut world = World::new(settings);
    world.notice(Notice::Counted {
        process: process.key(),
    });
    world.until("the process", |world| world.follows(process.key()));
    assert!(
        world
            .describes(process.key())
            .unwrap()
            .1
            .unwrap()
            .contains("python")
    );
}

/// How long a look at the second process of a known executable takes: run with `--ignored --nocapture`.
#[test]
#[ignore = "prints a measurement"]
fn second_process_of_a_known_executable_is_looked_at_quickly() {
    let scratch = Scratch::new("fast");
    let program = scratch.sleeper("app", "<plan>..");
    let processes: Vec<_> = (0..50)
        .map(|_| Running::sleeping(&program).executing(&program))
        .collect();
    let mut world = World::new(scratch.settings());
    world.until("all looks of the scan", |world| {
        world.discovery.counters().looks >= 50
    });
    let mut files = 0;
    proc::ProcDir::open(processes[0].0.id())
        .unwrap()
        .unwrap()
        .mappings(|mapping: &Mapping<'_>| files += u32::from(mapping.execute))
        .unwrap();
    let mut took: Vec<Duration> = Vec::new();
    for process in &processes {
        let before = Instant::now();
        world.notice(Notice::Execed {
            process: process.key(),
        });
        world.until("the process", |world| world.follows(process.key()));
        took.push(before.elapsed());
    }
    took.sort();
    println!(
        "notice to follow, {files} executable mappings: best {:?}, median {:?}, worst {:?}",
        took[0],
        took[took.len() / 2],
        took[took.len() - 1]
    );
}
