//! Where things are in the repository.

use std::path::{Path, PathBuf};

/// The repository's root folder.
///
/// `cargo run` sets the variable at run time; the value of build time is for a binary that was started by hand.
pub(crate) fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map_or(manifest.clone(), Path::to_path_buf)
}

/// The build folder of everything that is not the workspace itself (BPF object, fuzz targets, distribution).
pub(crate) fn target(part: &str) -> PathBuf {
    root().join("target").join(part)
}

/// Every regular file below `dir`, sorted by path. Build folders (`target`) and links are left out.
pub(crate) fn files_below(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() && entry.file_name() != "target" {
                open.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}
