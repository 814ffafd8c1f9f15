//! What every source says of one executable.

use super::build_id::build_id;
use super::identity::FileKey;
use crate::elf::{DebugFile, DebugSource, Elf};
use crate::source::{HookPlan, Inspection, Source};
use crate::stack::DebugFiles;
use crate::sys::file;
use crate::sys::map::MappedFile;
use crate::sys::proc::ProcessId;
use crate::types::{ExecutableId, Runtime};
use std::cell::OnceCell;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

/// The largest executable that is inspected. It is mapped, not read: its size costs address space and time, not memory.
pub const INSPECT_BYTES_MAX: u64 = 4 << 30;

#[derive(Debug)]
pub(super) struct Inspect {
    pub key: FileKey,
    pub file: Arc<File>,
    /// The path under which it was first seen.
    pub path: String,
    /// A process that executes it; `None` = the operator named it.
    pub process: Option<ProcessId>,
    pub debug_files: DebugFiles,
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
    /// What became of its separate debug file, if it was asked for.
    pub debug: DebugUse,
}

/// What became of a separate debug file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum DebugUse {
    /// There is none, or nobody asked.
    #[default]
    None,
    Used,
    Refused,
}

/// The separate debug file of an executable, looked for when a source asks for it.
struct Debug<'a> {
    inspect: &'a Inspect,
    found: OnceCell<(Option<MappedFile>, Option<String>)>,
}

impl Debug<'_> {
    /// Whether its bytes were there to be used.
    fn used(&self) -> bool {
        self.found.get().is_some_and(|(map, _)| map.is_some())
    }

    /// It was truncated while it was read.
    fn cut(&self) -> bool {
        let map = self.found.get().and_then(|(map, _)| map.as_ref());
        map.is_some_and(MappedFile::cut)
    }

    fn result(&self) -> DebugUse {
        match self.found.get() {
            Some((Some(_), _)) => DebugUse::Used,
            Some((None, Some(_))) => DebugUse::Refused,
            _ => DebugUse::None,
        }
    }
}

impl DebugSource for Debug<'_> {
    fn debug_file(&self) -> DebugFile<'_> {
        let Inspect {
            file,
            path,
            process,
            debug_files,
            ..
        } = self.inspect;
        let found = self.found.get_or_init(|| {
            let found = debug_files.find(file, Path::new(path), *process);
            let map = found
                .file
                .and_then(|file| MappedFile::map(&file, INSPECT_BYTES_MAX).ok());
            (map, found.refused)
        });
        match found {
            (Some(map), _) => DebugFile::Found(map),
            (None, Some(reason)) => DebugFile::Refused(reason),
            (None, None) => DebugFile::None,
        }
    }
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
        let debug = Debug {
            inspect: self,
            found: OnceCell::new(),
        };
        for source in sources {
            let inspect = |debug: Option<&dyn DebugSource>| {
                let elf = Elf {
                    data: &map,
                    id: verdict.id.clone(),
                    debug,
                };
                catch_unwind(AssertUnwindSafe(|| source.inspect(&elf)))
            };
            let mut answer = inspect(Some(&debug));
            // A debug file of other people costs the names, not the plan.
            if debug.used() && (answer.is_err() || debug.cut()) {
                answer = inspect(None);
            }
            match answer {
                Ok(Inspection::NotMine) => {}
                Ok(Inspection::Plan(plan)) => verdict.plans.push(Arc::from(plan)),
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
        verdict.debug = debug.result();
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
            debug: DebugUse::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::identity::Place;
    use crate::types::Runtime;
    use std::fs;

    const RUNTIME: Runtime = Runtime {
        wire: 99,
        label: "names",
    };

    /// Plans every file, and panics over a debug file.
    struct Fragile;

    impl Source for Fragile {
        fn runtime(&self) -> Runtime {
            RUNTIME
        }

        fn inspect(&self, elf: &Elf<'_>) -> Inspection {
            if let Some(DebugFile::Found(_)) = elf.debug.map(DebugSource::debug_file) {
                panic!("over a debug file, on purpose");
            }
            Inspection::Plan(Box::new(HookPlan {
                runtime: RUNTIME,
                version: None,
                points: Vec::new(),
                sites: Vec::new(),
                libraries: Vec::new(),
                gaps: Vec::new(),
                evidence: "a test".into(),
                finish_is_early: false,
                books: None,
                names: None,
                stacks: None,
            }))
        }
    }

    /// A source that fails over a debug file gives its plan without it.
    #[test]
    fn debug_file_that_makes_a_source_panic_costs_no_plan() {
        let path = std::env::current_exe().unwrap();
        let dir = std::env::temp_dir().join(format!("leak-agent-inspect-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let id = build_id(&fs::read(&path).unwrap()).unwrap();
        let hex: Vec<String> = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = dir.join(".build-id").join(&hex[0]);
        fs::create_dir_all(&folder).unwrap();
        fs::copy(&path, folder.join(format!("{}.debug", hex[1..].concat()))).unwrap();

        let file = File::open(&path).unwrap();
        let facts = file::facts(&file).unwrap();
        let inspect = Inspect {
            key: FileKey {
                place: Place::Inode { dev: 0, inode: 0 },
                size: facts.size,
                mtime: facts.mtime,
            },
            file: Arc::new(file),
            path: path.display().to_string(),
            process: None,
            debug_files: DebugFiles::new(&dir, std::slice::from_ref(&dir)),
        };
        let Answer::Verdict(verdict) = inspect.run(&[Box::new(Fragile)]) else {
            panic!("no verdict");
        };
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!((verdict.plans.len(), verdict.panics), (1, 0));
        assert_eq!(verdict.debug, DebugUse::Used);
    }
}
