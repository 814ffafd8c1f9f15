//! Dumps of goroutines: what is read from outside is what the program says of itself.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness fails by panicking, with the reason

use leak_agent::dump::Dump;
use leak_agent::elf::Elf;
use leak_agent::source::{CodeFrame, NamedStack, TaskStacks};
use leak_agent::types::ExecutableId;
use leak_agent_tests::books::Reader;
use leak_agent_tests::dumping::{run, take, take_of};
use leak_agent_tests::gobooks::{inspected, reader, zoo};
use leak_agent_tests::golang::{Flavour, GoProbe};
use leak_agent_tests::traceback::{Told, ToldFrame, told};
use leak_agent_tests::{Target, privilege, programs};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

const NEWEST: GoProbe = GoProbe {
    version: "1.27.3",
    flavour: Flavour::Default,
};

/// Frames that are unwound, at most.
const DEEPEST: usize = 512;

fn stacks(reader: &mut Reader, data: &[u8]) -> TaskStacks {
    let elf = Elf {
        data,
        id: ExecutableId::BuildId(b"stacks".to_vec()),
        debug: None,
    };
    let stacks = reader.books.stacks(&reader.memory, &elf, usize::MAX).unwrap();
    stacks.expect("the books were believed")
}

fn as_told(frame: &CodeFrame) -> ToldFrame {
    ToldFrame {
        function: frame.function.as_deref().unwrap().to_owned(),
        place: format!("{}:{}", frame.file.as_deref().unwrap(), frame.line.unwrap()),
        inlined: frame.inlined,
    }
}

fn same(id: u64, stack: &NamedStack, told: &Told) {
    let frames: Vec<ToldFrame> = stack.frames.iter().map(as_told).collect();
    match told.elided_after {
        None => {
            assert_eq!(frames, told.frames, "{id}");
            assert!(stack.complete, "{id}");
        }
        Some(first) => {
            assert_eq!(frames[..first], told.frames[..first], "{id}");
            let last = &told.frames[first..];
            if stack.complete {
                assert_eq!(frames[frames.len() - last.len()..], *last, "{id}");
            } else {
                assert!(frames.len() > DEEPEST / 2, "{id}: {} frames", frames.len());
            }
        }
    }
}

/// Each goroutine that is parked has the state, the wait reason and the frames that the program's own profile says, to the line.
fn stacks_are_what_the_runtime_tells(probe: GoProbe) {
    if !privilege::privileged() {
        return;
    }
    let path = probe.path();
    let name = format!("stacks-{}-{}", probe.version, probe.flavour.name());
    let (folder, mut target, _) = zoo(&path, &name);
    target.command("stacks");
    if probe.flavour.with_c() {
        target.command("call 5");
    }
    target.command("profile 2");
    let profile = std::fs::read_to_string(folder.join("goroutine")).unwrap();
    let all = told(&profile);
    let data = std::fs::read(&path).unwrap();
    let plan = inspected(&data).unwrap();
    let mut reader = reader(&target, &path, &plan).unwrap();
    assert_eq!(reader.find().refused, [] as [String; 0]);
    let read = stacks(&mut reader, &data);
    assert_eq!(read.refused, [] as [String; 0]);
    let tasks: BTreeMap<u64, _> = read
        .tasks
        .iter()
        .map(|stacked| (stacked.task.id.unwrap(), stacked))
        .collect();
    let mut compared = 0;
    for (id, told) in &all {
        if told.state == "running" {
            continue; // it told; now it reads the next command
        }
        let stacked = tasks
            .get(id)
            .unwrap_or_else(|| panic!("{id} is missing: {told:?}"));
        assert_eq!(
            stacked.task.waits_for.unwrap_or(stacked.state),
            told.state,
            "{id}"
        );
        let stack = stacked
            .stack
            .unwrap_or_else(|| panic!("{id} has no stack: {told:?}"));
        let mut told = told.clone();
        if probe.minor() < 21 && told.frames.len() > 95 {
            // It leaves out what is beyond 100 frames, those it does not show included, and does not say so.
            told.elided_after = Some(told.frames.len());
        }
        same(*id, &read.stacks[stack as usize], &told);
        compared += 1;
    }
    assert!(compared > 36, "{compared} of {}", all.len());
    for function in [
        "panic",
        "main.inPanicking",
        "main.inner.wait",
        "main.general[...]",
        "main.wide",
    ] {
        assert!(profile.contains(function), "{function} is not in {profile}");
    }
    // As the dump has them: all of them, in groups.
    let dump = take_of(target.pid(), &["go"]).unwrap();
    assert_eq!(dump.tasks, tasks.len() as u64, "{dump:?}");
    std::fs::remove_dir_all(folder).unwrap();
}

