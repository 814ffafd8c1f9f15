//! Flags, their help and their twins in the environment.

mod dump;
mod replay;

pub(super) use dump::{DumpArgs, DumpFormat};
pub(super) use replay::{ReplayArgs, ReplayFormat, Speed};

use crate::config::{
    AgentConfig, ConfigError, ExeFilter, FileConfig, HttpConfig, Mode, RecordConfig, parse_duration,
    parse_size,
};
use clap::builder::{BoolishValueParser, RangedU64ValueParser};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use leak_agent_common::settings::{STACK_CAP, STACK_PIECE};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const ABOUT: &str = "Finds thread and task leaks from outside: exact live counts of OS threads, tokio tasks and goroutines per \
spawn site, in unmodified processes";

const AFTER: &str = "\
Examples:
  sudo leak-agent top                            what lives on this node, live
  sudo leak-agent report --pid 1234 --for 10s    one process and its spawn sites
  sudo leak-agent report --exe 'my-*' --format json
  sudo leak-agent dump 1234                      where its tasks are: stacks, grouped
  sudo leak-agent run --listen 0.0.0.0:9750      as a service: /metrics, /report, /healthz, /readyz
  sudo leak-agent --mode watch top               without probes: live counts from the memory of the processes
  leak-agent --no-bpf top                        without BPF, and as far as the privileges go

Every flag has a twin in the environment: --max-sites is LEAK_AGENT_MAX_SITES. A flag wins over it.

