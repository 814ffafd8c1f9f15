//! Separate debug files: where the symbols and lines of a stripped file may lie, and whether what lies there is really
//! its own. Anybody may have put it there; it is believed for names only.

use super::headers::{Headers, ReadAt};
use crate::sys::file;
use crate::sys::proc::{ProcDir, ProcessId};
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

/// The largest debug file that is used, bytes. Its checksum takes a second per gigabyte or so.
const MAX_BYTES: u64 = 4 << 30;
/// The longest `.gnu_debuglink` that is read, bytes: a file name, padding and a checksum.
const MAX_LINK: u64 = 512;
/// Bytes that are read at one time for a checksum.
const PIECE: usize = 256 << 10;
/// Where distributions put debug files.
const USUAL: &str = "/usr/lib/debug";

/// Where debug files are looked for. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct DebugFiles {
    host_root: PathBuf,
    dirs: std::sync::Arc<[PathBuf]>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The debug file, checked to belong to the file.
    pub file: Option<File>,
    /// Why the first of those that do not belong to it was refused, as half a sentence; `None` = none was.
    pub refused: Option<String>,
}

/// What a stripped file says of its debug file.
struct Wanted {
    build_id: Option<Vec<u8>>,
    /// The name and the checksum in `.gnu_debuglink`.
    link: Option<(Vec<u8>, u32)>,
}

/// How a debug file was found: what it must agree with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    BuildId,
    Link,
}

impl DebugFiles {
    /// Looks in the usual places below `host_root` and below the roots of processes, and in `dirs` as this process sees
    /// them.
    #[must_use]
    pub fn new(host_root: &Path, dirs: &[PathBuf]) -> Self {
        Self {
            host_root: host_root.to_owned(),
            dirs: dirs.into(),
        }
    }

    /// The debug file of `file`, whose path is `path` for this process. By build id before `.gnu_debuglink`, in the process's
    /// root before the host's, and in the configured folders last. Blocks: a dozen system calls; with a link also reads the
    /// whole debug file once, for its checksum.
    #[must_use]
    pub fn find(&self, file: &File, path: &Path, process: Option<ProcessId>) -> Found {
        let mut found = Found::default();
        let Some(wanted) = Wanted::of(file) else {
            return found;
        };
        let own = process.and_then(root_of);
        let host = open_root(&self.host_root);
        let here = open_root(Path::new("/"));
        let mut tried: BTreeSet<(u64, u64)> = file
            .metadata()
            .map(|meta| (meta.dev(), meta.ino()))
            .into_iter()
            .collect();
        for by in [By::BuildId, By::Link] {
            let usual = wanted.usual(by, path);
            let configured = wanted.configured(by, path, &self.dirs);
            let places = [(&own, &usual), (&host, &usual), (&here, &configured)];
            for (root, paths) in places {
                let Some(root) = root else { continue };
                for place in paths {
                    let Some(candidate) = open(root, place, &mut tried) else {
                        continue;
                    };
                    match wanted.check(&candidate, by) {
                        Ok(()) => {
                            found.file = Some(candidate);
                            return found;
                        }
                        Err(reason) => {
                            let told = format!("{} is not its debug file: {reason}", place.display());
                            tracing::debug!(path = %path.display(), reason = told, "debug file refused");
                            found.refused.get_or_insert(told);
                        }
                    }
                }
            }
        }
        found
    }
}

impl Wanted {
    /// `None` = the file names no debug file.
    fn of(file: &File) -> Option<Self> {
        let headers = Headers::read(file).ok()?;
        let link = headers
            .section(".gnu_debuglink")
            .filter(|section| section.size <= MAX_LINK)
            .and_then(|section| link(&ReadAt::read_at(file, section.offset, section.size).ok()?));
        let wanted = Self {
            link,
            build_id: headers.build_id.filter(|id| id.len() > 1),
        };
        (wanted.link.is_some() || wanted.build_id.is_some()).then_some(wanted)
    }

    /// `xx/yyyy.debug`.
    fn by_build_id(&self) -> Option<PathBuf> {
        let (first, rest) = self.build_id.as_ref()?.split_first()?;
        let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(PathBuf::from(format!(".build-id/{first:02x}/{rest}.debug")))
    }

