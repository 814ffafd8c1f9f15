//! What is read from the memory of Go processes besides counts, and how it is known where it is.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness fails by panicking, with the reason

use leak_agent::elf::{Elf, Image};
use leak_agent::report::{Runtime, Site};
use leak_agent::source::books::{Channel, LiveTask, TaskState};
use leak_agent::source::go;
use leak_agent::sys::memory::Memory as _;
use leak_agent::types::ExecutableId;
use leak_agent_tests::books::Reader;
use leak_agent_tests::books::bias;
use leak_agent_tests::compare::{check_identity, describe};
use leak_agent_tests::gobooks::{counted, inspected, reader, with_version, zoo};
use leak_agent_tests::golang::{Flavour, GoProbe};
use leak_agent_tests::traceback::{Told, told};
use leak_agent_tests::wait::until;
use leak_agent_tests::{Agent, Target, Truth, privilege, programs};
use std::collections::{BTreeMap, BTreeSet};

const CGO: GoProbe = GoProbe {
    version: "1.27.3",
    flavour: Flavour::Cgo,
};

/// Waits until as many are alive as the runtime itself counts, callbacks from C among them.
fn until_alive(agent: &Agent, pid: u32, truth: &Truth) -> Runtime {
    let found = until(&truth.phase, || {
        let found = agent.runtime(pid, "go")?;
        let called = callbacks(&found).map_or(0, |site| site.live);
        if (found.live, called) == (truth.live, truth.callbacks) {
            Ok(found)
        } else {
            Err(format!("want {truth:?}, got {}", describe(&found)))
        }
    });
    check_identity(&found);
    found
}

fn callbacks(of: &Runtime) -> Option<&Site> {
    of.sites.iter().find(|site| site.kind == "callback")
}

/// Goroutines that no probe sees: callbacks from C that block, and threads that called and stay. The total is the runtime's own
/// number nevertheless, and what is read from memory says so.
fn callbacks_are_counted_from_memory(probe: GoProbe, how: &[&str], late: bool) {
    if !privilege::privileged() {
        return;
    }
    let path = probe.path();
    let exe = path.to_string_lossy().into_owned();
    let arguments = [how, &["--watch-interval", "100ms", "--exe", &exe]].concat();
    let start = || Agent::start(&arguments);
    let agent = (!late).then(start);
    let mut target = Target::start(&path);
    let mut truth = target.command("call 5");
    assert_eq!(truth.callbacks, 5);
    let agent = agent.unwrap_or_else(start);
    for command in [
        "truth", "park 20", "call 2", "return 3", "stay 3", "release", "leave 3", "return 4",
    ] {
        truth = target.command(command);
        let found = until_alive(&agent, target.pid(), &truth);
        let site = callbacks(&found).expect("a site of callbacks");
        assert!(site.as_of.is_some() && site.name == "cgo callback", "{site:?}");
        assert_eq!((site.spawned, site.finished), (0, 0), "{site:?}");
        assert!(
            found
                .sites
                .iter()
                .all(|site| site.as_of.is_none() || site.kind == "callback"),
            "{}",
            describe(&found)
        );
    }
    assert_eq!((truth.callbacks, truth.live), (0, 1));
}

/// With probes, attached before the program begins.
#[test]
fn callbacks_that_block_are_counted_beside_the_probes() {
    callbacks_are_counted_from_memory(CGO, &["--mode", "trace"], false);
}

/// With probes, attached while callbacks block.
#[test]
fn callbacks_that_blocked_before_are_counted_beside_the_probes() {
    callbacks_are_counted_from_memory(CGO, &["--mode", "trace"], true);
}

/// Without probes.
#[test]
fn callbacks_that_block_are_counted_without_probes() {
    callbacks_are_counted_from_memory(CGO, &["--mode", "watch"], true);
}

/// The oldest Go that is followed gives the goroutine back after each callback.
#[test]
fn callbacks_of_an_old_go_are_counted_beside_the_probes() {
    let old = GoProbe {
        version: "1.19.8",
        flavour: Flavour::Cgo,
    };
    callbacks_are_counted_from_memory(old, &["--mode", "trace"], false);
}

