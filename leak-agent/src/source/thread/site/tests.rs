//! Which frame of a stack is shown as the site.

use super::*;
use crate::stack::symbolize::Name;

/// Frames from "module function" or "module function @ location"; "module" alone is a nameless frame,
/// "~" in front of the function an inlined one. Addresses count up.
fn stack(lines: &[&str]) -> Vec<NamedFrame> {
    let mut index = 0;
    let mut frames = Vec::new();
    for line in lines {
        let (module, function) = line.split_once(' ').unwrap_or((line, ""));
        let (function, location) = match function.split_once(" @ ") {
            Some((function, location)) => (function, Some(location.to_owned())),
            None => (function, None),
        };
        let inlined = function.starts_with('~');
        frames.push(NamedFrame {
            index,
            module: (module != "-").then(|| module.to_owned()),
            id: (module != "-").then(|| ExecutableId::BuildId(module.bytes().collect())),
            language: match module {
                "rust" => Language::Rust,
                "go" => Language::Go,
                _ => Language::Other,
            },
            vaddr: 0x1000 + index as u64,
            name: (!function.is_empty()).then(|| Name {
                function: function.trim_start_matches('~').to_owned(),
                location,
                inlined,
            }),
        });
        index += usize::from(!inlined);
    }
    frames
}

const LIBC: [&str; 2] = ["libc.so.6", "libc.so.6 pthread_create"];
const RUST: [&str; 4] = [
    "libc.so.6",
    "libc.so.6 pthread_create",
    "rust std::sys::thread::unix::Thread::new",
    "rust std::thread::Builder::spawn_unchecked_",
];

fn chosen(inner: &[&str], outer: &[&str], end: End) -> Choice {
    choose(&stack(&[inner, outer].concat()), end)
}

