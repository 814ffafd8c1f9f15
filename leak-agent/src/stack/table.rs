//! The modules of one process image: which file is behind an address, and where it is loaded.

use super::bounded::Bounded;
use super::headers::ElfError;
use super::maps::{Mapping, Mappings};
use super::module::{ModuleFile, file_identity};
use super::process::{OpenError, ProcessFiles};
use crate::sys::proc::{ProcError, ProcessId};
use crate::types::ExecutableId;
use leak_agent_common::key::ProcessKey;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// The vDSO has two pages; nothing larger is copied.
const MAX_VDSO: u64 = 64 << 10;

/// Files that were read, shared by all processes that map them. Keyed by the file, never by its build id.
#[derive(Debug)]
pub struct ModuleCache {
    files: Bounded<ExecutableId, Option<Arc<ModuleFile>>>,
    bytes_limit: usize,
    /// Bytes read into the cache since the older generation was dropped.
    bytes: usize,
    /// How many files were read.
    pub read: u64,
    /// How many files could not be used (no ELF file of this machine, too large, unreadable).
    pub refused: u64,
}

impl ModuleCache {
    /// A cache of at most `files` files and about `bytes` bytes of own memory. What a table uses stays in
    /// memory as long as the table.
    #[must_use]
    pub fn new(files: usize, bytes: usize) -> Self {
        Self {
            files: Bounded::new(files),
            bytes_limit: bytes,
            bytes: 0,
            read: 0,
            refused: 0,
        }
    }

    /// How many files were dropped for want of room.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.files.evicted()
    }

    /// The module of an open file; `None` = not usable. Blocks when the file is new.
    fn module(&mut self, file: &File) -> io::Result<Option<Arc<ModuleFile>>> {
        let identity = file_identity(&file.metadata()?);
        if let Some(known) = self.files.get(&identity) {
            return Ok(known.clone());
        }
        self.read += 1;
        let module = match ModuleFile::read(file) {
            Ok(module) => Some(Arc::new(module)),
            Err(error) => {
                self.refused += 1;
                tracing::debug!(%identity, error = &error as &dyn std::error::Error, "module refused");
                // A failed read may succeed the next time; what the file is does not change.
                if let ElfError::Read { .. } = error {
                    return Ok(None);
                }
                None
            }
        };
        let bytes = module.as_ref().map_or(0, |module| module.bytes);
        if self.bytes + bytes > self.bytes_limit / 2 {
            self.files.age();
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.files.insert(identity, module.clone());
        Ok(module)
    }
}

/// A module at its place in a process.
#[derive(Clone, Debug)]
pub struct Module {
    /// The file.
    pub file: Arc<ModuleFile>,
    /// Run-time address minus address in the file.
    pub bias: u64,
}

impl Module {
    /// The address in the file of a run-time address.
    #[must_use]
    pub fn vaddr(&self, address: u64) -> u64 {
        address.wrapping_sub(self.bias)
    }
}

#[derive(Debug)]
enum Slot {
    Unopened,
    Known(Option<Module>),
}

/// The executable mappings of a process image. Files are opened when an address in them is asked for.
#[derive(Debug)]
pub struct ModuleTable {
    /// `None` in tables made of given modules.
    files: Option<ProcessFiles>,
    mappings: Mappings,
    /// One for each mapping.
    slots: Vec<Slot>,
}

/// What became of the mappings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// All are where they were.
    Same,
    /// Code was unmapped or replaced at these addresses. Empty = code was only added.
    Changed(Vec<Range<u64>>),
    /// The process is gone; the table stays as it was.
    Gone,
}

impl ModuleTable {
    /// The table of a process; `None` = it is gone. Reads `/proc/PID/maps`, opens no file yet.
    ///
    /// # Errors
    ///
    /// What reading says, if the process still exists.
    pub fn load(key: ProcessKey) -> Result<Option<Self>, ProcError> {
        Self::of_process(ProcessId::of(&key))
    }

