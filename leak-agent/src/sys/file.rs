//! Files of other people: found without side effects, told apart, opened without following a link out of their
//! root.
#![allow(unsafe_code)]

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// A path relative to nothing: the descriptor itself.
const ITSELF: &std::ffi::CStr = c"";
/// `OVL_FILEID_V1` of the kernel (fs/overlayfs/overlayfs.h): handle type of overlayfs.
const OVERLAY_HANDLE: i32 = 0xf8;
/// `OVL_FH_MAGIC`, and where it and the rest of `struct ovl_fh` are in the handle (5.5 and later: three bytes of
/// padding first).
const OVERLAY_MAGIC: u8 = 0xfb;
const OVERLAY_MAGIC_AT: usize = 4;
const OVERLAY_UUID: std::ops::Range<usize> = 8..24;
/// `MAX_HANDLE_SZ` of the kernel.
const HANDLE_MAX: usize = 128;

/// What a file is, without opening it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileFacts {
    /// Regular file: not a directory, device, pipe or socket.
    pub regular: bool,
    /// Device number as `stat` gives it.
    pub dev: u64,
    /// Inode number.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Modification time, nanoseconds since the epoch.
    pub mtime: i64,
}

/// Names a file without opening it (`O_PATH`): a device is not woken, a pipe does not block, a network file system is
/// not asked. The last link is followed (that is what `/proc/PID/map_files` is for).
///
/// # Errors
///
/// What `openat` says.
pub fn locate(dir: &impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// Names the file that `path` is for a process with this root: absolute links start at the root again, and no link
/// leads out of it (`openat2`, kernel 5.6).
///
/// # Errors
///
/// What `openat2` says.
pub fn locate_in_root(root: &impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// The facts of a file, as its file system remembers them: it is not asked anew where that takes a network.
///
/// # Errors
///
/// What `statx` says (kernel 4.11).
pub fn facts(file: &impl AsFd) -> Result<FileFacts, Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let mask = StatxFlags::TYPE | StatxFlags::INO | StatxFlags::SIZE | StatxFlags::MTIME;
    let statx: Statx = rustix::fs::statx(file, ITSELF, flags, mask)?;
    Ok(FileFacts {
        regular: u32::from(statx.stx_mode) & libc::S_IFMT == libc::S_IFREG,
        dev: rustix::fs::makedev(statx.stx_dev_major, statx.stx_dev_minor),
        inode: statx.stx_ino,
        size: statx.stx_size,
        mtime: statx
            .stx_mtime
            .tv_sec
            .saturating_mul(1_000_000_000)
            .saturating_add(i64::from(statx.stx_mtime.tv_nsec)),
    })
}

/// Opens a located regular file for reading: the very same file, whatever its path leads to by now.
///
/// # Errors
///
/// `InvalidInput` if it is not a regular file, and what `open` says.
pub fn reopen(located: &OwnedFd) -> io::Result<File> {
    if !facts(located)?.regular {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let path = format!("/proc/self/fd/{}", located.as_raw_fd());
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// For a file on overlayfs: the handle of the real file behind it, which is the same in every container that shares the
/// layer, although device and inode differ. `None` = not on overlayfs, or the kernel does not tell (before 6.6), or the
/// layer's file system has no UUID that would make the handle unique.
#[must_use]
pub fn overlay_backing(file: &impl AsFd) -> Option<Vec<u8>> {
    let (kind, handle) = handle(file.as_fd())?;
    let magic = handle.get(OVERLAY_MAGIC_AT) == Some(&OVERLAY_MAGIC);
    let unique = handle.get(OVERLAY_UUID)?.iter().any(|byte| *byte != 0);
    (kind == OVERLAY_HANDLE && magic && unique).then_some(handle)
}

/// `struct file_handle` with room for the longest handle.
#[repr(C)]
struct Handle {
    bytes: libc::c_uint,
    kind: libc::c_int,
    data: [u8; HANDLE_MAX],
}

fn handle(file: BorrowedFd<'_>) -> Option<(i32, Vec<u8>)> {
    let mut handle = Handle {
        bytes: libc::c_uint::try_from(HANDLE_MAX).ok()?,
        kind: 0,
        data: [0; HANDLE_MAX],
    };
    let mut mount = 0;
    // SAFETY: `handle` begins like struct file_handle and has the room that its first field claims; the path is a
    // terminated string; the kernel writes nothing else than `handle` and `mount`.
    let result = unsafe {
        libc::name_to_handle_at(
            file.as_raw_fd(),
            ITSELF.as_ptr(),
            (&raw mut handle).cast(),
            &raw mut mount,
            libc::AT_EMPTY_PATH | libc::AT_HANDLE_FID,
        )
    };
    let len = usize::try_from(handle.bytes).ok()?;
    (result == 0).then(|| Some((handle.kind, handle.data.get(..len)?.to_vec())))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn scratch(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("leak-agent-file-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        path
    }

    /// Absolute and relative links that point out of the root end at its top; links within it are followed.
    #[test]
    fn link_out_of_a_root_does_not_leave_it() {
        let top = scratch("root");
        let root = top.join("root");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::write(top.join("secret"), "secret").unwrap();
        fs::write(root.join("bin/app"), "app").unwrap();
        symlink("../../../secret", root.join("up")).unwrap();
        symlink(top.join("secret"), root.join("absolute")).unwrap();
        symlink("/bin/app", root.join("inside")).unwrap();
        symlink("/proc/self/root/etc/passwd", root.join("magic")).unwrap();
        let dir = File::open(&root).unwrap();
        for name in ["/up", "/absolute", "/magic", "/../secret"] {
            assert_eq!(
                locate_in_root(&dir, Path::new(name)).err(),
                Some(Errno::NOENT),
                "{name}"
            );
        }
        let inside = locate_in_root(&dir, Path::new("/inside")).unwrap();
        assert_eq!(
            facts(&inside).unwrap().inode,
            fs::metadata(root.join("bin/app")).unwrap().ino()
        );
        fs::remove_dir_all(top).unwrap();
    }

    /// The facts are those of `stat`, and the file that is opened is the one that was located, not its successor.
    #[test]
    fn located_file_that_is_replaced_is_still_the_one_that_is_opened() {
        let top = scratch("replaced");
        let path = top.join("app");
        fs::write(&path, "old").unwrap();
        let stat = fs::metadata(&path).unwrap();
        let located = locate(&File::open(&top).unwrap(), "app").unwrap();
        fs::write(top.join("new"), "newer").unwrap();
        fs::rename(top.join("new"), &path).unwrap();
        let facts = facts(&located).unwrap();
        assert_eq!((facts.dev, facts.inode, facts.size), (stat.dev(), stat.ino(), 3));
        assert_eq!(facts.mtime, stat.mtime() * 1_000_000_000 + stat.mtime_nsec());
        assert_eq!(io::read_to_string(reopen(&located).unwrap()).unwrap(), "old");
        fs::remove_dir_all(top).unwrap();
    }

    /// What is not a regular file is located, but never opened.
    #[test]
    fn device_is_located_but_not_opened() {
        let dev = File::open("/dev").unwrap();
        let located = locate(&dev, "zero").unwrap();
        assert!(!facts(&located).unwrap().regular);
        assert_eq!(reopen(&located).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    /// A file that is not on overlayfs has nothing behind it.
    #[test]
    fn file_on_a_plain_file_system_has_no_backing() {
        assert_eq!(overlay_backing(&File::open("/proc/self/stat").unwrap()), None);
    }
}