Exit codes: 0 done; 1 failed; 2 wrong flags or environment; 3 no process matched --pid or --exe.
Data goes to standard output, logs and errors to standard error.";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "leak-agent", version, about = ABOUT, after_help = AFTER, max_term_width = 100)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) agent: AgentArgs,
    #[command(flatten)]
    pub(super) log: LogArgs,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run as a service: follow processes and serve metrics and reports over HTTP
    Run(RunArgs),
    /// Follow processes for a while, print one report, and end
    Report(ReportArgs),
    /// Show what lives, continuously
    Top(TopArgs),
    /// Print where the tasks of one process are: the stacks of goroutines and threads, grouped; nothing is stopped
    Dump(DumpArgs),
    /// Check a configuration file, or print one with all defaults
    Config {
        /// What to do
        #[command(subcommand)]
        what: ConfigCommand,
    },
    /// Make reports of what `run --record` has recorded
    Replay(ReplayArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man {
        /// Of this subcommand
        subcommand: Option<String>,
    },
    /// Load the BPF programs into this kernel, say what it offers, and end
    #[command(hide = true)]
    BpfCheck {
        /// Another object than the agent's own
        object: Option<PathBuf>,
    },
    /// Print a generated document
    #[command(hide = true)]
    Document {
        /// Which one
        #[arg(value_enum)]
        what: Document,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say what is wrong with a configuration file
    Check {
        /// The file; without it, that of --config
        file: Option<PathBuf>,
    },
    /// Print a configuration file with every key at its default
    Example,
    /// Send the receivers of the configuration file a test notification each, and say what came of it
    TestNotify {
        /// Only the receiver of this name
        receiver: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Document {
    /// docs/METRICS.md
    Metrics,
    /// docs/report.schema.json
    ReportSchema,
}

/// What every subcommand that follows processes understands.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Following")]
pub(super) struct AgentArgs {
    /// Read thresholds, labels, suppressions and exceptions of the detectors from this file (TOML); `leak-agent config
    /// example` prints one with all defaults
    #[arg(
        long = "config",
        global = true,
        env = "LEAK_AGENT_CONFIG",
        value_name = "FILE"
    )]
    config_file: Option<PathBuf>,
    /// Read counts and make a report this often (like 500ms, 5s)
    #[arg(long, global = true, env = "LEAK_AGENT_INTERVAL", value_name = "TIME", default_value = "1s",
          value_parser = parse_interval)]
    interval: Duration,
    /// Compare our counts with the runtimes' own books, in the memory of the processes, this often (like 5s, 1m); SIGUSR1
    /// has `run` do it at once
    #[arg(long, global = true, env = "LEAK_AGENT_RECONCILE", value_name = "TIME", default_value = "30s",
          value_parser = parse_reconcile)]
    reconcile: Duration,
    /// How to count tasks; threads are always counted, with BPF exactly and without cost to speak of
    #[arg(
        long,
        global = true,
        env = "LEAK_AGENT_MODE",
        value_name = "MODE",
        value_enum,
        default_value = "trace"
    )]
    mode: FollowMode,
    /// Read the memory of each process that has no probes this often (like 5s, 1m)
    #[arg(long, global = true, env = "LEAK_AGENT_WATCH_INTERVAL", value_name = "TIME", default_value = "5s",
          value_parser = parse_watch_interval)]
    watch_interval: Duration,
    /// Walk through the tasks of all processes without probes with at most so many percent of a core, together; then their
    /// sites are read less often than their counters
    #[arg(long, global = true, env = "LEAK_AGENT_BOOKS_SHARE", value_name = "PERCENT", default_value = "0.5",
          hide_short_help = true, value_parser = parse_books_share)]
    books_share: f64,
    /// Use no BPF: count threads from /proc, and tasks from the memory of the processes (--mode watch), as far as that
    /// may be read
    #[arg(long, global = true, env = "LEAK_AGENT_NO_BPF", action = ArgAction::SetTrue,
          value_parser = BoolishValueParser::new())]
    no_bpf: bool,
    /// Follow the agent itself, too
    #[arg(long, global = true, env = "LEAK_AGENT_FOLLOW_SELF", action = ArgAction::SetTrue,
          value_parser = BoolishValueParser::new())]
    follow_self: bool,
    /// Look for the debug files of stripped programs here, too: DIR/.build-id/xx/yyyy.debug, or DIR/NAME by
    /// .gnu_debuglink; may be repeated, or a list with colons
    #[arg(
        long = "debug-dir",
        global = true,
        env = "LEAK_AGENT_DEBUG_DIR",
        value_name = "DIR",
        value_delimiter = ':'
    )]
    debug_dirs: Vec<PathBuf>,
    /// Follow at most so many processes; the others are counted as missed
    #[arg(long, global = true, env = "LEAK_AGENT_MAX_PROCESSES", value_name = "N", default_value = "8192",
          hide_short_help = true, value_parser = RangedU64ValueParser::<u32>::new().range(1..=1_000_000))]
    max_processes: u32,
    /// Count at most so many spawn sites, of all processes together; the others are folded into one per process
    #[arg(long, global = true, env = "LEAK_AGENT_MAX_SITES", value_name = "N", default_value = "65536",
          hide_short_help = true, value_parser = RangedU64ValueParser::<u32>::new().range(1..=4_000_000))]
    max_sites: u32,
    /// Count at most so many spawn sites per process
    #[arg(long, global = true, env = "LEAK_AGENT_MAX_SITES_PER_PROCESS", value_name = "N", default_value = "4096",
          hide_short_help = true, value_parser = RangedU64ValueParser::<u32>::new().range(1..=4_000_000))]
    max_sites_per_process: u32,
    /// Size of the ring buffer between kernel and agent: a power of two (like 4MiB)
    #[arg(long, global = true, env = "LEAK_AGENT_RING", value_name = "SIZE", default_value = "4MiB",
          hide_short_help = true, value_parser = parse_ring)]
    ring: u32,
    /// Creation stacks that one process may send per second
    #[arg(
        long,
        global = true,
        env = "LEAK_AGENT_STACKS_PER_SECOND",
        value_name = "N",
        default_value = "200",
        hide_short_help = true
    )]
    stacks_per_second: u32,
    /// Bytes of stack copied when a thread is created: a multiple of 1KiB, at most 16KiB
    #[arg(long, global = true, env = "LEAK_AGENT_STACK_BYTES", value_name = "SIZE", default_value = "16KiB",
          hide_short_help = true, value_parser = parse_stack)]
    stack_bytes: u32,
    /// Have the kernel measure the run time of our programs; costs some 30 ns per hit
    #[arg(long, global = true, env = "LEAK_AGENT_STATS", action = ArgAction::SetTrue,
          hide_short_help = true, value_parser = BoolishValueParser::new())]
    stats: bool,
    /// Send one of so many spawns and ends through the ring, for debugging; counts do not need it
    #[arg(long, global = true, env = "LEAK_AGENT_STREAM_EVERY", value_name = "N",
          hide_short_help = true, value_parser = RangedU64ValueParser::<u32>::new().range(1..))]
    stream_every: Option<u32>,
}

/// How tasks are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum FollowMode {
    /// Probes in the executables: each spawn and end is counted; costs the process about a microsecond per task
    Trace,
    /// No probes: live tasks per spawn site, read from the runtime's own lists in memory, every --watch-interval
    Watch,
    /// Watch, and probes for the executable of a process whose live count grows
    Auto,
}