    /// The same of a process as `/proc` names it.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn of_process(id: ProcessId) -> Result<Option<Self>, ProcError> {
        let mut files = ProcessFiles::of(id);
        Ok(files.mappings()?.map(|mappings| Self {
            slots: mappings.list.iter().map(|_| Slot::Unopened).collect(),
            mappings,
            files: Some(files),
        }))
    }

    /// A table of given modules, for stacks that were recorded. `mappings` must be sorted by address.
    #[must_use]
    pub fn of(mappings: Vec<(Mapping, Arc<ModuleFile>)>) -> Self {
        let (list, files): (Vec<_>, Vec<_>) = mappings.into_iter().unzip();
        let slot = |(mapping, file): (&Mapping, Arc<ModuleFile>)| {
            let bias = file.headers.bias(mapping.start, mapping.offset);
            Slot::Known(bias.map(|bias| Module { file, bias }))
        };
        Self {
            files: None,
            slots: list.iter().zip(files).map(slot).collect(),
            mappings: Mappings {
                list,
                left_out: 0,
                any: true,
            },
        }
    }

    /// Reads the mappings again. Modules that are where they were keep their files.
    ///
    /// # Errors
    ///
    /// What reading says, if the process still exists.
    pub fn refresh(&mut self) -> Result<Refresh, ProcError> {
        let Some(files) = &mut self.files else {
            return Ok(Refresh::Same);
        };
        let Some(new) = files.mappings()? else {
            return Ok(Refresh::Gone);
        };
        if new == self.mappings {
            return Ok(Refresh::Same);
        }
        let old = std::mem::replace(&mut self.mappings, new);
        let mut slots: Vec<Slot> = self.mappings.list.iter().map(|_| Slot::Unopened).collect();
        let mut changed = Vec::new();
        for (mapping, slot) in old.list.into_iter().zip(self.slots.drain(..)) {
            let same = self
                .mappings
                .find(mapping.start)
                .filter(|index| self.mappings.list.get(*index) == Some(&mapping));
            match same.and_then(|index| slots.get_mut(index)) {
                Some(place) => *place = slot,
                None => changed.push(mapping.start..mapping.end),
            }
        }
        self.slots = slots;
        Ok(Refresh::Changed(changed))
    }

    /// All executable mappings.
    #[must_use]
    pub fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    /// The mapping that holds `address`.
    #[must_use]
    pub fn mapping(&self, address: u64) -> Option<&Mapping> {
        self.mappings.list.get(self.mappings.find(address)?)
    }

    /// The module that holds `address`; `None` = code of no file (a just-in-time compiler's), or a file that
    /// cannot be used or opened any more. Blocks when the file is new.
    pub fn module(&mut self, address: u64, cache: &mut ModuleCache) -> Option<&Module> {
        let index = self.mappings.find(address)?;
        let mapping = self.mappings.list.get(index)?;
        let slot = self.slots.get_mut(index)?;
        if let Slot::Unopened = slot {
            let module = open(self.files.as_ref()?, mapping, cache);
            let module = module.inspect_err(|error| {
                tracing::debug!(path = mapping.path, %error, "module not opened");
            });
            *slot = Slot::Known(module.ok()?);
        }
        match slot {
            Slot::Known(module) => module.as_ref(),
            Slot::Unopened => None,
        }
    }

    /// Whose table it is; `None` = nobody's, it was made of given modules.
    #[must_use]
    pub fn process(&self) -> Option<ProcessId> {
        self.files.as_ref().map(ProcessFiles::id)
    }

    /// Opens the file that holds `address` anew, for a reader of symbols; `None` = it or the process is gone,
    /// or the file there is not `file` any more.
    #[must_use]
    pub fn open(&self, address: u64) -> Option<File> {
        let mapping = self.mapping(address)?;
        self.files.as_ref()?.open_mapping(mapping).ok()?
    }
}

