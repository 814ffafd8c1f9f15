//! Puts the hook plan of a Go executable together: one point where goroutines begin, one where they end.

use super::RUNTIME;
use super::address::{self, Addresses};
use super::books::GoBooks;
use super::build_info::{BuildInfo, Version};
use super::creation::GoStacks;
use super::hook;
use super::inferred::Inferred;
use super::known::Known;
use super::layout::{NEWEST, OLDEST};
use super::library;
use super::module::{Module, ModuleError};
use super::names::GoNames;
use super::pclntab::{Function, Table};
use super::threads::{self, ThreadList};
use crate::elf::{Elf, Image};
use crate::source::{Books, Evidence, HookPlan, Inspection, PlanPoint, PointSite, Role};
use crate::types::Vaddr;
use object::elf::EM_X86_64;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The function in which every goroutine begins, on the stack of its creator's thread.
const BEGINS_IN: &str = "runtime.newproc1";
/// What calls the function in which goroutines end, in versions that have one of their own; a profile may make the compiler
/// inline it here.
const EXIT: &str = "runtime.goexit0";
/// What every call from C passes. Only in programs that C may call.
const CALLED_BACK: &str = "runtime.cgocallbackg";
/// Steps through tables while it is made sure that nothing is inlined: some 100 times what an executable needs.
const STEPS_MAX: u32 = 16 << 20;

/// Inspects an executable.
pub(super) fn inspect(elf: &Elf<'_>) -> Inspection {
    let Ok(image) = Image::parse(elf) else {
        return Inspection::NotMine;
    };
    let version = match BuildInfo::find(&image) {
        None => return Inspection::NotMine,
        Some(BuildInfo::Old) => {
            return unsupported(format!("its Go is older than 1.18 (followed from 1.{OLDEST})"));
        }
        Some(BuildInfo::Version(version)) => version,
    };
    if image.machine() != EM_X86_64 {
        return unsupported(format!(
            "Go {version} is in code for another processor than x86-64"
        ));
    }
    let mut known = Known::of(&image, version.minor);
    let module = match known.module(&image) {
        Ok(module) => module,
        // Go's own tools carry the mark of build information as data.
        Err(ModuleError::NoTable) => return Inspection::NotMine,
        Err(error) => return unsupported(format!("Go {version}: {error}")),
    };
    match plan(elf, &image, version, known, &module) {
        Ok(plan) => Inspection::Plan(Box::new(plan)),
        Err(reason) => unsupported(reason),
    }
}

fn unsupported(reason: String) -> Inspection {
    Inspection::Unsupported {
        runtime: RUNTIME,
        reason,
    }
}

fn plan(
    elf: &Elf<'_>,
    image: &Image<'_>,
    version: Version,
    mut known: Known,
    module: &Module,
) -> Result<HookPlan, String> {
    let table = module
        .open(image)
        .ok_or_else(|| format!("Go {version}: its table of functions is not in the file"))?;
    let found = Runtime::find(&table, known.ends_in(&table))?;
    let field = known.statement(image, found.begins).ok_or_else(|| {
        format!("the layout of Go {version} is not known (1.{OLDEST} to 1.{NEWEST} are, but for 1.20), and none of these fits")
    })?;
    let saved = known.saved();
    let mut points = Vec::new();
    let begins = std::iter::once((found.begins, BEGINS_IN, Role::Spawn));
    let ends = found
        .ends
        .iter()
        .map(|(function, name)| (*function, *name, Role::Finish));
    for (function, name, role) in begins.chain(ends) {
        let entry = Vaddr(function.entry);
        let vaddr = hook::first_emulated(image, entry)
            .filter(|vaddr| vaddr.0 < function.end)
            .ok_or_else(|| format!("Go {version}: {name} begins otherwise than known"))?;
        let offset = image
            .file_offset(vaddr)
            .ok_or_else(|| format!("Go {version}: {name} is not in the file"))?;
        points.push(PlanPoint {
            vaddr,
            offset,
            role,
            site: PointSite::Pair {
                base: Vaddr(module.text),
                field,
                saved,
            },
            emulated: true,
        });
    }
    points.sort_by_key(|point| point.offset);
    let libraries = library::find(image, &table);
    let wrapper = known.wrapper();
    let minor = known.minor().unwrap_or(0);
    let by = std::mem::take(&mut known.by);
    let books = books(image, &table, &found, known, module);
    Ok(HookPlan {
        runtime: RUNTIME,
        version: Some(version.text),
        points,
        sites: Vec::new(),
        libraries,
        gaps: Vec::new(),
        evidence: Evidence {
            books: books.as_ref().map(|_| by),
            ..Evidence::from("function table")
        },
        // A goroutine is marked as dead after the point.
        finish_is_early: true,
        books,
        names: Some(Arc::new(GoNames::new(
            elf.id.to_string(),
            *module,
            wrapper,
            found.system,
        ))),
        stacks: Some(Arc::new(GoStacks {
            executable: elf.id.to_string(),
            module: *module,
            wrapper,
            minor,
        })),
    })
}

