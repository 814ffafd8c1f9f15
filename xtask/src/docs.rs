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

/// The Prometheus rules, as a file and as an object of the Prometheus operator.
const RULES: &str = "deploy/prometheus/leak-agent.rules.yaml";
const RULES_OBJECT: &str = "deploy/kubernetes/prometheusrule.yaml";

/// Writes or checks the documents.
///
/// # Errors
///
/// The agent does not build, a document cannot be written, or (with `--check`) is stale.
pub(crate) fn main(options: &Options) -> Result<()> {
    let mut documents = Vec::new();
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
        documents.push((*document, text));
    }
    let rules = workspace::root().join(RULES);
    let rules = std::fs::read_to_string(&rules).with_context(|| format!("reading {}", rules.display()))?;
    documents.push((RULES_OBJECT, rules_object(&rules)?));
    let mut stale = Vec::new();
    for (document, text) in documents {
        let path = workspace::root().join(document);
        if std::fs::read_to_string(&path).is_ok_and(|committed| committed == text) {
            println!("    {document} is up to date");
        } else if options.check {
            stale.push(document);
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

/// The groups of a file of rules, as an object of the Prometheus operator. The text stays as it is, but for its place.
fn rules_object(rules: &str) -> Result<String> {
    let groups = rules.find("\ngroups:\n").context("the rules have no groups")?;
    let mut object = format!(
        "# Generated from {RULES} by `cargo xtask docs`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: leak-agent
  namespace: leak-agent
  labels:
    app.kubernetes.io/name: leak-agent
spec:
"
    );
    for line in rules[groups..].trim_start().lines() {
        if !line.is_empty() {
            object.push_str("  ");
        }
        object.push_str(line);
        object.push('\n');
    }
    Ok(object)
}
