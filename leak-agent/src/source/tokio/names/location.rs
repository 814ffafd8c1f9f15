//! Places in the source that code refers to: the panic locations that a function loads survive stripping.
//!
//! The poll function of an async fn or block always has one: polled once more after its end, it panics with the
//! place of its body's opening brace. Hand-written futures and closures have those of their own panics, or none.

use super::code::{Code, Step};
use memchr::memmem;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::rc::Rc;

/// What a coroutine that is polled after its end, or after it panicked, panics with: both texts begin so. Checked against `library/core/src/panicking.rs` of
/// rustc 1.70 to 1.95.
const RESUMED: &[u8] = b"`async fn` resumed after ";

/// Longest path of a source file that is believed, bytes.
const MAX_PATH: usize = 1024;

/// Bytes of a function that does nothing but panic with [`RESUMED`].
const MAX_PANIC_FUNCTION: usize = 12;

/// A place in the source, as the compiler wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Location<'data> {
    /// The file: `src/conn.rs`, `/home/ann/app/src/conn.rs`.
    pub(super) path: &'data str,
    /// The line, from 1.
    pub(super) line: u32,
}

/// Whose code a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Owner {
    /// The program's own.
    Program,
    /// A library's that the program is built with.
    Dependency,
    /// tokio's or the standard library's.
    Runtime,
}

impl Location<'_> {
    /// Whose code it is, by the folders that cargo and rustc keep theirs in.
    pub(super) fn owner(&self) -> Owner {
        let standard = [
            "/rustc/",
            "/rust/deps/",
            "/library/std/",
            "/library/core/",
            "/library/alloc/",
        ];
        if self.path.starts_with("library/") || standard.iter().any(|part| self.path.contains(part)) {
            return Owner::Runtime;
        }
        match self.released() {
            Some((_, folder)) if folder.starts_with("tokio-1.") => Owner::Runtime,
            Some(_) => Owner::Dependency,
            None if self.path.contains("/git/checkouts/") || self.path.contains("/vendor/") => {
                Owner::Dependency
            }
            None => Owner::Program,
        }
    }

    /// The folder of a published crate (`hyper-util-0.1.21`) and where it begins in the path. What the build
    /// renamed the folders above to does not matter.
    fn released(&self) -> Option<(usize, &str)> {
        let mut start = 0;
        for folder in self.path.split('/') {
            if is_released(folder) {
                return Some((start, folder));
            }
            start = start.saturating_add(folder.len()).saturating_add(1);
        }
        None
    }
}

/// Whether a folder is named after a crate and its version: `name-1.2.3`, `name-0.1.0-rc.1+build`.
fn is_released(folder: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    folder.match_indices('-').any(|(at, _)| {
        let version = folder.get(at.saturating_add(1)..).unwrap_or_default();
        let core = version.split(['-', '+']).next().unwrap_or_default();
        let mut numbers = core.split('.');
        at > 0
            && numbers
                .by_ref()
                .take(3)
                .filter(|number| is_number(number))
                .count()
                == 3
            && numbers.next().is_none()
    })
}

