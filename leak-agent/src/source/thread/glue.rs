//! Whose code a frame is: what only carries the wish for a thread (C library, standard libraries, pools and
//! executors), language runtimes, or the program.

use crate::stack::module::Language;
use crate::stack::symbolize::NamedFrame;

/// Whose code a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The C library, the loader, or what stands between it and its callers (sanitizers).
    Libc,
    /// A language's standard library.
    Std,
    /// A library whose job is to run things on threads, with its name.
    Pool(&'static str),
    /// A call into the kernel's `io_uring`.
    IoUring,
    /// The Python interpreter.
    Python,
    /// The Java virtual machine.
    Jvm,
    /// The Go runtime.
    Go,
    /// The program, or a library like any other.
    Program,
    /// A module without a symbol for this address.
    Nameless,
    /// Code of no file.
    NoFile,
}

/// Crates, and C++ namespaces, of the standard libraries.
const STD: &[&str] = &["std", "core", "alloc", "__gnu_cxx", "__cxxabiv1"];

/// Crates, and C++ namespaces, that start threads for others: root of the path, name.
const POOLS: &[(&str, &str)] = &[
    ("tokio", "tokio"),
    ("tokio_util", "tokio"),
    ("rayon", "rayon"),
    ("rayon_core", "rayon"),
    ("crossbeam", "crossbeam"),
    ("crossbeam_utils", "crossbeam"),
    ("threadpool", "threadpool"),
    ("scoped_threadpool", "scoped_threadpool"),
    ("rusty_pool", "rusty_pool"),
    ("futures_executor", "futures"),
    ("futures_util", "futures"),
    ("blocking", "blocking"),
    ("async_std", "async-std"),
    ("async_global_executor", "async-global-executor"),
    ("smol", "smol"),
    ("actix_rt", "actix"),
    ("boost", "boost"),
];

/// Functions of C libraries that start threads for others, in whatever module: beginning of the name, name
/// of the library.
const POOL_FUNCTIONS: &[(&str, &str)] = &[
    ("uv_thread_create", "libuv"),
    ("g_thread_new", "GLib"),
    ("g_thread_try_new", "GLib"),
    ("g_thread_pool_", "GLib"),
    ("g_system_thread_new", "GLib"),
    ("thrd_create", "C11 threads"),
];

/// Functions of the C library in a program that is linked statically.
const LIBC_FUNCTIONS: &[&str] = &[
    "clone",
    "clone3",
    "__clone",
    "__clone3",
    "__clone_internal",
    "__clone3_internal",
    "__clone_internal_fallback",
    "create_thread",
    "syscall",
    "thrd_create",
];

/// Part of `frame`.
pub(super) fn part(frame: &NamedFrame) -> Part {
    let Some(module) = frame.module.as_deref() else {
        return Part::NoFile;
    };
    let function = frame.function();
    if function.is_some_and(is_io_uring) || module.starts_with("liburing.so") {
        return Part::IoUring;
    }
    if is_libc(module) || module == "[vdso]" {
        return Part::Libc;
    }
    if module == "libjvm.so" {
        return Part::Jvm;
    }
    if module.starts_with("libpython") || is_python(module) {
        return Part::Python;
    }
    if frame.id.is_none() {
        return Part::NoFile;
    }
    if frame.language == Language::Go && function.is_none_or(is_go_runtime) {
        return Part::Go;
    }
    let Some(function) = function else {
        return Part::Nameless;
    };
    if is_libc_function(function) {
        return Part::Libc;
    }
    if let Some((_, library)) = POOL_FUNCTIONS.iter().find(|(name, _)| function.starts_with(name)) {
        return Part::Pool(library);
    }
    let root = origin(frame).unwrap_or_else(|| root(function).to_owned());
    let root = root.as_str();
    if STD.contains(&root) || module.starts_with("libstdc++.so") || module.starts_with("libc++") {
        return Part::Std;
    }
    match POOLS.iter().find(|(name, _)| *name == root) {
        Some((_, library)) => Part::Pool(library),
        None => Part::Program,
    }
}

/// The crate by the path of the source file, for functions whose name lacks a path: inlined ones in Rust's
/// line tables.
fn origin(frame: &NamedFrame) -> Option<String> {
    let name = frame.name.as_ref()?;
    let location = name.location.as_deref()?;
    if has_path(&name.function) {
        return None;
    }
    if location.contains("/library/std/src/") || location.contains("/library/core/src/") {
        return Some("std".to_owned());
    }
    if location.contains("/library/alloc/src/") {
        return Some("alloc".to_owned());
    }
    // ".cargo/registry/src/<index>/<crate>-<version>/src/lib.rs"
    let (_, path) = location.split_once("/registry/src/")?;
    let directory = path.split('/').nth(1)?;
    let version = directory.match_indices('-').find(|(at, _)| {
        let rest = directory.get(at + 1..).unwrap_or_default();
        let number = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        number.len() < rest.len() && number.starts_with('.')
    });
    let end = version.map_or(directory.len(), |(at, _)| at);
    Some(directory.get(..end)?.replace('-', "_"))
}

