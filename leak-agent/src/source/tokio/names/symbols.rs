//! Task types by symbols: which future the functions of a vtable work for.

use super::code::{Code, Step};
use super::demangle::{demangle, is_blocking, is_local, task_type};
use crate::elf::{Image, function_symbols};
use crate::source::tokio::vtable::{Class, TaskVtable};
use crate::types::Vaddr;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::rc::Rc;

/// Symbols kept: a 215 MB executable was seen with 0.5 million.
const MAX_SYMBOLS: usize = 4 << 20;

/// Names of one address that are read: folding was seen to put 40 on one.
const MAX_ALIASES: usize = 64;

/// Calls between a vtable's function and the one whose symbol tells: 6 where code is optimised, 13 where not.
const MAX_CALLS: usize = 16;

/// Functions visited per vtable.
const MAX_VISITS: usize = 200;

/// What a function's name is worth, in shares of the futures it names: it works for the poll slot, for another
/// slot, and it is the body of the future itself.
const POLL: u32 = 1 << 12;
const OTHER: u32 = 1 << 10;
const BODY: u32 = 1 << 16;

/// Which slot is `raw::schedule::<S>`, from tokio 1.23 on: shared by all tasks of a scheduler.
const SCHEDULE: usize = 1;

/// Functions around a future that are kept.
const MAX_AROUND: usize = 16;

/// Functions reached from all vtables together: 32 MB. A shipped file with 1 018 vtables reaches 60 000.
const MAX_REACHED: usize = 1 << 20;

/// Bytes of symbols demangled for one executable.
const MAX_DEMANGLED: usize = 64 << 20;

/// What symbols tell of one vtable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// The types that its future may have, best first: `app::conn::serve::{{closure}}`.
    pub(super) futures: Vec<Rc<str>>,
    /// The first of them is a guess: functions of several types were folded into one, and no function of its own
    /// names this one.
    pub(super) ambiguous: bool,
    /// Whether its scheduler is that of a `LocalSet`; `None` = no symbol tells.
    pub(super) local: Option<bool>,
    /// The future's own code, if it was not inlined: its body or `poll`.
    pub(super) body: Option<u64>,
    /// The functions of tokio around it, the innermost last.
    pub(super) around: Vec<u64>,
}

/// What the names of one address say.
struct Names {
    /// (future, scheduler).
    types: Vec<(Rc<str>, Option<Rc<str>>)>,
    /// It works for one task type: what it calls may tell more.
    follow: bool,
    /// Demangled names of code that is not tokio's: the body of a future may be among them.
    foreign: Vec<Rc<str>>,
}

/// The function symbols of an image by address.
pub(super) struct Symbols<'data> {
    list: Vec<(u64, &'data [u8])>,
    known: HashMap<u64, Rc<Names>>,
    budget: usize,
}

impl<'data> Symbols<'data> {
    /// Reads the table: one pass, 24 bytes of memory for each.
    pub(super) fn read(image: &Image<'data>) -> Self {
        let mut list: Vec<(u64, &[u8])> = function_symbols(image)
            .filter(|symbol| symbol.name.starts_with(b"_ZN") || symbol.name.starts_with(b"_R"))
            .take(MAX_SYMBOLS)
            .map(|symbol| (symbol.vaddr.0, symbol.name))
            .collect();
        list.sort_unstable_by_key(|(vaddr, _)| *vaddr);
        Self {
            list,
            known: HashMap::new(),
            budget: MAX_DEMANGLED,
        }
    }

