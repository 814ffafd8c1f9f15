//! Tools of other people that check what lies in `deploy/`: those that are installed, else fetched by their own clients and
//! unpacked below `target/`, without installing or starting anything.

use crate::programs::{lock, run, target};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program of the Debian package `prometheus`: "prometheus", "promtool".
#[must_use]
pub fn prometheus(program: &str) -> PathBuf {
    debian("prometheus", program)
}

/// A program of the Debian package `prometheus-alertmanager`: "prometheus-alertmanager", "amtool".
#[must_use]
pub fn alertmanager(program: &str) -> PathBuf {
    debian("prometheus-alertmanager", program)
}

/// `kubernetes-validate` of the Python package index, with the schemas of all versions of Kubernetes, ready to be given
/// arguments. The first time fetches 12 MB.
#[must_use]
pub fn kubernetes_validate() -> Command {
    const VERSION: &str = "1.37.0";
    let folder = fetched(&format!("kubernetes-validate-{VERSION}"), |part| {
        run(Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-compile", "--target"])
            .arg(part)
            .arg(format!("kubernetes-validate=={VERSION}")));
    });
    let mut command = Command::new("python3");
    command
        .arg(folder.join("bin/kubernetes-validate"))
        .env("PYTHONPATH", &folder);
    command
}

/// The program in `PATH`, else the one of the package, which is downloaded (10 to 20 MB) and unpacked.
fn debian(package: &str, program: &str) -> PathBuf {
    if let Some(path) = in_path(program) {
        return path;
    }
    let folder = fetched(package, |part| {
        run(Command::new("apt-get")
            .args([
                "-q",
                "-o",
                "Acquire::Retries=3",
                "-o",
                "APT::Sandbox::User=root",
                "download",
            ])
            .arg(package)
            .current_dir(part));
        let archive = fs::read_dir(part).unwrap().next().unwrap().unwrap().path();
        run(Command::new("dpkg").arg("-x").args([&archive, part]));
        fs::remove_file(archive).unwrap();
    });
    folder.join("usr/bin").join(program)
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// A folder below `target/` that is filled by `fetch` the first time: wholly or not at all.
fn fetched(name: &str, fetch: impl FnOnce(&Path)) -> PathBuf {
    let _lock = lock();
    let tools = target().join("tools");
    let folder = tools.join(name);
    if !folder.exists() {
        let part = tools.join(format!("{name}.part"));
        let _ = fs::remove_dir_all(&part);
        fs::create_dir_all(&part).unwrap();
        fetch(&part);
        fs::rename(part, &folder).unwrap();
    }
    folder
}
