//! From the type of a task's future to the name a Rust programmer knows.
//!
//! The forms:
//!
//! | type | name |
//! |---|---|
//! | the body of `async fn app::serve`, or the first async block of plain `fn app::serve` | `app::serve` |
//! | a further async block of a plain function, v0 names only | `app::serve::{async#2}` |
//! | an async block inside an async fn, or inside a block | `app::serve::{async}`, v0 names: `app::serve::{async#0}` |
//! | an async block inside a closure inside an async fn | `app::serve::{closure}::{async}` |
//! | a closure on the blocking pool | the function that it is in: `app::serve` |
//! | `Pin<Box<dyn Future<Output = u8> + Send>>` | `dyn Future<Output = u8>`, with a note |
//! | `Instrumented<T>`, `Timeout<T>`, `Pin<Box<T>>`, `Map<T, F>` … | the name of `T`, with a note |
//! | `<app::Server<B> as app::Run>::run` | `<app::Server<B> as Run>::run` |
//!
//! Legacy names do not number the closures of a function, hence `{async}` without a number. Symbols do not tell
//! the body of an async fn from the first async block of a plain one; DWARF names do (`{async_fn_env#0}`).
//! Generic arguments keep the last segment of their paths.

use super::text::{arguments, cast, inside, segments, split, split_word};
use std::fmt::Write;

/// Nesting of types up to which arguments are shown, deeper ones becoming `…`: the first that gives a name of
/// at most [`LONG_NAME`] characters, else the last.
const ROOM: [usize; 4] = [7, 4, 3, 2];

/// Characters beyond which a name's arguments are cut down.
const LONG_NAME: usize = 140;

/// Layers of transparent wrappers that are taken off.
const MAX_LAYERS: usize = 12;

/// Longest name, characters; longer ones end in `…`.
const MAX_NAME: usize = 200;

/// A type made readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pretty {
    /// What people are shown.
    pub(crate) name: String,
    /// The wrappers that the name leaves out, outermost first: `Instrumented`, `Timeout`.
    pub(crate) through: Vec<String>,
    /// The type is `dyn Future`: it says nothing of who is behind it.
    pub(crate) erased: bool,
    /// The type is not a coroutine or closure: somebody wrote its `poll`, or it is a function.
    pub(crate) written: bool,
    /// A job of tokio's own on the blocking pool: the loop of a worker thread of the multi-thread scheduler.
    pub(crate) worker: bool,
}

/// What the closure levels at the end of a path are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// The last one is a coroutine: the future of an async fn or block.
    Coroutine,
    /// They are closures.
    Closure,
}

/// Wrappers that run the future they hold and say nothing of who wrote it: crates and name, which argument is the
/// future, and what a closure in that place is.
const TRANSPARENT: [(&[&str], &str, usize, Tail); 24] = [
    (&["core", "std"], "Pin", 0, Tail::Coroutine),
    (&["alloc", "std"], "Box", 0, Tail::Coroutine),
    (&["core", "std"], "ManuallyDrop", 0, Tail::Coroutine),
    (&["core", "std"], "AssertUnwindSafe", 0, Tail::Coroutine),
    (&["core", "std", "futures_util"], "PollFn", 0, Tail::Closure),
    (
        &["tracing", "tracing_futures", "tokio_metrics"],
        "Instrumented",
        0,
        Tail::Coroutine,
    ),
    (
        &["tracing", "tracing_futures"],
        "WithDispatch",
        0,
        Tail::Coroutine,
    ),
    (&["tokio", "tokio_util"], "Timeout", 0, Tail::Coroutine),
    (&["tokio"], "TaskLocalFuture", 1, Tail::Coroutine),
    (&["tokio"], "Coop", 0, Tail::Coroutine),
    (&["tokio"], "Unconstrained", 0, Tail::Coroutine),
    (&["tokio"], "BlockingTask", 0, Tail::Closure),
    (&["tokio_util"], "TrackedFuture", 0, Tail::Coroutine),
    (
        &["opentelemetry", "opentelemetry_api"],
        "WithContext",
        0,
        Tail::Coroutine,
    ),
    (&["sentry_core"], "SentryFuture", 0, Tail::Coroutine),
    (&["futures_util"], "Map", 0, Tail::Coroutine),
    (&["futures_util"], "MapErr", 0, Tail::Coroutine),
    (&["futures_util"], "MapOk", 0, Tail::Coroutine),
    (&["futures_util"], "Fuse", 0, Tail::Coroutine),
    (&["futures_util"], "CatchUnwind", 0, Tail::Coroutine),
    (&["futures_util"], "Abortable", 0, Tail::Coroutine),
    (&["futures_util"], "Remote", 0, Tail::Coroutine),
    (&["futures_util"], "UnitFuture", 0, Tail::Coroutine),
    (&["async_compat"], "Compat", 0, Tail::Coroutine),
];