    /// What the symbols tell of each vtable. Walks from each slot over the functions that exist once per task
    /// type, and no others: what the future itself calls may name the tasks that it spawns.
    pub(super) fn name_all(&mut self, code: &mut Code<'_, '_>, vtables: &[TaskVtable]) -> Vec<Named> {
        if self.list.is_empty() {
            return vec![Named::default(); vtables.len()];
        }
        let mut left = MAX_REACHED;
        let walks: Vec<Vec<Reached>> = vtables
            .iter()
            .map(|vtable| {
                let slots = vtable.slots.iter().enumerate();
                let walk: Vec<Reached> = slots
                    .filter(|(slot, _)| *slot != SCHEDULE || vtable.schedule().is_none())
                    .filter(|_| left > 0)
                    .flat_map(|(slot, start)| self.walk(code, slot, start.0))
                    .collect();
                left = left.saturating_sub(walk.len());
                walk
            })
            .collect();
        let mut users: HashMap<(u64, Option<Vaddr>), HashSet<usize>> = HashMap::new();
        for (index, (walk, vtable)) in walks.iter().zip(vtables).enumerate() {
            for reached in walk {
                users
                    .entry((reached.function, vtable.schedule()))
                    .or_default()
                    .insert(index);
            }
        }
        walks
            .iter()
            .zip(vtables)
            .map(|(walk, vtable)| {
                choose(walk, vtable, |function| {
                    users.get(&(function, vtable.schedule())).map_or(0, HashSet::len)
                })
            })
            .collect()
    }

    /// The names of the functions that `start` reaches over functions of its task type, its own included.
    fn walk(&mut self, code: &mut Code<'_, '_>, slot: usize, start: u64) -> Vec<Reached> {
        let mut seen = HashSet::from([start]);
        let mut queue = VecDeque::from([(start, 0)]);
        let mut found = Vec::new();
        while let Some((function, depth)) = queue.pop_front() {
            let names = self.names(function);
            // A vtable's own function needs no symbol of its own: folding may have left it that of another.
            let follow = names.follow || depth == 0;
            found.push(Reached {
                function,
                slot,
                names,
            });
            if !follow || depth >= MAX_CALLS {
                continue;
            }
            for (_, step) in code.steps(function).iter() {
                let (Step::Call(target) | Step::Load(target)) = *step else {
                    continue;
                };
                if seen.len() < MAX_VISITS && self.has(target) && seen.insert(target) {
                    queue.push_back((target, depth + 1));
                }
            }
        }
        found
    }

    /// Whether a symbol starts at the address.
    fn has(&self, vaddr: u64) -> bool {
        self.list.binary_search_by_key(&vaddr, |(at, _)| *at).is_ok()
    }

    fn names(&mut self, vaddr: u64) -> Rc<Names> {
        if let Some(names) = self.known.get(&vaddr) {
            return Rc::clone(names);
        }
        let names = Rc::new(self.read_names(vaddr));
        self.known.insert(vaddr, Rc::clone(&names));
        names
    }

    fn read_names(&mut self, vaddr: u64) -> Names {
        let mut names = Names {
            types: Vec::new(),
            follow: false,
            foreign: Vec::new(),
        };
        let first = self.list.partition_point(|(at, _)| *at < vaddr);
        let aliases = self.list.get(first..).unwrap_or_default();
        for (_, symbol) in aliases
            .iter()
            .take_while(|(at, _)| *at == vaddr)
            .take(MAX_ALIASES)
        {
            let Some(text) = std::str::from_utf8(symbol)
                .ok()
                .filter(|_| self.budget > 0)
                .and_then(demangle)
            else {
                continue;
            };
            self.budget = self.budget.saturating_sub(text.len());
            if !is_frame(&text) {
                names.foreign.push(text.into());
                continue;
            }
            names.follow = true;
            if let Some(found) = task_type(&text) {
                let found = (found.future.into(), found.scheduler.map(Into::into));
                if !names.types.contains(&found) {
                    names.types.push(found);
                }
            }
        }
        names
    }
}

/// A function that a slot reaches.
struct Reached {
    function: u64,
    slot: usize,
    names: Rc<Names>,
}

