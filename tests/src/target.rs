//! A running target program: commands in, truths out, killed at the end.

use crate::truth::Truth;
use crate::wait::DEADLINE;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// A program of `programs/` that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Target {
    child: Child,
    stdin: ChildStdin,
    truths: Receiver<Truth>,
    /// Truths of other processes (children of this one) that came while waiting for this one's.
    others: Vec<Truth>,
    /// Its first truth.
    pub start: Truth,
}

impl Target {
    /// Starts it and waits for its first truth.
    #[must_use]
    pub fn start(program: &Path) -> Self {
        Self::start_with(program, &[] as &[&str])
    }

    /// As [`Self::start`], with arguments.
    #[must_use]
    pub fn start_with<S: AsRef<OsStr>>(program: &Path, arguments: &[S]) -> Self {
        Self::run(program, Command::new(program).args(arguments))
    }

    /// As [`Self::start`], with every allocation in a mapping of its own, so that its memory goes back to the kernel as soon as
    /// it is freed.
    #[must_use]
    pub fn start_unmapping(program: &Path) -> Self {
        Self::run(program, Command::new(program).env("MALLOC_MMAP_THRESHOLD_", "64"))
    }

    fn run(program: &Path, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let stdin = child.stdin.take().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, truths) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                let truth = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if sender.send(truth).is_err() {
                    return;
                }
            }
        });
        let mut target = Self {
            child,
            stdin,
            truths,
            others: Vec::new(),
            start: Truth::default(),
        };
        target.start = target.answer();
        target
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives a command and waits for the answer, that is until the program stands still again.
    pub fn command(&mut self, command: &str) -> Truth {
        self.tell(command);
        self.answer()
    }

    /// Gives a command and does not wait.
    pub fn tell(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").expect("the target is gone");
    }

    /// The next truth of this process.
    pub fn answer(&mut self) -> Truth {
        loop {
            let truth = self.next();
            if truth.pid == self.pid() {
                return truth;
            }
            self.others.push(truth);
        }
    }

    /// The next truth of a child of this process.
    pub fn answer_of_child(&mut self) -> Truth {
        if !self.others.is_empty() {
            return self.others.remove(0);
        }
        let truth = self.next();
        assert_ne!(
            truth.pid,
            self.pid(),
            "no child was expected to speak before its parent"
        );
        truth
    }

    fn next(&mut self) -> Truth {
        // Storms of millions take their time on a slow machine.
        match self.truths.recv_timeout(4 * DEADLINE) {
            Ok(truth) => truth,
            Err(error) => panic!("the target gave no answer: {error}; it {}", self.state()),
        }
    }

    fn state(&mut self) -> String {
        match self.child.try_wait() {
            Ok(None) => "still runs".to_owned(),
            Ok(Some(status)) => format!(
                "ended with code {:?}, signal {:?}",
                status.code(),
                status.signal()
            ),
            Err(error) => error.to_string(),
        }
    }

    /// Kills it with SIGKILL and waits for its end.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