/// Wrappers that a name passes without mention: boxing says nothing of a task, and a job of the blocking pool has
/// its kind.
const UNTOLD: [&str; 3] = ["Pin", "Box", "BlockingTask"];

/// Where tokio's own jobs on the blocking pool live: `Launch::launch` starts the worker threads,
/// `block_in_place` hands a worker's core to a new thread. `_alt` is the unstable second scheduler of
/// tokio 1.33 – 1.44, `thread_pool` the name before 1.23.
const WORKER_PATHS: [&str; 3] = [
    "tokio::runtime::thread_pool::",
    "tokio::runtime::scheduler::multi_thread::",
    "tokio::runtime::scheduler::multi_thread_alt::",
];

/// The readable form of the future type `future`, as [`super::task_type`] returns it. Total: what is not
/// understood is shown shortened, as it stands.
pub(crate) fn pretty(future: &str) -> Pretty {
    let mut rest = future.trim();
    let mut tail = Tail::Coroutine;
    let mut through = Vec::new();
    for _ in 0..MAX_LAYERS {
        let Some((wrapper, inner, inner_tail)) = unwrap(rest) else {
            break;
        };
        if !UNTOLD.contains(&wrapper) {
            through.push(wrapper.to_owned());
        }
        rest = inner;
        tail = inner_tail;
    }
    let worker = WORKER_PATHS
        .iter()
        .any(|path| rest.trim_start_matches('<').starts_with(path));
    let erased = rest.starts_with("dyn ");
    let mut name = String::new();
    for room in ROOM {
        name = if is_path(rest) {
            render(rest, tail, room)
        } else {
            shorten(rest, room)
        };
        if name.chars().nth(LONG_NAME).is_none() {
            break;
        }
    }
    Pretty {
        name: cap(name),
        through,
        erased,
        written: !erased && segments(rest).last().is_none_or(|last| level(last).is_none()),
        worker,
    }
}

/// Takes one layer off: the wrapper's name, what it holds, and what a closure in there is.
fn unwrap(text: &str) -> Option<(&str, &str, Tail)> {
    for reference in ["&mut ", "&"] {
        if let Some(inner) = text.strip_prefix(reference) {
            return Some(("Pin", inner.trim(), Tail::Coroutine));
        }
    }
    if !is_path(text) {
        return None;
    }
    let path = segments(text);
    let crate_name = path.first()?;
    let (name, inner) = arguments(path.last()?);
    let &(_, wrapper, index, tail) = TRANSPARENT
        .iter()
        .find(|(crates, wrapper, ..)| *wrapper == name && crates.contains(crate_name))?;
    let inner = split(inner?, b',').into_iter().nth(index)?;
    (!inner.is_empty()).then_some((wrapper, inner, tail))
}

/// Whether a type is written as a path.
fn is_path(text: &str) -> bool {
    let first = text.bytes().next().unwrap_or(b' ');
    (first.is_ascii_alphabetic() || first == b'_' || first == b'<' || first == b'{' || !first.is_ascii())
        && !["dyn ", "fn(", "unsafe ", "extern ", "for<", "impl "]
            .iter()
            .any(|prefix| text.starts_with(prefix))
}

/// The level of a path that is a closure or coroutine: its number if the name has one, and what it is if the name
/// says.
struct Level {
    number: Option<u32>,
    told: Option<Told>,
}

/// What DWARF calls a level.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    AsyncFn,
    AsyncBlock,
    Closure,
}

