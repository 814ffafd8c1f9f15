//! What the operator wants: plain values, checked, with their defaults. Where they come from (flags,
//! environment) is the command line's business.

pub mod notify;
pub mod policy;

pub use notify::NotifyConfig;
pub use policy::{FileConfig, Policy};

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What to follow and how.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Only these processes; empty = all.
    pub pids: Vec<u32>,
    /// Only processes whose executable's path matches one of these; empty = all.
    pub exes: ExeFilter,
    /// Folders in which separate debug files may lie, next to the usual places.
    pub debug_dirs: Vec<PathBuf>,
    /// How often counts are read and a report is made. At least [`AgentConfig::SHORTEST_INTERVAL`].
    pub interval: Duration,
    /// How often our counts are compared with the runtimes' own books in the memory of the processes.
    pub reconcile: Duration,
    /// How tasks of runtimes in user space are counted.
    pub mode: Mode,
    /// How often the books of a process without probes are read.
    pub watch_interval: Duration,
    /// Walks through the tasks of all processes without probes take at most this share of one core, in percent.
    pub books_share: f64,
    /// Whether the agent follows itself, too.
    pub follow_self: bool,
    /// `false` = no BPF: threads are counted from `/proc`.
    pub bpf: bool,
    /// Size of the ring buffer, bytes: a power of two, at least one page.
    pub ring_bytes: u32,
    /// Rows in the kernel's map of totals: sites of all processes together.
    pub max_sites: u32,
    /// Rows of that map that one process may have; its further sites are folded into one.
    pub max_sites_per_process: u32,
    /// Processes that are followed at most; the others are counted as missed.
    pub max_processes: u32,
    /// Creation stacks that one process may send per second.
    pub stacks_per_second: u32,
    /// Bytes of stack that are copied at the creation of a thread: a multiple of the piece size of the wire
    /// contract, at most its cap.
    pub stack_bytes: u32,
    /// Whether the kernel measures the run time of our programs (`kernel.bpf_stats`): costs some 30 ns per hit.
    pub stats: bool,
    /// One of so many spawns and finishes is streamed to user space; `None` = no stream.
    pub stream_every: Option<u32>,
    /// How leaks are told from load, and whose they are.
    pub policy: Arc<Policy>,
    /// Who is told about findings.
    pub notify: NotifyConfig,
    /// Where to record what reaches the engine; `None` = nowhere.
    pub record: Option<RecordConfig>,
}

/// A tape of what reaches the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordConfig {
    /// The file that is written. Older ones are beside it: `.1` is the newest of them.
    pub path: PathBuf,
    /// A file of this many bytes is full, and the next one is begun.
    pub bytes_max: u64,
    /// Files that are kept, with the one that is written; at least 1.
    pub files: u32,
}

impl AgentConfig {
    /// The shortest interval that is accepted: below, reading the counts costs more than it tells.
    pub const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);
    /// The shortest time between two readings of the same books.
    pub const SHORTEST_RECONCILE: Duration = Duration::from_millis(100);
    /// How often the books of a process without probes may be read.
    pub const WATCH_INTERVALS: RangeInclusive<Duration> =
        Duration::from_millis(100)..=Duration::from_secs(3600);
    /// What [`AgentConfig::books_share`] may be, in percent.
    pub const BOOKS_SHARES: RangeInclusive<f64> = 0.01..=50.0;
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            pids: Vec::new(),
            exes: ExeFilter::default(),
            debug_dirs: Vec::new(),
            interval: Duration::from_secs(1),
            reconcile: Duration::from_secs(30),
            mode: Mode::Trace,
            watch_interval: Duration::from_secs(5),
            books_share: 0.5,
            follow_self: false,
            bpf: true,
            ring_bytes: 4 << 20,
            max_sites: 65_536,
            max_sites_per_process: 4_096,
            max_processes: 8_192,
            stacks_per_second: 200,
            stack_bytes: 16 * 1024,
            stats: false,
            stream_every: None,
            policy: Arc::default(),
            notify: NotifyConfig::default(),
            record: None,
        }
    }
}

/// How tasks of runtimes in user space are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// By probes, each spawn and each end.
    #[default]
    Trace,
    /// By reading the runtimes' own books in the memory of the processes, again and again: no probes.
    Watch,
    /// As [`Self::Watch`], and by probes from when the tasks of a process grow.
    Auto,
}

impl Mode {
    /// Its name.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Watch => "watch",
            Self::Auto => "auto",
        }
    }
}

/// How much of a report becomes metrics: the cap on cardinality.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Processes that get series of their own (those with the most live tasks); the rest is folded into one.
    pub processes: usize,
    /// Sites per process and runtime that get series of their own (those with the most live tasks); the rest
    /// is folded into one.
    pub sites: usize,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            processes: 500,
            sites: 10,
        }
    }
}

/// How the agent is reached.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Connections served at the same time; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// A request's head must have arrived within this time.
    pub head_timeout: Duration,
    /// A connection is closed after this time, whatever happens on it.
    pub connection_timeout: Duration,
    /// Without a new report for this long, the agent counts as stuck.
    pub stalled_after: Duration,
    /// What /metrics shows.
    pub metrics: MetricsConfig,
}

impl HttpConfig {
    /// Where the agent listens unless told otherwise.
    pub const DEFAULT_LISTEN: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9750);

    /// The defaults, on this address.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            max_connections: 64,
            head_timeout: Duration::from_secs(5),
            connection_timeout: Duration::from_secs(60),
            stalled_after: Duration::from_secs(60),
            metrics: MetricsConfig::default(),
        }
    }
}