/// Which processes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Processes")]
pub(super) struct FilterArgs {
    /// Only this process; may be repeated, or a list with commas
    #[arg(long = "pid", short = 'p', env = "LEAK_AGENT_PID", value_name = "PID", value_delimiter = ',',
          value_parser = RangedU64ValueParser::<u32>::new().range(1..=4_194_304))]
    pub(super) pids: Vec<u32>,
    /// Only processes whose executable matches this glob: the whole path if it has a slash (* matches slashes, too),
    /// else the file's name; may be repeated, or a list with colons
    #[arg(
        long = "exe",
        short = 'e',
        env = "LEAK_AGENT_EXE",
        value_name = "GLOB",
        value_delimiter = ':'
    )]
    pub(super) exes: Vec<String>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Logging")]
pub(super) struct LogArgs {
    /// What to log: error, warn, info, debug, trace, or directives like info,leak_agent::discovery=debug
    #[arg(long, global = true, env = "LEAK_AGENT_LOG_LEVEL", value_name = "LEVEL", default_value = "warn",
          value_parser = parse_log_filter)]
    pub(super) log_level: LogFilter,
    /// How to log
    #[arg(
        long,
        global = true,
        env = "LEAK_AGENT_LOG_FORMAT",
        value_name = "FORMAT",
        value_enum,
        default_value = "text"
    )]
    pub(super) log_format: LogFormat,
}

/// Directives of a log filter, checked.
#[derive(Clone, Debug)]
pub(super) struct LogFilter(pub(super) String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object per line
    Json,
}

#[derive(Clone, Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) filter: FilterArgs,
    /// Name of this node in notifications; without it that of the configuration file, else the machine's own
    #[arg(help_heading = "Telling", long, env = "LEAK_AGENT_NODE", value_name = "NAME",
          value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(super) node: Option<String>,
    /// Listen on this address and port; "off" = no HTTP
    #[arg(help_heading = "Serving", long, env = "LEAK_AGENT_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:9750",
          value_parser = parse_listen)]
    pub(super) listen: Listen,
    /// Series of their own for so many processes, those with the most live tasks; the others are summed up
    #[arg(
        help_heading = "Serving",
        long,
        env = "LEAK_AGENT_METRICS_PROCESSES",
        value_name = "N",
        default_value = "500"
    )]
    pub(super) metrics_processes: usize,
    /// Series of their own for so many spawn sites per process and runtime; the others are summed up
    #[arg(
        help_heading = "Serving",
        long,
        env = "LEAK_AGENT_METRICS_SITES",
        value_name = "K",
        default_value = "10"
    )]
    pub(super) metrics_sites: usize,
    /// Serve at most so many connections at the same time
    #[arg(help_heading = "Serving", long, env = "LEAK_AGENT_MAX_CONNECTIONS", value_name = "N", default_value = "64",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) max_connections: u16,
    /// Record all that the reports are made of in this file, for `leak-agent replay`. It tells of all processes: only root
    /// may read it. A file that is there is kept as FILE.1
    #[arg(
        help_heading = "Recording",
        long,
        env = "LEAK_AGENT_RECORD",
        value_name = "FILE"
    )]
    record: Option<PathBuf>,
    /// Begin the next file when this one has so many bytes (like 64MiB); the old one becomes FILE.1
    #[arg(help_heading = "Recording", long, env = "LEAK_AGENT_RECORD_MAX_SIZE", value_name = "SIZE", default_value = "64MiB",
          value_parser = parse_record_size)]
    record_max_size: u32,
    /// Keep so many files, the newest
    #[arg(help_heading = "Recording", long, env = "LEAK_AGENT_RECORD_FILES", value_name = "N", default_value = "4",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    record_files: u32,
}

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listen {
    Off,
    On(SocketAddr),
}

#[derive(Clone, Debug, Args)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    pub(super) filter: FilterArgs,
    /// Follow for this long, counted from when everything is attached; 0s = report what lives at once
    #[arg(help_heading = "Report", long = "for", env = "LEAK_AGENT_FOR", value_name = "TIME", default_value = "5s",
          value_parser = parse_duration)]
    pub(super) duration: Duration,
    /// At the end of that time, compare all counts once more with the runtimes' own books and wait for the answers (30 s at
    /// most)
    #[arg(help_heading = "Report", long, env = "LEAK_AGENT_RECONCILE_NOW", action = ArgAction::SetTrue,
          value_parser = BoolishValueParser::new())]
    pub(super) reconcile_now: bool,
    /// How to print it
    #[arg(
        help_heading = "Report",
        long,
        env = "LEAK_AGENT_FORMAT",
        value_name = "FORMAT",
        value_enum,
        default_value = "table"
    )]
    pub(super) format: ReportFormat,
    /// Show so many spawn sites per runtime in the table
    #[arg(
        help_heading = "Report",
        long,
        env = "LEAK_AGENT_SITES",
        value_name = "N",
        default_value = "10"
    )]
    pub(super) sites: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ReportFormat {
    /// Aligned text, for people
    Table,
    /// The whole report (docs/report.schema.json), for programs
    Json,
}