/// Reads `{{closure}}`, `{closure#3}`, `{async_block_env#1}<T>`; `None` for a segment that is none of these.
fn level(segment: &str) -> Option<Level> {
    if segment == "{{closure}}" {
        return Some(Level {
            number: None,
            told: None,
        });
    }
    let inner = segment.starts_with('{').then(|| inside(segment, 0)).flatten()?;
    let (word, number) = inner.split_once('#').unwrap_or((inner, ""));
    let told = match word.split_once(':').map_or(word, |(word, _)| word) {
        "closure" => None,
        "async_fn_env" | "async_fn" => Some(Told::AsyncFn),
        "async_block_env" | "async_block" => Some(Told::AsyncBlock),
        "closure_env" | "async_closure_env" => Some(Told::Closure),
        _ => return None,
    };
    Some(Level {
        number: number.parse().ok(),
        told,
    })
}

/// A path as the name of a task: the owner's path, then what the closure levels at its end are worth.
fn render(path: &str, tail: Tail, room: usize) -> String {
    let segments = segments(path);
    let owner_len = segments
        .iter()
        .rposition(|segment| level(segment).is_none())
        .map_or(0, |last| last.saturating_add(1));
    let (owner, levels) = segments.split_at(owner_len.min(segments.len()));
    let mut out = join(owner, room);
    let levels: Vec<Level> = levels.iter().filter_map(|segment| level(segment)).collect();
    let last = levels.len().saturating_sub(1);
    for (position, level) in levels.iter().enumerate() {
        write_level(&mut out, level, position, last, tail);
    }
    if out.is_empty() {
        out.push_str("{closure}");
    }
    out
}

/// Appends one closure level, if it says anything that the owner's name does not.
fn write_level(out: &mut String, level: &Level, position: usize, last: usize, tail: Tail) {
    let word = match level.told {
        Some(Told::AsyncFn) => return,
        Some(Told::AsyncBlock) => "async",
        None if position == last && tail == Tail::Coroutine => "async",
        _ => "closure",
    };
    let only = position == last && level.told.is_some();
    let implied = tail == Tail::Closure || (position == 0 && !only);
    match level.number {
        None | Some(0) if implied => {}
        Some(number) => {
            let _ = write!(out, "::{{{word}#{number}}}");
        }
        None => {
            let _ = write!(out, "::{{{word}}}");
        }
    }
}

/// A path without its closure levels, generic arguments shortened, impl blocks readable.
fn join(path: &[&str], room: usize) -> String {
    let mut out = String::new();
    for (position, segment) in path.iter().enumerate() {
        if level(segment).is_some() {
            continue;
        }
        if let Some(block) = segment
            .strip_prefix("<impl ")
            .and_then(|rest| rest.strip_suffix('>'))
        {
            // Legacy names put an impl block where it was written: `app::conn::<impl Trait for Type>::method`.
            let (of, this) = split_word(block, " for ").map_or((None, block), |(of, this)| (Some(of), this));
            out = block_name(this, of, room);
            continue;
        }
        if position == 0
            && let Some(block) = segment.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'))
        {
            let (this, of) = cast(block).map_or((block, None), |(this, of)| (this, Some(of)));
            out = block_name(this, of, room);
            continue;
        }
        if !out.is_empty() {
            out.push_str("::");
        }
        out.push_str(&generic(segment, room));
    }
    out
}

/// The name of an impl block: the type with its path, the trait without.
fn block_name(this: &str, of: Option<&str>, room: usize) -> String {
    let this = if is_path(this) && room > 0 {
        join(&segments(this), room.saturating_sub(1))
    } else {
        shorten(this, room.saturating_sub(1))
    };
    match of {
        Some(of) => format!("<{this} as {}>", shorten(of, room.saturating_sub(1))),
        None => this,
    }
}

/// A segment with its generic arguments shortened.
fn generic(segment: &str, room: usize) -> String {
    match arguments(segment) {
        (name, None) => name.to_owned(),
        (name, Some(_)) if room <= 1 => format!("{name}<…>"),
        (name, Some(inner)) => {
            let shown: Vec<String> = split(inner, b',')
                .into_iter()
                .filter(|argument| {
                    !argument.is_empty() && *argument != "alloc::alloc::Global" && !argument.starts_with('\'')
                })
                .map(|argument| shorten(argument, room.saturating_sub(1)))
                .collect();
            if shown.is_empty() {
                name.to_owned()
            } else {
                format!("{name}<{}>", shown.join(", "))
            }
        }
    }
}

