//! How soon and how the agent ends when it is told to.

use crate::agent::binary;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What the agent promises: it ends this soon after SIGINT or SIGTERM, with every probe taken out.
pub const PROMISE: Duration = Duration::from_secs(2);

/// Signals the child, waits for its end, and checks the promise.
///
/// # Panics
///
/// It ended later than promised, or not within ten times that.
pub fn end_in_time(child: &mut Child, signal: Signal) -> ExitStatus {
    let begin = Instant::now();
    kill_process(Pid::from_child(child), signal).unwrap();
    loop {
        let status = child.try_wait().unwrap();
        let took = begin.elapsed();
        match status {
            Some(status) => {
                assert!(took < PROMISE, "{signal:?}: ended after {took:?}");
                return status;
            }
            None => assert!(took < PROMISE * 10, "{signal:?}: does not end"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The agent in any mode; dropping it kills it.
#[derive(Debug)]
pub struct Mode(Child);

impl Mode {
    /// Starts it with these arguments, and does not wait.
    #[must_use]
    pub fn start<S: AsRef<OsStr>>(arguments: &[S]) -> Self {
        let child = Command::new(binary())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    /// See [`end_in_time`].
    pub fn end_in_time(&mut self, signal: Signal) -> ExitStatus {
        end_in_time(&mut self.0, signal)
    }
}

impl Drop for Mode {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
