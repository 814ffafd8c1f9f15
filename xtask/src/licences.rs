//! The licences and origins of our dependencies against deny.toml, from what cargo resolves.
//!
//! cargo-deny checks the same and more (advisories), but takes minutes to compile; where it is installed it runs too.

use crate::command;
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The platform we build for: what other systems would need is not part of us. As in deny.toml.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

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
    for part in ["", "leak-agent-ebpf"] {
        let folder = root.join(part);
        wrong.extend(foreign(&folder.join("Cargo.lock"))?);
        let tree = command::output(
            command::cargo()
                .current_dir(&folder)
                .args(["tree", "--workspace", "--locked", "--target", PLATFORM])
                .args(["--edges", "normal,build,dev", "--prefix", "none", "--no-dedupe"])
                .args(["--format", "{p}\t{l}"]),
        )?;
        let packages: BTreeSet<&str> = tree.lines().filter(|line| !line.is_empty()).collect();
        for package in packages {
            seen += 1;
            let (name, licence) = package.split_once('\t').unwrap_or((package, ""));
            let mut has = |name: &str| {
                let known = allowed.get(name);
                used.extend(known.cloned());
                known.is_some()
            };
            if !satisfied(licence, &mut has) {
                wrong.push(format!("{name}: licence `{licence}` is not allowed"));
            }
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

/// The packages of a lock file that come from elsewhere than a registry or this repository.
fn foreign(path: &Path) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        source: Option<String>,
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let lock: Lock = toml::from_str(&text).with_context(|| format!("parsing {}", path.display()))?;
    Ok(lock
        .package
        .into_iter()
        .filter_map(|package| Some((package.name, package.source?)))
        .filter(|(_, source)| !source.starts_with("registry+"))
        .map(|(name, source)| format!("{name} comes from {source}, not from the registry"))
        .collect())
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