/// Every goroutine that the runtime tells of is listed with the same state, wait reason, thread and creator, and its stack is led
/// out of by the sizes of frames that the executable's own table has.
fn listing_is_what_the_runtime_tells(probe: GoProbe) {
    if !privilege::privileged() {
        return;
    }
    let path = probe.path();
    let name = format!("listing-{}-{}", probe.version, probe.flavour.name());
    let (folder, mut target, _) = zoo(&path, &name);
    target.command("gc 2");
    target.command("profile");
    let profile = std::fs::read_to_string(folder.join("goroutine")).unwrap();
    let told = told(&profile);
    assert!(told.len() > 14, "{profile}");
    let data = std::fs::read(&path).unwrap();
    let plan = inspected(&data).unwrap();
    let mut reader = reader(&target, &path, &plan).unwrap();
    assert_eq!(reader.find().refused, [] as [String; 0]);
    let listing = reader.list(usize::MAX);
    let listed: BTreeMap<u64, &LiveTask> = listing
        .tasks
        .iter()
        .map(|task| (task.id.unwrap(), task))
        .collect();
    for (id, told) in &told {
        let task = listed
            .get(id)
            .unwrap_or_else(|| panic!("{id} is not listed: {told:?}"));
        assert_eq!(task.pinned, told.locked, "{id}: {told:?} {task:?}");
        if probe.minor() >= 21 && *id != 1 {
            assert_eq!(task.creator, told.creator, "{id}: {told:?} {task:?}");
        }
        match told.state.as_str() {
            // It told while it ran; now it waits for the next command.
            "running" | "runnable" => {}
            "syscall" => assert_eq!(task.state, TaskState::Running, "{id}: {task:?}"),
            waits => assert_eq!(task.waits_for, Some(waits), "{id}: {told:?} {task:?}"),
        }
    }
    // What the runtime does not tell of are its own.
    let own = listed.keys().filter(|id| !told.contains_key(id)).count();
    assert!((4..30).contains(&own), "{own} of {listed:?}");
    details(&mut reader, &listing.tasks, probe);
    stacks(&reader, &listing.tasks, &data, &told);
    std::fs::remove_dir_all(folder).unwrap();
}

/// What each goroutine waits for, and its labels.
fn details(reader: &mut Reader, tasks: &[LiveTask], probe: GoProbe) {
    let details = reader.books.details(&reader.memory, tasks).unwrap();
    assert_eq!(details.len(), tasks.len());
    let (mut labelled, mut sleepers) = (0, 0);
    let mut buffered = BTreeSet::new();
    let mut unbuffered = BTreeSet::new();
    for (task, detail) in tasks.iter().zip(details) {
        let Some(detail) = detail else { continue };
        let channels: Vec<Channel> = detail.waits_on.iter().filter_map(|on| on.channel).collect();
        match task.waits_for {
            Some("chan receive") => {
                let [channel] = channels.as_slice() else {
                    panic!("{task:?} {detail:?}");
                };
                assert!(!channel.closed && !detail.waits_on[0].select, "{detail:?}");
                if channel.capacity == 0 {
                    unbuffered.insert(channel.address);
                }
            }
            Some("chan send") => {
                assert_eq!((channels[0].queued, channels[0].capacity), (2, 2), "{detail:?}");
                buffered.insert(channels[0].address);
            }
            Some("select") if channels.len() == 2 => {
                assert!(detail.waits_on.iter().all(|on| on.select), "{detail:?}");
                buffered.extend(
                    channels
                        .iter()
                        .filter(|channel| channel.capacity == 2)
                        .map(|channel| channel.address),
                );
            }
            Some("chan receive (nil chan)" | "chan send (nil chan)" | "select (no cases)") => {
                assert_eq!(detail.waits_on, [], "{task:?}");
            }
            // The runtime's own sleep in another way.
            Some("sleep") => sleepers += u32::from(detail.wakes_at.is_some()),
            _ => {}
        }
        if !detail.labels.is_empty() {
            let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
            assert_eq!(detail.labels, [label("request", "42"), label("tenant", "blue")]);
            labelled += 1;
        }
    }
    // The sender and the selecting one wait for the same channel.
    assert_eq!(buffered.len(), 1);
    assert!(!unbuffered.is_empty());
    assert_eq!(sleepers, u32::from(probe.minor() >= 23));
    assert_eq!(labelled, u32::from(probe.minor() >= 24));
}