    /// Where distributions and people put it, for a file at `path`.
    fn usual(&self, by: By, path: &Path) -> Vec<PathBuf> {
        let name = self
            .link
            .as_ref()
            .map(|(name, _)| Path::new(OsStr::from_bytes(name)));
        match (by, name, path.parent()) {
            (By::BuildId, ..) => self
                .by_build_id()
                .iter()
                .map(|name| Path::new(USUAL).join(name))
                .collect(),
            (By::Link, Some(name), Some(folder)) => {
                vec![
                    folder.join(name),
                    folder.join(".debug").join(name),
                    below(Path::new(USUAL), folder).join(name),
                ]
            }
            (By::Link, ..) => Vec::new(),
        }
    }

    /// The same in the folders that the operator named.
    fn configured(&self, by: By, path: &Path, dirs: &[PathBuf]) -> Vec<PathBuf> {
        let name = self
            .link
            .as_ref()
            .map(|(name, _)| Path::new(OsStr::from_bytes(name)));
        let places = dirs.iter().flat_map(|dir| match (by, name, path.parent()) {
            (By::BuildId, ..) => self.by_build_id().iter().map(|name| dir.join(name)).collect(),
            (By::Link, Some(name), Some(folder)) => vec![dir.join(name), below(dir, folder).join(name)],
            (By::Link, ..) => Vec::new(),
        });
        places.collect()
    }

    /// Whether the candidate is the file's own; else why not.
    fn check(&self, candidate: &File, by: By) -> Result<(), String> {
        let size = candidate.metadata().map_err(|error| error.to_string())?.len();
        if size > MAX_BYTES {
            return Err(format!("it is larger than {} GiB", MAX_BYTES >> 30));
        }
        let headers = Headers::read(candidate).map_err(|error| error.to_string())?;
        match (&self.build_id, &headers.build_id) {
            (Some(own), Some(its)) if own != its => return Err("it has another build id".to_owned()),
            (Some(_), None) if by == By::BuildId => return Err("it has no build id".to_owned()),
            _ => {}
        }
        match (&self.link, by) {
            (Some((_, stated)), By::Link) => match checksum(candidate) {
                Ok(checksum) if checksum == *stated => Ok(()),
                Ok(_) => Err("its checksum is not the one that .gnu_debuglink states".to_owned()),
                Err(error) => Err(error.to_string()),
            },
            _ => Ok(()),
        }
    }
}

/// Name and checksum out of `.gnu_debuglink`: a name that ends with a zero, padding to four bytes, and the checksum. A name
/// that would lead elsewhere is none.
fn link(section: &[u8]) -> Option<(Vec<u8>, u32)> {
    let len = section.iter().position(|byte| *byte == 0)?;
    let name = section.get(..len)?;
    let checksum = section.get((len + 1).next_multiple_of(4)..)?.first_chunk()?;
    let path = Path::new(OsStr::from_bytes(name));
    let plain = path.components().count() == 1 && path.file_name() == Some(path.as_os_str());
    plain.then(|| (name.to_owned(), u32::from_le_bytes(*checksum)))
}

/// The checksum of a whole file, as `.gnu_debuglink` has it (CRC-32 of IEEE 802.3).
fn checksum(file: &File) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at <= MAX_BYTES {
        let read = FileExt::read_at(file, &mut piece, at)?;
        if read == 0 {
            return Ok(hasher.finalize());
        }
        hasher.update(piece.get(..read).unwrap_or_default());
        at += read as u64;
    }
    Err(io::ErrorKind::FileTooLarge.into())
}

/// `folder`, an absolute path, below another one.
fn below(top: &Path, folder: &Path) -> PathBuf {
    let parts = folder
        .components()
        .filter(|part| matches!(part, Component::Normal(_)));
    let mut path = top.to_owned();
    path.extend(parts);
    path
}