/// A type as an argument: paths by their last segment, markers of `dyn` left out.
fn shorten(text: &str, room: usize) -> String {
    let text = text.trim();
    if room == 0 {
        return "…".to_owned();
    }
    let less = room.saturating_sub(1);
    for prefix in ["&mut ", "&", "*const ", "*mut "] {
        if let Some(rest) = text.strip_prefix(prefix) {
            return format!("{prefix}{}", shorten(rest, less));
        }
    }
    if let Some(rest) = text.strip_prefix("dyn ") {
        return erased(rest, less);
    }
    if text.starts_with('(')
        && let Some(inner) = inside(text, 0).filter(|inner| inner.len().saturating_add(2) == text.len())
    {
        let parts: Vec<String> = split(inner, b',')
            .into_iter()
            .map(|part| shorten(part, less))
            .collect();
        return format!("({})", parts.join(", "));
    }
    if text.starts_with('[')
        && let Some(inner) = inside(text, 0).filter(|inner| inner.len().saturating_add(2) == text.len())
    {
        let parts: Vec<String> = split(inner, b';')
            .into_iter()
            .map(|part| shorten(part, less))
            .collect();
        return format!("[{}]", parts.join("; "));
    }
    if let Some((name, value)) = split_word(text, " = ") {
        return format!("{name} = {}", shorten(value, less));
    }
    if !is_path(text) {
        return text.to_owned();
    }
    let path = segments(text);
    let named: Vec<&str> = path
        .iter()
        .copied()
        .filter(|segment| level(segment).is_none())
        .collect();
    let mut out = match *named {
        [] => String::new(),
        [block] if block.starts_with('<') => short_block(block, less),
        [.., block, last] if block.starts_with('<') => {
            format!("{}::{}", short_block(block, less), generic(last, room))
        }
        [.., last] => generic(last, room),
    };
    if named.len() < path.len() {
        out.push_str(if out.is_empty() {
            "{closure}"
        } else {
            "::{closure}"
        });
    }
    out
}

/// The name of an impl block as part of an argument: `<app::Conn>` → `Conn`, `<app::Conn as app::Run>` →
/// `<Conn as Run>`.
fn short_block(block: &str, room: usize) -> String {
    let inner = block
        .strip_prefix('<')
        .and_then(|rest| rest.strip_suffix('>'))
        .unwrap_or(block);
    let (this, of) = match inner.strip_prefix("impl ") {
        Some(inner) => split_word(inner, " for ").map_or((inner, None), |(of, this)| (this, Some(of))),
        None => cast(inner).map_or((inner, None), |(this, of)| (this, Some(of))),
    };
    match of {
        Some(of) => format!("<{} as {}>", shorten(this, room), shorten(of, room)),
        None => shorten(this, room),
    }
}

/// A trait object without its auto traits and lifetimes. Legacy names glue an associated type to the trait with a
/// plus: `Future+Output = u8`.
fn erased(bounds: &str, room: usize) -> String {
    let mut shown: Vec<String> = Vec::new();
    for bound in split(bounds, b'+') {
        let marker = bound.starts_with('\'')
            || ["Send", "Sync", "Unpin"].iter().any(|name| {
                bound
                    .strip_suffix(name)
                    .is_some_and(|path| path.is_empty() || path.ends_with("::"))
            });
        if marker || bound.is_empty() {
            continue;
        }
        let bound_type = split_word(bound, " = ").is_some();
        match shown.last_mut() {
            Some(previous) if bound_type => {
                let _ = write!(previous, "<{}>", shorten(bound, room));
            }
            _ => shown.push(shorten(bound, room)),
        }
    }
    format!("dyn {}", shown.join(" + "))
}

/// Cuts a name to [`MAX_NAME`] characters.
fn cap(name: String) -> String {
    match name.char_indices().nth(MAX_NAME) {
        None => name,
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
    }
}
