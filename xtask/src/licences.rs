//! The licences and origins of our dependencies against deny.toml, from what cargo resolves.
//!
//! cargo-deny checks the same and more (advisories), but takes minutes to compile; where it is installed it runs too.

use crate::command;
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Checks the workspace and the BPF crate.
///
/// # Errors
///
/// A package has a licence that deny.toml does not allow, or does not come from the registry.
pub(crate) fn main() -> Result<()> {
    let root = crate::workspace::root();
    let path = root.join("deny.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let deny: Deny = toml::from_str(&text).with_context(|| format!("parsing {}", path.display()))?;
    let allowed: BTreeSet<String> = deny.licenses.allow.into_iter().collect();

    let mut wrong = Vec::new();
    let mut seen = 0;
    let mut used = BTreeSet::new();
    for manifest in ["Cargo.toml", "leak-agent-ebpf/Cargo.toml"] {
        let json = command::output(
            command::cargo()
                .args(["metadata", "--format-version=1", "--locked", "--manifest-path"])
                .arg(root.join(manifest)),
        )?;
        let metadata: Metadata = serde_json::from_str(&json).context("parsing cargo metadata")?;
        for package in metadata.reachable() {
            seen += 1;
            wrong.extend(package.breach(&allowed, &mut used));
        }
    }
    let unused: Vec<&String> = allowed.difference(&used).collect();
    if !unused.is_empty() {
        wrong.push(format!(
            "deny.toml allows licences that no package has: {unused:?}"
        ));
    }
    if !wrong.is_empty() {
        wrong.sort();
        wrong.dedup();
        bail!("{}", wrong.join("\n  "));
    }
    println!("    {seen} packages, all allowed by deny.toml");

    if command::find_program("cargo-deny").is_some() {
        // Advisories need a database from the network, so they are for a person to run.
        command::run(
            Command::new("cargo-deny")
                .current_dir(root)
                .args(["check", "bans", "licenses", "sources"]),
        )?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    dependencies: Vec<String>,
}

impl Metadata {
    /// The packages that a build of the workspace can reach, with the features that are on.
    fn reachable(&self) -> Vec<&Package> {
        let nodes: BTreeMap<&str, &Node> = self
            .resolve
            .nodes
            .iter()
            .map(|node| (node.id.as_str(), node))
            .collect();
        let mut open: Vec<&str> = self.workspace_members.iter().map(String::as_str).collect();
        let mut reached = BTreeSet::new();
        while let Some(id) = open.pop() {
            if reached.insert(id)
                && let Some(node) = nodes.get(id)
            {
                open.extend(node.dependencies.iter().map(String::as_str));
            }
        }
        self.packages
            .iter()
            .filter(|package| reached.contains(package.id.as_str()))
            .collect()
    }
}

impl Package {
    /// What is wrong with it; the allowed licences that it has are noted as used.
    fn breach(&self, allowed: &BTreeSet<String>, used: &mut BTreeSet<String>) -> Option<String> {
        let Self { name, version, .. } = self;
        if let Some(source) = self.source.as_deref()
            && !source.starts_with("registry+")
        {
            return Some(format!(
                "{name} {version} comes from {source}, not from the registry"
            ));
        }
        let Some(license) = self.license.as_deref() else {
            return Some(format!("{name} {version} names no licence"));
        };
        let mut has = |name: &str| {
            let allowed = allowed.contains(name);
            if allowed {
                used.insert(name.to_owned());
            }
            allowed
        };
        (!satisfied(license, &mut has)).then(|| format!("{name} {version}: licence {license} is not allowed"))
    }
}

/// Whether an SPDX expression holds. `AND` binds more tightly than `OR`; `/` is the old way to write `OR`.
fn satisfied(expression: &str, has: &mut impl FnMut(&str) -> bool) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let holds = any_of(&mut rest, has);
    holds && rest.is_empty()
}

fn any_of(words: &mut &[&str], has: &mut impl FnMut(&str) -> bool) -> bool {
    let mut holds = all_of(words, has);
    while let Some((&"OR", tail)) = words.split_first() {
        *words = tail;
        holds |= all_of(words, has);
    }
    holds
}

fn all_of(words: &mut &[&str], has: &mut impl FnMut(&str) -> bool) -> bool {
    let mut holds = licence(words, has);
    while let Some((&"AND", tail)) = words.split_first() {
        *words = tail;
        holds &= licence(words, has);
    }
    holds
}

fn licence(words: &mut &[&str], has: &mut impl FnMut(&str) -> bool) -> bool {
    match **words {
        ["(", ref tail @ ..] => {
            *words = tail;
            let holds = any_of(words, has);
            match words.split_first() {
                Some((&")", tail)) => *words = tail,
                _ => return false,
            }
            holds
        }
        [name, "WITH", exception, ref tail @ ..] => {
            *words = tail;
            has(&format!("{name} WITH {exception}"))
        }
        [name, ref tail @ ..] => {
            *words = tail;
            has(name)
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(expression: &str) -> bool {
        satisfied(expression, &mut |name: &str| {
            ["MIT", "BSD-3-Clause", "Apache-2.0 WITH LLVM-exception"].contains(&name)
        })
    }

    /// An allowed alternative is enough, a forbidden addition is too much.
    #[test]
    fn satisfied_follows_the_operators() {
        for holds in [
            "MIT",
            "GPL-3.0 OR MIT",
            "GPL-3.0/MIT",
            "MIT AND BSD-3-Clause",
            "(GPL-3.0 OR MIT) AND BSD-3-Clause",
            "Apache-2.0 WITH LLVM-exception",
            "GPL-3.0 AND X OR MIT",
        ] {
            assert!(allows(holds), "{holds}");
        }
        for fails in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT OR X) AND GPL-3.0",
            "Apache-2.0",
            "",
            "MIT )",
            "(MIT",
        ] {
            assert!(!allows(fails), "{fails}");
        }
    }
}
