//! Programs as Debian ships them: unpacked into the target folder, not installed, so that no service is started.

use crate::programs::{lock, run, target};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The folder with what a package holds; fetched by apt-get the first time.
#[must_use]
pub fn unpacked(package: &str) -> PathBuf {
    let _lock = lock();
    let folder = target().join("debian").join(package);
    if folder.exists() {
        return folder;
    }
    let part = target().join("debian").join(format!("{package}.part"));
    let _ = fs::remove_dir_all(&part);
    fs::create_dir_all(&part).unwrap();
    let download = || {
        let mut command = Command::new("apt-get");
        command.args(["-q", "-o", "Acquire::Retries=3", "download", package]);
        command.current_dir(&part).output().unwrap().status.success()
    };
    if !download() {
        // The lists of packages may be old, or missing.
        run(Command::new("apt-get").args(["-q", "-o", "DPkg::Lock::Timeout=300", "update"]));
        assert!(download(), "apt-get download {package}");
    }
    let archive = fs::read_dir(&part).unwrap().next().unwrap().unwrap().path();
    run(Command::new("dpkg").arg("-x").arg(&archive).arg(&part));
    fs::remove_file(archive).unwrap();
    fs::rename(part, &folder).unwrap();
    folder
}
