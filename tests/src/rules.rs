//! The Prometheus rules in `deploy/prometheus`, as data.

use crate::deploy;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The file with the rules.
#[must_use]
pub fn path() -> PathBuf {
    deploy::path("prometheus/leak-agent.rules.yaml")
}

/// All rules, of all groups, in order.
#[must_use]
pub fn rules() -> Vec<Value> {
    let file = deploy::yaml(&path());
    let groups = file["groups"].as_array().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    rules.cloned().collect()
}

/// The names of all alerts.
#[must_use]
pub fn alerts() -> BTreeSet<String> {
    let rules = rules();
    let names = rules.iter().filter_map(|rule| rule["alert"].as_str());
    names.map(str::to_owned).collect()
}

/// A metric as an expression names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector {
    /// "leak_agent_finding", or the name of a recorded rule.
    pub metric: String,
    /// The labels that it is selected by.
    pub labels: Vec<String>,
}

/// Every metric of the agent, and every recorded one, that a text names: PromQL, or a page in which PromQL occurs.
#[must_use]
pub fn selectors(text: &str) -> BTreeSet<Selector> {
    let in_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = BTreeSet::new();
    let mut rest = text;
    while let Some(at) = rest.find("leak_agent") {
        let starts = !rest[..at].ends_with(in_name);
        let name = &rest[at..];
        let end = name.find(|c| !in_name(c)).unwrap_or(name.len());
        let (metric, behind) = name.split_at(end);
        rest = behind;
        if !starts {
            continue;
        }
        let labels = behind
            .strip_prefix('{')
            .and_then(|inside| inside.split_once('}'))
            .map(|(inside, _)| labels(inside))
            .unwrap_or_default();
        found.insert(Selector {
            metric: metric.to_owned(),
            labels,
        });
    }
    found
}

/// The names in `a="x", b=~"y"`.
fn labels(inside: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = inside;
    while let Some((name, behind)) = rest.split_once(['=', '!']) {
        names.push(name.trim_start_matches([',', ' ']).trim().to_owned());
        // Behind the value, which may hold anything but a quotation mark.
        rest = behind.splitn(3, '"').nth(2).unwrap_or("");
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and labels are found wherever they stand, and parts of other names are not.
    #[test]
    fn selectors_of_an_expression_are_found_with_their_labels() {
        let text = r#"60 * deriv(leak_agent_a{x!="=,~", y=~"1|2"}[5m]) unless on (z) leak_agent:b == 1 or my_leak_agent_c"#;
        let found: Vec<_> = selectors(text).into_iter().collect();
        let selector = |metric: &str, labels: &[&str]| Selector {
            metric: metric.to_owned(),
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
        };
        assert_eq!(
            found,
            [
                selector("leak_agent:b", &[]),
                selector("leak_agent_a", &["x", "y"])
            ]
        );
    }
}