#[derive(Clone, Debug, Args)]
pub(super) struct TopArgs {
    #[command(flatten)]
    pub(super) filter: FilterArgs,
    /// Print one table and end
    #[arg(help_heading = "Output", long, env = "LEAK_AGENT_ONCE", action = ArgAction::SetTrue, conflicts_with = "batch",
          value_parser = BoolishValueParser::new())]
    pub(super) once: bool,
    /// Print so many tables, one per interval, and end; without it and without a terminal: until interrupted
    #[arg(help_heading = "Output", long, short = 'b', env = "LEAK_AGENT_BATCH", value_name = "N",
          value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub(super) batch: Option<u64>,
}

impl AgentArgs {
    /// The configuration file, if one is named.
    pub(super) fn config_file(&self) -> Option<&std::path::Path> {
        self.config_file.as_deref()
    }

    /// The agent's configuration.
    ///
    /// # Errors
    ///
    /// A pattern that is no glob, or what is wrong with the configuration file.
    pub(super) fn config(&self, filter: &FilterArgs) -> Result<AgentConfig, ConfigError> {
        let file = match &self.config_file {
            Some(path) => FileConfig::read(path)?,
            None => FileConfig::default(),
        };
        Ok(AgentConfig {
            pids: filter.pids.clone(),
            exes: ExeFilter::new(&filter.exes)?,
            // What is relative is so to the folder that we were started in.
            debug_dirs: self
                .debug_dirs
                .iter()
                .map(|dir| std::path::absolute(dir).unwrap_or_else(|_| dir.clone()))
                .collect(),
            interval: self.interval,
            reconcile: self.reconcile,
            mode: match self.mode {
                FollowMode::Trace => Mode::Trace,
                FollowMode::Watch => Mode::Watch,
                FollowMode::Auto => Mode::Auto,
            },
            watch_interval: self.watch_interval,
            books_share: self.books_share,
            follow_self: self.follow_self,
            bpf: !self.no_bpf,
            ring_bytes: self.ring,
            max_sites: self.max_sites,
            max_sites_per_process: self.max_sites_per_process,
            max_processes: self.max_processes,
            stacks_per_second: self.stacks_per_second,
            stack_bytes: self.stack_bytes,
            stats: self.stats,
            stream_every: self.stream_every,
            policy: Arc::new(file.policy),
            notify: file.notify,
            record: None,
        })
    }
}

impl RunArgs {
    /// What to record.
    pub(super) fn record(&self) -> Option<RecordConfig> {
        Some(RecordConfig {
            path: self.record.clone()?,
            bytes_max: self.record_max_size.into(),
            files: self.record_files,
        })
    }

