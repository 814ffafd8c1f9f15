//! Names of `go` statements: who says `go` where, and what is started.

use super::callback;
use super::creation::calls;
use super::library;
use super::module::Module;
use super::pclntab::{Frame, Function, Table};
use crate::elf::{Elf, Image};
use crate::source::{SiteInfo, SiteNames};
use iced_x86::{Decoder, DecoderOptions, FlowControl};
use memchr::memrchr;

/// Instructions of a wrapper that are looked at for what it calls.
const WRAPPER_INSTRUCTIONS: usize = 128;
/// Wrappers in wrappers.
const WRAPPERS_MAX: usize = 4;

/// What is kept of a file to name its sites.
#[derive(Debug)]
pub(super) struct GoNames {
    executable: String,
    module: Module,
    /// How wrappers are marked in the table of functions.
    wrapper: u8,
    /// Code of the runtime's own goroutines: ranges of addresses, sorted.
    system: Vec<(u64, u64)>,
}

/// A site's number, taken apart.
#[derive(Clone, Copy)]
struct Place {
    /// The instruction behind the `go` statement, in the file's own numbering.
    statement: u64,
    /// The function that it starts.
    function: u64,
}

impl GoNames {
    pub(super) fn new(executable: String, module: Module, wrapper: u8, system: Vec<(u64, u64)>) -> Self {
        Self {
            executable,
            module,
            wrapper,
            system,
        }
    }

    /// `None` = no place in this file's code.
    fn place(&self, number: u64) -> Option<Place> {
        let Module { text, text_end, .. } = self.module;
        let within = |distance: u64| text.checked_add(distance).filter(|vaddr| *vaddr < text_end);
        Some(Place {
            statement: within(number >> 32)?,
            function: within(number & u64::from(u32::MAX))?,
        })
    }

    /// Whether this function is that of a goroutine which is the runtime's own job.
    fn is_system(&self, function: u64) -> bool {
        let after = self.system.partition_point(|(from, _)| *from <= function);
        let range = after.checked_sub(1).and_then(|index| self.system.get(index));
        range.is_some_and(|(_, to)| function < *to)
    }

    fn info(&self, number: u64, place: Place) -> SiteInfo {
        let system = self.is_system(place.function);
        SiteInfo {
            id: format!(
                "{}:{:x}.{:x}",
                self.executable,
                number >> 32,
                number & u64::from(u32::MAX)
            ),
            name: format!("{:#x}", place.function),
            location: None,
            kind: if system { "system" } else { "goroutine" },
            system,
            ambiguous: false,
            note: None,
            created_by: None,
        }
    }

    /// The address to which a library will return, if the number is that of its caller; in the file's own numbering.
    fn caller(&self, number: u64) -> Option<u64> {
        let distance = u32::try_from(number).ok()?;
        self.place(u64::from(distance)).map(|place| place.function)
    }

    fn caller_info(&self, number: u64, name: String, location: Option<String>) -> SiteInfo {
        SiteInfo {
            id: format!("{}:{number:x}", self.executable),
            name,
            location,
            kind: "caller",
            system: false,
            ambiguous: false,
            note: None,
            created_by: None,
        }
    }

    fn named_caller(&self, table: &Table<'_>, number: u64, vaddr: u64) -> SiteInfo {
        // The byte before a return address belongs to the call. What is inlined there may be the library's own.
        let mut frames = table.frames(vaddr.saturating_sub(1));
        let own = frames
            .iter()
            .position(|frame| !library::is_library(&frame.function));
        if frames.is_empty() {
            return self.caller_info(number, format!("{vaddr:#x}"), None);
        }
        let Frame {
            function, location, ..
        } = frames.swap_remove(own.unwrap_or(0));
        self.caller_info(number, function, location)
    }

    fn named(&self, image: &Image<'_>, table: &Table<'_>, number: u64, place: Place) -> SiteInfo {
        let mut info = self.info(number, place);
        if let Some(function) = table.function_of(place.function) {
            let started = started(image, table, function, self.wrapper);
            match started.as_str() {
                "runtime.main" => {
                    info.name = "main.main".to_owned();
                    info.kind = "main";
                    return info; // nobody said `go`
                }
                "runtime.corostart" => {
                    info.name = started;
                    info.kind = "coroutine";
                }
                _ => info.name = started,
            }
        }
        // The byte before a return address belongs to the call.
        let frames = table.frames(place.statement.saturating_sub(1));
        if let Some(Frame { location, .. }) = frames.first() {
            info.location.clone_from(location);
            // Known without a stack: who says `go`.
            info.created_by = Some(calls(table, &self.executable, &[place.statement]).into());
        }
        info
    }
}