/// The creation stacks of each kind of program, and the site each has: name, kind, note, and the index
/// of the last wanted frame.
#[test]
fn site_of_each_kind_of_creator() {
    type Expected = (&'static str, &'static str, Option<&'static str>, usize);
    let table: &[(&[&str], &[&str], Expected)] = &[
        (&LIBC, &["app start", "app main"], ("start", "pthread", None, 2)),
        (
            &LIBC,
            &["libssl.so.3 worker_new", "app main"],
            ("worker_new", "pthread", None, 2),
        ),
        (
            &LIBC,
            &["libglib-2.0.so.0 g_thread_new", "app start"],
            ("start", "pthread", Some("via g_thread_new of GLib"), 3),
        ),
        (
            &LIBC,
            &[
                "libstdc++.so.6 std::thread::_M_start_thread(std::unique_ptr<int>, void (*)())",
                "app Server::listen(int)",
            ],
            (
                "Server::listen(int)",
                "std::thread",
                Some("via std::thread::_M_start_thread"),
                3,
            ),
        ),
        (
            &RUST,
            &["rust std::thread::spawn", "rust app::worker::start"],
            (
                "app::worker::start",
                "std::thread",
                Some("via std::thread::spawn"),
                5,
            ),
        ),
        (
            &RUST,
            &["rust app::worker::start"],
            ("app::worker::start", "std::thread", Some("via std::thread"), 4),
        ),
        (
            &RUST,
            &[
                "rust ~std::thread::spawn",
                "rust ~app::start @ src/w.rs:3",
                "rust app::main @ src/main.rs:9",
            ],
            ("app::start", "std::thread", Some("via std::thread::spawn"), 4),
        ),
        (
            &RUST,
            &[
                "rust tokio::runtime::blocking::pool::Spawner::spawn_thread",
                "rust tokio::runtime::scheduler::multi_thread::worker::Launch::launch",
                "rust tokio::runtime::builder::Builder::build",
                "rust app::main",
            ],
            (
                "app::main",
                "tokio worker",
                Some("via tokio::runtime::builder::Builder::build"),
                7,
            ),
        ),
        (
            &RUST,
            &[
                "rust tokio::runtime::blocking::pool::Spawner::spawn_thread",
                "rust tokio::task::blocking::spawn_blocking",
                "rust app::handler::{{closure}}",
                "rust tokio::runtime::task::raw::poll",
            ],
            (
                "app::handler::{{closure}}",
                "tokio blocking",
                Some("via tokio::task::blocking::spawn_blocking"),
                6,
            ),
        ),
        (
            &RUST,
            &[
                "rust <rayon_core::registry::DefaultSpawn as T>::spawn",
                "rust rayon_core::registry::Registry::new",
                "rust app::pool",
            ],
            (
                "app::pool",
                "rayon",
                Some("via rayon_core::registry::Registry::new"),
                6,
            ),
        ),
        (
            &LIBC,
            &[
                "python3.11 PyThread_start_new_thread",
                "python3.11 _PyEval_EvalFrameDefault",
            ],
            (
                "Python thread start",
                "python",
                Some("all threads that Python code starts: the interpreter's stack does not name the line"),
                2,
            ),
        ),
        (
            &LIBC,
            &[
                "libopenblas.so.0 blas_thread_init",
                "libpython3.12.so.1.0 _PyEval_EvalFrameDefault",
            ],
            ("blas_thread_init", "pthread", None, 2),
        ),
        (
            &LIBC,
            &[
                "libjvm.so os::create_thread(Thread*)",
                "libjvm.so JavaThread::JavaThread()",
                "libjvm.so JVM_StartThread",
                "-",
            ],
            (
                "JVM thread start",
                "jvm",
                Some("all threads that Java code starts: the stack does not name the line"),
                4,
            ),
        ),
        (
            &LIBC,
            &[
                "libjvm.so os::create_thread(Thread*)",
                "libjvm.so WatcherThread::start()",
                "libjvm.so Threads::create_vm(int)",
                "libjli.so JavaMain",
            ],
            (
                "JVM service thread start",
                "jvm",
                Some("by WatcherThread::start"),
                4,
            ),
        ),
        (
            &[],
            &["go runtime.clone"],
            (
                "Go scheduler thread (M)",
                "go scheduler",
                Some("the Go scheduler made them to run goroutines: none of these is the cause"),
                0,
            ),
        ),
        (
            &LIBC,
            &[
                "go _cgo_try_pthread_create",
                "go _cgo_sys_thread_start",
                "go runtime.asmcgocall",
            ],
            (
                "Go scheduler thread (M)",
                "go scheduler",
                Some("the Go scheduler made them to run goroutines: none of these is the cause"),
                2,
            ),
        ),
        (
            &["libc.so.6 syscall"],
            &["rust io_uring::sys::io_uring_enter", "rust app::submit"],
            ("io_uring worker", "io_uring", None, 1),
        ),
        (
            &[
                "static clone3",
                "static __clone_internal",
                "static __pthread_create_2_1",
            ],
            &["static start", "static main"],
            ("start", "pthread", None, 3),
        ),
        (&LIBC, &["app", "app"], ("app+0x1002", "pthread", None, 2)),
    ];
    for (inner, outer, (name, kind, note, wanted)) in table {
        let choice = chosen(inner, outer, End::Complete);
        let site = &choice.site;
        let got = (site.name.as_str(), site.kind, site.note.as_deref(), choice.wanted);
        assert_eq!(got, (*name, *kind, *note, *wanted), "{inner:?} {outer:?}");
        assert!(!site.system && !site.ambiguous);
    }
}

/// The id is the module's and the address of the call; the location is that of the site's own frame.
#[test]
fn site_id_is_the_module_and_the_address() {
    let site = chosen(&LIBC, &["app start @ src/start.c:7", "app main"], End::Complete).site;
    assert_eq!(site.id, "617070:0x1002");
    assert_eq!(site.location.as_deref(), Some("src/start.c:7"));
}

/// An inlined function without a path is named with the function that holds it.
#[test]
fn site_in_an_inlined_function_without_a_path_names_its_holder() {
    let lines = [
        "rust ~spawn<app::F, ()> @ /rustc/5980/library/std/src/thread/functions.rs:131",
        "rust ~{closure#0} @ src/w.rs:3",
        "rust app::run @ src/main.rs:9",
    ];
    let site = chosen(&RUST, &lines, End::Complete).site;
    assert_eq!(site.name, "{closure#0} in app::run");
    assert_eq!(site.location.as_deref(), Some("src/w.rs:3"));
    assert_eq!(site.note.as_deref(), Some("via spawn of std::thread"));
}

/// Without symbols a Rust site is a chain of frames: the first ones are the standard library's, which
/// all sites share.
#[test]
fn site_without_symbols_in_rust_is_a_chain() {
    let one = chosen(&LIBC, &["rust", "rust", "rust", "rust"], End::Complete);
    assert_eq!(one.site.name, "rust+0x1002 < 0x1003 < 0x1004 < 0x1005");
    assert_eq!(one.wanted, 5);
    let other = chosen(&LIBC, &["rust", "rust", "rust"], End::Complete);
    assert_ne!(one.site.id, other.site.id);
    let deep = chosen(&LIBC, &["rust"; 20], End::Complete);
    assert_eq!(deep.wanted, 1 + NAMELESS_FRAMES);
}

/// Frames of C in a Go file that has no symbols.
fn with_c_of_go(lines: &[&str]) -> Vec<NamedFrame> {
    let mut frames = stack(&[&LIBC, lines].concat());
    for frame in &mut frames {
        if frame.module.as_deref() == Some("go") && frame.name.is_none() {
            frame.language = Language::Other;
        }
    }
    frames
}

/// In a Go program with a C part, threads that the scheduler asked C for are the scheduler's, and those that C made for itself
/// are C's: with symbols, and without.
#[test]
fn threads_of_c_in_a_go_program_are_not_the_schedulers() {
    let asked = with_c_of_go(&["go", "go ~x_cgo_thread_start", "go", "go"]);
    let choice = choose(&asked, End::NoUnwindInfo);
    assert_eq!((choice.site.kind, choice.wanted), (GO, 3));
    assert_eq!(choice.site.id, "676f:go-scheduler");
    let named = chosen(&LIBC, &["go _cgo_try_pthread_create"], End::NoUnwindInfo);
    assert_eq!(named.site.id, choice.site.id);

    let mut own = with_c_of_go(&["go", "go", "go"]);
    own.last_mut().unwrap().language = Language::Go; // what called it
    let choice = choose(&own, End::NoUnwindInfo);
    assert_eq!(
        (choice.site.kind, choice.site.name.as_str()),
        ("pthread", "go+0x1002")
    );
    let lines = ["go _cgo_0d9b_Cfunc_pthread_create", "go runtime.asmcgocall"];
    let wrapped = chosen(&LIBC, &lines, End::NoUnwindInfo).site;
    assert_eq!(
        (wrapped.kind, wrapped.name.as_str()),
        ("pthread", lines[0].trim_start_matches("go "))
    );
}

/// Without symbols, threads behind tokio's recognised code are its pool's, told by the frames outwards of it.
#[test]
fn threads_behind_recognised_code_of_tokio_are_of_its_pool() {
    const MARK: &str = "rust ~tokio::runtime::blocking::pool::Spawner::spawn_blocking";
    let choice = chosen(&LIBC, &["rust", "rust", MARK, "rust", "rust"], End::Complete);
    assert_eq!(choice.site.kind, TOKIO_POOL);
    assert_eq!(choice.site.name, "rust+0x1004 < 0x1005");
    assert_eq!(choice.wanted, 5);
    let note = choice.site.note.unwrap();
    assert!(note.starts_with("the file has no symbols; via tokio::"), "{note}");
}

/// A stack that ends before the program's own frames says so, and names the best it has.
#[test]
fn site_of_a_stack_that_ends_early_says_why() {
    let blind = chosen(&LIBC, &[], End::NoUnwindInfo);
    assert_eq!(blind.site.name, "unknown creator");
    assert_eq!(
        blind.site.note.as_deref(),
        Some("the creation stack leads through code without unwind data")
    );
    let pool = chosen(&RUST, &["rust tokio::runtime::builder::Builder::build"], End::Cut);
    assert_eq!(pool.site.name, "tokio::runtime::builder::Builder::build");
    let note = pool.site.note.unwrap();
    assert!(
        note.ends_with("the creation stack is deeper than what was copied of it"),
        "{note}"
    );
    let just_in_time = chosen(&LIBC, &["-"], End::NoUnwindInfo);
    assert_eq!(just_in_time.site.name, "unknown creator");
    assert_eq!(just_in_time.wanted, 2);
    assert_eq!(choose(&[], End::Error("x")).site.kind, "unknown");
}

proptest::proptest! {
    /// Any mixture of frames has a site, and the last wanted frame is one of the stack's.
    #[test]
    fn site_of_any_frames_is_one_of_them(
        picks in proptest::collection::vec(0_usize..18, 1..30),
    ) {
        const LINES: [&str; 18] = [
            "libc.so.6", "libc.so.6 clone3", "rust", "rust std::thread::spawn", "rust ~app::x", "rust app::y",
            "rust tokio::x::y", "go", "go main.main", "libjvm.so", "libjvm.so JVM_StartThread", "python3",
            "-", "app main", "[vdso]", "libstdc++.so.6 x", "rust ~tokio::x::spawn", "go ~x_cgo_thread_start",
        ];
        let lines: Vec<&str> = picks.iter().map(|pick| LINES[*pick]).collect();
        let frames = stack(&lines);
        let last = frames.last().unwrap().index;
        for end in [End::Complete, End::Cut, End::NoUnwindInfo, End::Error("x")] {
            let choice = choose(&frames, end);
            proptest::prop_assert!(choice.wanted <= last);
            proptest::prop_assert!(!choice.site.id.is_empty() && !choice.site.name.is_empty());
        }
    }
}
