//! The manifest beside the committed object: which sources and tools it was made of.

use super::toolchain::Versions;
use crate::workspace;
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// What the object was made of.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// `leak_agent_common::WIRE_VERSION` of the sources.
    pub(crate) wire_version: u32,
    /// SHA-256 of the object.
    pub(crate) object_sha256: String,
    /// The tools.
    pub(crate) tools: Versions,
    /// Compiler flags that do not depend on the machine.
    pub(crate) flags: Vec<String>,
    /// Path from the root of the repository → SHA-256.
    pub(crate) sources: BTreeMap<String, String>,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is none.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("reading {} (`cargo xtask build-ebpf` writes it)", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("parsing {}", path.display()))
    }

    /// Writes the manifest.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
    }
}

/// SHA-256 in lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Hashes every file the object is made of: the BPF crate with its lock file, and the wire contract.
///
/// # Errors
///
/// A file cannot be read, or there is no lock file.
pub(crate) fn sources(root: &Path) -> Result<BTreeMap<String, String>> {
    let mut sources = BTreeMap::new();
    for part in ["leak-agent-ebpf", "leak-agent-common"] {
        let dir = root.join(part);
        for file in workspace::files_below(&dir).with_context(|| format!("listing {}", dir.display()))? {
            let bytes = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
            let name = file.strip_prefix(root)?.to_string_lossy().into_owned();
            sources.insert(name, sha256(&bytes));
        }
    }
    if !sources.contains_key("leak-agent-ebpf/Cargo.lock") {
        bail!("leak-agent-ebpf/Cargo.lock is missing: it decides which aya the object is made of");
    }
    Ok(sources)
}

/// What differs between the sources here and those of the manifest, one line each.
pub(crate) fn differences(
    here: &BTreeMap<String, String>,
    manifest: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, hash) in here {
        match manifest.get(name) {
            None => lines.push(format!("{name} is new")),
            Some(recorded) if recorded != hash => lines.push(format!("{name} has changed")),
            Some(_) => {}
        }
    }
    let gone = manifest.keys().filter(|name| !here.contains_key(*name));
    lines.extend(gone.map(|name| format!("{name} is gone")));
    lines
}

/// Reads the version of the wire contract out of its source, so that xtask need not be rebuilt to see a new one.
///
/// # Errors
///
/// The constant is not where it was.
pub(crate) fn wire_version(root: &Path) -> Result<u32> {
    let path = root.join("leak-agent-common/src/lib.rs");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    text.lines()
        .find_map(|line| line.strip_prefix("pub const WIRE_VERSION: u32 = "))
        .and_then(|value| value.strip_suffix(';'))
        .and_then(|value| value.parse().ok())
        .with_context(|| format!("no WIRE_VERSION in {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// New, changed and vanished sources each get a line; equal ones none.
    #[test]
    fn differences_each_kind_is_named() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs
                .iter()
                .map(|(name, hash)| ((*name).to_owned(), (*hash).to_owned()))
                .collect()
        };
        let here = map(&[("same", "1"), ("changed", "2"), ("new", "3")]);
        let recorded = map(&[("same", "1"), ("changed", "1"), ("old", "1")]);
        assert_eq!(
            differences(&here, &recorded),
            ["changed has changed", "new is new", "old is gone"]
        );
    }

    /// The version in the sources is the one the crate has.
    #[test]
    fn wire_version_of_this_repository_is_read() {
        assert!(wire_version(&workspace::root()).is_ok_and(|version| version > 0));
    }
}
