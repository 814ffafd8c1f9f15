//! Which layout the runtime of an executable has: by its own debug information, else by its version, else by what fits.

use super::debug_info;
use super::layout::Layout;
use super::module::{Module, ModuleError};
use super::pclntab::{Function, Table};
use super::statement;
use crate::elf::Image;

/// How the table of functions names the function in which goroutines end, from 1.22 on.
const ENDS_IN: &str = "runtime.gdestroy";

/// What may be the layout.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// One; several, if only a process can tell.
    pub(super) layouts: Vec<Layout>,
    /// How it is known, for people.
    pub(super) by: String,
    /// The version has no table of its own.
    unknown: bool,
    /// Nothing but what fits tells.
    inferred: bool,
}

impl Known {
    /// By debug information, or by version; of a version that is not known, all layouts that are.
    pub(super) fn of(image: &Image<'_>, minor: Option<u32>) -> Self {
        let table = minor.and_then(Layout::of).copied();
        let base = table.unwrap_or_else(Layout::newest_of_unknown);
        if let Some(layout) = debug_info::layout(image, &base) {
            return Self {
                layouts: vec![layout],
                by: "debug information".to_owned(),
                unknown: table.is_none(),
                inferred: false,
            };
        }
        match table {
            Some(layout) => Self {
                layouts: vec![layout],
                by: format!("layout of Go 1.{}", layout.minor),
                unknown: false,
                inferred: false,
            },
            None => Self {
                layouts: Layout::of_unknown().collect(),
                by: String::new(),
                unknown: true,
                inferred: true,
            },
        }
    }

    /// The module data and the table of functions. Of several layouts, those are left that fit the tables.
    pub(super) fn module(&mut self, image: &Image<'_>) -> Result<Module, ModuleError> {
        if let ([layout], false) = (self.layouts.as_slice(), self.inferred) {
            return Module::find(image, layout.gofunc);
        }
        let mut fitting: Option<(u64, Module)> = None;
        for gofunc in self.layouts.iter().map(|layout| layout.gofunc) {
            let known = fitting.is_some_and(|(known, _)| known == gofunc);
            let module = Module::find(image, gofunc)?;
            let fits = module.open(image).is_some_and(|table| table.inlining_fits());
            match &fitting {
                _ if known || !fits => {}
                None => fitting = Some((gofunc, module)),
                Some(_) => return Err(ModuleError::Unknown),
            }
        }
        let (gofunc, module) = fitting.ok_or(ModuleError::Unknown)?;
        let old = |layout: &Layout| layout.minor < 20;
        self.layouts
            .retain(|layout| layout.gofunc == gofunc && old(layout) == module.table.is_old());
        Ok(module)
    }

    /// The function in which goroutines end.
    pub(super) fn ends_in(&self, table: &Table<'_>) -> &'static str {
        let layout = self.layouts.first();
        match layout {
            Some(layout) if !self.unknown => layout.ends_in,
            _ if table
                .functions()
                .any(|function| table.is_named(function, ENDS_IN.as_bytes())) =>
            {
                ENDS_IN
            }
            _ => "runtime.goexit0",
        }
    }

    /// Of several layouts, those are left of which the code bears witness: it writes the address behind the statement there.
    /// `begins`: the function that does. Gives that place, if there is just one.
    pub(super) fn statement(&mut self, image: &Image<'_>, begins: Function) -> Option<u32> {
        if self.inferred {
            let written = statement::written(image, begins.entry..begins.end);
            self.layouts.retain(|layout| written.contains(&layout.gopc));
            self.by = format!(
                "inferred, believed where it proves itself: like {}",
                minors(&self.layouts)
            );
        }
        let first = self.layouts.first()?.gopc;
        let same = self.layouts.iter().all(|layout| layout.gopc == first);
        same.then_some(first)
    }

    /// Where the registers of a goroutine that does not run are, for a first look at its stack: see [`Layout::saved`].
    pub(super) fn saved(&self) -> (u32, u32) {
        self.layouts.last().map_or((0, 0), Layout::saved)
    }

    /// The version, if it is one that is known; nothing may be read by what only the version tells if it is not.
    pub(super) fn minor(&self) -> Option<u32> {
        let layout = self.layouts.first().filter(|_| !self.unknown)?;
        Some(layout.minor)
    }

    /// How the table of functions marks what the compiler made to call something else, as far as that is known.
    pub(super) fn wrapper(&self) -> u8 {
        self.layouts.last().map_or(0, |layout| layout.wrapper)
    }
}

/// "Go 1.26 or 1.27".
fn minors(layouts: &[Layout]) -> String {
    let minors: Vec<String> = layouts
        .iter()
        .map(|layout| format!("1.{}", layout.minor))
        .collect();
    format!("Go {}", minors.join(" or "))
}