/// Walks from each goroutine's saved registers to the function that all begin in.
fn stacks(reader: &Reader, tasks: &[LiveTask], data: &[u8], told: &BTreeMap<u64, Told>) {
    let elf = Elf {
        data,
        id: ExecutableId::BuildId(b"stacks".to_vec()),
        debug: None,
    };
    let image = Image::parse(&elf).unwrap();
    let module = go::module(&elf).unwrap();
    let table = module.open(&image).unwrap();
    let pid = reader.memory.pid();
    let bias = bias(pid, &std::fs::read_link(format!("/proc/{pid}/exe")).unwrap());
    let mut whole = 0;
    for task in tasks.iter().filter(|task| told.contains_key(&task.id.unwrap())) {
        let Some(stack) = task.stack else { continue };
        let (mut sp, mut pc, mut names) = (stack.sp, stack.pc, Vec::new());
        while names.len() < 100 {
            let function = table
                .function_of(pc - bias)
                .unwrap_or_else(|| panic!("{pc:#x} {names:?}"));
            names.push(table.shown_name(function));
            if table.is_outermost(function) {
                break;
            }
            let size = table.frame_size(function, pc - bias).unwrap();
            let next = sp.checked_add_signed(size.into()).unwrap();
            assert!(next < stack.high, "{names:?}");
            let mut word = [0; 8];
            reader.memory.read(next, &mut word).unwrap();
            (sp, pc) = (next + 8, u64::from_le_bytes(word));
        }
        let begins = names.last().unwrap();
        assert!(
            begins == "runtime.goexit" || begins == "runtime.mstart",
            "{names:?}"
        );
        let main = names
            .iter()
            .any(|name| name.starts_with("main.") || name == "runtime.main");
        whole += u32::from(main);
    }
    assert!(whole > 10, "{whole}");
}

macro_rules! listings {
    ($($name:ident = $version:literal $flavour:ident;)*) => {$(
        /// See [`listing_is_what_the_runtime_tells`].
        #[test]
        fn $name() {
            listing_is_what_the_runtime_tells(GoProbe {
                version: $version,
                flavour: Flavour::$flavour,
            });
        }
    )*};
}

listings! {
    listing_of_go_127_is_what_the_runtime_tells = "1.27.3" Default;
    listing_of_a_stripped_go_127_is_what_the_runtime_tells = "1.27.3" PieStripped;
    listing_of_go_121_is_what_the_runtime_tells = "1.21.13" Default;
    listing_of_go_119_is_what_the_runtime_tells = "1.19.8" Default;
}

