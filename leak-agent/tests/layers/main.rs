//! The layers and the rules-as-absences of docs/ARCHITECTURE.md, checked against the source text.
//!
//! `scan` turns a file into facts (which paths it names, where it is unsafe, what it compares), `rules` judges
//! them. Code under `#[cfg(test)]` is not judged: a test may reach wherever it needs.

#![allow(
    clippy::unwrap_used,
    reason = "a source file that cannot be read or parsed fails the test"
)]

mod rules;
mod scan;

use rules::Rule;
use scan::File;
use std::path::{Path, PathBuf};

/// The agent's own sources keep every rule.
#[test]
fn sources_of_the_agent_keep_the_rules() {
    let files = scan::files(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(files.len() > 10, "only {} files were scanned", files.len());
    let broken: Vec<String> = files
        .iter()
        .flat_map(|file| rules::broken(file).into_iter().map(|breach| breach.to_string()))
        .collect();
    assert!(
        broken.is_empty(),
        "{} breaches:\n{}",
        broken.len(),
        broken.join("\n")
    );
}

/// Every module of the agent has its level; a new one must be given one.
#[test]
fn level_of_every_module_is_known() {
    for file in scan::files(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let Some(module) = file.module.first() else {
            continue;
        };
        assert!(
            rules::level(module).is_some(),
            "{}: module {module} has no level in the layer test",
            file.path
        );
    }
}

/// The rules that this text, at this place below `src`, breaks.
fn broken(path: &str, text: &str) -> Vec<Rule> {
    let file = File::parse(Path::new(path), text, false).unwrap();
    rules::broken(&file)
        .into_iter()
        .map(|breach| breach.rule)
        .collect()
}

/// Code that breaks a rule is found, whichever way it is written: as an import, in a group, by `super`, inline, in
/// a macro, in a type.
#[test]
fn violating_code_is_found() {
    let cases: &[(Rule, &str, &str)] = &[
        (Rule::Upward, "engine/mod.rs", "use crate::report::Report;"),
        (
            Rule::Upward,
            "engine/mod.rs",
            "use crate::{types, output::{self, metrics}};",
        ),
        (
            Rule::Upward,
            "engine/totals.rs",
            "use super::super::report::Report;",
        ),
        (Rule::Upward, "source/plan.rs", "fn f() { crate::bpf::attach(); }"),
        (
            Rule::Upward,
            "elf/mod.rs",
            "fn f() -> crate::source::HookPlan { g() }",
        ),
        (
            Rule::Upward,
            "report/mod.rs",
            "fn f() { log!(\"{}\", crate::agent::VERSION); }",
        ),
        (Rule::Upward, "sys/mod.rs", "pub use crate::source as s;"),
        (Rule::Upward, "types.rs", "use crate::config::*;"),
        (Rule::Pure, "engine/mod.rs", "use std::time::Instant;"),
        (
            Rule::Pure,
            "engine/mod.rs",
            "use std::{fs, collections::BTreeMap};",
        ),
        (
            Rule::Pure,
            "detect/growth.rs",
            "fn f() { std::thread::spawn(|| {}); }",
        ),
        (
            Rule::Pure,
            "detect/growth.rs",
            "async fn f() { tokio::time::sleep(d).await; }",
        ),
        (Rule::Pure, "engine/mod.rs", "use crate::sys::clock;"),
        (Rule::Aya, "discovery/mod.rs", "use aya::Ebpf;"),
        (Rule::Aya, "agent/mod.rs", "fn f(_: &aya_obj::Object) {}"),
        (Rule::UnsafePlace, "elf/mod.rs", "fn f() { unsafe { g() } }"),
        (Rule::UnsafePlace, "engine/mod.rs", "unsafe fn f() {}"),
        (Rule::UnsafePlace, "stack/mod.rs", "unsafe impl Send for S {}"),
        (
            Rule::SafetyLine,
            "sys/map.rs",
            "fn f() {\n    let a = 1;\n    unsafe { g(a) }\n}",
        ),
        (Rule::SafetyLine, "bpf/mod.rs", "unsafe impl Send for S {}"),
        (
            Rule::Runtime,
            "report/build.rs",
            "fn f(r: Runtime) -> bool { r == crate::source::tokio::RUNTIME }",
        ),
        (
            Rule::Runtime,
            "output/text.rs",
            "fn f(s: &S) -> bool { s.runtime.label == \"tokio\" }",
        ),
        (
            Rule::Runtime,
            "engine/mod.rs",
            "fn f(s: &S) -> u8 { match s.runtime.label { \"go\" => 1, _ => 2 } }",
        ),
        (
            Rule::Runtime,
            "engine/mod.rs",
            "fn f(k: &K) -> bool { k.runtime != 2 }",
        ),
        (
            Rule::Runtime,
            "agent/mod.rs",
            "fn f(k: &K) -> bool { matches!(k.runtime.label, \"go\") }",
        ),
        (
            Rule::Clock,
            "report/build.rs",
            "fn f() { let now = std::time::Instant::now(); }",
        ),
        (
            Rule::Clock,
            "agent/mod.rs",
            "use std::time::SystemTime; fn f() { SystemTime::now(); }",
        ),
        (
            Rule::Clock,
            "agent/mod.rs",
            "use std::time; fn f() { time::Instant::now(); }",
        ),
        (Rule::Pure, "engine/mod.rs", "use std::fs as disk;"),
        (Rule::Name, "stack/util.rs", ""),
        (Rule::Name, "elf/helpers/mod.rs", ""),
        (Rule::Name, "elf/mod.rs", "mod common {}"),
        (
            Rule::OutputOfEngine,
            "output/text.rs",
            "use crate::engine::Snapshot;",
        ),
        (
            Rule::Anyhow,
            "engine/mod.rs",
            "fn f() -> anyhow::Result<()> { Ok(()) }",
        ),
        (
            Rule::Serialise,
            "discovery/mod.rs",
            "#[derive(serde::Serialize)] struct S;",
        ),
        (Rule::Serialise, "source/go/books.rs", "use serde::Serialize;"),
        (Rule::Serialise, "types.rs", "use serde_json::Value;"),
        (
            Rule::Serialise,
            "engine/mod.rs",
            "fn f() { serde_json::to_string(&1); }",
        ),
        (
            Rule::Serialise,
            "output/text.rs",
            "fn f() { rmp_serde::to_vec(&1); }",
        ),
    ];
    for (rule, path, text) in cases {
        let found = broken(path, text);
        assert!(
            found.contains(rule),
            "{path}: `{text}` gave {found:?}, not {rule:?}"
        );
    }
}

/// Code that keeps the rules raises nothing, even where it comes close.
#[test]
fn keeping_code_is_left_alone() {
    let cases: &[(&str, &str)] = &[
        (
            "report/mod.rs",
            "use crate::engine::Snapshot; use serde::Serialize;",
        ),
        (
            "engine/mod.rs",
            "use super::types::BootTime; use std::time::Duration;",
        ),
        ("engine/site.rs", "use super::snapshot::Counts;"),
        (
            "engine/mod.rs",
            "#[cfg(test)] mod tests { use crate::report::Report; use std::fs; }",
        ),
        ("engine/mod.rs", "#[test] fn f() { std::fs::read(\"x\"); }"),
        ("source/tokio/mod.rs", "fn f(r: Runtime) -> bool { r == RUNTIME }"),
        (
            "report/build.rs",
            "fn f(a: &S, b: &S) -> bool { a.runtime == b.runtime }",
        ),
        (
            "sys/map.rs",
            "fn f() {\n    // SAFETY: the map is alive.\n    unsafe { g() }\n}",
        ),
        (
            "output/http/routes.rs",
            "use tokio::time::Instant; fn f() { Instant::now(); }",
        ),
        (
            "sys/map.rs",
            "fn f() {\n    // SAFETY: `a` is initialised,\n    // and stays so.\n    let b =\n        unsafe { g(a) };\n}",
        ),
        ("bpf/mod.rs", "use aya::Ebpf; use crate::source::HookPlan;"),
        (
            "cli/dump.rs",
            "use anyhow::Context as _; use crate::agent::Agent;",
        ),
        ("sys/clock.rs", "fn f() { std::time::Instant::now(); }"),
        ("engine/mod.rs", "/// Not like [`crate::report`].\nstruct S;"),
    ];
    for (path, text) in cases {
        assert_eq!(broken(path, text), [], "{path}: `{text}`");
    }
}

/// Test code in a file of its own is recognised by the `mod` line of its parent.
#[test]
fn test_module_in_its_own_file_is_not_judged() {
    let file = File::parse(Path::new("engine/tests.rs"), "use crate::report::Report;", true).unwrap();
    assert!(rules::broken(&file).is_empty());
    let parent = File::parse(
        Path::new("engine/mod.rs"),
        "#[cfg(test)] mod tests; mod site;",
        false,
    )
    .unwrap();
    assert_eq!(parent.test_modules, ["tests"]);
}
