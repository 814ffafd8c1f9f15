//! The sections as they are written, and how they become values. Everything wrong is said with its key.

use super::{
    CommandTarget, HttpTarget, NotifyConfig, Pace, QueueLimits, ReceiverConfig, Severity, Target, UrlSource,
    Verdict, Wants,
};
use crate::config::{ConfigError, ExeFilter, parse_duration, parse_size};
use globset::{GlobBuilder, GlobMatcher};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// `[notify]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifySection {
    state_dir: Option<PathBuf>,
    node: Option<String>,
    log: Option<bool>,
}

/// `[[receiver]]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiverSection {
    name: Option<String>,
    kind: Option<String>,
    url: Option<String>,
    url_file: Option<PathBuf>,
    secret_file: Option<PathBuf>,
    authorization_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    connect_timeout: Option<String>,
    command: Option<Vec<String>>,
    timeout: Option<String>,
    min_verdict: Option<String>,
    min_severity: Option<String>,
    resolved: Option<bool>,
    #[serde(rename = "match")]
    matches: Option<MatchSection>,
    group_wait: Option<String>,
    repeat_interval: Option<String>,
    max_per_minute: Option<u32>,
    max_attempts: Option<u32>,
    max_age: Option<String>,
    retry_first: Option<String>,
    retry_longest: Option<String>,
    queue_entries: Option<usize>,
    queue_size: Option<String>,
    runbook_base_url: Option<String>,
    dry_run: Option<bool>,
}

/// `[receiver.match]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchSection {
    #[serde(default)]
    runtime: Vec<String>,
    #[serde(default)]
    exe: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// The kinds, as they are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Webhook,
    Alertmanager,
    Command,
    Log,
}

impl NotifyConfig {
    /// The configuration that the sections ask for.
    ///
    /// # Errors
    ///
    /// The first key that is missing, wrong, or contradicts another.
    pub fn from_sections(
        notify: NotifySection,
        receivers: Vec<ReceiverSection>,
    ) -> Result<Self, ConfigError> {
        if let Some(dir) = &notify.state_dir
            && !dir.is_absolute()
        {
            return Err(wrong("notify.state_dir", "must be an absolute path"));
        }
        if notify.node.as_ref().is_some_and(String::is_empty) {
            return Err(wrong(
                "notify.node",
                "is empty; leave it out for the machine's own name",
            ));
        }
        if receivers.len() > Self::RECEIVERS_MAX {
            let most = Self::RECEIVERS_MAX;
            return Err(wrong(
                "receiver",
                format!("{} of them, at most {most}", receivers.len()),
            ));
        }
        let mut names = BTreeSet::new();
        let mut checked = Vec::new();
        for (index, section) in receivers.into_iter().enumerate() {
            let receiver = receiver(index, &section)?;
            if !names.insert(receiver.name.clone()) {
                return Err(wrong(
                    format!("receiver[{index}].name"),
                    format!("{:?} is the name of another receiver", receiver.name),
                ));
            }
            checked.push(receiver);
        }
        let default = Self::default();
        Ok(Self {
            state_dir: notify.state_dir.or(default.state_dir),
            node: notify.node,
            log: notify.log.unwrap_or(default.log),
            receivers: checked,
        })
    }
}

fn wrong(key: impl Into<String>, reason: impl Into<String>) -> ConfigError {
    ConfigError::Refused {
        key: key.into(),
        reason: reason.into(),
    }
}

/// One section while its keys are read.
struct Keys {
    /// What its keys are called in errors.
    at: String,
}

impl Keys {
    fn wrong(&self, key: &str, reason: impl Into<String>) -> ConfigError {
        wrong(format!("{}.{key}", self.at), reason)
    }

    fn time(
        &self,
        key: &str,
        text: Option<&str>,
        default: Duration,
        least: Duration,
    ) -> Result<Duration, ConfigError> {
        let Some(text) = text else { return Ok(default) };
        let time = parse_duration(text).map_err(|error| self.wrong(key, error.to_string()))?;
        if time < least {
            return Err(self.wrong(
                key,
                format!("{text} is too short: at least {}ms", least.as_millis()),
            ));
        }
        Ok(time)
    }

    /// Refuses a key that means nothing for this kind.
    fn only(&self, key: &str, given: bool, fits: bool, kinds: &str) -> Result<(), ConfigError> {
        if given && !fits {
            return Err(self.wrong(key, format!("is for kind = {kinds} only")));
        }
        Ok(())
    }
}

