//! Frames without names, told by what sources know of the code of their files.

use crate::elf::Elf;
use crate::source::{self, StackCode};
use crate::stack::bounded::Bounded;
use crate::stack::module::Language;
use crate::stack::symbolize::{Name, NamedFrame};
use crate::stack::{ModuleCache, ModuleTable, Unwound};
use crate::sys::map::MappedFile;
use crate::types::ExecutableId;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Files of which it is kept.
const MAX_FILES: usize = 4096;
/// Bytes of one file that are looked at.
const MAX_BYTES: u64 = 4 << 30;

/// What is known of files, by file.
#[derive(Debug)]
pub(super) struct Codes(Bounded<ExecutableId, Arc<[StackCode]>>);

impl Default for Codes {
    fn default() -> Self {
        Self(Bounded::new(MAX_FILES))
    }
}

impl Codes {
    /// Names frames that have no name, and corrects whose language they are in. Blocks on files that are new: some 10 ms for
    /// one of 10 MiB.
    pub(super) fn mark(
        &mut self,
        table: &mut ModuleTable,
        modules: &mut ModuleCache,
        stack: &Unwound,
        frames: Vec<NamedFrame>,
    ) -> Vec<NamedFrame> {
        let mut marked = Vec::with_capacity(frames.len());
        for mut frame in frames {
            let unknown = frame.name.is_none() && frame.language != Language::Other;
            let codes = unknown
                .then(|| self.of(table, modules, stack, frame.index))
                .flatten();
            for code in codes.iter().flat_map(|codes| codes.iter()) {
                let vaddr = frame.vaddr.saturating_sub(u64::from(frame.index > 0));
                if let Some(asker) = code.asker(vaddr) {
                    // It may be part of another function, which stays the next frame.
                    marked.push(NamedFrame {
                        name: Some(Name {
                            function: asker.to_owned(),
                            location: None,
                            inlined: true,
                        }),
                        ..frame.clone()
                    });
                }
                if code.is_foreign(vaddr) {
                    frame.language = Language::Other;
                }
            }
            marked.push(frame);
        }
        marked
    }

    fn of(
        &mut self,
        table: &mut ModuleTable,
        modules: &mut ModuleCache,
        stack: &Unwound,
        index: usize,
    ) -> Option<Arc<[StackCode]>> {
        let lookup = stack.frames.get(index)?.lookup(index);
        let identity = table.module(lookup, modules)?.file.identity.clone();
        if let Some(known) = self.0.get(&identity) {
            return Some(Arc::clone(known));
        }
        let file = table.open(lookup)?;
        let codes: Arc<[StackCode]> = read(&file, &identity).into();
        self.0.insert(identity, Arc::clone(&codes));
        Some(codes)
    }
}

/// What all sources know of a file; nothing of one that cannot be read.
fn read(file: &File, identity: &ExecutableId) -> Vec<StackCode> {
    let Ok(map) = MappedFile::map(file, MAX_BYTES) else {
        return Vec::new();
    };
    let known = catch_unwind(AssertUnwindSafe(|| {
        let elf = Elf {
            data: &map,
            id: identity.clone(),
            debug: None,
        };
        let sources = source::all();
        let known = sources.iter().filter_map(|source| source.stack_code(&elf));
        known.collect()
    }));
    match known {
        // The zeros behind a cut are not the file's.
        Ok(known) if !map.cut() => known,
        Ok(_) => Vec::new(),
        Err(_) => {
            tracing::warn!(%identity, "looking for a runtime's code failed (a defect of the agent)");
            Vec::new()
        }
    }
}
