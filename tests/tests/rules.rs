//! The Prometheus rules: their own tests, the metrics they name, their pages in docs/runbooks.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness fails by panicking, with the reason

use leak_agent_tests::deploy::{self, yaml, yaml_files};
use leak_agent_tests::rules::{self, Selector, selectors};
use leak_agent_tests::{agent, programs, tools};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

fn promtool(arguments: &[&str], files: &[impl AsRef<Path>]) -> (bool, String) {
    let mut command = Command::new(tools::prometheus("promtool"));
    command.args(arguments).args(files.iter().map(AsRef::as_ref));
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// promtool takes the rules, and every test of them passes.
#[test]
fn rules_pass_their_own_tests() {
    let (good, said) = promtool(&["check", "rules"], &[rules::path()]);
    assert!(good, "{said}");
    let (good, said) = promtool(&["test", "rules"], &yaml_files(&deploy::path("prometheus/tests")));
    assert!(good, "{said}");
}

/// A mistake in a rule (a threshold that is off, a floor that is not asked for, a suppression that is overlooked) is noticed by
/// its tests.
#[test]
fn rules_with_a_mistake_fail_their_tests() {
    let good = fs::read_to_string(rules::path()).unwrap();
    let mistakes = [
        ("growth", "growth_with_labels > 15", "growth_with_labels > 25"),
        ("growth", ">= 3 <= 15", ">= 0 <= 15"),
        ("growth", "floor offset 5m))\n", "floor offset 5m) * 0)\n"),
        ("growth", "floor offset 10m))\n", "floor offset 10m) * 0)\n"),
        (
            "growth",
            "            and ((leak_agent:site_tasks_live:floor offset 10m) > (leak_agent:site_tasks_live:floor offset 15m))\n",
            "",
        ),
        ("growth", r#"verdict="healthy""#, r#"verdict="leak""#),
        ("growth", r#"leak_agent_finding{suppressed="true"}"#, "vector(1)"),
        ("growth", r#"site!="~other""#, r#"site!="""#),
        ("findings", r#", suppressed="false""#, ""),
        ("findings", "< 3600", "< 60"),
        ("findings", "< 86400", "< 8640000"),
        (
            "findings",
            "topk by (job, instance, pid) (1,",
            "topk by (job, instance, pid) (0,",
        ),
        (
            "itself",
            r#"up{job="leak-agent"} == 0"#,
            r#"up{job="leak-agent"} == 2"#,
        ),
        ("itself", r#"absent(up{job="leak-agent"})"#, "vector(0) == 1"),
        ("itself", "timestamp_seconds > 120", "timestamp_seconds > 12000"),
        ("itself", "leak_agent_ready == 0", "leak_agent_ready == 1"),
        ("itself", r#"mode="proc-only""#, r#"mode="bpf""#),
        (
            "itself",
            "leak_agent_drift_tasks != 0",
            "leak_agent_drift_tasks > 0",
        ),
        ("itself", "[1h]) > 3", "[1h]) > 300"),
        ("itself", "lost_stack_record|", "lost_stream_record|"),
        ("itself", "lost_counts|", "unarmed_hits|"),
        ("itself", "|refused_attach_failed|", "|missed_short_lived|"),
    ];
    for (number, (tests, right, wrong)) in mistakes.into_iter().enumerate() {
        assert!(good.contains(right), "{right} is not in the rules");
        let folder = programs::scratch(&format!("wrong-rules-{number}"));
        fs::write(folder.join("leak-agent.rules.yaml"), good.replace(right, wrong)).unwrap();
        fs::create_dir(folder.join("tests")).unwrap();
        let file = format!("tests/{tests}.yaml");
        fs::copy(deploy::path("prometheus").join(&file), folder.join(&file)).unwrap();
        let (passed, said) = promtool(&["test", "rules"], &[folder.join(&file)]);
        assert!(!passed, "{wrong} instead of {right} is not noticed: {said}");
        assert!(
            said.contains("FAILED"),
            "{wrong} instead of {right} is no rule: {said}"
        );
    }
}

/// The object for the Prometheus operator has the same rules.
#[test]
fn object_for_the_operator_has_the_same_rules() {
    let object = yaml(&deploy::path("kubernetes/prometheusrule.yaml"));
    assert_eq!(object["kind"], "PrometheusRule");
    let file = yaml(&rules::path());
    assert_eq!(
        object["spec"]["groups"], file["groups"],
        "stale: cargo xtask docs"
    );
}

/// Each alert has a test in which it fires and one in which it does not.
#[test]
fn every_alert_is_tested_both_ways() {
    let mut fires: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
    for file in yaml_files(&deploy::path("prometheus/tests")) {
        let file = yaml(&file);
        let tests = file["tests"].as_array().unwrap();
        for case in tests
            .iter()
            .flat_map(|test| test["alert_rule_test"].as_array().unwrap())
        {
            let name = case["alertname"].as_str().unwrap().to_owned();
            let expected = case["exp_alerts"].as_array().unwrap();
            fires.entry(name).or_default().insert(!expected.is_empty());
        }
    }
    let both = |name: &String| fires.get(name).is_some_and(|ways| ways.len() == 2);
    let untested: Vec<_> = rules::alerts().into_iter().filter(|name| !both(name)).collect();
    assert_eq!(untested, [] as [&str; 0]);
}

/// The metrics of docs/METRICS.md with their labels.
fn catalogue() -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(programs::root().join("docs/METRICS.md")).unwrap();
    let quoted =
        |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        (quoted(cells[1]).remove(0), quoted(cells[3]))
    })
    .collect()
}

/// What is wrong with a selector.
fn wrong(selector: &Selector, catalogue: &BTreeMap<String, Vec<String>>) -> Option<String> {
    /// Labels that Prometheus adds to everything that it scrapes.
    const OF_THE_TARGET: [&str; 3] = ["job", "instance", "node"];
    let recorded = rules::rules()
        .iter()
        .any(|rule| rule["record"] == *selector.metric);
    match catalogue.get(&selector.metric) {
        Some(labels) => {
            let known = |label: &&String| labels.contains(label) || OF_THE_TARGET.contains(&label.as_str());
            let unknown: Vec<_> = selector.labels.iter().filter(|label| !known(label)).collect();
            (!unknown.is_empty()).then(|| format!("{} has no labels {unknown:?}", selector.metric))
        }
        None if recorded => None,
        None => Some(format!("there is no metric {}", selector.metric)),
    }
}

/// Every metric and label in a rule, and in the tests of it, is one that the agent has, or is recorded.
#[test]
fn metrics_in_rules_are_in_the_catalogue() {
    let catalogue = catalogue();
    assert!(catalogue.len() > 40, "{catalogue:?}");
    let mut texts: Vec<String> = rules::rules()
        .iter()
        .map(|rule| rule["expr"].as_str().unwrap().to_owned())
        .collect();
    for file in yaml_files(&deploy::path("prometheus/tests")) {
        let file = yaml(&file);
        let tests = file["tests"].as_array().unwrap();
        let series = tests
            .iter()
            .flat_map(|test| test["input_series"].as_array().unwrap());
        texts.extend(series.map(|series| series["series"].as_str().unwrap().to_owned()));
    }
    let found: BTreeSet<Selector> = texts.iter().flat_map(|text| selectors(text)).collect();
    assert!(found.len() > 20, "{found:?}");
    let wrong: Vec<String> = found
        .iter()
        .filter_map(|selector| wrong(selector, &catalogue))
        .collect();
    assert_eq!(wrong, [] as [&str; 0]);
}

/// Each alert names its page, each page is that of an alert and answers the four questions; the metrics and the commands on
/// it exist.
#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let folder = programs::root().join("docs/runbooks");
    let pages: BTreeSet<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(pages, rules::alerts());
    for rule in rules::rules().iter().filter(|rule| rule["alert"].is_string()) {
        let page = format!("docs/runbooks/{}.md", rule["alert"].as_str().unwrap());
        assert_eq!(rule["annotations"]["runbook_url"], page);
        assert!(rule["labels"]["severity"].is_string(), "{page}");
    }
    let catalogue = catalogue();
    for page in pages {
        let text = fs::read_to_string(folder.join(&page).with_extension("md")).unwrap();
        let parts: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        let want = ["What it means", "How to check", "What to do", "How to silence it"];
        assert_eq!(parts, want, "{page}");
        let wrong: Vec<String> = selectors(&text)
            .iter()
            .filter_map(|found| wrong(found, &catalogue))
            .collect();
        assert_eq!(wrong, [] as [&str; 0], "{page}");
        for command in text.lines().filter_map(|line| line.strip_prefix("leak-agent ")) {
            understood(&page, command);
        }
    }
}

/// The agent has this subcommand with these flags.
fn understood(page: &str, command: &str) {
    let words = command.split('#').next().unwrap().split_whitespace();
    let words: Vec<&str> = words.take_while(|word| *word != "|").collect();
    let output = agent::run(&[words[0], "--help"]);
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{page}: {command}");
    for flag in words.iter().filter(|word| word.starts_with("--")) {
        let known = help.split([' ', '\n', ',']).any(|word| word == *flag);
        assert!(known, "{page}: {command}: no flag {flag}");
    }
}

/// The example of a configuration is one that Alertmanager takes.
#[test]
fn alertmanager_takes_the_example() {
    let output = Command::new(tools::amtool())
        .arg("check-config")
        .arg(deploy::path("prometheus/alertmanager.example.yaml"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
