//! What a policy must not say: values that contradict themselves or each other. Each is named with its key.

use super::{Detect, Labels, Policy, Tier};
use crate::config::ConfigError;
use std::fmt;
use std::time::Duration;

/// Nothing is longer: what is was a mistake.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);
/// A label is a word, not a text.
const LABEL_CHARS: usize = 100;

/// What is not wrong, but probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub key: String,
    /// What, as half a sentence.
    pub what: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.what)
    }
}

fn refused(key: &str, name: &str, reason: impl Into<String>) -> ConfigError {
    ConfigError::Refused {
        key: format!("{key}.{name}"),
        reason: reason.into(),
    }
}

/// Values of one table, as they are written: before they are scaled.
pub(super) fn detect(of: &Detect, key: &str) -> Result<(), ConfigError> {
    let shares = [
        ("growth.not_fallen", of.growth.not_fallen),
        ("growth.steadiness", of.growth.steadiness),
        ("growth.explained", of.growth.explained),
        ("rules.same_stack_share", of.rules.same_stack_share),
    ];
    for (name, share) in shares {
        if !(0.0..=1.0).contains(&share) {
            return Err(refused(key, name, format!("{share} is no share between 0 and 1")));
        }
    }
    let positive = [
        ("growth.times_noise", of.growth.times_noise),
        ("rules.deviation", of.rules.deviation),
        ("rules.slope_per_second", of.rules.slope_per_second),
        ("rules.yellow_per_minute", of.rules.yellow_per_minute),
        ("rules.red_per_minute", of.rules.red_per_minute),
    ];
    for (name, number) in positive {
        if !(number.is_finite() && number > 0.0) {
            return Err(refused(key, name, format!("{number} is not more than 0")));
        }
    }
    if !(1.0..=1_000.0).contains(&of.time_scale) {
        return Err(refused(key, "time_scale", "must be between 1 and 1000"));
    }
    let durations = [
        ("resolve_after", of.resolve_after),
        ("keep_resolved", of.keep_resolved),
        ("patience.some_end", of.patience.some_end),
        ("patience.none_ends", of.patience.none_ends),
        ("patience.warming_up", of.patience.warming_up),
        ("patience.stalled", of.patience.stalled),
        ("patience.suspect", of.patience.suspect),
        ("rules.window", of.rules.window),
        ("exhaustion.within", of.exhaustion.within),
    ];
    for (name, duration) in durations.into_iter().chain([("warm_up", of.warm_up)]) {
        if duration > LONGEST {
            return Err(refused(key, name, "is longer than a week"));
        }
        if duration.is_zero() && name != "warm_up" {
            return Err(refused(key, name, "is no time at all"));
        }
    }
    if of.rules.yellow_per_minute > of.rules.red_per_minute {
        return Err(refused(
            key,
            "rules.yellow_per_minute",
            format!(
                "{} is more than red_per_minute = {}: nothing could be yellow",
                of.rules.yellow_per_minute, of.rules.red_per_minute
            ),
        ));
    }
    let patience = &of.patience;
    for (name, time) in [
        ("patience.none_ends", patience.none_ends),
        ("patience.warming_up", patience.warming_up),
        ("patience.stalled", patience.stalled),
    ] {
        if time < patience.some_end {
            return Err(refused(
                key,
                name,
                "is shorter than patience.some_end: the less evidence would be the faster verdict",
            ));
        }
    }
    if patience.suspect > patience.some_end {
        return Err(refused(
            key,
            "patience.suspect",
            "is longer than patience.some_end: a leak would never be suspected first",
        ));
    }
    for (name, number, most) in [
        ("max_sites", of.max_sites, 1_000_000),
        ("max_findings", of.max_findings, 100_000),
    ] {
        if !(1..=most).contains(&number) {
            return Err(refused(key, name, format!("must be between 1 and {most}")));
        }
    }
    if of.growth.least_surplus == 0 {
        return Err(refused(key, "growth.least_surplus", "0 would make noise a leak"));
    }
    Ok(())
}

pub(super) fn labels(of: &Labels, key: &str) -> Result<(), ConfigError> {
    for (name, label) in [
        ("environment", &of.environment),
        ("team", &of.team),
        ("service", &of.service),
        ("tier", &of.tier),
    ] {
        if label.chars().count() > LABEL_CHARS || label.chars().any(char::is_control) {
            return Err(refused(
                key,
                name,
                format!("is no label: at most {LABEL_CHARS} characters, none of them a control character"),
            ));
        }
    }
    Ok(())
}

pub(super) fn tier(name: &str, tier: Tier) -> Result<(), ConfigError> {
    if tier.red > tier.yellow {
        return Err(refused(
            "tiers",
            name,
            format!(
                "red is {} and yellow {}: the lesser would be the more urgent",
                tier.red.label(),
                tier.yellow.label()
            ),
        ));
    }
    Ok(())
}

pub(super) fn given(patterns: &[String], key: &str) -> Result<(), ConfigError> {
    if patterns.is_empty() {
        return Err(ConfigError::Refused {
            key: key.to_owned(),
            reason: "is empty: it would hold for everything".to_owned(),
        });
    }
    Ok(())
}

pub(super) fn reason(reason: &str, key: &str) -> Result<(), ConfigError> {
    if reason.trim().is_empty() {
        return Err(refused(key, "reason", "is empty: who reads it later will ask"));
    }
    Ok(())
}

/// Labels that name a tier which nobody described.
pub(super) fn warnings(policy: &Policy) -> Vec<Warning> {
    let all = policy.overrides.iter().enumerate().map(|(number, each)| {
        let key = format!("override[{number}].labels.tier");
        (key, &each.labels)
    });
    std::iter::once(("labels.tier".to_owned(), &policy.labels))
        .chain(all)
        .filter(|(_, labels)| !labels.tier.is_empty() && !policy.tiers.contains_key(&labels.tier))
        .map(|(key, labels)| Warning {
            key,
            what: format!(
                "no tier is called {:?}: its findings are P1 if red and P2 if yellow",
                labels.tier
            ),
        })
        .collect()
}