impl fmt::Display for Location<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/hyper-1.6.0/src/lib.rs` → from `hyper`.
        let start = self.released().map_or(0, |(start, _)| start);
        write!(f, "{}:{}", self.path.get(start..).unwrap_or(self.path), self.line)
    }
}

/// A location that a function loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found<'data> {
    pub(super) location: Location<'data>,
    /// Whose code it is.
    pub(super) owner: Owner,
    /// Calls between the function the search began with and the one that loads it.
    pub(super) depth: u32,
    /// It is where the body of a coroutine begins.
    pub(super) body: bool,
    /// Of the bodies in one function, this is that of the function itself.
    pub(super) outer: bool,
}

/// What one function says: the locations it loads, at depth 0, and what it calls, each in order of the code.
#[derive(Default)]
struct Said<'data> {
    found: Vec<Found<'data>>,
    calls: Vec<u64>,
}

/// Reads panic locations; remembers those of each function, and which functions panic with [`RESUMED`].
pub(super) struct Locations<'data> {
    /// Addresses of the text, wherever the linker put a copy.
    texts: Vec<u64>,
    panics: HashMap<u64, bool>,
    said: HashMap<u64, Rc<Said<'data>>>,
}

impl<'data> Locations<'data> {
    /// One search through the image's data.
    pub(super) fn new(code: &Code<'_, 'data>) -> Self {
        let mut texts = Vec::new();
        for segment in code.image.segments() {
            texts.extend(
                memmem::find_iter(segment.bytes, RESUMED)
                    .take(16)
                    .map(|at| segment.start.saturating_add(at as u64)),
            );
        }
        Self {
            texts,
            panics: HashMap::new(),
            said: HashMap::new(),
        }
    }

    /// The locations that `start` and the functions it calls, up to `max_depth` calls away, load; nearest first,
    /// in order of the code. Visits at most `max_visits` functions.
    pub(super) fn reached(
        &mut self,
        code: &mut Code<'_, 'data>,
        start: u64,
        max_depth: u32,
        max_visits: usize,
    ) -> Vec<Found<'data>> {
        let mut seen = HashSet::from([start]);
        let mut queue = VecDeque::from([(start, 0)]);
        let mut found: Vec<Found<'data>> = Vec::new();
        while let Some((function, depth)) = queue.pop_front() {
            let said = self.said(code, function);
            if !code.charge(said.found.len().saturating_add(said.calls.len())) {
                break;
            }
            found.extend(said.found.iter().map(|found| Found { depth, ..*found }));
            if depth >= max_depth {
                continue;
            }
            for &target in &said.calls {
                if seen.len() < max_visits && seen.insert(target) {
                    queue.push_back((target, depth.saturating_add(1)));
                }
            }
        }
        found
    }

    /// What the function says, read once.
    fn said(&mut self, code: &mut Code<'_, 'data>, function: u64) -> Rc<Said<'data>> {
        if let Some(said) = self.said.get(&function) {
            return Rc::clone(said);
        }
        let said = Rc::new(self.read_function(code, function));
        self.said.insert(function, Rc::clone(&said));
        said
    }

    fn read_function(&mut self, code: &mut Code<'_, 'data>, function: u64) -> Said<'data> {
        let steps: Rc<[(u64, Step)]> = code.steps(function);
        let mut said = Said::default();
        let mut places = Vec::new();
        let mut last = None;
        for &(at, step) in steps.iter() {
            match step {
                Step::Load(address) => {
                    if let Some(location) = read(code, address) {
                        last = Some(said.found.len());
                        places.push(at);
                        said.found.push(Found {
                            location,
                            owner: location.owner(),
                            depth: 0,
                            body: false,
                            outer: false,
                        });
                    }
                }
                Step::Call(target) => {
                    if let Some(load) = last.take().and_then(|last| said.found.get_mut(last)) {
                        load.body = self.is_resumed_panic(code, target);
                    }
                    said.calls.push(target);
                }
                // The panics of several coroutines in one function share the call.
                Step::Jump(to) => {
                    let after = steps.partition_point(|(at, _)| *at < to);
                    if let Some(load) = last.take().and_then(|last| said.found.get_mut(last))
                        && let Some((_, Step::Call(target))) = steps.get(after)
                    {
                        load.body = self.is_resumed_panic(code, *target);
                    }
                }
            }
        }
        let outer = outermost(code, &steps, &places, &said.found);
        if let Some(outer) = outer.and_then(|outer| said.found.get_mut(outer)) {
            outer.outer = true;
        }
        let mut once = HashSet::new();
        said.calls.retain(|target| once.insert(*target));
        said
    }

    /// Whether the function does nothing but panic with [`RESUMED`].
    fn is_resumed_panic(&mut self, code: &mut Code<'_, '_>, function: u64) -> bool {
        if self.texts.is_empty() {
            return false;
        }
        if let Some(known) = self.panics.get(&function) {
            return *known;
        }
        let steps = code.steps(function);
        let is = steps.len() <= MAX_PANIC_FUNCTION
            && steps.iter().any(|(_, step)| match *step {
                Step::Load(address) => {
                    self.texts.contains(&address)
                        || code
                            .pointers
                            .target(address)
                            .is_some_and(|text| self.texts.contains(&text))
                }
                _ => false,
            });
        self.panics.insert(function, is);
        is
    }
}

/// Which of a function's bodies is that of the function itself, the others being of coroutines that it awaits
/// and that were inlined. A coroutine begins with a jump by its state, over a table of 32-bit distances; state 1 is "came to
/// its end", which panics with its own place. `places` are the addresses of the loads. `None` = the code does not tell.
fn outermost(
    code: &Code<'_, '_>,
    steps: &[(u64, Step)],
    places: &[u64],
    found: &[Found<'_>],
) -> Option<usize> {
    let mut bodies = found
        .iter()
        .filter(|found| found.body)
        .map(|found| found.location);
    let one = bodies.next()?;
    if bodies.all(|other| other == one) {
        return None;
    }
    let (start, end) = (steps.first()?.0, steps.last()?.0);
    let jump = steps.iter().find_map(|(_, step)| {
        let Step::Load(table) = *step else { return None };
        let ended = code.image.u32_at(table.checked_add(4)?)?;
        let target = table.checked_add_signed(i64::from(ended.cast_signed()))?;
        (start < target && target <= end).then_some(target)
    })?;
    let next = places.partition_point(|place| *place < jump);
    found.get(next).filter(|found| found.body).map(|_| next)
}

/// The `core::panic::Location` at the address: pointer and length of the path, line, column.
pub(super) fn read<'data>(code: &Code<'_, 'data>, address: u64) -> Option<Location<'data>> {
    let text = code.pointers.target(address)?;
    let len = usize::try_from(code.image.u64_at(address.checked_add(8)?)?).ok()?;
    let line = code.image.u32_at(address.checked_add(16)?)?;
    let column = code.image.u32_at(address.checked_add(20)?)?;
    if len > MAX_PATH || line == 0 || column == 0 {
        return None;
    }
    let path = std::str::from_utf8(code.image.bytes(text, len)?).ok()?;
    (path.ends_with(".rs") && !path.contains(char::is_control)).then_some(Location { path, line })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check whose code a path is, and what of it people are shown.
    #[test]
    fn paths_tell_the_program_from_its_dependencies_and_the_runtime() {
        for (path, owner, shown) in [
            ("src/main.rs", Owner::Program, "src/main.rs:7"),
            (
                "/home/ann/app-2/src/conn.rs",
                Owner::Program,
                "/home/ann/app-2/src/conn.rs:7",
            ),
            (
                "crates/app-core/src/lib.rs",
                Owner::Program,
                "crates/app-core/src/lib.rs:7",
            ),
            (
                "/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/tokio-1.54.1/src/task/local.rs",
                Owner::Runtime,
                "tokio-1.54.1/src/task/local.rs:7",
            ),
            (
                "/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/tokio-util-0.7.20/src/lib.rs",
                Owner::Dependency,
                "tokio-util-0.7.20/src/lib.rs:7",
            ),
            (
                "registry/zbus-5.15.0/src/a.rs",
                Owner::Dependency,
                "zbus-5.15.0/src/a.rs:7",
            ),
            (
                "h3-0.0.1-rc.2+x/src/a.rs",
                Owner::Dependency,
                "h3-0.0.1-rc.2+x/src/a.rs:7",
            ),
            (
                "/cargo/git/checkouts/mio-1/2f3/src/a.rs",
                Owner::Dependency,
                "/cargo/git/checkouts/mio-1/2f3/src/a.rs:7",
            ),
            (
                "/rust/deps/hashbrown-0.16.1/src/raw/mod.rs",
                Owner::Runtime,
                "hashbrown-0.16.1/src/raw/mod.rs:7",
            ),
            (
                "/rustc/59807616/library/core/src/a.rs",
                Owner::Runtime,
                "/rustc/59807616/library/core/src/a.rs:7",
            ),
        ] {
            let location = Location { path, line: 7 };
            assert_eq!(location.owner(), owner, "{path}");
            assert_eq!(location.to_string(), shown);
        }
    }
}