macro_rules! versions {
    ($($name:ident = $version:literal $flavour:ident;)*) => {$(
        /// See [`stacks_are_what_the_runtime_tells`].
        #[test]
        fn $name() {
            stacks_are_what_the_runtime_tells(GoProbe {
                version: $version,
                flavour: Flavour::$flavour,
            });
        }
    )*};
}

versions! {
    stacks_of_go_127_are_what_the_runtime_tells = "1.27.3" Default;
    stacks_of_a_stripped_go_127_are_what_the_runtime_tells = "1.27.3" PieStripped;
    stacks_of_an_unoptimised_go_127_are_what_the_runtime_tells = "1.27.3" Unoptimised;
    stacks_of_a_go_127_with_c_are_what_the_runtime_tells = "1.27.3" Cgo;
    stacks_of_go_126_are_what_the_runtime_tells = "1.26.6" Stripped;
    stacks_of_go_125_are_what_the_runtime_tells = "1.25.5" Stripped;
    stacks_of_go_124_are_what_the_runtime_tells = "1.24.11" PieStripped;
    stacks_of_go_123_are_what_the_runtime_tells = "1.23.9" Stripped;
    stacks_of_go_122_are_what_the_runtime_tells = "1.22.10" Stripped;
    stacks_of_go_121_are_what_the_runtime_tells = "1.21.13" Default;
    stacks_of_a_stripped_go_121_are_what_the_runtime_tells = "1.21.13" PieStripped;
    stacks_of_go_119_are_what_the_runtime_tells = "1.19.8" Default;
    stacks_of_a_stripped_go_119_are_what_the_runtime_tells = "1.19.8" Stripped;
}

/// Goroutines that never rest have a stack of one moment or none: the frames of two moments are never mixed.
#[test]
fn stacks_of_goroutines_in_motion_are_never_torn() {
    if !privilege::privileged() {
        return;
    }
    let path = NEWEST.path();
    let mut target = Target::start(&path);
    target.command("park 500");
    target.command("alternate 20");
    let data = std::fs::read(&path).unwrap();
    let plan = inspected(&data).unwrap();
    let mut reader = reader(&target, &path, &plan).unwrap();
    while reader.find().groups.is_empty() {}
    let (mut parked, mut left, mut right, mut none) = (0, 0, 0, 0);
    for _ in 0..300 {
        let read = stacks(&mut reader, &data);
        for stacked in &read.tasks {
            let Some(stack) = stacked.stack else {
                none += 1;
                continue;
            };
            let stack = &read.stacks[stack as usize];
            let functions = stack.frames.iter().filter_map(|frame| frame.function.as_deref());
            let names: Vec<&str> = functions.collect();
            let lefts = names.iter().filter(|name| **name == "main.left").count();
            let rights = names.iter().filter(|name| **name == "main.right").count();
            // On the way to its end a chain is shorter; the two are never on one stack.
            assert!(lefts == 0 || rights == 0, "{names:?}");
            if stacked.task.waits_for.is_some() && names.contains(&"main.alternate") {
                assert!(stack.complete && lefts + rights == 11, "{names:?}");
                left += usize::from(lefts > 0);
                right += usize::from(rights > 0);
            }
            parked += usize::from(names == ["main.park"]);
        }
    }
    assert_eq!(parked, 300 * 500, "what rests always has its stack");
    assert!(
        left > 100 && right > 100,
        "{left} left, {right} right, {none} without"
    );
}

