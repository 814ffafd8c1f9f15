//! The configuration file: TOML in, a checked policy out. Keys that nobody knows are refused.

use super::{
    Detect, Expected, Labels, Override, Place, Policy, Priority, Suppression, Tier, Warning, check, time,
};
use crate::config::notify::{NotifyConfig, NotifySection, ReceiverSection};
use crate::config::{ConfigError, ExeFilter};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use toml::{Table, Value};

/// A file with every key at its default, and what it means.
pub const EXAMPLE: &str = include_str!("example.toml");
/// No file is longer: what is longer is something else.
const LONGEST: usize = 1 << 20;

/// What a configuration file says, checked.
#[derive(Clone, Debug, Default)]
pub struct FileConfig {
    /// How findings are made.
    pub policy: Policy,
    /// Who is told about them.
    pub notify: NotifyConfig,
    /// What is not wrong, but probably not meant.
    pub warnings: Vec<Warning>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    detect: Table,
    #[serde(default)]
    labels: Table,
    #[serde(default)]
    tiers: BTreeMap<String, Tier>,
    #[serde(default, rename = "override")]
    overrides: Vec<RawOverride>,
    #[serde(default)]
    suppress: Vec<RawSuppression>,
    #[serde(default)]
    expect: Vec<RawExpected>,
    #[serde(default)]
    notify: NotifySection,
    #[serde(default)]
    receiver: Vec<ReceiverSection>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOverride {
    exe: Vec<String>,
    #[serde(default)]
    detect: Table,
    #[serde(default)]
    labels: Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSuppression {
    #[serde(default)]
    exe: Vec<String>,
    #[serde(default)]
    site: Vec<String>,
    #[serde(default)]
    runtime: Vec<String>,
    reason: String,
    until: toml::value::Datetime,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExpected {
    #[serde(default)]
    exe: Vec<String>,
    #[serde(default)]
    site: Vec<String>,
    #[serde(default)]
    runtime: Vec<String>,
    at_most: Option<u64>,
    reason: String,
}

impl FileConfig {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or see [`Self::parse`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let mut text = String::new();
        let file = File::open(path).map_err(unreadable)?;
        // One byte more than allowed tells that there is more.
        let mut file = file.take(LONGEST as u64 + 1);
        file.read_to_string(&mut text).map_err(unreadable)?;
        Self::parse(&text).map_err(|error| ConfigError::InFile {
            path: path.to_owned(),
            source: Box::new(error),
        })
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    ///
    /// What is no TOML, a key that nobody knows, a value that is none, and what contradicts itself: with the key's name
    /// and the reason.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        if text.len() > LONGEST {
            return Err(ConfigError::Refused {
                key: "the file".to_owned(),
                reason: format!("is longer than {LONGEST} bytes"),
            });
        }
        let raw: Raw = toml::from_str(text).map_err(|error| ConfigError::Toml(error.to_string()))?;
        let detect = detect(raw.detect.clone(), "detect")?;
        let labels = labels(raw.labels.clone(), "labels")?;
        let mut overrides = Vec::new();
        for (number, each) in raw.overrides.into_iter().enumerate() {
            let key = format!("override[{number}]");
            check::given(&each.exe, &format!("{key}.exe"))?;
            let merged = merge(raw.detect.clone(), each.detect);
            overrides.push(Override {
                exe: ExeFilter::new(&each.exe)?,
                detect: Arc::new(self::detect(merged, &format!("{key}.detect"))?),
                labels: Arc::new(self::labels(
                    merge(raw.labels.clone(), each.labels),
                    &format!("{key}.labels"),
                )?),
            });
        }
        let mut suppressions = Vec::new();
        for (number, each) in raw.suppress.into_iter().enumerate() {
            let key = format!("suppress[{number}]");
            check::reason(&each.reason, &key)?;
            let until = time::unix_seconds(&each.until).ok_or_else(|| ConfigError::Refused {
                key: format!("{key}.until"),
                reason: format!("{} is no date", each.until),
            })?;
            suppressions.push(Suppression {
                place: place(&key, &each.exe, &each.site, each.runtime)?,
                reason: each.reason,
                until,
            });
        }
        let mut expected = Vec::new();
        for (number, each) in raw.expect.into_iter().enumerate() {
            let key = format!("expect[{number}]");
            check::reason(&each.reason, &key)?;
            expected.push(Expected {
                place: place(&key, &each.exe, &each.site, each.runtime)?,
                at_most: each.at_most,
                reason: each.reason,
            });
        }
        let mut tiers = default_tiers();
        for (name, tier) in raw.tiers {
            check::tier(&name, tier)?;
            tiers.insert(name, tier);
        }
        let policy = Policy {
            detect: Arc::new(detect),
            labels: Arc::new(labels),
            tiers,
            overrides,
            suppressions,
            expected,
        };
        let warnings = check::warnings(&policy);
        let notify = NotifyConfig::from_sections(raw.notify, raw.receiver)?;
        Ok(Self {
            policy,
            notify,
            warnings,
        })
    }
}

/// The tiers that need not be described.
pub(super) fn default_tiers() -> BTreeMap<String, Tier> {
    let tier = |red, yellow| Tier { red, yellow };
    [
        ("critical", tier(Priority::P0, Priority::P1)),
        ("standard", tier(Priority::P1, Priority::P2)),
        ("low", tier(Priority::P2, Priority::P2)),
    ]
    .map(|(name, tier)| (name.to_owned(), tier))
    .into()
}

fn detect(table: Table, key: &str) -> Result<Detect, ConfigError> {
    let detect: Detect = read(table, key)?;
    check::detect(&detect, key)?;
    Ok(detect.scaled())
}

fn labels(table: Table, key: &str) -> Result<Labels, ConfigError> {
    let labels = read(table, key)?;
    check::labels(&labels, key)?;
    Ok(labels)
}

fn read<T: for<'de> Deserialize<'de>>(table: Table, key: &str) -> Result<T, ConfigError> {
    table.try_into().map_err(|error: toml::de::Error| {
        let text = error.to_string();
        ConfigError::Refused {
            key: key.to_owned(),
            reason: text.trim().replace('\n', " "),
        }
    })
}

/// The table with the other's values over its own.
fn merge(mut base: Table, over: Table) -> Table {
    for (key, value) in over {
        match (base.remove(&key), value) {
            (Some(Value::Table(base_value)), Value::Table(value)) => {
                base.insert(key, Value::Table(merge(base_value, value)));
            }
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
    base
}

fn place(key: &str, exe: &[String], site: &[String], runtime: Vec<String>) -> Result<Place, ConfigError> {
    if exe.is_empty() && site.is_empty() && runtime.is_empty() {
        return Err(ConfigError::Refused {
            key: key.to_owned(),
            reason: "names neither exe nor site nor runtime: it would hold for everything".to_owned(),
        });
    }
    let mut globs = globset::GlobSetBuilder::new();
    for pattern in site {
        let glob = globset::Glob::new(pattern).map_err(|source| ConfigError::Glob {
            pattern: pattern.clone(),
            source,
        })?;
        globs.add(glob);
    }
    let set = globs.build().map_err(|source| ConfigError::Glob {
        pattern: site.join(", "),
        source,
    })?;
    Ok(Place {
        exe: ExeFilter::new(exe)?,
        site: (!site.is_empty()).then_some(set),
        runtime,
    })
}
