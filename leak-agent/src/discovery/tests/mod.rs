//! Tests of discovery: the state machine by itself, and with real processes.

mod live;
mod machine;
mod namespace;

use super::*;
use crate::config::ExeFilter;
use crate::elf::Elf;
use crate::source::{HookPlan, Inspection, Source};
use crate::sys::{clock, proc};
use crate::types::{ProcessKey, Runtime};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const RUNTIME: Runtime = Runtime {
    wire: 99,
    label: "marked",
};

fn plan() -> HookPlan {
    HookPlan {
        runtime: RUNTIME,
        version: None,
        points: Vec::new(),
        sites: Vec::new(),
        libraries: Vec::new(),
        gaps: Vec::new(),
        evidence: "a mark at the end of the file".into(),
        finish_is_early: false,
        books: None,
        names: None,
        stacks: None,
    }
}

/// Knows files by their last bytes.
struct Marked;

impl Source for Marked {
    fn runtime(&self) -> Runtime {
        RUNTIME
    }

    fn inspect(&self, elf: &Elf<'_>) -> Inspection {
        let end = elf
            .data
            .get(elf.data.len().saturating_sub(8)..)
            .unwrap_or_default();
        match end {
            b"<plan>.." | b"<plan>.2" => Inspection::Plan(Box::new(plan())),
            b"<panic>." => panic!("a defect, on purpose"),
            b"<cannot>" => Inspection::Unsupported {
                runtime: RUNTIME,
                reason: "it says so".to_owned(),
            },
            _ => Inspection::NotMine,
        }
    }
}

/// A folder that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = fs::canonicalize(std::env::temp_dir())
            .unwrap()
            .join(format!("leak-agent-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// A copy of a system program that ends with this mark.
    fn program(&self, of: &str, name: &str, mark: &str) -> PathBuf {
        let path = self.0.join(name);
        let mut bytes = fs::read(of).unwrap();
        bytes.extend(mark.as_bytes());
        fs::write(&path, bytes).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&path, mode).unwrap();
        path
    }

    fn sleeper(&self, name: &str, mark: &str) -> PathBuf {
        self.program("/bin/sleep", name, mark)
    }

    /// Follows what is executed from this folder.
    fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        settings.filter.exes = ExeFilter::new(&[format!("{}/*", self.0.display())]).unwrap();
        settings
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process that ends with the test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
        // Another test's fork may hold the just written program open for writing for a moment (ETXTBSY).
        for _ in 0..200 {
            match quiet.spawn() {
                Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                started => return Self(started.unwrap()),
            }
        }
        panic!("the program stays busy: {command:?}");
    }

    fn sleeping(program: &Path) -> Self {
        Self::start(Command::new(program).arg("1000"))
    }

    fn key(&self) -> ProcessKey {
        key_of(self.0.id())
    }

    /// Waits until its executable is this one.
    fn executing(self, program: &Path) -> Self {
        wait_for(|| fs::read_link(format!("/proc/{}/exe", self.0.id())).is_ok_and(|exe| exe == program));
        self
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// A key that is equal to the process's own, cut to ticks.
fn key_of(pid: u32) -> ProcessKey {
    let start = proc::id_of(pid).unwrap().unwrap().start;
    ProcessKey {
        start_boottime: start.begins().0 + 1_234,
        tgid: pid,
        pad: 0,
    }
}

fn wait_for(mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < until, "what was waited for did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Discovery with its pool and a caller who attaches nothing, but says that it did.
struct World {
    discovery: Discovery,
    pool: Pool,
    answers: Receiver<Done>,
    /// Everything but jobs.
    log: Vec<Action>,
    attach: Result<(), String>,
}

impl World {
    fn new(settings: Settings) -> Self {
        let (sender, answers) = channel();
        let deliver = move |done| {
            let _ = sender.send(done);
        };
        Self {
            discovery: Discovery::new(settings, clock::now()),
            pool: Pool::start(vec![Box::new(Marked)], deliver).unwrap(),
            answers,
            log: Vec::new(),
            attach: Ok(()),
        }
    }

    fn notice(&mut self, notice: Notice) {
        self.discovery.notice(notice, clock::now());
        self.act();
    }

    fn act(&mut self) {
        while let Some(action) = self.discovery.next_action() {
            match action {
                Action::Run(job) => {
                    if let Err(job) = self.pool.submit(job) {
                        self.discovery.rejected(job, clock::now());
                    }
                }
                Action::Attach { attachment, .. } => {
                    self.discovery
                        .attached(&attachment, self.attach.clone(), clock::now());
                    self.log.push(action);
                }
                other => self.log.push(other),
            }
        }
    }

    /// Goes on until the condition holds.
    fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            self.discovery.tick(clock::now());
            self.act();
            if condition(self) {
                return;
            }
            assert!(
                Instant::now() < until,
                "waited for {what}; {:#?}",
                (&self.log, self.discovery.counters())
            );
            if let Ok(done) = self.answers.recv_timeout(Duration::from_millis(5)) {
                self.discovery.done(done, clock::now());
                self.act();
            }
        }
    }

    fn count(&self, what: impl Fn(&Action) -> bool) -> usize {
        self.log.iter().filter(|action| what(action)).count()
    }

    fn attaches(&self) -> usize {
        self.count(|action| matches!(action, Action::Attach { .. }))
    }

    fn detaches(&self) -> usize {
        self.count(|action| matches!(action, Action::Detach { .. }))
    }

    fn follows(&self, key: ProcessKey) -> bool {
        let mut last = false;
        for action in &self.log {
            match action {
                Action::Follow { process, .. } if *process == key => last = true,
                Action::Unfollow { process, .. } if *process == key => last = false,
                _ => {}
            }
        }
        last
    }

    fn describes(&self, key: ProcessKey) -> Option<(&str, Option<&str>)> {
        self.log.iter().rev().find_map(|action| match action {
            Action::Describe { process, comm, exe } if *process == key => {
                Some((comm.as_str(), exe.as_deref()))
            }
            _ => None,
        })
    }

    fn unsupported(&self, key: ProcessKey) -> Vec<&str> {
        let reasons = self.log.iter().filter_map(|action| match action {
            Action::Unsupported { process, reason, .. } if *process == key => Some(reason.as_str()),
            _ => None,
        });
        reasons.collect()
    }
}
