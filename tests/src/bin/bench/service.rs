//! The agent as a service under measurement: its own binary with its defaults.

use crate::process::cpu_ns;
use leak_agent::report::Report;
use leak_agent_tests::wait::until;
use leak_agent_tests::{agent, http};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// `leak-agent run`. Dropping it ends it.
pub(crate) struct Service {
    child: Child,
    address: SocketAddr,
}

/// What the agent used over a while.
pub(crate) struct Usage {
    /// Cores: 0.05 = 5 % of one.
    pub(crate) cores: f64,
    /// Milliseconds per tick.
    pub(crate) tick_ms: f64,
    /// Resident memory at the end, MiB.
    pub(crate) resident_mib: f64,
}

impl Service {
    /// Starts it and waits until everything found is attached.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let address = agent::free_port();
        let child = Command::new(agent::binary())
            .args(["run", "--listen", &address.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let service = Self { child, address };
        until("the agent is ready", || {
            let (status, text) = http::get(address, "/report").map_err(|error| error.to_string())?;
            let report: Report = serde_json::from_str(&text).map_err(|error| format!("{status}: {error}"))?;
            report.agent.waiting_for.map_or(Ok(()), Err)
        });
        service
    }

    /// Its newest report.
    pub(crate) fn report(&self) -> Report {
        let (_, text) = http::get(self.address, "/report").unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// One of its counters.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.report()
            .agent
            .counters
            .get(name)
            .copied()
            .unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it uses over this time.
    pub(crate) fn usage(&self, time: Duration) -> Usage {
        let (before, cpu, begin) = (self.report(), cpu_ns(self.pid()), Instant::now());
        std::thread::sleep(time);
        let (cpu, elapsed) = (cpu_ns(self.pid()) - cpu, begin.elapsed());
        let after = self.report();
        let grown = |name: &str| {
            let at = |report: &Report| report.agent.counters.get(name).copied().unwrap_or_default();
            (at(&after) - at(&before)) as f64
        };
        Usage {
            cores: cpu as f64 / elapsed.as_nanos() as f64,
            tick_ms: grown("ticks_ns") / grown("ticks") / 1e6,
            resident_mib: after.agent.resident_bytes as f64 / f64::from(1 << 20),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
