//! Tools of other people that check what lies in `deploy/`: those that are installed, else fetched by their own clients and
//! unpacked below `target/`, without installing or starting anything.

use crate::debian::unpacked;
use crate::programs::{lock, run, target};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A program of the Debian package `prometheus`: "prometheus", "promtool".
#[must_use]
pub fn prometheus(program: &str) -> PathBuf {
    debian("prometheus", program)
}

/// `amtool` of the Debian package `prometheus-alertmanager`.
#[must_use]
pub fn amtool() -> PathBuf {
    debian("prometheus-alertmanager", "amtool")
}

/// Alertmanager, ready to be given arguments. It reads its templates at a place below `/usr/share` that was compiled in: where it
/// is only unpacked, it sees its own files there, by a mount that nobody else sees.
#[must_use]
pub fn alertmanager() -> Command {
    let program = debian("prometheus-alertmanager", "prometheus-alertmanager");
    let unpacked = program.starts_with(target());
    if !unpacked {
        return Command::new(program);
    }
    let own = program.ancestors().nth(2).unwrap().join("share");
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--", "sh", "-c"])
        .arg(r#"mount -t overlay overlay -o "lowerdir=$1:/usr/share" /usr/share && shift && exec "$@""#)
        .arg("sh")
        .args([own, program]);
    command
}

/// `kubernetes-validate` of the Python package index, with the schemas of all versions of Kubernetes, ready to be given
/// arguments. The first time fetches 12 MB.
#[must_use]
pub fn kubernetes_validate() -> Command {
    const VERSION: &str = "1.37.0";
    let _lock = lock();
    let folder = target().join(format!("kubernetes-validate-{VERSION}"));
    if !folder.exists() {
        let part = folder.with_extension("part");
        let _ = fs::remove_dir_all(&part);
        run(Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-compile", "--target"])
            .arg(&part)
            .arg(format!("kubernetes-validate=={VERSION}")));
        fs::rename(part, &folder).unwrap();
    }
    let mut command = Command::new("python3");
    command
        .arg(folder.join("bin/kubernetes-validate"))
        .env("PYTHONPATH", &folder);
    command
}

/// The program in `PATH`, else the one of the package.
fn debian(package: &str, program: &str) -> PathBuf {
    in_path(program).unwrap_or_else(|| unpacked(package).join("usr/bin").join(program))
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}
