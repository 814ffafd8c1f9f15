//! `cargo xtask docs`: the documents that are generated from the code.

use crate::{command, workspace};
use anyhow::{Context as _, Result, bail};

/// Options of `cargo xtask docs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Change nothing: fail if a document is stale
    #[arg(long)]
    check: bool,
}

/// Document, and the word by which `leak-agent document` knows it.
const DOCUMENTS: &[(&str, &str)] = &[
    ("docs/METRICS.md", "metrics"),
    ("docs/report.schema.json", "report-schema"),
];

/// Writes or checks the documents.
///
/// # Errors
///
/// The agent does not build, a document cannot be written, or (with `--check`) is stale.
pub(crate) fn main(options: &Options) -> Result<()> {
    let mut stale = Vec::new();
    for (document, word) in DOCUMENTS {
        let text = command::output(command::cargo().args([
            "run",
            "--quiet",
            "--package",
            "leak-agent",
            "--",
            "document",
            word,
        ]))?;
        let path = workspace::root().join(document);
        if std::fs::read_to_string(&path).is_ok_and(|committed| committed == text) {
            println!("    {document} is up to date");
        } else if options.check {
            stale.push(*document);
        } else {
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
            println!("    {document} is written");
        }
    }
    if !stale.is_empty() {
        bail!("stale: {}; run `cargo xtask docs`", stale.join(", "));
    }
    Ok(())
}
