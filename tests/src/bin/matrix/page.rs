//! docs/TOKIO.md, out of the results.

use crate::check::{Outcome, Verdict};
use crate::results::Results;
use crate::row::{BETWEEN, Build, COMMON, Row, SPECIAL, VERSIONS};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What stands above the tables.
const HEAD: &str = include_str!("page-head.md");

/// What stands below them.
const TAIL: &str = include_str!("page-tail.md");

/// The page. Rows without a result are shown as such.
pub(crate) fn render(rows: &[Row], results: &Results) -> String {
    let mut page = Page {
        rows,
        results,
        notes: Notes::default(),
    };
    let common = page.table(VERSIONS, COMMON);
    let between = page.table(BETWEEN, COMMON);
    let special = page.table(VERSIONS, SPECIAL);
    format!(
        "<!-- Written by `cargo xtask matrix` from the texts in tests/src/bin/matrix. -->\n{HEAD}\n\
         ## In sum\n\n{}\n## Common builds\n\n{common}\n## Versions between\n\n{between}\n\
         ## Other builds\n\n{special}\n{}{TAIL}",
        page.sums(),
        page.notes.text()
    )
}

/// What the page is made of.
struct Page<'a> {
    rows: &'a [Row],
    results: &'a Results,
    notes: Notes,
}

/// How many rows ended how, of those for which a condition holds.
type Group = (&'static str, fn(&Row) -> bool);

/// The groups of the sums.
const GROUPS: [Group; 3] = [
    ("tokio 1.10 and later, with symbols", |row| {
        row.tokio.is_followed() && !row.stripped
    }),
    ("tokio 1.10 and later, stripped", |row| {
        row.tokio.is_followed() && row.stripped
    }),
    ("tokio before 1.10", |row| !row.tokio.is_followed()),
];

impl Page<'_> {
    fn sums(&self) -> String {
        let mut text =
            "| | rows | exact | partial | refused | wrong |\n|---|---|---|---|---|---|\n".to_owned();
        for (name, belongs) in GROUPS {
            let mine: Vec<Verdict> = self
                .rows
                .iter()
                .filter(|row| belongs(row))
                .filter_map(|row| Some(self.results.newest(*row)?.verdict))
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

    /// A line per build that is made of one of these versions, a column per version.
    fn table(&mut self, versions: &[u32], builds: &[Build]) -> String {
        let made = |build: &Build, minor: u32| {
            self.rows
                .iter()
                .any(|row| row.tokio.minor == minor && row.build == build)
        };
        let versions: Vec<u32> = versions
            .iter()
            .copied()
            .filter(|minor| builds.iter().any(|build| made(build, *minor)))
            .collect();
        let builds: Vec<&Build> = builds
            .iter()
            .filter(|build| versions.iter().any(|minor| made(build, *minor)))
            .collect();
        let mut text = "| |".to_owned();
        for minor in &versions {
            let _infallible = write!(text, " 1.{minor} |");
        }
        text += "\n|---|";
        text += &"---|".repeat(versions.len());
        text += "\n";
        for build in builds {
            let _infallible = write!(text, "| {} |", build.what);
            for minor in &versions {
                let _infallible = write!(text, " {} |", self.cell(*minor, build));
            }
            text += "\n";
        }
        text
    }

    /// One word, or two where `strip` makes a difference.
    fn cell(&mut self, minor: u32, build: &Build) -> String {
        let mut words = Vec::new();
        let rows = self.rows.iter();
        for row in rows.filter(|row| row.tokio.minor == minor && row.build == build) {
            let outcome = self.results.newest(*row);
            words.push(outcome.map_or("not run".to_owned(), |outcome| self.notes.word(outcome)));
        }
        words.dedup();
        if words.is_empty() {
            words.push("–".to_owned());
        }
        words.join(" / ")
    }
}

/// A reason without what differs from program to program: the path before it, versions, and addresses.
fn plain(reason: &str) -> String {
    let line = reason.lines().next().unwrap_or_default();
    let line = match line.split_once(": ") {
        Some((path, rest)) if path.starts_with('/') => rest,
        _ => line,
    };
    let words: Vec<&str> = line
        .split(' ')
        .map(|word| match word {
            address if address.starts_with("0x") => "0x…",
            version if version.starts_with("1.") && !version.ends_with(')') => "1.x.y",
            word => word,
        })
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