fn receiver(index: usize, section: &ReceiverSection) -> Result<ReceiverConfig, ConfigError> {
    let name = section.name.clone().unwrap_or_default();
    let keys = Keys {
        at: format!("receiver[{index}] {name:?}"),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        return Err(keys.wrong("name", "must be 1 to 64 letters, digits, - and _"));
    }
    let kind = match section.kind.as_deref() {
        Some("webhook") => Kind::Webhook,
        Some("alertmanager") => Kind::Alertmanager,
        Some("command") => Kind::Command,
        Some("log") => Kind::Log,
        Some(other) => {
            return Err(keys.wrong(
                "kind",
                format!("{other:?} is none of webhook, alertmanager, command, log"),
            ));
        }
        None => {
            return Err(keys.wrong("kind", "is missing: one of webhook, alertmanager, command, log"));
        }
    };
    let runbook_base_url = section.runbook_base_url.clone();
    if let Some(url) = &runbook_base_url {
        check_url(url).map_err(|reason| keys.wrong("runbook_base_url", reason))?;
    }
    Ok(ReceiverConfig {
        target: target(&keys, kind, section)?,
        wants: wants(&keys, section)?,
        pace: pace(&keys, kind, section)?,
        queue: queue(&keys, section)?,
        runbook_base_url,
        dry_run: section.dry_run.unwrap_or(false),
        name,
    })
}

fn target(keys: &Keys, kind: Kind, section: &ReceiverSection) -> Result<Target, ConfigError> {
    let http = matches!(kind, Kind::Webhook | Kind::Alertmanager);
    let by_http = "\"webhook\" and \"alertmanager\"";
    for (key, given) in [
        ("url", section.url.is_some()),
        ("url_file", section.url_file.is_some()),
        ("authorization_file", section.authorization_file.is_some()),
        ("ca_file", section.ca_file.is_some()),
        ("connect_timeout", section.connect_timeout.is_some()),
    ] {
        keys.only(key, given, http, by_http)?;
    }
    let secret = section.secret_file.is_some();
    keys.only("secret_file", secret, kind == Kind::Webhook, "\"webhook\"")?;
    let command = section.command.is_some();
    keys.only("command", command, kind == Kind::Command, "\"command\"")?;
    keys.only(
        "timeout",
        section.timeout.is_some(),
        kind != Kind::Log,
        "all but \"log\"",
    )?;

    let seconds = if kind == Kind::Command { 30 } else { 10 };
    let timeout = keys.time(
        "timeout",
        section.timeout.as_deref(),
        Duration::from_secs(seconds),
        Duration::from_millis(10),
    )?;
    if timeout > Duration::from_secs(600) {
        return Err(keys.wrong("timeout", "is longer than 10m"));
    }
    match kind {
        Kind::Log => Ok(Target::Log),
        Kind::Command => {
            let argv = section.command.clone().unwrap_or_default();
            match argv.first() {
                Some(program) if program.starts_with('/') => {}
                Some(program) => {
                    return Err(keys.wrong("command", format!("{program:?} is no absolute path")));
                }
                None => return Err(keys.wrong("command", "is missing: a program's path and its arguments")),
            }
            if argv.iter().any(|argument| argument.contains('\0')) {
                return Err(keys.wrong("command", "an argument has a zero byte"));
            }
            Ok(Target::Command(CommandTarget { argv, timeout }))
        }
        Kind::Webhook | Kind::Alertmanager => {
            let target = http_target(keys, section, timeout)?;
            Ok(match kind {
                Kind::Webhook => Target::Webhook(target),
                _ => Target::Alertmanager(target),
            })
        }
    }
}

fn http_target(keys: &Keys, section: &ReceiverSection, timeout: Duration) -> Result<HttpTarget, ConfigError> {
    let url = match (&section.url, &section.url_file) {
        (Some(url), None) => {
            check_url(url).map_err(|reason| keys.wrong("url", reason))?;
            UrlSource::Plain(url.clone())
        }
        (None, Some(file)) => UrlSource::File(file.clone()),
        (Some(_), Some(_)) => return Err(keys.wrong("url_file", "contradicts url: give one of them")),
        (None, None) => return Err(keys.wrong("url", "is missing, and so is url_file")),
    };
    let connect_timeout = keys.time(
        "connect_timeout",
        section.connect_timeout.as_deref(),
        Duration::from_secs(3).min(timeout),
        Duration::from_millis(10),
    )?;
    if connect_timeout > timeout {
        return Err(keys.wrong("connect_timeout", "is longer than timeout, which covers it"));
    }
    Ok(HttpTarget {
        url,
        secret_file: section.secret_file.clone(),
        authorization_file: section.authorization_file.clone(),
        ca_file: section.ca_file.clone(),
        connect_timeout,
        timeout,
    })
}

/// Whether the text is an `http` or `https` URL with a host and without a password in it.
///
/// # Errors
///
/// What is wrong with it, without repeating it: it may hold a token.
pub fn check_url(url: &str) -> Result<(), &'static str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let rest = rest.ok_or("is no http:// or https:// URL")?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() {
        return Err("has no host");
    }
    if host.contains('@') {
        return Err("has a user or password in it: use authorization_file");
    }
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("has a space or control character in it");
    }
    Ok(())
}

