//! Who is told about findings, and how: the sections `[notify]` and `[[receiver]]` of the configuration file, checked.

mod sections;

pub use sections::{MatchSection, NotifySection, ReceiverSection, check_url};

use super::ExeFilter;
use globset::GlobMatcher;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Who is told.
#[derive(Clone, Debug)]
pub struct NotifyConfig {
    /// The folder that holds the queues, one folder per receiver; `None` = they are kept in memory only.
    pub state_dir: Option<PathBuf>,
    /// The name of this node in notifications; `None` = the machine's own.
    pub node: Option<String>,
    /// Whether findings are logged though no receiver of the kind "log" is named.
    pub log: bool,
    /// The receivers; no two have the same name.
    pub receivers: Vec<ReceiverConfig>,
}

impl Default for NotifyConfig {
    /// The log is told, and nobody else.
    fn default() -> Self {
        Self {
            state_dir: Some(PathBuf::from(Self::DEFAULT_STATE_DIR)),
            node: None,
            log: true,
            receivers: Vec::new(),
        }
    }
}

impl NotifyConfig {
    /// Where the queues are unless told otherwise.
    pub const DEFAULT_STATE_DIR: &str = "/var/lib/leak-agent";
    /// Receivers that are accepted at most: each has a queue and a worker.
    pub const RECEIVERS_MAX: usize = 32;

    /// Nobody is told anything.
    #[must_use]
    pub const fn nobody() -> Self {
        Self {
            state_dir: None,
            node: None,
            log: false,
            receivers: Vec::new(),
        }
    }
}

/// One receiver.
#[derive(Clone, Debug)]
pub struct ReceiverConfig {
    /// Its name: letters, digits, `-` and `_`, for it names a folder and a label.
    pub name: String,
    /// How it is reached.
    pub target: Target,
    /// What it wants to hear.
    pub wants: Wants,
    /// How often and how long it is told.
    pub pace: Pace,
    /// What its queue holds at most.
    pub queue: QueueLimits,
    /// The pages about alerts begin with this; `None` = notifications name no page.
    pub runbook_base_url: Option<String>,
    /// Everything is done but the sending: what would be sent is logged.
    pub dry_run: bool,
}

impl ReceiverConfig {
    /// The agent's log, with the defaults.
    #[must_use]
    pub fn log(name: String) -> Self {
        Self {
            name,
            target: Target::Log,
            wants: Wants::default(),
            pace: Pace::default(),
            queue: QueueLimits::default(),
            runbook_base_url: None,
            dry_run: false,
        }
    }
}

/// How a receiver is reached.
#[derive(Clone, Debug)]
pub enum Target {
    /// Our own JSON by POST.
    Webhook(HttpTarget),
    /// The API of Alertmanager, version 2: POST to `/api/v2/alerts` below the URL.
    Alertmanager(HttpTarget),
    /// A program of the team's own: JSON on its standard input.
    Command(CommandTarget),
    /// A line in the agent's log.
    Log,
}

impl Target {
    /// Its name in the configuration and in metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Alertmanager(_) => "alertmanager",
            Self::Command(_) => "command",
            Self::Log => "log",
        }
    }
}

/// A receiver that is reached by HTTP. What is secret comes from files, which are read when the agent starts.
#[derive(Clone, Debug)]
pub struct HttpTarget {
    /// Where to.
    pub url: UrlSource,
    /// The key that bodies are signed with; `None` = they are not signed.
    pub secret_file: Option<PathBuf>,
    /// The value of the header `Authorization`; `None` = there is none.
    pub authorization_file: Option<PathBuf>,
    /// Certificates of the authorities that are trusted, PEM; `None` = those of the system.
    pub ca_file: Option<PathBuf>,
    /// A connection, with TLS, must stand within this time.
    pub connect_timeout: Duration,
    /// All of one attempt must be done within this time.
    pub timeout: Duration,
}

/// Where a URL is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlSource {
    /// In the configuration.
    Plain(String),
    /// In a file of its own, because it holds a token.
    File(PathBuf),
}

/// A program to be run.
#[derive(Clone, Debug)]
pub struct CommandTarget {
    /// The program's absolute path and its arguments. No shell reads them.
    pub argv: Vec<String>,
    /// It is killed, with its process group, after this time.
    pub timeout: Duration,
}

/// The verdicts that are told, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Growth that may be a leak.
    Suspect,
    /// A leak.
    Leak,
}

/// How bad a finding is, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Slow.
    Yellow,
    /// Fast, or close to a limit.
    Red,
}

/// What a receiver wants to hear.
#[derive(Clone, Debug)]
pub struct Wants {
    /// At least this verdict.
    pub verdict: Verdict,
    /// At least this severity.
    pub severity: Severity,
    /// Whether it is told when a finding that it was told of is over.
    pub resolved: bool,
    /// Of which runtimes; empty = of all.
    pub runtimes: Vec<String>,
    /// Of which executables.
    pub exes: ExeFilter,
    /// Patterns that labels must match. A label that a finding does not have counts as empty.
    pub labels: BTreeMap<String, GlobMatcher>,
}

impl Default for Wants {
    fn default() -> Self {
        Self {
            verdict: Verdict::Leak,
            severity: Severity::Yellow,
            resolved: true,
            runtimes: Vec::new(),
            exes: ExeFilter::default(),
            labels: BTreeMap::new(),
        }
    }
}

/// How often and how long a receiver is told.
#[derive(Clone, Debug)]
pub struct Pace {
    /// After the first news of an executable, wait so long for more of it.
    pub group_wait: Duration,
    /// What is still so is told again after this time.
    pub repeat_interval: Duration,
    /// Notifications per minute.
    pub max_per_minute: u32,
    /// A notification is given up after so many attempts; `None` = never for that reason.
    pub max_attempts: Option<u32>,
    /// A notification is given up when it is this old.
    pub max_age: Duration,
    /// The first pause after a failed attempt; it doubles with each.
    pub retry_first: Duration,
    /// The longest pause between two attempts; what `Retry-After` asks for is cut to it, too.
    pub retry_longest: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            group_wait: Duration::from_secs(10),
            repeat_interval: Duration::from_secs(4 * 3_600),
            max_per_minute: 30,
            max_attempts: None,
            max_age: Duration::from_secs(24 * 3_600),
            retry_first: Duration::from_secs(1),
            retry_longest: Duration::from_secs(300),
        }
    }
}

/// What a queue holds at most; then its oldest entries are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Notifications.
    pub entries: usize,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            entries: 1_000,
            bytes: 16 << 20,
        }
    }
}

#[cfg(test)]
mod tests;
