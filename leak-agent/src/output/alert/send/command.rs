//! A program of the team's own: JSON on its standard input, the first finding in its environment. No shell, an empty
//! environment, a process group of its own that ends with it.

use super::Outcome;
use crate::config::notify::CommandTarget;
use crate::output::alert::AlertError;
use crate::output::alert::notification::Notification;
use crate::output::alert::render::environment;
use crate::output::text::visible;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// Where a hook finds other programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Bytes of each of its outputs that are kept for the log; the rest is read and thrown away.
const OUTPUT_BYTES: usize = 4 << 10;
/// From so many bytes on it is read slowly: 16 KiB at a time.
const OUTPUT_AT_ONCE: usize = 1 << 20;
/// That slowly.
const SLOWLY: Duration = Duration::from_millis(10);
/// What was killed ends this soon.
const KILLED_ENDS_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked whether it has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// After its end, what it has written is read for so long.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// A program that can be run.
#[derive(Debug)]
pub(in crate::output::alert) struct Program {
    path: PathBuf,
    arguments: Vec<String>,
    timeout: Duration,
}

impl Program {
    /// Checks that it is there, can be run, and is nobody else's to change: it runs with the agent's privileges.
    pub(in crate::output::alert) fn prepare(target: &CommandTarget) -> Result<Self, AlertError> {
        let mut argv = target.argv.iter();
        let path = PathBuf::from(argv.next().map_or("", String::as_str));
        let meta = std::fs::metadata(&path).map_err(|source| AlertError::File {
            path: path.clone(),
            source,
        })?;
        let own = rustix::process::geteuid().as_raw();
        let reason = if !meta.is_file() {
            Some("is no file")
        } else if meta.mode() & 0o111 == 0 {
            Some("cannot be run: it is not executable")
        } else if meta.mode() & 0o002 != 0 {
            Some("can be written by everybody, and would run with the agent's privileges")
        } else if meta.uid() != 0 && meta.uid() != own {
            Some("belongs to another user, and would run with the agent's privileges")
        } else {
            None
        };
        match reason {
            Some(reason) => Err(AlertError::Content { path, reason }),
            None => Ok(Self {
                path,
                arguments: argv.cloned().collect(),
                timeout: target.timeout,
            }),
        }
    }

    /// Runs it once, to its end or to the time limit.
    pub(in crate::output::alert) async fn run(&self, notification: &Notification, body: &[u8]) -> Outcome {
        let again = |why: String| Outcome::Again { why, after: None };
        let child = Command::new(&self.path)
            .args(&self.arguments)
            .env_clear()
            .env("PATH", PATH)
            .envs(environment::variables(notification))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(error) => return again(format!("cannot be run: {error}")),
        };
        let mut group = Group::of(child);
        let (stdin, stdout, stderr) = group.pipes();
        let body = body.to_vec();
        let fed = tokio::spawn(async move {
            if let Some(mut stdin) = stdin {
                // A program that does not read it has what it needs in its environment.
                let _ = stdin.write_all(&body).await;
            }
        });
        let mut out = Kept::of(stdout);
        let mut err = Kept::of(stderr);
        let in_time = tokio::time::timeout(self.timeout, group.leader_ended())
            .await
            .is_ok();
        let status = group.end().await;
        fed.abort();
        let (out, err) = (out.take().await, err.take().await);
        tracing::debug!(
            program = %self.path.display(),
            notification = notification.id,
            in_time,
            ?status,
            stdout = %visible(&out),
            stderr = %visible(&err),
            "hook"
        );
        if !in_time {
            return again(format!(
                "did not end within {} ms, and was killed",
                self.timeout.as_millis()
            ));
        }
        match status {
            Ok(status) if status.success() => Outcome::Delivered,
            Ok(status) => again(described(status)),
            Err(error) => again(format!("its end is not known: {error}")),
        }
    }
}

fn described(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// A program with all that it started in its process group; none of it outlives this value.
struct Group {
    child: Child,
    /// Its number, until the program's end was taken note of: from then on it may be another's.
    id: Option<Pid>,
}

impl Group {
    fn of(child: Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self {
            child,
            id: id.and_then(Pid::from_raw),
        }
    }

    fn pipes(
        &mut self,
    ) -> (
        Option<tokio::process::ChildStdin>,
        Option<tokio::process::ChildStdout>,
        Option<tokio::process::ChildStderr>,
    ) {
        let child = &mut self.child;
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    }

    /// Waits for the program's end, and does not take note of it: its number stays its own.
    async fn leader_ended(&self) {
        let Some(id) = self.id else { return };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while let Ok(None) = waitid(WaitId::Pid(id), options) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Kills what is left and takes note of the program's end.
    async fn end(&mut self) -> std::io::Result<ExitStatus> {
        self.kill();
        self.id = None;
        // One that even this does not end is in the kernel's hands, on a disk that is away, say; tokio waits for it.
        tokio::time::timeout(KILLED_ENDS_WITHIN, self.child.wait()).await?
    }

    fn kill(&self) {
        if let Some(id) = self.id {
            // Nobody left is what is wanted.
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The first bytes of an output. The rest is read, too, so that a talkative writer gets on; one that writes without end is
/// read slowly, for it would cost us a CPU.
struct Kept {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Kept {
    fn of(pipe: Option<impl AsyncRead + Unpin + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bytes);
        let reader = tokio::spawn(async move {
            let Some(mut pipe) = pipe else { return };
            let mut buffer = vec![0; 16 << 10];
            let mut all = 0;
            while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
                all += read;
                if all > OUTPUT_AT_ONCE {
                    tokio::time::sleep(SLOWLY).await;
                }
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let room = OUTPUT_BYTES.saturating_sub(kept.len());
                kept.extend(buffer.iter().take(read.min(room)));
            }
        });
        Self { bytes, reader }
    }

    /// What there is. A process that left the group and holds the other end is not waited for.
    async fn take(&mut self) -> String {
        let _ = tokio::time::timeout(LAST_WORDS, &mut self.reader).await;
        self.reader.abort();
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

#[cfg(test)]
mod tests;