fn open_root(path: &Path) -> Option<OwnedFd> {
    rustix::fs::open(
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()
}

/// The root of the process, if it is still the one.
fn root_of(process: ProcessId) -> Option<OwnedFd> {
    let dir = ProcDir::open(process.tgid).ok()??;
    dir.stat().ok()?.filter(|stat| stat.start == process.start)?;
    dir.locate("root").ok()?
}

/// Opens a regular file that was not tried yet. No link leads out of the root.
fn open(root: &OwnedFd, path: &Path, tried: &mut BTreeSet<(u64, u64)>) -> Option<File> {
    let located = file::locate_in_root(root, path).ok()?;
    let facts = file::facts(&located).ok()?;
    if !facts.regular || !tried.insert((facts.dev, facts.inode)) {
        return None;
    }
    file::reopen(&located).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn section(name: &[u8], checksum: u32) -> Vec<u8> {
        let mut bytes = name.to_vec();
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(checksum.to_le_bytes());
        bytes
    }

    /// Name and checksum are read, whatever the padding; a name that is a path is none.
    #[test]
    fn link_to_a_file_name_is_read_and_one_to_a_path_is_not() {
        for name in [&b"a"[..], b"abc", b"abcd.debug"] {
            assert_eq!(
                link(&section(name, 0x0102_0304)),
                Some((name.to_vec(), 0x0102_0304))
            );
        }
        for name in [&b""[..], b"/etc/passwd", b"../x", b"..", b".", b"a/b", b"a/"] {
            assert_eq!(link(&section(name, 1)), None, "{name:?}");
        }
        assert_eq!(link(b"no end"), None);
        assert_eq!(link(b"cut\0\x01\x02"), None);
    }

    /// The checksum is the one that the standard's test value has.
    #[test]
    fn checksum_is_that_of_the_standard() {
        let folder = scratch("checksum");
        let path = folder.0.join("digits");
        fs::write(&path, "123456789").unwrap();
        assert_eq!(checksum(&File::open(path).unwrap()).unwrap(), 0xcbf4_3926);
    }

    /// Absolute folders go below the top, whatever they hold.
    #[test]
    fn folder_below_a_top_stays_there() {
        let under = |folder: &str| below(Path::new("/top"), Path::new(folder));
        assert_eq!(under("/usr/bin"), Path::new("/top/usr/bin"));
        assert_eq!(under("/../../etc"), Path::new("/top/etc"));
        assert_eq!(under("/"), Path::new("/top"));
    }

    /// A folder that goes with the test.
    struct Scratch(PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn scratch(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("leak-agent-debug-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    /// A pipe, a device and a folder are not opened, a link does not lead out of the root, a file is not tried twice.
    #[test]
    fn only_regular_files_of_the_root_are_opened() {
        let scratch = scratch("open");
        let top = &scratch.0;
        let root = top.join("root");
        fs::create_dir_all(root.join("folder")).unwrap();
        fs::write(top.join("outside"), "x").unwrap();
        fs::write(root.join("inside"), "x").unwrap();
        symlink("inside", root.join("same")).unwrap();
        symlink("../outside", root.join("up")).unwrap();
        symlink(top.join("outside"), root.join("absolute")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, root.join("pipe"), Mode::RUSR).unwrap();
        let root = open_root(&root).unwrap();
        let mut tried = BTreeSet::new();
        for name in ["/folder", "/pipe", "/up", "/absolute", "/nothing"] {
            assert!(open(&root, Path::new(name), &mut tried).is_none(), "{name}");
        }
        assert!(open(&root, Path::new("/same"), &mut tried).is_some());
        assert!(open(&root, Path::new("/inside"), &mut tried).is_none());
    }

    /// This test program has a build id: a file under that name is asked for its own.
    #[test]
    fn file_under_a_build_id_that_is_not_its_own_is_refused() {
        let scratch = scratch("build-id");
        let dir = &scratch.0;
        let path = std::env::current_exe().unwrap();
        let program = File::open(&path).unwrap();
        let files = DebugFiles::new(dir, std::slice::from_ref(dir));
        let none = files.find(&program, &path, None);
        assert!(none.file.is_none() && none.refused.is_none(), "{none:?}");

        let place = dir.join(Wanted::of(&program).unwrap().by_build_id().unwrap());
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, "no ELF file").unwrap();
        let refused = files.find(&program, &path, None);
        assert!(refused.file.is_none() && refused.refused.is_some(), "{refused:?}");

        fs::copy(&path, &place).unwrap();
        let found = files.find(&program, &path, None);
        assert!(found.file.is_some() && found.refused.is_none(), "{found:?}");
    }

    proptest! {
        /// Hostile sections give a plain name or nothing.
        #[test]
        fn link_of_any_bytes_is_a_plain_name(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some((name, _)) = link(&bytes) {
                prop_assert!(!name.contains(&b'/') && name != b".." && !name.is_empty());
            }
        }
    }
}
