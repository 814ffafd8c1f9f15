//! docs/TOKIO.md, out of the results.

use crate::check::{Outcome, Verdict};
use crate::results::Results;
use crate::row::{Build, COMMON, Row, SPECIAL, Tokio};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What stands above the tables.
const HEAD: &str = include_str!("page-head.md");

/// What stands below them.
const TAIL: &str = include_str!("page-tail.md");

/// The page. Rows without a result are shown as such.
pub(crate) fn render(rows: &[Row], results: &Results) -> String {
    let mut notes = Notes::default();
    let common = table(rows, COMMON, results, &mut notes);
    let special = table(rows, SPECIAL, results, &mut notes);
    format!(
        "<!-- Written by `cargo xtask matrix`. -->\n{HEAD}\n## The sums\n\n{}\n## Common builds\n\n{common}\n\
         ## Other builds\n\n{special}\n{}{TAIL}",
        sums(rows, results),
        notes.text()
    )
}

/// How many rows ended how, with symbols and without.
fn sums(rows: &[Row], results: &Results) -> String {
    let mut text = "| | rows | exact | partial | refused | wrong |\n|---|---|---|---|---|---|\n".to_owned();
    for (name, stripped) in [("with symbols", false), ("stripped", true)] {
        let mine: Vec<Verdict> = rows
            .iter()
            .filter(|row| row.stripped == stripped)
            .filter_map(|row| Some(results.newest(*row)?.verdict))
            .collect();
        let count = |verdict| mine.iter().filter(|each| **each == verdict).count();
        let _infallible = writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} |",
            mine.len(),
            count(Verdict::Exact),
            count(Verdict::Partial),
            count(Verdict::Refused),
            count(Verdict::Wrong)
        );
    }
    text
}

/// A table of these builds: a line per version, a column per build.
fn table(rows: &[Row], builds: &[Build], results: &Results, notes: &mut Notes) -> String {
    let mut versions: Vec<Tokio> = rows
        .iter()
        .filter(|row| builds.contains(row.build))
        .map(|row| row.tokio)
        .collect();
    versions.dedup();
    let mut text = "| build |".to_owned();
    for version in &versions {
        let _infallible = write!(text, " {version} |");
    }
    text += "\n|---|";
    text += &"---|".repeat(versions.len());
    text += "\n";
    for build in builds {
        let _infallible = write!(text, "| {} |", build.what);
        for version in &versions {
            let mut cell: Vec<String> = Vec::new();
            for stripped in [false, true] {
                let row = rows
                    .iter()
                    .find(|row| row.tokio == *version && row.build == build && row.stripped == stripped);
                let outcome = row.and_then(|row| results.newest(*row));
                cell.push(outcome.map_or("–".to_owned(), |outcome| notes.word(outcome)));
            }
            cell.dedup();
            let _infallible = write!(text, " {} |", cell.join(" / "));
        }
        text += "\n";
    }
    text
}

/// A reason without what differs from program to program: the path before it, and addresses.
fn plain(reason: &str) -> String {
    let line = reason.lines().next().unwrap_or_default();
    let line = match line.split_once(": ") {
        Some((path, rest)) if path.starts_with('/') => rest,
        _ => line,
    };
    let words: Vec<&str> = line
        .split(' ')
        .map(|word| if word.starts_with("0x") { "0x…" } else { word })
        .collect();
    words.join(" ")
}

/// The reasons, numbered as they come.
#[derive(Debug, Default)]
struct Notes {
    numbers: BTreeMap<String, usize>,
}

impl Notes {
    /// The word for an outcome, with the number of its reason.
    fn word(&mut self, outcome: &Outcome) -> String {
        let word = match outcome.verdict {
            Verdict::Exact => return "exact".to_owned(),
            Verdict::Partial => "partial",
            Verdict::Refused => "refused",
            Verdict::Wrong => "**wrong**",
        };
        let reason = outcome.reason.as_deref().map_or(String::new(), plain);
        let next = self.numbers.len() + 1;
        let number = self.numbers.entry(reason).or_insert(next);
        format!("{word} ({number})")
    }

    /// All of them.
    fn text(&self) -> String {
        if self.numbers.is_empty() {
            return String::new();
        }
        let mut sorted: Vec<(&String, &usize)> = self.numbers.iter().collect();
        sorted.sort_by_key(|(_, number)| **number);
        let mut text = "The reasons, as the agent states them:\n\n".to_owned();
        for (reason, number) in sorted {
            let _infallible = writeln!(text, "{number}. {reason}");
        }
        text + "\n"
    }
}