/// Whether a name says where it belongs: "a::b", but not "b<a::C>".
pub(super) fn has_path(function: &str) -> bool {
    let name = name_of(function);
    name.starts_with('<')
        || name
            .split(['<', '('])
            .next()
            .is_some_and(|start| start.contains("::"))
}

fn is_libc(module: &str) -> bool {
    const NAMES: &[&str] = &[
        "libc.so",
        "libc-2.",
        "libpthread.so",
        "libpthread-2.",
        "ld-linux",
        "ld-2.",
        "ld-musl",
        "libc.musl",
        "libtsan.so",
        "libasan.so",
        "libclang_rt.",
    ];
    NAMES.iter().any(|name| module.starts_with(name))
}

fn is_python(module: &str) -> bool {
    module
        .strip_prefix("python")
        .is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

fn is_go_runtime(function: &str) -> bool {
    const ROOTS: &[&str] = &["runtime.", "runtime/", "_cgo_", "x_cgo_", "crosscall"];
    // Functions of C that the program calls have a wrapper each, which is no part of the runtime.
    let wrapper = function.starts_with("_cgo_") && function.contains("_Cfunc_");
    !wrapper && ROOTS.iter().any(|root| function.starts_with(root))
}

fn is_libc_function(function: &str) -> bool {
    let function = function.split('@').next().unwrap_or(function);
    let plain = function
        .strip_prefix("__interceptor_")
        .or_else(|| function.strip_prefix("___interceptor_"))
        .unwrap_or(function);
    plain.trim_start_matches('_').starts_with("pthread_create") || LIBC_FUNCTIONS.contains(&plain)
}

fn is_io_uring(function: &str) -> bool {
    matches!(
        function,
        "io_uring_enter" | "io_uring_enter2" | "__sys_io_uring_enter" | "__sys_io_uring_enter2"
    ) || function.starts_with("io_uring::")
        || function.starts_with("<io_uring::")
}

/// The first part of a demangled path: the crate, or the outermost namespace. For a method of a trait on a
/// type that is only a parameter, that of the trait: `<F as tokio::…>` is tokio's.
pub(super) fn root(function: &str) -> &str {
    let name = name_of(function);
    let Some(inner) = name.strip_prefix('<') else {
        return segment(name);
    };
    let own = segment(inner.trim_start_matches(['&', '*', '<', '(', '[']));
    let own = ["mut ", "const ", "dyn ", "impl "]
        .iter()
        .find_map(|word| inner.trim_start_matches(['&', '*', '<']).strip_prefix(word))
        .map_or(own, segment);
    if inner.contains(" as ") && !is_path(inner, own) {
        return inner.split(" as ").nth(1).map_or(own, segment);
    }
    own
}

/// The leading identifier.
fn segment(path: &str) -> &str {
    let end = path.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
    end.map_or(path, |end| path.get(..end).unwrap_or(path))
}

/// Whether `segment`, which `text` begins with (but for sigils), is followed by a path.
fn is_path(text: &str, segment: &str) -> bool {
    text.find(segment)
        .and_then(|at| text.get(at + segment.len()..))
        .is_some_and(|rest| rest.starts_with("::"))
}

/// The name in a C++ signature: without what it returns and takes. Rust's have neither.
fn name_of(function: &str) -> &str {
    let mut depth = 0_u32;
    let mut start = 0;
    for (at, c) in function.char_indices() {
        match c {
            '<' | '{' => depth += 1,
            '>' | '}' => depth = depth.saturating_sub(1),
            ' ' if depth == 0 => start = at + 1,
            '(' if depth == 0 && at > start => break,
            _ => {}
        }
    }
    function.get(start..).unwrap_or(function)
}

/// A path without type parameters, arguments and closures, for "via …": `std::thread::spawn`.
pub(super) fn plain_path(function: &str) -> String {
    let mut plain = String::new();
    let mut depth = 0_u32;
    // `<std::thread::Builder>::spawn` is a path in brackets; `<A as B>::c` is best left to `B::c`.
    let name = name_of(function);
    let name = match name.strip_prefix('<') {
        None => name.to_owned(),
        Some(inner) => {
            let mut open = 1_u32;
            let close = inner.find(|c| {
                match c {
                    '<' => open += 1,
                    '>' => open -= 1,
                    _ => {}
                }
                open == 0
            });
            let (path, rest) = inner.split_at(close.unwrap_or(inner.len()));
            let path = path.split(" as ").next().unwrap_or(path);
            format!("{path}{}", rest.strip_prefix('>').unwrap_or(rest))
        }
    };
    for c in name.chars() {
        match c {
            '<' | '{' => depth += 1,
            '>' | '}' => depth = depth.saturating_sub(1),
            '(' if depth == 0 => break,
            _ if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    while plain.contains("::::") {
        plain = plain.replace("::::", "::");
    }
    plain.trim_end_matches(':').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::symbolize::Name;

    /// Root segments of names as the demanglers print them.
    #[test]
    fn root_of_demangled_names() {
        let table = [
            ("std::thread::spawn", "std"),
            ("std::sys::thread::unix::Thread::new", "std"),
            ("core::ops::function::FnOnce::call_once{{vtable.shim}}", "core"),
            (
                "<alloc::boxed::Box<F,A> as core::ops::function::FnOnce<Args>>::call_once",
                "alloc",
            ),
            (
                "<std::thread::Builder>::spawn_unchecked::<app::main::{closure#0}, ()>",
                "std",
            ),
            ("<F as tokio::runtime::task::Schedule>::release", "tokio"),
            ("<&mut app::Pool as app::Spawn>::go", "app"),
            ("<dyn app::Job as core::fmt::Debug>::fmt", "app"),
            ("app::worker::start::{{closure}}", "app"),
            (
                "void std::__invoke_impl<void, void (*)()>(std::__invoke_other, void (*&&)())",
                "std",
            ),
            (
                "std::thread::_M_start_thread(std::unique_ptr<std::thread::_State>, void (*)())",
                "std",
            ),
            ("Server::listen(int)", "Server"),
            ("main", "main"),
            ("", ""),
            ("<", ""),
            ("< as ", ""),
        ];
        for (function, expected) in table {
            assert_eq!(root(function), expected, "{function}");
        }
    }

    /// A function whose name lacks a path belongs to the crate that its file lies in.
    #[test]
    fn origin_of_names_without_a_path() {
        let table = [
            (
                "spawn<app::F, ()>",
                "/rustc/59807616/library/std/src/thread/functions.rs:131",
                Some("std"),
            ),
            (
                "call_once<fn(), ()>",
                "/rustc/59807616/library/core/src/ops/function.rs:250",
                Some("std"),
            ),
            (
                "build<rayon_core::registry::DefaultSpawn>",
                "/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/rayon-core-1.13.0/src/lib.rs:257",
                Some("rayon_core"),
            ),
            (
                "b",
                "/x/registry/src/idx/a-b-0.1.0-alpha-2/src/lib.rs:1",
                Some("a_b"),
            ),
            ("start_one", "/home/me/app/src/main.rs:3", None),
            (
                "std::thread::spawn",
                "/rustc/59807616/library/std/src/thread/functions.rs:131",
                None,
            ),
            ("x", "/registry/src/", None),
        ];
        for (function, location, expected) in table {
            let frame = NamedFrame {
                index: 0,
                module: Some("app".to_owned()),
                id: None,
                language: Language::Rust,
                vaddr: 0,
                name: Some(Name {
                    function: function.to_owned(),
                    location: Some(location.to_owned()),
                    inlined: true,
                }),
            };
            assert_eq!(origin(&frame).as_deref(), expected, "{function} {location}");
        }
    }

    /// Paths as "via …" shows them.
    #[test]
    fn plain_path_of_demangled_names() {
        let table = [
            (
                "std::thread::spawn::<app::main::{closure#0}, ()>",
                "std::thread::spawn",
            ),
            (
                "<std::thread::Builder>::spawn::<F, T>",
                "std::thread::Builder::spawn",
            ),
            (
                "tokio::runtime::builder::Builder::build",
                "tokio::runtime::builder::Builder::build",
            ),
            (
                "std::thread::scoped::<impl std::thread::Builder>::spawn_scoped",
                "std::thread::scoped::spawn_scoped",
            ),
            (
                "std::thread::thread<void (&)(), , void>(void (&)())",
                "std::thread::thread",
            ),
            (
                "<rayon_core::ThreadPoolBuilder<S> as X>::build",
                "rayon_core::ThreadPoolBuilder::build",
            ),
            ("uv_thread_create", "uv_thread_create"),
            ("<<", ""),
        ];
        for (function, expected) in table {
            assert_eq!(plain_path(function), expected, "{function}");
        }
    }

    proptest::proptest! {
        /// Names come out of other people's symbol tables: any text has a root and a path.
        #[test]
        fn root_of_any_text_never_panics(text in "[<>&:*( a-zé{}@]{0,40}") {
            let _ = (root(&text), plain_path(&text), is_libc_function(&text));
        }
    }
}