fn json(output: &std::process::Output) -> serde_json::Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the command prints has the promised form, and equal stacks are one group.
#[test]
fn command_prints_groups_in_the_promised_form() {
    if !privilege::privileged() {
        return;
    }
    let path = NEWEST.path();
    let folder = programs::scratch("dump-command");
    let mut target = Target::start_with(&path, &[&folder]);
    target.command("zoo");
    target.command("park 500");
    let pid = target.pid();
    let told = json(&run(pid, &["--format", "json"]));
    assert_eq!(
        (told["version"].as_u64(), told["pid"].as_u64()),
        (Some(1), Some(pid.into()))
    );
    let groups = told["groups"].as_array().unwrap();
    let counts: Vec<u64> = groups
        .iter()
        .map(|group| group["count"].as_u64().unwrap())
        .collect();
    assert!(counts.is_sorted_by(|one, other| one >= other), "{counts:?}");
    let first = &groups[0];
    let wanted = serde_json::json!({
        "runtime": "go", "site": "main.park", "kind": "goroutine", "state": "waiting",
        "reason": "chan receive", "count": 500, "complete": true,
    });
    for (key, value) in wanted.as_object().unwrap() {
        assert_eq!(&first[key], value, "{key} of {first}");
    }
    assert!(first.get("oldest_s").is_some());
    let frame = &first["frames"][0];
    assert_eq!(
        (frame["function"].as_str(), frame["inlined"].as_bool()),
        (Some("main.park"), Some(false))
    );
    assert!(frame["file"].as_str().unwrap().ends_with("ends.go") && frame["line"].as_u64().is_some());
    assert_eq!(first["waits_on"][0]["tasks"], first["looked_at"]);
    let labelled = groups
        .iter()
        .find(|group| group["labels"][0]["labels"][0][0] == "request");
    assert!(labelled.is_some(), "{told}");
    let runtimes: Vec<&str> = groups
        .iter()
        .map(|group| group["runtime"].as_str().unwrap())
        .collect();
    assert!(runtimes.contains(&"thread"), "{runtimes:?}");

    // A site, a runtime, for people, for flame graphs, and into a file.
    let told = json(&run(
        pid,
        &["--format", "json", "--site", "main.park", "--runtime", "go"],
    ));
    assert_eq!(told["groups"].as_array().unwrap().len(), 1, "{told}");
    let folded = run(pid, &["--format", "folded", "--site", "main.park"]);
    assert_eq!(String::from_utf8(folded.stdout).unwrap(), "go;main.park 500\n");
    let text = String::from_utf8(run(pid, &["--site", "main.park"]).stdout).unwrap();
    assert!(
        text.contains("500 × go goroutine waiting: chan receive") && !text.contains('\u{1b}'),
        "{text}"
    );
    let file = folder.join("dump.json");
    std::fs::write(&file, "old").unwrap();
    let output = run(pid, &["--format", "json", "--output", file.to_str().unwrap()]);
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    let written: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(written["groups"][0]["count"], 500);
    std::fs::remove_dir_all(folder).unwrap();
}

/// What is not there is said, with an exit code of its own; what is wrong about the command is another.
#[test]
fn command_says_what_is_not_there() {
    if !privilege::privileged() {
        return;
    }
    let path = NEWEST.path();
    let target = Target::start(&path);
    let pid = target.pid();
    for (arguments, code, said) in [
        (&["--site", "nowhere"][..], 3, "no task that was asked for"),
        (&["--runtime", "tokio"], 3, "no task that was asked for"),
        (&["--runtime", "erlang"], 2, "one of thread, tokio, go"),
    ] {
        let output = run(pid, arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(said), "{told}");
    }
}

/// A process that dies while it is read is told as far as it was read, or as gone; never anything else.
#[test]
fn process_that_dies_during_the_dump_is_gone_or_partial() {
    if !privilege::privileged() {
        return;
    }
    let path = NEWEST.path();
    let (mut gone, mut whole, mut partial) = (0, 0, 0);
    for round in 0..8_u64 {
        let mut target = Target::start(&path);
        target.command("park 20000");
        let pid = target.pid();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(round * 15));
            target.kill();
        });
        loop {
            match take(pid) {
                Ok(Dump { notes, tasks, .. }) => {
                    if notes
                        .iter()
                        .any(|note| note.contains("ended") || note.contains("gone"))
                    {
                        partial += 1;
                    } else {
                        assert!(tasks > 20_000, "{tasks} {notes:?}");
                        whole += 1;
                    }
                }
                Err(error) => {
                    let said = error.to_string();
                    assert!(
                        ["is gone", "no process", "cannot read"]
                            .iter()
                            .any(|part| said.contains(part)),
                        "{said}"
                    );
                    gone += 1;
                    break;
                }
            }
        }
        killer.join().unwrap();
    }
    assert_eq!(gone, 8, "{whole} whole, {partial} partial");
}