/// The default build is known by its own debug information, the stripped one by its version; and a version that nobody knows by
/// debug information, or by what fits: with the same numbers, or not at all.
fn layout_is_known_by(version: &'static str) {
    if !privilege::privileged() {
        return;
    }
    let minor = version.split('.').nth(1).unwrap();
    for flavour in [Flavour::Default, Flavour::Stripped, Flavour::PieStripped] {
        let path = GoProbe { version, flavour }.path();
        let name = format!("layout-{version}-{}", flavour.name());
        let (folder, target, _) = zoo(&path, &name);
        let data = std::fs::read(&path).unwrap();
        let (by, truth) = counted(&target, &path, &data).unwrap();
        if flavour == Flavour::Default {
            assert_eq!(by, "debug information");
        } else {
            assert_eq!(by, format!("layout of Go 1.{minor}"));
        }
        for unknown in ["go1.99.1", "devel"] {
            let (by, sites) = counted(&target, &path, &with_version(&data, unknown)).unwrap();
            if flavour == Flavour::Default {
                assert_eq!(by, "debug information");
            } else {
                assert!(
                    by.starts_with("inferred") && by.contains(&format!("1.{minor}")),
                    "{by}"
                );
            }
            assert_eq!(sites, truth, "{by}");
        }
        // A version that is known, but not the right one.
        for wrong in ["go1.19", "go1.21", "go1.24", "go1.25", "go1.27"] {
            if let Ok((by, sites)) = counted(&target, &path, &with_version(&data, wrong)) {
                assert_eq!(sites, truth, "{wrong}, by {by}");
            }
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}

/// See [`layout_is_known_by`].
#[test]
fn layout_of_go_127_is_known_by_debug_information_or_version_or_fit() {
    layout_is_known_by("1.27.3");
}

/// See [`layout_is_known_by`].
#[test]
fn layout_of_go_121_is_known_by_debug_information_or_version_or_fit() {
    layout_is_known_by("1.21.13");
}

/// See [`layout_is_known_by`].
#[test]
fn layout_of_go_119_is_known_by_debug_information_or_version_or_fit() {
    layout_is_known_by("1.19.8");
}

/// Fields whose places are learnt, each in its structure: what is wrong about them shows in the process, or nothing is told.
const LEARNT: &[(&str, &str, &[&str])] = &[
    (
        "runtime.g",
        "stack",
        &[
            "stack",
            "m",
            "sched",
            "syscallsp",
            "syscallpc",
            "atomicstatus",
            "goid",
            "waitreason",
            "lockedm",
            "parentGoid",
            "gopc",
            "startpc",
            "waiting",
        ],
    ),
    ("runtime.gobuf", "sp", &["sp", "pc", "g"]),
    ("runtime.m", "g0", &["lockedg"]),
];
/// The same of what counters are made of.
const COUNTERS: &[(&str, &str, &[&str])] = &[
    ("runtime.schedt", "goidgen", &["goidgen", "ngsys", "gFree"]),
    (
        "runtime.p",
        "id",
        &["id", "status", "goidcache", "goidcacheend", "gFree"],
    ),
];

/// Where the debug information says how far a field is from the beginning of its structure, and how many bytes say it. `first`: the
/// structure's first field.
fn place_of(data: &[u8], structure: &str, first: &str, field: &str) -> Option<(usize, usize, u64)> {
    let text = |name: &str| [name.as_bytes(), &[0]].concat();
    let (structure, first, field) = (text(structure), text(first), text(field));
    let find = |within: &[u8], text: &[u8]| within.windows(text.len()).position(|window| window == text);
    // The name is elsewhere, too; here fields follow, each behind a byte for what it is.
    let mut places = data.windows(structure.len()).enumerate();
    let begin = places.find_map(|(at, window)| {
        let behind = at + structure.len();
        let follows = window == structure && find(data.get(behind..behind + 48)?, &first).is_some();
        follows.then_some(behind)
    })?;
    let fields = &data[begin..begin + 8192];
    let at = fields
        .windows(field.len() + 1)
        .position(|window| window[0] < 0x20 && window[1..] == *field)?;
    let at = begin + at + 1 + field.len();
    let bytes = data[at..].iter().position(|byte| byte & 0x80 == 0)? + 1;
    let value = data[at..at + bytes]
        .iter()
        .rev()
        .fold(0, |value, byte| (value << 7) | u64::from(byte & 0x7f));
    Some((at, bytes, value))
}

/// With that place changed by so many bytes; `None` = it would need more bytes to say, or be negative.
fn corrupted(data: &[u8], (at, bytes, value): (usize, usize, u64), by: i64) -> Option<Vec<u8>> {
    let mut value = value.checked_add_signed(by)?;
    let mut data = data.to_vec();
    for (index, byte) in data[at..at + bytes].iter_mut().enumerate() {
        let more = if index + 1 < bytes { 0x80 } else { 0 };
        *byte = u8::try_from(value & 0x7f).unwrap() | more;
        value >>= 7;
    }
    (value == 0).then_some(data)
}

/// Debug information that lies about any place that is learnt from it is not believed: what is read by it is refused, or it is what
/// the truth is without it.
#[test]
fn every_corrupted_offset_is_noticed() {
    if !privilege::privileged() {
        return;
    }
    let probe = GoProbe {
        version: "1.27.3",
        flavour: Flavour::Default,
    };
    let folder = programs::scratch("corrupted");
    let path = folder.join("plain");
    leak_agent_tests::golang::build_with(probe, &["-ldflags=-compressdwarf=false"], &path);
    let mut target = Target::start_with(&path, &[&folder]);
    target.command("zoo");
    let data = std::fs::read(&path).unwrap();
    let (by, truth) = counted(&target, &path, &data).unwrap();
    assert_eq!(by, "debug information");
    let (mut refused, mut unused) = (0, 0);
    for (structure, first, fields) in LEARNT {
        for field in *fields {
            let place =
                place_of(&data, structure, first, field).unwrap_or_else(|| panic!("{structure}.{field}"));
            for delta in [-16, -8, -4, -1, 1, 4, 8, 16] {
                let Some(lying) = corrupted(&data, place, delta) else {
                    continue;
                };
                match counted(&target, &path, &lying) {
                    Err(_) => refused += 1,
                    Ok((by, sites)) => {
                        assert_ne!(
                            by, "debug information",
                            "{structure}.{field} {delta:+} is believed"
                        );
                        assert_eq!(sites, truth, "{structure}.{field} {delta:+}");
                        unused += 1;
                    }
                }
            }
        }
    }
    assert!(refused > 30, "{refused} refused, {unused} not used");
    for (structure, first, fields) in COUNTERS {
        for field in *fields {
            let place =
                place_of(&data, structure, first, field).unwrap_or_else(|| panic!("{structure}.{field}"));
            for delta in [-16, -8, 8, 16] {
                let Some(lying) = corrupted(&data, place, delta) else {
                    continue;
                };
                let Ok(plan) = inspected(&lying) else { continue };
                let mut reader = reader(&target, &path, &plan).unwrap();
                if reader.find().groups.is_empty()
                    || plan.evidence.books.as_deref() != Some("debug information")
                {
                    continue;
                }
                for counters in reader.counters() {
                    let live: u64 = truth.values().sum();
                    assert_eq!(counters.live, live, "{structure}.{field} {delta:+} is believed");
                }
            }
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// A runtime that has found out which goroutines nothing can wake: they are told, and counted as living.
#[test]
fn leaks_that_the_runtime_found_are_told_and_counted_as_living() {
    if !privilege::privileged() {
        return;
    }
    let probe = GoProbe {
        version: "1.27.3",
        flavour: Flavour::PieStripped,
    };
    let path = probe.path();
    let folder = programs::scratch("leaks");
    let mut target = Target::start_with(&path, &[&folder]);
    target.command("zoo");
    target.command("leak 20");
    let exe = path.to_string_lossy().into_owned();
    let agent = Agent::start(&["--mode", "watch", "--watch-interval", "100ms", "--exe", &exe]);
    let before = until("its books are read", || {
        let found = agent.runtime(target.pid(), "go")?;
        found
            .listed_at
            .map(|_| found.clone())
            .ok_or_else(|| describe(&found))
    });
    assert_eq!(before.leaked, None, "{}", describe(&before));
    target.command("leaks");
    let profile = std::fs::read_to_string(folder.join("goroutineleak")).unwrap();
    let total = profile.lines().next().unwrap().rsplit(' ').next().unwrap();
    let total: u64 = total.parse().unwrap_or_else(|_| panic!("{profile}"));
    assert!(total >= 20, "{profile}");
    // Something has to happen for the lists to be read again.
    let truth = target.command("park 3");
    let found = until("the leaks", || {
        let found = agent.runtime(target.pid(), "go")?;
        if found.leaked == Some(total) && found.live == truth.live {
            Ok(found)
        } else {
            Err(format!(
                "want {total} of {}: {:?} {}",
                truth.live,
                found.leaked,
                describe(&found)
            ))
        }
    });
    let site = found
        .sites
        .iter()
        .find(|site| site.name.starts_with("main.leaked"))
        .unwrap();
    assert_eq!((site.leaked, site.live), (Some(20), 20), "{site:?}");
    let waits = &site.waiting[0];
    assert_eq!((waits.reason.as_str(), waits.count), ("chan receive", 20));
    std::fs::remove_dir_all(folder).unwrap();
}