fn wants(keys: &Keys, section: &ReceiverSection) -> Result<Wants, ConfigError> {
    let verdict = match section.min_verdict.as_deref() {
        None | Some("leak") => Verdict::Leak,
        Some("suspect") => Verdict::Suspect,
        Some(other) => {
            return Err(keys.wrong("min_verdict", format!("{other:?} is neither suspect nor leak")));
        }
    };
    let severity = match section.min_severity.as_deref() {
        None | Some("yellow") => Severity::Yellow,
        Some("red") => Severity::Red,
        Some(other) => {
            return Err(keys.wrong("min_severity", format!("{other:?} is neither yellow nor red")));
        }
    };
    let matches = section.matches.clone().unwrap_or_default();
    let exes = ExeFilter::new(&matches.exe).map_err(|error| keys.wrong("match.exe", error.to_string()))?;
    let mut labels = BTreeMap::new();
    for (label, pattern) in matches.labels {
        let known = ["environment", "team", "service", "tier"];
        if !known.contains(&label.as_str()) {
            let known = known.join(", ");
            return Err(keys.wrong(&format!("match.labels.{label}"), format!("is none of {known}")));
        }
        let matcher = glob(&pattern).map_err(|error| {
            let reason = format!("{pattern:?} is no glob: {error}");
            keys.wrong(&format!("match.labels.{label}"), reason)
        })?;
        labels.insert(label, matcher);
    }
    Ok(Wants {
        verdict,
        severity,
        resolved: section.resolved.unwrap_or(true),
        runtimes: matches.runtime,
        exes,
        labels,
    })
}

fn glob(pattern: &str) -> Result<GlobMatcher, globset::Error> {
    Ok(GlobBuilder::new(pattern).build()?.compile_matcher())
}

fn pace(keys: &Keys, kind: Kind, section: &ReceiverSection) -> Result<Pace, ConfigError> {
    let seconds = Duration::from_secs;
    let millisecond = Duration::from_millis(1);
    let mut pace = Pace::default();
    match kind {
        // It waits and groups itself, and forgets an alert that is not sent again within some minutes.
        Kind::Alertmanager => (pace.group_wait, pace.repeat_interval) = (Duration::ZERO, seconds(60)),
        // What helped then may do harm later.
        Kind::Command => (pace.max_attempts, pace.max_age) = (Some(3), seconds(600)),
        Kind::Webhook | Kind::Log => {}
    }
    let read = |key, text: &Option<String>, value: &mut Duration, least| {
        *value = keys.time(key, text.as_deref(), *value, least)?;
        Ok::<_, ConfigError>(())
    };
    read(
        "group_wait",
        &section.group_wait,
        &mut pace.group_wait,
        Duration::ZERO,
    )?;
    read(
        "repeat_interval",
        &section.repeat_interval,
        &mut pace.repeat_interval,
        seconds(1),
    )?;
    read("max_age", &section.max_age, &mut pace.max_age, seconds(1))?;
    read(
        "retry_first",
        &section.retry_first,
        &mut pace.retry_first,
        millisecond,
    )?;
    read(
        "retry_longest",
        &section.retry_longest,
        &mut pace.retry_longest,
        millisecond,
    )?;
    pace.max_per_minute = section.max_per_minute.unwrap_or(pace.max_per_minute);
    pace.max_attempts = section.max_attempts.or(pace.max_attempts);
    if !(1..=6_000).contains(&pace.max_per_minute) {
        return Err(keys.wrong("max_per_minute", "must be between 1 and 6000"));
    }
    if pace.max_attempts == Some(0) {
        return Err(keys.wrong("max_attempts", "must be at least 1"));
    }
    if pace.retry_first > pace.retry_longest {
        return Err(keys.wrong("retry_first", "is longer than retry_longest"));
    }
    if pace.group_wait > pace.repeat_interval {
        return Err(keys.wrong("group_wait", "is longer than repeat_interval"));
    }
    Ok(pace)
}

fn queue(keys: &Keys, section: &ReceiverSection) -> Result<QueueLimits, ConfigError> {
    let default = QueueLimits::default();
    let bytes = match section.queue_size.as_deref() {
        None => default.bytes,
        Some(text) => parse_size(text)
            .map_err(|error| keys.wrong("queue_size", error.to_string()))?
            .into(),
    };
    let entries = section.queue_entries.unwrap_or(default.entries);
    if !(1..=100_000).contains(&entries) {
        return Err(keys.wrong("queue_entries", "must be between 1 and 100000"));
    }
    if bytes < 64 << 10 {
        return Err(keys.wrong("queue_size", "is too small: at least 64KiB"));
    }
    Ok(QueueLimits { entries, bytes })
}
