//! The table in docs/GO.md.

use crate::{Row, Verdict};
use leak_agent_tests::golang::Flavour;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What the table begins and ends with.
const BEGIN: &str = "<!-- matrix: written by cargo xtask matrix --go -->\n";
const END: &str = "<!-- end of matrix -->\n";

/// The page with the table of these rows instead of its own.
pub(crate) fn with_table(text: &str, rows: &[Row]) -> String {
    let (before, rest) = text.split_once(BEGIN).unwrap_or((text, ""));
    let after = rest.split_once(END).map_or("", |(_, after)| after);
    format!("{before}{BEGIN}{}{END}{after}", table(rows))
}

fn table(rows: &[Row]) -> String {
    let mut versions: BTreeMap<u32, (&str, BTreeMap<&str, &Row>)> = BTreeMap::new();
    for row in rows {
        let entry = versions
            .entry(row.probe.minor())
            .or_insert_with(|| (row.probe.version, BTreeMap::new()));
        entry.1.insert(row.probe.flavour.name(), row);
    }
    let mut text = "| Go |".to_owned();
    for flavour in Flavour::ALL {
        let _ = write!(text, " {} |", flavour.name());
    }
    text += "\n|---|";
    text += &"---|".repeat(Flavour::ALL.len());
    text.push('\n');
    for (version, found) in versions.values() {
        let _ = write!(text, "| {version} |");
        for flavour in Flavour::ALL {
            let cell = match found.get(flavour.name()) {
                None => "–",
                Some(row) => match row.verdict {
                    Verdict::Exact => "exact",
                    Verdict::Refused(_) => "refused",
                    Verdict::Wrong(_) => "WRONG",
                },
            };
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    text
}