impl SiteNames for GoNames {
    fn number_only(&self, number: u64) -> Option<SiteInfo> {
        if number == callback::SITE {
            return Some(callback::info(&self.executable));
        }
        if let Some(vaddr) = self.caller(number) {
            return Some(self.caller_info(number, format!("{vaddr:#x}"), None));
        }
        Some(self.info(number, self.place(number)?))
    }

    fn names(&self, elf: &Elf<'_>, numbers: &[u64]) -> Vec<(u64, SiteInfo)> {
        let Ok(image) = Image::parse(elf) else {
            return Vec::new();
        };
        let Some(table) = self.module.open(&image) else {
            return Vec::new();
        };
        numbers
            .iter()
            .filter_map(|number| {
                if *number == callback::SITE {
                    return Some((*number, callback::info(&self.executable)));
                }
                if let Some(vaddr) = self.caller(*number) {
                    return Some((*number, self.named_caller(&table, *number, vaddr)));
                }
                let place = self.place(*number)?;
                Some((*number, self.named(&image, &table, *number, place)))
            })
            .collect()
    }
}

/// The name of what a goroutine really runs: behind `go f(x)` the compiler starts a wrapper that calls `f`.
fn started(image: &Image<'_>, table: &Table<'_>, function: Function, wrapper: u8) -> String {
    let mut function = function;
    for _ in 0..WRAPPERS_MAX {
        if table.kind(function) != Some(wrapper) {
            break;
        }
        // What it calls may be inlined: then it is the outermost of the calls inlined into the wrapper.
        if let Some(inlined) = table.first_inlined(function) {
            return inlined;
        }
        let Some(called) = called(image, table, function).or_else(|| closure(table, function, wrapper))
        else {
            break;
        };
        function = called;
    }
    table.shown_name(function)
}

/// The function that a wrapper calls through the value which the statement made: `go func(a A) { … }(b)` starts a wrapper
/// that keeps both. The one function literal of the same function that begins at the same line.
fn closure(table: &Table<'_>, wrapper: Function, kind: u8) -> Option<Function> {
    let name = table.name(wrapper);
    let outer = name.get(..memrchr(b'.', name)?)?;
    let line = table.line(wrapper)?;
    let is_literal = |function: Function| {
        let rest = table.name(function).strip_prefix(outer);
        let Some(rest) = rest.and_then(|rest| rest.strip_prefix(b".")) else {
            return false;
        };
        // "f.func1", and "f.func1.2" for one within that.
        let number = rest.strip_prefix(b"func").unwrap_or(rest);
        !number.is_empty() && number.iter().all(u8::is_ascii_digit)
    };
    let mut literals = table.functions().filter(|function| {
        is_literal(*function)
            && table.kind(*function) != Some(kind)
            && table.line(*function).as_ref() == Some(&line)
    });
    let literal = literals.next()?;
    literals.next().is_none().then_some(literal)
}

/// The function that a wrapper calls.
fn called(image: &Image<'_>, table: &Table<'_>, function: Function) -> Option<Function> {
    let size = usize::try_from(function.end.checked_sub(function.entry)?).ok()?;
    let bytes = image.bytes_from(function.entry)?;
    let bytes = bytes.get(..size).unwrap_or(bytes);
    let decoder = Decoder::with_ip(64, bytes, function.entry, DecoderOptions::NONE);
    decoder
        .into_iter()
        .take(WRAPPER_INSTRUCTIONS)
        .filter(|instruction| instruction.flow_control() == FlowControl::Call)
        .filter_map(|instruction| table.function_of(instruction.near_branch_target()))
        .find(|called| {
            let runtime = table.name_begins(*called, b"runtime.");
            !runtime
                || table.name_begins(function, b"runtime.")
                    && !table.name_begins(*called, b"runtime.morestack")
        })
}
