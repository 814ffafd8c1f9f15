//! Executables that are followed before any process runs them, so that a later process is followed from its first
//! instruction.

use super::identity::FileKey;
use super::look::Known;
use crate::sys::file;
use globset::{GlobBuilder, GlobMatcher};
use std::fs::File;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// The most files that all pins together may name.
pub const PINNED_MAX: usize = 256;
/// The most directory entries that are looked at for one pin.
const ENTRIES_MAX: usize = 65_536;

/// A path, perhaps with wildcards in its components: `/srv/*/bin/app`. `*` does not cross a `/`.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Name(PathBuf),
    Glob(GlobMatcher),
}

impl Pattern {
    /// `None` = names no file ahead of its time: not absolute, `**`, `..`, or no glob.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let path = Path::new(text);
        if !path.is_absolute() || text.contains("**") {
            return None;
        }
        let mut parts = Vec::new();
        for component in path.components() {
            match component {
                Component::RootDir => {}
                Component::Normal(name) => {
                    let name = name.to_str()?;
                    parts.push(if name.contains(['*', '?', '[', '{']) {
                        let glob = GlobBuilder::new(name).literal_separator(true).build().ok()?;
                        Part::Glob(glob.compile_matcher())
                    } else {
                        Part::Name(PathBuf::from(name))
                    });
                }
                Component::CurDir | Component::ParentDir | Component::Prefix(_) => return None,
            }
        }
        Some(Self(parts))
    }

    /// The paths that it names now, below `root`.
    fn expand(&self, root: &Path, budget: &mut usize) -> Vec<PathBuf> {
        let mut paths = vec![root.to_path_buf()];
        for part in &self.0 {
            paths = match part {
                Part::Name(name) => paths.iter().map(|path| path.join(name)).collect(),
                Part::Glob(glob) => paths
                    .iter()
                    .flat_map(|path| matches(path, glob, budget))
                    .collect(),
            };
        }
        paths
    }
}

fn matches(dir: &Path, glob: &GlobMatcher, budget: &mut usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if *budget == 0 {
            break;
        }
        *budget -= 1;
        if glob.is_match(Path::new(&entry.file_name())) {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

#[derive(Debug)]
pub(super) struct Pin {
    pub patterns: Vec<Pattern>,
    /// What `/` means: the host's root as the agent sees it.
    pub root: PathBuf,
    pub known: Known,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub files: Vec<PinnedFile>,
    /// Files beyond [`PINNED_MAX`], and walks that were given up.
    pub beyond_cap: u64,
}

#[derive(Debug)]
pub(super) struct PinnedFile {
    pub key: FileKey,
    pub path: String,
    /// Open for reading, unless the key is among the known ones.
    pub file: Option<Arc<File>>,
}

impl Pin {
    pub(super) fn run(&self) -> Answer {
        let mut answer = Answer {
            files: Vec::new(),
            beyond_cap: 0,
        };
        let Ok(root) = File::open(&self.root) else {
            return answer;
        };
        for pattern in &self.patterns {
            let mut budget = ENTRIES_MAX;
            for path in pattern.expand(&self.root, &mut budget) {
                let Ok(within) = path.strip_prefix(&self.root) else {
                    continue;
                };
                let Some(file) = self.file(&root, within) else {
                    continue;
                };
                if answer.files.len() < PINNED_MAX {
                    answer.files.push(file);
                } else {
                    answer.beyond_cap += 1;
                }
            }
            answer.beyond_cap += u64::from(budget == 0);
        }
        answer
    }

    fn file(&self, root: &File, path: &Path) -> Option<PinnedFile> {
        let located = file::locate_in_root(root, path).ok()?;
        let facts = file::facts(&located).ok().filter(|facts| facts.regular)?;
        let key = FileKey::of(&located, &facts);
        let file = if self.known.has(&key) {
            None
        } else {
            Some(Arc::new(file::reopen(&located).ok()?))
        };
        Some(PinnedFile {
            key,
            path: Path::new("/").join(path).to_string_lossy().into_owned(),
            file,
        })
    }
}