/// Opens the module behind a mapping; `Ok(None)` = there is none.
fn open(
    files: &ProcessFiles,
    mapping: &Mapping,
    cache: &mut ModuleCache,
) -> Result<Option<Module>, OpenError> {
    let file = if mapping.is_vdso() {
        vdso(files, mapping)
    } else if mapping.inode == 0 {
        None
    } else {
        match files.open_mapping(mapping)? {
            Some(file) => cache.module(&file)?,
            None => None,
        }
    };
    Ok(file.and_then(|file| {
        let bias = file.headers.bias(mapping.start, mapping.offset)?;
        Some(Module { file, bias })
    }))
}

/// The vDSO, copied from the process's memory.
fn vdso(files: &ProcessFiles, mapping: &Mapping) -> Option<Arc<ModuleFile>> {
    let len = (mapping.end - mapping.start).min(MAX_VDSO);
    let bytes = files.memory(mapping.start, usize::try_from(len).ok()?)?;
    let id = ExecutableId::File {
        dev: 0,
        inode: 0,
        size: len,
        mtime: 0,
    };
    ModuleFile::parse(&bytes[..], id).ok().map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::super::process::key_of;
    use super::*;

    fn own_table() -> ModuleTable {
        ModuleTable::load(key_of(std::process::id())).unwrap().unwrap()
    }

    /// The address of a function lies in the module of this executable, once read, and its address in the
    /// file lies in an executable segment.
    #[test]
    fn table_of_the_own_process_finds_the_own_executable() {
        let mut cache = ModuleCache::new(16, 64 << 20);
        let mut table = own_table();
        let address = own_table as fn() -> ModuleTable as usize as u64;
        let module = table.module(address, &mut cache).unwrap();
        let vaddr = module.vaddr(address);
        assert!(module.file.describes(vaddr));
        assert!(
            module
                .file
                .headers
                .segments
                .iter()
                .any(|segment| segment.executable
                    && (segment.vaddr..segment.vaddr + segment.memory_size).contains(&vaddr))
        );
        let bias = module.bias;
        assert_eq!(own_table().module(address, &mut cache).unwrap().bias, bias);
        assert_eq!(
            (cache.read, cache.refused),
            (1, 0),
            "the second table shares the file"
        );
    }

    /// The vDSO is read from memory.
    #[test]
    fn table_of_the_own_process_reads_the_vdso() {
        let mut table = own_table();
        let vdso = table.mappings.list.iter().find(|mapping| mapping.is_vdso());
        let start = vdso.unwrap().start;
        let module = table.module(start + 0x800, &mut ModuleCache::new(16, 1 << 20));
        assert!(module.unwrap().file.unwinder().is_some());
    }

    /// Addresses outside of code have no module.
    #[test]
    fn table_outside_of_code_has_no_module() {
        let on_stack = 0_u64;
        let address = &raw const on_stack as usize as u64;
        let mut cache = ModuleCache::new(16, 1 << 20);
        assert!(own_table().module(address, &mut cache).is_none());
        assert!(own_table().module(0, &mut cache).is_none());
    }

    /// A process that has vanished has no table.
    #[test]
    fn table_of_a_vanished_process_is_none() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let key = key_of(child.id());
        child.wait().unwrap();
        assert!(ModuleTable::load(key).unwrap().is_none());
    }

    /// A refresh keeps what is where it was and names what is gone.
    #[test]
    fn table_refresh_names_what_was_unmapped() {
        let mut table = own_table();
        assert_eq!(table.refresh().unwrap(), Refresh::Same);
        let gone = Mapping {
            start: 0x1000,
            end: 0x3000,
            offset: 0,
            inode: 1,
            path: "/gone".to_owned(),
        };
        table.mappings.list.insert(0, gone);
        table.slots.insert(0, Slot::Unopened);
        let Refresh::Changed(changed) = table.refresh().unwrap() else {
            panic!("the mapping did not vanish");
        };
        assert_eq!(changed, std::iter::once(0x1000..0x3000).collect::<Vec<_>>());
        assert_eq!(table.slots.len(), table.mappings.list.len());
        assert_eq!(table.refresh().unwrap(), Refresh::Same);
    }
}
