//! What every source says of one executable.

use super::build_id::build_id;
use super::identity::FileKey;
use crate::elf::Elf;
use crate::source::{HookPlan, Inspection, Source};
use crate::sys::file;
use crate::sys::map::MappedFile;
use crate::types::{ExecutableId, Runtime};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The largest executable that is inspected. It is mapped, not read: its size costs address space and time, not memory.
pub const INSPECT_BYTES_MAX: u64 = 4 << 30;

#[derive(Debug)]
pub(super) struct Inspect {
    pub key: FileKey,
    pub file: Arc<File>,
}

#[derive(Debug)]
pub(super) enum Answer {
    Verdict(Verdict),
    /// No answer, and none worth keeping: ask again later.
    Later(Trouble),
}

/// What is known of an executable. Kept in the cache, the empty one too.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    /// Its name among people and in site ids.
    pub id: ExecutableId,
    /// One per runtime that it has and that can be followed.
    pub plans: Vec<Arc<HookPlan>>,
    /// Why it is not followed (wholly): the runtime, if it is about one.
    pub unsupported: Vec<(Option<Runtime>, String)>,
    /// How many inspectors panicked.
    pub panics: u64,
}

/// Why an inspection has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// It was written to, or truncated, while it was read.
    Changed,
    /// It could not be read.
    Unreadable,
}

impl Inspect {
    pub(super) fn run(&self, sources: &[Box<dyn Source>]) -> Answer {
        let mut magic = [0; 4];
        match self.file.read_exact_at(&mut magic, 0) {
            Ok(()) if &magic == b"\x7fELF" => {}
            Ok(()) => return Answer::Verdict(self.nothing()),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Answer::Verdict(self.nothing());
            }
            Err(_) => return Answer::Later(Trouble::Unreadable),
        }
        let map = match MappedFile::map(&self.file, INSPECT_BYTES_MAX) {
            Ok(map) => map,
            Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => {
                let reason = format!("its file is larger than {} GiB", INSPECT_BYTES_MAX >> 30);
                let mut verdict = self.nothing();
                verdict.unsupported.push((None, reason));
                return Answer::Verdict(verdict);
            }
            Err(_) => return Answer::Later(Trouble::Unreadable),
        };
        let mut verdict = self.nothing();
        if let Some(id) = build_id(&map) {
            verdict.id = ExecutableId::BuildId(id);
        }
        for source in sources {
            let elf = Elf {
                data: &map,
                id: verdict.id.clone(),
            };
            match catch_unwind(AssertUnwindSafe(|| source.inspect(&elf))) {
                Ok(Inspection::NotMine) => {}
                Ok(Inspection::Plan(plan)) => verdict.plans.push(Arc::new(plan)),
                Ok(Inspection::Unsupported { runtime, reason }) => {
                    verdict.unsupported.push((Some(runtime), reason));
                }
                Err(_) => {
                    verdict.panics += 1;
                    let reason = "the inspection failed on this file (a defect of the agent)".to_owned();
                    verdict.unsupported.push((Some(source.runtime()), reason));
                }
            }
        }
        let now = file::facts(&self.file).map(|facts| (facts.size, facts.mtime));
        if map.cut() || now != Ok((self.key.size, self.key.mtime)) {
            return Answer::Later(Trouble::Changed);
        }
        Answer::Verdict(verdict)
    }

    /// The verdict on a file that is nobody's.
    fn nothing(&self) -> Verdict {
        let (dev, inode) = self
            .file
            .metadata()
            .map_or((0, 0), |meta| (meta.dev(), meta.ino()));
        Verdict {
            id: ExecutableId::File {
                dev,
                inode,
                size: self.key.size,
                mtime: self.key.mtime,
            },
            plans: Vec::new(),
            unsupported: Vec::new(),
            panics: 0,
        }
    }
}