/// How to read the books, by each layout that may be; `None` = it is not known where they are.
fn books(
    image: &Image<'_>,
    table: &Table<'_>,
    found: &Runtime,
    known: Known,
    module: &Module,
) -> Option<Arc<dyn Books>> {
    let main = found.functions.get(address::MAIN)?.entry;
    let threads = known
        .minor()
        .and_then(|minor| ThreadList::find(image, table, &found.threads, minor));
    let mut all: Vec<GoBooks> = Vec::new();
    for layout in known.layouts {
        let addresses = Addresses::find(image, table, &found.functions, &layout)?;
        all.push(GoBooks {
            layout,
            module: *module,
            addresses,
            main,
            threads,
            callbacks: found.callbacks,
        });
    }
    // Where the scheduler's counters are shows only in a layout that is right about it.
    if all.iter().any(|books| books.addresses.sched.is_some()) {
        all.retain(|books| books.addresses.sched.is_some());
    }
    Some(match all.pop() {
        Some(only) if all.is_empty() => Arc::new(only),
        Some(last) => {
            all.push(last);
            Arc::new(Inferred::new(all))
        }
        None => return None,
    })
}

/// What the table of functions says of the runtime.
struct Runtime {
    begins: Function,
    /// Where goroutines end, with the functions' names: one place, or two that exclude each other.
    ends: Vec<(Function, &'static str)>,
    /// Code of the runtime's own goroutines: ranges of addresses, sorted.
    system: Vec<(u64, u64)>,
    /// C may call Go.
    callbacks: bool,
    /// Functions that use the runtime's variables.
    functions: BTreeMap<&'static str, Function>,
    /// Functions of its scheduler's threads.
    threads: BTreeMap<&'static str, Function>,
}

impl Runtime {
    fn find(table: &Table<'_>, ends_in_name: &'static str) -> Result<Self, String> {
        let (mut begins, mut ends, mut callbacks) = (None, Vec::new(), false);
        let mut system: Vec<(u64, u64)> = Vec::new();
        let (mut functions, mut threads) = (BTreeMap::new(), BTreeMap::new());
        let mut steps = STEPS_MAX;
        let begins_in = [BEGINS_IN.as_bytes()];
        let ends_in = [ends_in_name.as_bytes()];
        for function in table.functions() {
            if !table.name_begins(function, b"runtime.") {
                continue;
            }
            if table.is_named(function, BEGINS_IN.as_bytes()) {
                begins = Some(function);
            }
            if table.is_named(function, ends_in_name.as_bytes()) {
                ends.push((function, ends_in_name));
            }
            callbacks |= table.is_named(function, CALLED_BACK.as_bytes());
            for name in address::FUNCTIONS {
                if table.is_named(function, name.as_bytes()) {
                    functions.insert(*name, function);
                }
            }
            for name in threads::FUNCTIONS {
                if table.is_named(function, name.as_bytes()) {
                    threads.insert(name, function);
                }
            }
            let mut inlines = |names: &[&[u8]]| {
                let inlines = table.has_inlined(function, names, &mut steps);
                inlines.ok_or_else(|| "its table of functions is too large to be looked through".to_owned())
            };
            if inlines(&begins_in)? {
                return Err(format!(
                    "{BEGINS_IN} is inlined: not every goroutine would be seen"
                ));
            }
            if inlines(&ends_in)? {
                // Run once per goroutine, too, on the stack of its thread, and given the same.
                if !table.is_named(function, EXIT.as_bytes()) {
                    return Err(format!(
                        "{} is inlined: not every end would be seen",
                        ends_in_name
                    ));
                }
                ends.push((function, EXIT));
            }
            // The rule of the Go runtime itself (isSystemGoroutine).
            let user = ["main", "corostart", "handleAsyncEvent"];
            if user
                .iter()
                .any(|name| table.is_named(function, format!("runtime.{name}").as_bytes()))
            {
                continue;
            }
            match system.last_mut() {
                Some(last) if last.1 == function.entry => last.1 = function.end,
                _ => system.push((function.entry, function.end)),
            }
        }
        let missing = |name: &str| format!("it has no function {name} (names may have been taken away)");
        system.sort_unstable();
        Ok(Self {
            begins: begins.ok_or_else(|| missing(BEGINS_IN))?,
            ends: Some(ends)
                .filter(|ends| !ends.is_empty())
                .ok_or_else(|| missing(ends_in_name))?,
            system,
            callbacks,
            functions,
            threads,
        })
    }
}
