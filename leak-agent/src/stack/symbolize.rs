//! Names: which function, file and line each frame of a stack belongs to.

use super::bounded::Bounded;
use super::debug_file::DebugFiles;
use super::headers::Headers;
use super::maps::Mapping;
use super::module::{Language, Symbols, file_identity, symbols};
use super::table::{Module, ModuleCache, ModuleTable};
use super::unwind::Unwound;
use crate::sys::map::with_foreign_mappings;
use crate::sys::proc::ProcessId;
use crate::types::ExecutableId;
use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized, Symbolizer};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

/// Names are cut here: templates can make one of many KiB.
const MAX_NAME: usize = 1024;
/// More functions than these inlined into each other are not told apart.
const MAX_INLINED: usize = 32;
/// Files whose debug files are kept open.
const MAX_DEBUG_FILES: usize = 128;

/// A function at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Demangled.
    pub function: String,
    /// "src/conn.rs:88"; `None` = no debug information.
    pub location: Option<String>,
    /// Its code was put into that of the next function outwards.
    pub inlined: bool,
}

/// A frame with what people call it. An inlined function is a frame of its own here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFrame {
    /// Index of the frame in the [`Unwound`] stack.
    pub index: usize,
    /// File name of the module; `None` = code of no file.
    pub module: Option<String>,
    /// The module's id: what site ids are built on.
    pub id: Option<ExecutableId>,
    /// What built the module.
    pub language: Language,
    /// The frame's `pc` in the file's own addresses; its run-time address if there is no file.
    pub vaddr: u64,
    /// The function; `None` = no symbol.
    pub name: Option<Name>,
}

impl NamedFrame {
    /// The function's name, demangled.
    #[must_use]
    pub fn function(&self) -> Option<&str> {
        self.name.as_ref().map(|name| name.function.as_str())
    }
}

impl std::fmt::Display for NamedFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let module = self.module.as_deref().unwrap_or("?");
        match &self.name {
            None => write!(f, "{module}+{:#x}", self.vaddr),
            Some(name) => {
                f.write_str(&name.function)?;
                match &name.location {
                    Some(location) => write!(f, " ({location})"),
                    None => write!(f, " ({module})"),
                }
            }
        }
    }
}

/// A separate debug file, and what names can be had of it.
#[derive(Debug)]
struct DebugSymbols {
    file: File,
    symbols: Symbols,
}

/// Names that were looked up before, by file and address. The reader of symbols itself keeps far more, and
/// is therefore made anew for every batch of stacks.
#[derive(Debug)]
pub struct NameCache {
    names: Bounded<(ExecutableId, u64), Arc<[Name]>>,
    debug_files: DebugFiles,
    /// By file: its separate debug file, open.
    debug: Bounded<ExecutableId, Option<Arc<DebugSymbols>>>,
    /// How many addresses were looked up in files.
    pub looked_up: u64,
    /// How often reading the symbols of a module failed; its frames are nameless.
    pub failed: u64,
}

impl NameCache {
    /// A cache of at most `capacity` addresses.
    #[must_use]
    pub fn new(capacity: usize, debug_files: DebugFiles) -> Self {
        Self {
            names: Bounded::new(capacity),
            debug_files,
            debug: Bounded::new(MAX_DEBUG_FILES),
            looked_up: 0,
            failed: 0,
        }
    }

    /// The debug file of a file without symbols, as it was when first asked for. Blocks then.
    fn debug(
        &mut self,
        file: &File,
        identity: &ExecutableId,
        path: &Path,
        process: Option<ProcessId>,
    ) -> Option<Arc<DebugSymbols>> {
        if let Some(known) = self.debug.get(identity) {
            return known.clone();
        }
        let found = self.debug_files.find(file, path, process).file;
        let debug = found.and_then(|file| {
            let symbols = symbols(&file, &Headers::read(&file).ok()?);
            (symbols > Symbols::None).then(|| Arc::new(DebugSymbols { file, symbols }))
        });
        self.debug.insert(identity.clone(), debug.clone());
        debug
    }