/// Weighs what the functions of one vtable say. `users` tells how many vtables of the same scheduler reach a
/// function: more than the types it names means that folding lost names.
fn choose(walk: &[Reached], vtable: &TaskVtable, users: impl Fn(u64) -> usize) -> Named {
    let mut evidence: BTreeMap<Rc<str>, Evidence> = BTreeMap::new();
    let mut called: HashMap<Rc<str>, u64> = HashMap::new();
    let mut around = Vec::new();
    let mut local = None;
    for reached in walk {
        let types = matching(&reached.names, vtable.class());
        let sharers = users(reached.function).max(types.len());
        let worth = if reached.slot == 0 { POLL } else { OTHER };
        let share = worth / u32::try_from(sharers).unwrap_or(u32::MAX).max(1);
        for future in types {
            let entry = evidence.entry(future).or_default();
            entry.weight = entry.weight.saturating_add(share);
            entry.own |= sharers == 1;
        }
        if reached.slot == 0 {
            let foreign = reached.names.foreign.iter().cloned();
            called.extend(foreign.map(|name| (name, reached.function)));
            if reached.names.follow && around.len() < MAX_AROUND {
                around.push(reached.function);
            }
        }
        let schedulers = reached
            .names
            .types
            .iter()
            .filter_map(|(_, scheduler)| scheduler.as_deref());
        if sharers == 1 {
            local = schedulers.map(is_local).next().or(local);
        }
    }
    let mut found: Vec<(Rc<str>, Evidence)> = evidence.into_iter().collect();
    for (future, evidence) in &mut found {
        if polled(&called, future).is_some() {
            evidence.own = true;
            evidence.weight = evidence.weight.saturating_add(BODY);
        }
    }
    found.sort_by_key(|(_, evidence)| (!evidence.own, std::cmp::Reverse(evidence.weight)));
    Named {
        ambiguous: found.first().is_some_and(|(_, best)| {
            let rival = found.get(1).filter(|(_, rival)| rival.own);
            !best.own || rival.is_some_and(|(_, rival)| rival.weight >= best.weight / 2)
        }),
        body: found.first().and_then(|(future, _)| polled(&called, future)),
        around,
        futures: found.into_iter().map(|(future, _)| future).collect(),
        local,
    }
}

/// What speaks for one future.
#[derive(Clone, Copy, Debug, Default)]
struct Evidence {
    weight: u32,
    /// A function of this vtable alone names it alone.
    own: bool,
}

/// Whether a function is one that exists once per task type, or stands between such ones: tokio's harness, drop
/// glue of its parts, and the catching of panics around `poll`.
fn is_frame(demangled: &str) -> bool {
    const INSIDE: [&str; 4] = [
        "tokio::runtime::blocking::task::BlockingTask<",
        "tokio::runtime::task::raw::",
        "tokio::runtime::task::harness::",
        "tokio::runtime::task::core::",
    ];
    const BETWEEN: [&str; 8] = [
        "tokio::loom::std::unsafe_cell::UnsafeCell<",
        "core::ops::function::FnOnce::call_once",
        "std::panicking::try",
        "std::panicking::catch_unwind",
        "std::panic::catch_unwind",
        "__rustc::__rust_try",
        "core::ptr::drop_in_place<alloc::boxed::Box<tokio::runtime::task::",
        "<core::panic::unwind_safe::AssertUnwindSafe",
    ];
    let inside = INSIDE.iter().any(|path| demangled.contains(path));
    // Creation: a future that spawns reaches the cells of other tasks through it.
    let creates = demangled.ends_with(">::new") || demangled.contains("::new::<");
    (inside && !creates) || BETWEEN.iter().any(|path| demangled.starts_with(path))
}

/// The futures of an address's names that fit the vtable's class, each once.
fn matching(names: &Names, class: Class) -> Vec<Rc<str>> {
    let mut futures: Vec<Rc<str>> = names
        .types
        .iter()
        .map(|(future, _)| future)
        .filter(|future| match class {
            Class::Async => !is_blocking(future),
            Class::Blocking => is_blocking(future),
            Class::Unknown => true,
        })
        .cloned()
        .collect();
    futures.sort_unstable();
    futures.dedup();
    futures
}

/// The function of this future among those called around `poll`: its body (`app::serve::{{closure}}`) or its `poll`
/// method (`<app::Countdown as core::future::future::Future>::poll`).
fn polled(called: &HashMap<Rc<str>, u64>, future: &str) -> Option<u64> {
    let future = future
        .strip_prefix("tokio::runtime::blocking::task::BlockingTask<")
        .and_then(|closure| closure.strip_suffix('>'))
        .unwrap_or(future);
    let is_poll = |name: &str| {
        let rest = name.strip_prefix('<').and_then(|name| name.strip_prefix(future));
        rest.is_some_and(|rest| rest.starts_with(" as ") && rest.ends_with("::poll"))
    };
    called.get(future).copied().or_else(|| {
        let mut named = called.iter().filter(|(name, _)| is_poll(name));
        named.next().map(|(_, function)| *function)
    })
}