/// Which executables are wanted: globs over the path, as the process sees it. `*` also matches `/`.
#[derive(Clone, Default)]
pub struct ExeFilter {
    patterns: Vec<String>,
    set: globset::GlobSet,
}

impl ExeFilter {
    /// Compiles the patterns. A pattern without `/` is matched against the file's name alone.
    ///
    /// # Errors
    ///
    /// The first pattern that is no glob.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, ConfigError> {
        let mut set = globset::GlobSetBuilder::new();
        for pattern in patterns {
            let pattern = pattern.as_ref();
            let name_only = !pattern.contains('/');
            let anchored = if name_only {
                format!("**/{pattern}")
            } else {
                pattern.to_owned()
            };
            let glob = globset::GlobBuilder::new(&anchored)
                .literal_separator(name_only) // else `app*` would match /srv/app/other
                .build()
                .map_err(|source| ConfigError::Glob {
                    pattern: pattern.to_owned(),
                    source,
                })?;
            set.add(glob);
        }
        let set = set.build().map_err(|source| ConfigError::Glob {
            pattern: String::new(),
            source,
        })?;
        Ok(Self {
            patterns: patterns
                .iter()
                .map(|pattern| pattern.as_ref().to_owned())
                .collect(),
            set,
        })
    }

    /// The patterns, as they were given.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Whether everything is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a process with this executable is wanted. `None` (the path could not be read) is wanted only
    /// by the empty filter.
    #[must_use]
    pub fn wants(&self, exe: Option<&str>) -> bool {
        self.is_empty() || exe.is_some_and(|exe| self.set.is_match(exe))
    }
}

impl fmt::Debug for ExeFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ExeFilter").field(&self.patterns).finish()
    }
}

/// Why a value is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not a glob.
    #[error("pattern {pattern:?} is no glob")]
    Glob {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        source: globset::Error,
    },
    /// Not a duration.
    #[error("{text:?} is no duration: write a number and ms, s, m or h, like 500ms or 5s")]
    Duration {
        /// What was given.
        text: String,
    },
    /// A configuration file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A configuration file is not accepted.
    #[error("{path}", path = path.display())]
    InFile {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Box<ConfigError>,
    },
    /// A configuration file is no TOML, or has a key that nobody knows.
    #[error("{0}")]
    Toml(String),
    /// A value of a configuration file cannot be meant.
    #[error("{key}: {reason}")]
    Refused {
        /// Its key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not a size.
    #[error("{text:?} is no size: write a number and KiB or MiB, like 4MiB")]
    Size {
        /// What was given.
        text: String,
    },
}

/// Reads a duration: a number (a fraction is allowed) and `ms`, `s`, `m` or `h`.
///
/// # Errors
///
/// Anything else, and what does not fit.
pub fn parse_duration(text: &str) -> Result<Duration, ConfigError> {
    let bad = || ConfigError::Duration {
        text: text.to_owned(),
    };
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(bad)?;
    let (number, unit) = text.split_at(unit_at);
    let in_unit = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(bad()),
    };
    let digits = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = number.parse().ok().filter(|_| digits).ok_or_else(bad)?;
    let seconds = number * in_unit;
    // A century is longer than any wait that is meant.
    if !(0.0..3.2e9).contains(&seconds) {
        return Err(bad());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| bad())
}

/// Reads a size in bytes: a whole number and `KiB` or `MiB`.
///
/// # Errors
///
/// Anything else, and what does not fit into 32 bits.
pub fn parse_size(text: &str) -> Result<u32, ConfigError> {
    let bad = || ConfigError::Size {
        text: text.to_owned(),
    };
    let (number, factor) = if let Some(number) = text.strip_suffix("KiB") {
        (number, 1 << 10)
    } else if let Some(number) = text.strip_suffix("MiB") {
        (number, 1 << 20)
    } else {
        return Err(bad());
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    number
        .parse::<u32>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Durations in all units are read to the millisecond.
    #[test]
    fn duration_in_each_unit_is_read() {
        for (text, ms) in [
            ("500ms", 500),
            ("5s", 5_000),
            ("1.5s", 1_500),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_millis(ms), "{text}");
        }
    }

    /// What is no duration is an error that repeats what was given.
    #[test]
    fn duration_without_unit_or_number_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "5 s",
            "5sec",
            "1e3s",
            "nans",
            "infs",
            "9999999999h",
            "5s5s",
            "１s",
        ] {
            let error = parse_duration(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?}")), "{error}");
        }
    }

    /// Sizes are whole numbers of KiB or MiB that fit.
    #[test]
    fn size_with_unit_is_read_and_others_refused() {
        assert_eq!(parse_size("4MiB").unwrap(), 4 << 20);
        assert_eq!(parse_size("64KiB").unwrap(), 64 << 10);
        for text in ["", "4", "MiB", "-1MiB", "4096MiB", "1.5MiB", "4MB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    /// A glob with a slash is matched against the whole path, one without against the name.
    #[test]
    fn exe_filter_matches_paths_and_names() {
        let filter = ExeFilter::new(&["/usr/*/nginx", "my-*"]).unwrap();
        assert!(filter.wants(Some("/usr/sbin/nginx")));
        assert!(filter.wants(Some("/opt/app/my-service")));
        assert!(!filter.wants(Some("/opt/nginx")));
        assert!(!filter.wants(None));
        assert!(ExeFilter::default().wants(None));
        assert!(ExeFilter::new(&["a[", "b"]).is_err());
    }
}
