//! What a configuration file may say, and what not.

use super::*;
use crate::config::NotifyConfig;

fn policy(text: &str) -> Policy {
    FileConfig::parse(text).unwrap().policy
}

/// The example that is printed holds the defaults, and nothing but them.
#[test]
fn example_is_the_defaults() {
    let file = FileConfig::parse(EXAMPLE).unwrap();
    assert_eq!(format!("{:?}", file.policy), format!("{:?}", Policy::default()));
    assert_eq!(file.warnings, []);
    assert_eq!(
        format!("{:?}", file.notify),
        format!("{:?}", NotifyConfig::default())
    );
    assert_eq!(format!("{:?}", policy("")), format!("{:?}", Policy::default()));
}

/// What the example shows in comments can be switched on.
#[test]
fn commented_parts_of_the_example_can_be_used() {
    let lines = EXAMPLE.lines().map(|line| match line.strip_prefix("# ") {
        Some(code) if code.starts_with("[[") || code.contains(" = ") && !code.contains(':') => code,
        Some(code) if code.starts_with("reason") || code.starts_with("site") => code,
        _ => line,
    });
    let text: Vec<&str> = lines
        .filter(|line| !line.starts_with("exe = [\"/opt/unused"))
        .collect();
    let file = FileConfig::parse(&text.join("\n")).unwrap();
    let kinds: Vec<&str> = file
        .notify
        .receivers
        .iter()
        .map(|receiver| receiver.target.kind())
        .collect();
    assert_eq!(kinds, ["webhook", "command"]);
    let policy = file.policy;
    assert_eq!((policy.suppressions.len(), policy.expected.len()), (1, 1));
    let (detect, labels) = policy.of(Some("/opt/shop/bin/web"));
    assert_eq!((detect.warm_up, labels.team.as_str()), (minutes(20), "shop"));
    assert_eq!(policy.tier(&labels.tier).red, Priority::P0);
    let expected = &policy.expected[0].place;
    assert!(expected.matches(Some("/srv/gatewayd"), "tokio", "gateway::websocket::serve"));
    assert!(!expected.matches(Some("/srv/gatewayd"), "tokio", "gateway::http::serve"));
    assert!(!expected.matches(None, "tokio", "gateway::websocket::serve"));
}

/// An override changes what it names and keeps the rest of the file.
#[test]
fn override_keeps_what_it_does_not_name() {
    let policy = policy(
        r#"
        detect.least_tasks = 9
        labels = { environment = "production", team = "base" }
        [[override]]
        exe = ["a*"]
        detect.growth.least_surplus = 100
        labels.team = "a"
        [[override]]
        exe = ["ab"]
        labels.team = "never"
        "#,
    );
    let (detect, labels) = policy.of(Some("/bin/ab"));
    assert_eq!((detect.least_tasks, detect.growth.least_surplus), (9, 100));
    assert_eq!(
        (labels.environment.as_str(), labels.team.as_str()),
        ("production", "a")
    );
    let (detect, labels) = policy.of(None);
    assert_eq!((detect.growth.least_surplus, labels.team.as_str()), (12, "base"));
}

/// Time may run faster, for tests: durations shrink and rates grow.
#[test]
fn time_scale_divides_every_duration() {
    let policy = policy("detect.time_scale = 10.0");
    let detect = policy.defaults();
    assert_eq!(detect.warm_up, Duration::from_secs(30));
    assert_eq!(detect.patience.none_ends, Duration::from_secs(18));
    assert_eq!(detect.rules.red_per_minute, 150.0);
}

/// What contradicts itself, or is not known, is refused with the key's name.
#[test]
fn contradictions_are_refused_by_key() {
    for (text, key) in [
        ("detect.grwth = 1", "grwth"),
        ("detect.growth.steadines = 1", "steadines"),
        ("webhok = 1", "webhok"),
        ("detect.warm_up = 5", "warm_up"),
        ("detect.warm_up = \"5 minutes\"", "warm_up"),
        ("detect.warm_up = \"9000h\"", "detect.warm_up"),
        ("detect.resolve_after = \"0s\"", "detect.resolve_after"),
        ("detect.growth.not_fallen = 1.5", "detect.growth.not_fallen"),
        ("detect.growth.times_noise = nan", "detect.growth.times_noise"),
        ("detect.growth.least_surplus = 0", "detect.growth.least_surplus"),
        (
            "detect.rules.yellow_per_minute = 99.0",
            "detect.rules.yellow_per_minute",
        ),
        ("detect.patience.none_ends = \"1s\"", "detect.patience.none_ends"),
        ("detect.patience.suspect = \"1h\"", "detect.patience.suspect"),
        ("detect.time_scale = 0.1", "detect.time_scale"),
        ("detect.max_sites = 0", "detect.max_sites"),
        ("labels.team = \"a\\nb\"", "labels.team"),
        ("labels.colour = \"red\"", "colour"),
        ("tiers.gold = { red = \"P2\", yellow = \"P0\" }", "tiers.gold"),
        ("tiers.gold = { red = \"P3\", yellow = \"P0\" }", "tiers"),
        ("[[override]]\nexe = []", "override[0].exe"),
        (
            "[[override]]\nexe = [\"a\"]\ndetect.max_sites = 0",
            "override[0].detect.max_sites",
        ),
        ("[[override]]\nexe = [\"a[\"]", "a["),
        ("[[suppress]]\nreason = \"x\"\nuntil = 2030-01-01", "suppress[0]"),
        ("[[suppress]]\nexe = [\"a\"]\nuntil = 2030-01-01", "reason"),
        (
            "[[suppress]]\nexe = [\"a\"]\nreason = \" \"\nuntil = 2030-01-01",
            "suppress[0].reason",
        ),
        ("[[suppress]]\nexe = [\"a\"]\nreason = \"x\"", "until"),
        (
            "[[suppress]]\nexe = [\"a\"]\nreason = \"x\"\nuntil = \"soon\"",
            "until",
        ),
        (
            "[[suppress]]\nexe = [\"a\"]\nreason = \"x\"\nuntil = 12:00:00",
            "suppress[0].until",
        ),
        ("[[expect]]\nreason = \"x\"", "expect[0]"),
        ("[[expect]]\nsite = [\"a[\"]\nreason = \"x\"", "a["),
        ("detect = 3", "detect"),
        ("[[", "TOML"),
    ] {
        let error = FileConfig::parse(text).unwrap_err().to_string();
        assert!(error.contains(key), "{text:?}: {error}");
    }
    let long = format!("# {}", "x".repeat(2 << 20));
    assert!(
        FileConfig::parse(&long)
            .unwrap_err()
            .to_string()
            .contains("longer")
    );
}

/// A tier that nobody described is a warning: its findings still have a priority.
#[test]
fn unknown_tier_is_a_warning() {
    let file = FileConfig::parse("labels.tier = \"gold\"").unwrap();
    assert_eq!(file.warnings.len(), 1);
    assert!(file.warnings[0].to_string().starts_with("labels.tier: "));
    assert_eq!(file.policy.tier("gold"), Tier::default());
}
