//! Puts the hook plan of a Go executable together: one point where goroutines begin, one where they end.

use super::RUNTIME;
use super::address::{self, Addresses};
use super::books::GoBooks;
use super::build_info::{BuildInfo, Version};
use super::creation::GoStacks;
use super::hook;
use super::layout::{Layout, NEWEST, OLDEST};
use super::module::{Module, ModuleError};
use super::names::GoNames;
use super::pclntab::{Function, Table};
use super::threads::{self, ThreadList};
use crate::elf::{Elf, Image};
use crate::source::{Books, HookPlan, Inspection, PlanPoint, PointSite, Role};
use crate::types::Vaddr;
use object::elf::EM_X86_64;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The function in which every goroutine begins, on the stack of its creator's thread.
const BEGINS_IN: &str = "runtime.newproc1";
/// What calls the function in which goroutines end, in versions that have one of their own; a profile may make the compiler
/// inline it here.
const EXIT: &str = "runtime.goexit0";
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
    let Some(layout) = version.minor.and_then(Layout::of) else {
        return unsupported(format!(
            "the layout of Go {version} is not known (1.{OLDEST} to 1.{NEWEST} are, but for 1.20)"
        ));
    };
    let module = match Module::find(&image, layout.gofunc) {
        Ok(module) => module,
        // Go's own tools carry the mark of build information as data.
        Err(ModuleError::NoTable) => return Inspection::NotMine,
        Err(error) => return unsupported(format!("Go {version}: {error}")),
    };
    match plan(elf, &image, version, layout, &module) {
        Ok(plan) => Inspection::Plan(plan),
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
    layout: &'static Layout,
    module: &Module,
) -> Result<HookPlan, String> {
    let table = module
        .open(image)
        .ok_or_else(|| format!("Go {version}: its table of functions is not in the file"))?;
    let found = Runtime::find(&table, layout)?;
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
                field: layout.gopc,
                saved: layout.saved(),
            },
            emulated: true,
        });
    }
    let addresses = Addresses::find(image, &table, &found.functions, layout);
    let main = found.functions.get(address::MAIN);
    let threads = ThreadList::find(image, &table, &found.threads, layout.minor);
    points.sort_by_key(|point| point.offset);
    Ok(HookPlan {
        runtime: RUNTIME,
        version: Some(version.text),
        points,
        sites: Vec::new(),
        gaps: Vec::new(),
        evidence: "function table".into(),
        // A goroutine is marked as dead after the point.
        finish_is_early: true,
        books: addresses.zip(main).map(|(addresses, main)| {
            Arc::new(GoBooks {
                layout,
                module: *module,
                addresses,
                main: main.entry,
                threads,
            }) as Arc<dyn Books>
        }),
        names: Some(Arc::new(GoNames::new(
            elf.id.to_string(),
            *module,
            layout.wrapper,
            found.system,
        ))),
        stacks: Some(Arc::new(GoStacks::new(elf.id.to_string(), *module))),
    })
}

/// What the table of functions says of the runtime.
struct Runtime {
    begins: Function,
    /// Where goroutines end, with the functions' names: one place, or two that exclude each other.
    ends: Vec<(Function, &'static str)>,
    /// Code of the runtime's own goroutines: ranges of addresses, sorted.
    system: Vec<(u64, u64)>,
    /// Functions that use the runtime's variables.
    functions: BTreeMap<&'static str, Function>,
    /// Functions of its scheduler's threads.
    threads: BTreeMap<&'static str, Function>,
}

impl Runtime {
    fn find(table: &Table<'_>, layout: &Layout) -> Result<Self, String> {
        let (mut begins, mut ends) = (None, Vec::new());
        let mut system: Vec<(u64, u64)> = Vec::new();
        let (mut functions, mut threads) = (BTreeMap::new(), BTreeMap::new());
        let mut steps = STEPS_MAX;
        let begins_in = [BEGINS_IN.as_bytes()];
        let ends_in = [layout.ends_in.as_bytes()];
        for function in table.functions() {
            if !table.name_begins(function, b"runtime.") {
                continue;
            }
            if table.is_named(function, BEGINS_IN.as_bytes()) {
                begins = Some(function);
            }
            if table.is_named(function, layout.ends_in.as_bytes()) {
                ends.push((function, layout.ends_in));
            }
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
                        layout.ends_in
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
                .ok_or_else(|| missing(layout.ends_in))?,
            system,
            functions,
            threads,
        })
    }
}
