//! The agent as its users run it: the real binary, its flags, its port, its signals.

use crate::http;
use crate::programs;
use crate::wait::until;
use leak_agent::report::{Process, Report, Runtime};
use std::ffi::OsStr;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// The time between two ticks, where a test says nothing else.
const TICK: Duration = Duration::from_millis(100);

/// Path of the agent under test: `$LEAK_AGENT`, else what this workspace has built (release, else debug).
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("LEAK_AGENT") {
        return path.into();
    }
    let target = programs::target();
    let built = |profile: &str| target.parent().unwrap().join(profile).join("leak-agent");
    let modified = |path: &PathBuf| path.metadata().and_then(|meta| meta.modified()).ok();
    [built("release"), built("debug")]
        .into_iter()
        .filter(|path| path.exists())
        .max_by_key(modified)
        .expect("no agent to test: cargo build -p leak-agent, or set LEAK_AGENT")
}

/// Runs the agent with these arguments to its end.
pub fn run<S: AsRef<OsStr>>(arguments: &[S]) -> Output {
    Command::new(binary())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// A port nobody listens on at the moment.
#[must_use]
pub fn free_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// `leak-agent run`. Dropping it kills it.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Agent {
    /// Starts it on these executables only and waits until it is ready.
    #[must_use]
    pub fn on(executables: &[&Path]) -> Self {
        let mut arguments = Vec::new();
        for path in executables {
            arguments.push(OsStr::new("--exe"));
            arguments.push(path.as_os_str());
        }
        Self::start(&arguments)
    }

    /// Starts it with these further arguments and waits until it is ready.
    #[must_use]
    pub fn start<S: AsRef<OsStr>>(arguments: &[S]) -> Self {
        Self::start_unready(arguments).once_ready()
    }

    /// The same, with another time between two ticks: all other tests have 100 ms.
    #[must_use]
    pub fn start_every<S: AsRef<OsStr>>(tick: Duration, arguments: &[S]) -> Self {
        Self::start_ticking(Command::new(binary()), tick, arguments).once_ready()
    }

    /// Waits until it is ready.
    #[must_use]
    pub fn once_ready(mut self) -> Self {
        until("the agent is ready", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the agent ended with {status}: {}", self.log());
            }
            let report = self.try_report()?;
            match report.agent.waiting_for {
                None => Ok(()),
                Some(reason) => Err(format!("waiting for {reason}")),
            }
        });
        self
    }

    /// Starts it as root with these capabilities and no others ("bpf", "sys_ptrace"), which it can never get back, and
    /// does not wait. Where the kernel has more of them than `setpriv` knows, those are gone, too.
    #[must_use]
    pub fn start_with_capabilities<S: AsRef<OsStr>>(capabilities: &[&str], arguments: &[S]) -> Self {
        let mut bounding = "-all".to_owned();
        for capability in capabilities {
            bounding.push_str(",+");
            bounding.push_str(capability);
        }
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--bounding-set={bounding}"))
            .args(["--inh-caps=-all", "--no-new-privs", "--"])
            .arg(binary());
        Self::start_command(command, arguments)
    }

    /// Starts it and does not wait.
    #[must_use]
    pub fn start_unready<S: AsRef<OsStr>>(arguments: &[S]) -> Self {
        Self::start_command(Command::new(binary()), arguments)
    }

    /// `command` becomes the agent; its process id stays.
    fn start_command<S: AsRef<OsStr>>(command: Command, arguments: &[S]) -> Self {
        Self::start_ticking(command, TICK, arguments)
    }

    fn start_ticking<S: AsRef<OsStr>>(mut command: Command, tick: Duration, arguments: &[S]) -> Self {
        let tick = format!("{}ms", tick.as_millis());
        let address = free_port();
        let log = programs::target().join(format!("agent-{}.log", address.port()));
        let child = command
            .arg("run")
            .args(["--interval", &tick, "--listen", &address.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, address, log }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its newest report.
    ///
    /// # Errors
    ///
    /// No answer, or not a report.
    pub fn try_report(&self) -> Result<Report, String> {
        let (status, body) = http::get(self.address, "/report").map_err(|error| error.to_string())?;
        if status != 200 {
            return Err(format!("status {status}: {body}"));
        }
        serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))
    }

    /// Its newest report.
    #[must_use]
    pub fn report(&self) -> Report {
        self.try_report()
            .unwrap_or_else(|error| panic!("no report: {error}; log: {}", self.log()))
    }

    /// A report whose counts were read after this call began.
    #[must_use]
    pub fn next_report(&self) -> Report {
        // The one that is being made now may have read its counts before.
        let being_made = self.report_after(self.report().taken_at);
        self.report_after(being_made.taken_at)
    }

    fn report_after(&self, taken_at: f64) -> Report {
        until("a newer report", || {
            let report = self.try_report()?;
            if report.taken_at > taken_at {
                Ok(report)
            } else {
                Err("the same".to_owned())
            }
        })
    }

    /// One living process of the newest report.
    ///
    /// # Errors
    ///
    /// It is not in the report.
    pub fn process(&self, pid: u32) -> Result<Process, String> {
        let report = self.try_report()?;
        report
            .processes
            .into_iter()
            .find(|process| process.pid == pid && process.alive)
            .ok_or_else(|| format!("process {pid} is not in the report"))
    }

    /// One runtime of one living process of the newest report.
    ///
    /// # Errors
    ///
    /// It is not in the report.
    pub fn runtime(&self, pid: u32, runtime: &str) -> Result<Runtime, String> {
        self.process(pid)?
            .runtimes
            .into_iter()
            .find(|found| found.runtime == runtime)
            .ok_or_else(|| format!("process {pid} has no runtime {runtime} in the report"))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Its exit status, once it has ended.
    pub fn ended(&mut self) -> std::process::ExitStatus {
        until("the agent's end", || {
            self.child.try_wait().unwrap().ok_or("it runs")
        })
    }
}

impl Agent {
    /// Tells it to end and checks that it does as soon as promised; see [`crate::ending`].
    pub fn end_in_time(&mut self, signal: rustix::process::Signal) -> std::process::ExitStatus {
        crate::ending::end_in_time(&mut self.child, signal)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            report_log(&self.log());
        }
        let _ = std::fs::remove_file(&self.log);
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the agent's log belongs to a failed test's output"
)]
fn report_log(log: &str) {
    let lines: Vec<_> = log.lines().collect();
    eprintln!(
        "the agent's last words:\n{}",
        lines[lines.len().saturating_sub(40)..].join("\n")
    );
}