    /// The server's configuration; `None` = no server.
    pub(super) fn http(&self, interval: Duration) -> Option<HttpConfig> {
        let Listen::On(address) = self.listen else {
            return None;
        };
        let mut http = HttpConfig::new(address);
        http.max_connections = usize::from(self.max_connections);
        http.metrics.processes = self.metrics_processes;
        http.metrics.sites = self.metrics_sites;
        // A few missed ticks are no reason to be restarted.
        http.stalled_after = http.stalled_after.max(interval.saturating_mul(10));
        Some(http)
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let least = AgentConfig::SHORTEST_INTERVAL;
    match parse_duration(text) {
        Ok(interval) if interval >= least => Ok(interval),
        Ok(_) => Err(format!("{text} is too short: at least {}ms", least.as_millis())),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_reconcile(text: &str) -> Result<Duration, String> {
    let least = AgentConfig::SHORTEST_RECONCILE;
    match parse_duration(text) {
        Ok(time) if time >= least => Ok(time),
        Ok(_) => Err(format!("{text} is too short: at least {}ms", least.as_millis())),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_watch_interval(text: &str) -> Result<Duration, String> {
    let allowed = AgentConfig::WATCH_INTERVALS;
    match parse_duration(text) {
        Ok(time) if allowed.contains(&time) => Ok(time),
        Ok(_) => Err(format!(
            "{text} is not between {}ms and {}h",
            allowed.start().as_millis(),
            allowed.end().as_secs() / 3600
        )),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_books_share(text: &str) -> Result<f64, String> {
    let allowed = AgentConfig::BOOKS_SHARES;
    let share = text.parse().ok().filter(|share| allowed.contains(share));
    share.ok_or_else(|| {
        format!(
            "{text} is no percentage between {} and {}",
            allowed.start(),
            allowed.end()
        )
    })
}

fn parse_record_size(text: &str) -> Result<u32, String> {
    match parse_size(text) {
        Ok(size) if size >= 64 << 10 => Ok(size),
        Ok(_) => Err(format!("{text} is too small: at least 64KiB")),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_ring(text: &str) -> Result<u32, String> {
    match parse_size(text) {
        Ok(size) if size.is_power_of_two() && size >= 4096 => Ok(size),
        Ok(_) => Err(format!("{text} is no power of two of at least 4KiB")),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_stack(text: &str) -> Result<u32, String> {
    match parse_size(text) {
        Ok(size)
            if (STACK_PIECE..=STACK_CAP).contains(&(size as usize))
                && (size as usize).is_multiple_of(STACK_PIECE) =>
        {
            Ok(size)
        }
        Ok(_) => Err(format!("{text} is no multiple of 1KiB up to 16KiB")),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_listen(text: &str) -> Result<Listen, String> {
    if text == "off" {
        return Ok(Listen::Off);
    }
    let address = text.parse().map(Listen::On);
    address.map_err(|_| {
        format!("{text:?} is no address: write IP:PORT, like 127.0.0.1:9750 or [::]:9750, or off")
    })
}

fn parse_log_filter(text: &str) -> Result<LogFilter, String> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(LogFilter(text.to_owned())),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    /// The definition of the command line is consistent in itself.
    #[test]
    fn command_line_is_well_defined() {
        Cli::command().debug_assert();
    }

    /// The defaults of the command line are those of the configuration.
    #[test]
    fn flags_without_values_give_the_default_configuration() {
        let cli = parse("leak-agent run").unwrap();
        let config = cli.agent.config(&FilterArgs::default()).unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", AgentConfig::default()));
        let Command::Run(args) = cli.command else {
            panic!("not run")
        };
        let http = args.http(config.interval).unwrap();
        assert_eq!(
            format!("{http:?}"),
            format!("{:?}", HttpConfig::new(HttpConfig::DEFAULT_LISTEN))
        );
    }

    /// A global flag means the same before and after the subcommand.
    #[test]
    fn global_flag_before_or_after_the_subcommand_is_the_same() {
        for line in [
            "leak-agent --no-bpf --interval 2s top",
            "leak-agent top --no-bpf --interval 2s",
        ] {
            let agent = parse(line).unwrap().agent;
            assert!(agent.no_bpf, "{line}");
            assert_eq!(agent.interval, Duration::from_secs(2), "{line}");
        }
    }

    /// Filters may be repeated or listed.
    #[test]
    fn filters_are_collected() {
        let Command::Report(args) = parse("leak-agent report -p 1 --pid 2,3 -e a*:b").unwrap().command else {
            panic!("not report")
        };
        assert_eq!(
            (args.filter.pids, args.filter.exes),
            (vec![1, 2, 3], vec!["a*".into(), "b".into()])
        );
    }

    /// Values out of range are usage errors that repeat the value.
    #[test]
    fn wrong_values_are_named() {
        for (line, named) in [
            ("leak-agent run --interval 1ms", "1ms"),
            ("leak-agent run --watch-interval 2h", "2h"),
            ("leak-agent run --watch-interval 1ms", "1ms"),
            ("leak-agent run --books-share 0", "0"),
            ("leak-agent run --books-share nan", "nan"),
            ("leak-agent run --mode probe", "probe"),
            ("leak-agent run --ring 5KiB", "5KiB"),
            ("leak-agent run --stack-bytes 1500KiB", "1500KiB"),
            ("leak-agent run --listen localhost", "localhost"),
            ("leak-agent run --stream-every 0", "0"),
            ("leak-agent run --record-max-size 1KiB", "1KiB"),
            ("leak-agent run --record-files 0", "0"),
            ("leak-agent replay a --speed 0", "0"),
            ("leak-agent replay", "<FILE>"),
            ("leak-agent run --log-level a=b=c", "a=b=c"),
            ("leak-agent report --pid 0", "0"),
            ("leak-agent top --batch 0", "0"),
            ("leak-agent top --once --batch 2", "--once"),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(named), "{line}: {error}");
        }
    }
}
