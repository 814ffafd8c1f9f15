//! The thread that reads the runtimes' own books in the memory of processes: for what was alive before the probes, and
//! later, again and again, for whether our counts still agree.

mod session;

use super::message::Message;
use super::reconcile::Asked;
use crate::bpf::maps::Totals;
use crate::discovery::AttachmentKey;
use crate::engine::BookFacts;
use crate::source::HookPlan;
use crate::sys::clock;
use crate::types::{BootTime, PlanId, ProcessKey};
use session::Session;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::time::Duration;

/// Books that are read at the same time, at most; those of further processes are not, and the report says so.
const SESSIONS_MAX: usize = 4096;

/// What the thread is asked for.
pub(super) enum Request {
    /// Read the books of this plan's file in this process, and go on doing so.
    Follow {
        process: ProcessKey,
        plan: PlanId,
        attachment: AttachmentKey,
        hooks: Arc<HookPlan>,
        /// Its baseline is not known without them; else they are only for comparison, and a process that ends soon is
        /// never read.
        urgent: bool,
    },
    /// The file is no longer used there.
    Unfollow { process: ProcessKey, plan: PlanId },
    /// The process has ended, or runs another image.
    Forget { process: ProcessKey },
    /// Compare all of them now.
    CompareAll(Asked),
}

/// Starts the thread; it ends when the returned sender is dropped. `every` = how often agreed books are compared again.
///
/// # Errors
///
/// No thread could be started.
pub(super) fn spawn(
    totals: Arc<Totals>,
    every: Duration,
    inbox: SyncSender<Message>,
) -> io::Result<Sender<Request>> {
    let (sender, requests) = channel();
    // Nobody waits for it at the end: it holds nothing in the kernel.
    std::thread::Builder::new()
        .name("books".to_owned())
        .spawn(move || {
            let books = Reader {
                totals,
                every,
                inbox,
                sessions: BTreeMap::new(),
            };
            books.serve(&requests);
        })?;
    Ok(sender)
}

struct Reader {
    totals: Arc<Totals>,
    every: Duration,
    inbox: SyncSender<Message>,
    sessions: BTreeMap<(ProcessKey, PlanId), Session>,
}

impl Reader {
    fn serve(mut self, requests: &Receiver<Request>) {
        loop {
            let now = clock::now();
            let due = self.sessions.iter().min_by_key(|(_, session)| session.due());
            let due = due.map(|(key, session)| (*key, session.due()));
            let wait = due.map_or(Duration::from_secs(3600), |(_, due)| due.since(now));
            match requests.recv_timeout(wait) {
                Ok(request) => self.take(request),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some((key, due)) = due
                        && due <= clock::now()
                        && !self.step(key)
                    {
                        return;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Follow {
                process,
                plan,
                attachment,
                hooks,
                urgent,
            } => {
                let wait = if urgent { Duration::ZERO } else { self.every };
                let due = later(clock::now(), wait);
                let Some(session) = Session::new(process, plan, attachment.file, hooks, due) else {
                    return;
                };
                if self.sessions.len() < SESSIONS_MAX {
                    self.sessions.insert((process, plan), session);
                } else {
                    let mut facts = BookFacts::default();
                    facts.baseline.doubt =
                        Some(format!("those of {SESSIONS_MAX} processes are read already"));
                    // Nobody listens any more only when the agent ends.
                    let _ = self.inbox.send(Message::Booked(process, plan, facts));
                }
            }
            Request::Unfollow { process, plan } => {
                self.sessions.remove(&(process, plan));
            }
            Request::Forget { process } => {
                self.sessions.retain(|(key, _), _| *key != process);
            }
            Request::CompareAll(asked) => {
                let now = clock::now();
                for session in self.sessions.values_mut() {
                    session.ask(&asked, now);
                }
            }
        }
    }

    /// One piece of work; `false` = nobody listens any more.
    fn step(&mut self, key: (ProcessKey, PlanId)) -> bool {
        let Some(session) = self.sessions.get_mut(&key) else {
            return true;
        };
        match session.step(&self.totals, self.every) {
            session::Step::Told(facts) => {
                let (process, plan) = key;
                let answered = session.take_answered();
                self.inbox.send(Message::Booked(process, plan, facts)).is_ok()
                    && answered
                        .into_iter()
                        .all(|asked| self.inbox.send(Message::Compared(asked)).is_ok())
            }
            session::Step::Quiet => true,
            session::Step::Over => {
                self.sessions.remove(&key);
                true
            }
        }
    }
}

/// `now` and a while.
fn later(now: BootTime, wait: Duration) -> BootTime {
    BootTime(
        now.0
            .saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)),
    )
}