    /// How many addresses were dropped for want of room.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.names.evicted()
    }
}

/// Reads symbols for a batch of stacks. It keeps what it has parsed, up to hundreds of MiB for large
/// debug information: drop it when the batch is done.
pub struct Batch {
    symbolizer: Symbolizer,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// A reader that has read nothing yet.
    #[must_use]
    pub fn new() -> Self {
        // Debug links are not followed: they would lead out of the container that the file came from.
        let no_directories: [&str; 0] = [];
        let builder = Symbolizer::builder().set_debug_dirs(Some(no_directories));
        Self {
            symbolizer: builder.build(),
        }
    }

    /// Names the frames of a stack, innermost first. A frame of which nothing is known stays, nameless.
    /// Blocks: 10 µs per new address, up to some 100 ms for the first one in a large file.
    #[must_use]
    pub fn name(
        &mut self,
        table: &mut ModuleTable,
        modules: &mut ModuleCache,
        cache: &mut NameCache,
        stack: &Unwound,
    ) -> Vec<NamedFrame> {
        let places: Vec<(u64, Option<Module>)> = stack
            .frames
            .iter()
            .enumerate()
            .map(|(index, frame)| {
                let lookup = frame.lookup(index);
                (lookup, table.module(lookup, modules).cloned())
            })
            .collect();

        let mut wanted: BTreeMap<&ExecutableId, Vec<(u64, &Module)>> = BTreeMap::new();
        for (lookup, module) in &places {
            let Some(module) = module else { continue };
            let identity = &module.file.identity;
            let known = cache.names.get(&(identity.clone(), module.vaddr(*lookup)));
            let nothing = module.file.symbols == Symbols::None && module.file.has_symbol_table();
            if known.is_none() && !nothing {
                wanted.entry(identity).or_default().push((*lookup, module));
            }
        }
        for (identity, addresses) in wanted {
            let vaddrs: Vec<u64> = addresses
                .iter()
                .map(|(lookup, module)| module.vaddr(*lookup))
                .collect();
            let Some((first, module)) = addresses.first() else {
                continue;
            };
            cache.looked_up += vaddrs.len() as u64;
            match self.look_up(table, cache, *first, module, &vaddrs) {
                Some(names) => {
                    for (vaddr, names) in vaddrs.into_iter().zip(names) {
                        cache.names.insert((identity.clone(), vaddr), names.into());
                    }
                }
                None => cache.failed += 1,
            }
        }

        let mut frames = Vec::new();
        for (index, (lookup, module)) in places.into_iter().enumerate() {
            let pc = stack.frames.get(index).map_or(0, |frame| frame.pc);
            let mut frame = NamedFrame {
                index,
                module: table
                    .mapping(lookup)
                    .map(Mapping::file_name)
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned),
                id: None,
                language: Language::Other,
                vaddr: pc,
                name: None,
            };
            let mut names = None;
            if let Some(module) = module {
                frame.vaddr = module.vaddr(pc);
                frame.language = module.file.language;
                frame.id = Some(module.file.id.clone());
                let key = (module.file.identity.clone(), module.vaddr(lookup));
                names = cache.names.get(&key).map(|names| Arc::clone(names));
            }
            match names.filter(|names| !names.is_empty()) {
                None => frames.push(frame),
                Some(names) => frames.extend(names.iter().map(|name| NamedFrame {
                    name: Some(name.clone()),
                    ..frame.clone()
                })),
            }
        }
        frames
    }

    /// Names of addresses of one file, each innermost first; `None` = the file is gone or cannot be read.
    fn look_up(
        &mut self,
        table: &ModuleTable,
        cache: &mut NameCache,
        address: u64,
        module: &Module,
        vaddrs: &[u64],
    ) -> Option<Vec<Vec<Name>>> {
        let file = table.open(address)?;
        if file_identity(&file.metadata().ok()?) != module.file.identity {
            return None;
        }
        let debug = (!module.file.has_symbol_table()).then(|| {
            let path = Path::new(table.mapping(address)?.path.trim_end_matches(" (deleted)"));
            cache.debug(&file, &module.file.identity, path, table.process())
        });
        let names = debug
            .flatten()
            .and_then(|debug| self.names(&debug.file, debug.symbols, vaddrs));
        // What the debug file does not name may have a dynamic symbol.
        match names {
            Some(names) if names.iter().all(|names| !names.is_empty()) => Some(names),
            Some(names) => {
                let own = self.names(&file, module.file.symbols, vaddrs).unwrap_or_default();
                let mut own = own.into_iter();
                let or_own = |names: Vec<Name>| {
                    let own = own.next().unwrap_or_default();
                    if names.is_empty() { own } else { names }
                };
                Some(names.into_iter().map(or_own).collect())
            }
            None => self.names(&file, module.file.symbols, vaddrs),
        }
    }

    /// Names of addresses by the symbols of one file.
    fn names(&mut self, file: &File, symbols: Symbols, vaddrs: &[u64]) -> Option<Vec<Vec<Name>>> {
        if symbols == Symbols::None {
            return Some(vec![Vec::new(); vaddrs.len()]);
        }
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let table = self.symbolize(&path, false, vaddrs);
        if symbols < Symbols::Debug {
            return table;
        }
        // Damaged debug information must not cost the function names.
        let Some(mut names) = self.symbolize(&path, true, vaddrs) else {
            return table;
        };
        // Debug information may lack the path of a function (Rust's line tables do), the symbol never does.
        for (names, table) in names.iter_mut().zip(table.into_iter().flatten()) {
            match (names.last_mut(), table.into_iter().next()) {
                (Some(outer), Some(symbol)) => outer.function = symbol.function,
                (None, Some(symbol)) => names.push(symbol),
                (_, None) => {}
            }
        }
        Some(names)
    }

    /// One question to the reader of symbols, for one file: a question for many fails as a whole.
    fn symbolize(&mut self, path: &str, debug: bool, vaddrs: &[u64]) -> Option<Vec<Vec<Name>>> {
        let mut elf = Elf::new(path);
        elf.debug_syms = debug;
        let source = Source::Elf(elf);
        // The file is other people's: should the reader panic over it, or should its owner truncate it while
        // it is read, the reader is replaced.
        let read = || {
            catch_unwind(AssertUnwindSafe(|| {
                let symbols = self.symbolizer.symbolize(&source, Input::VirtOffset(vaddrs));
                symbols.map(|symbols| symbols.iter().map(names).collect())
            }))
        };
        match with_foreign_mappings(read) {
            Ok((Ok(Ok(names)), false)) => return Some(names),
            Ok((Ok(Err(error)), false)) => {
                tracing::debug!(%error, "symbols not readable");
                return None;
            }
            Ok((Ok(_), true)) => tracing::debug!("file truncated while its symbols were read"),
            Ok((Err(_), _)) => tracing::warn!("the reader of symbols panicked over a file"),
            Err(error) => tracing::warn!(%error, "no symbols: truncated files could not be survived"),
        }
        *self = Self::new();
        None
    }
}

/// The functions at an address, innermost first.
fn names(symbol: &Symbolized<'_>) -> Vec<Name> {
    let Symbolized::Sym(symbol) = symbol else {
        return Vec::new();
    };
    let Sym {
        name,
        code_info,
        inlined,
        ..
    } = symbol;
    let inlined = inlined.iter().rev().take(MAX_INLINED).map(|function| Name {
        function: cut(&function.name),
        location: function.code_info.as_ref().and_then(location),
        inlined: true,
    });
    let outer = Name {
        function: cut(name),
        location: code_info.as_deref().and_then(location),
        inlined: false,
    };
    inlined.chain([outer]).collect()
}

fn cut(name: &str) -> String {
    name.chars().take(MAX_NAME).collect()
}

/// "src/conn.rs:88".
fn location(info: &CodeInfo<'_>) -> Option<String> {
    let line = info.line.filter(|line| *line > 0)?;
    let path = info.to_path();
    Some(format!("{}:{line}", cut(&path.to_string_lossy())))
}
