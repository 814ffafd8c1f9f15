//! The thread that reads the runtimes' own books in the memory of processes: for what was alive before the probes, and
//! later, again and again, for whether our counts still agree.

mod open;
mod session;
mod watch;

use super::message::Message;
use super::reconcile::Asked;
use crate::bpf::maps::Totals;
use crate::discovery::AttachmentKey;
use crate::engine::{BookFacts, WatchFacts};
use crate::source::HookPlan;
use crate::sys::clock;
use crate::types::{BootTime, PlanId, ProcessKey};
use session::Session;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::time::Duration;
use watch::{Pace, Searches, Watch};

/// Books that are read at the same time, at most; those of further processes are not, and the report says so.
const SESSIONS_MAX: usize = 4096;

/// A process that has just begun is read for the first time after this time, unless watched more often.
const YOUNG: Duration = Duration::from_secs(1);

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
    /// The same for a plan without probes: read what is alive, and go on doing so.
    Watch {
        process: ProcessKey,
        plan: PlanId,
        attachment: AttachmentKey,
        hooks: Arc<HookPlan>,
        /// The process has run for a while; a new one has nothing to show yet.
        urgent: bool,
    },
    /// The file is no longer used there.
    Unfollow { process: ProcessKey, plan: PlanId },
    /// The process has ended, or runs another image.
    Forget { process: ProcessKey },
    /// Compare all of them now.
    CompareAll(Asked),
}

/// How often books are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Often {
    /// How often agreed books are compared with our counts again.
    pub(super) reconcile: Duration,
    /// How often those of a process without probes are read.
    pub(super) watch: Duration,
    /// Walks through the lists of all processes without probes take at most this share of the thread's time, in percent.
    pub(super) share: f64,
    /// Whether those that are watched are looked at for growth.
    pub(super) growth: bool,
}

/// Starts the thread; it ends when the returned sender is dropped. Without totals there are no counts to compare with,
/// and books are only watched.
///
/// # Errors
///
/// No thread could be started.
pub(super) fn spawn(
    totals: Option<Arc<Totals>>,
    often: Often,
    inbox: SyncSender<Message>,
) -> io::Result<Sender<Request>> {
    let (sender, requests) = channel();
    // Nobody waits for it at the end: it holds nothing in the kernel.
    std::thread::Builder::new()
        .name("books".to_owned())
        .spawn(move || {
            let books = Reader {
                totals,
                every: often.reconcile,
                pace: Pace {
                    every: often.watch,
                    share: 100.0 / often.share,
                },
                growth: often.growth,
                inbox,
                sessions: BTreeMap::new(),
                searches: Searches::default(),
                walking: Duration::ZERO,
            };
            books.serve(&requests);
        })?;
    Ok(sender)
}

struct Reader {
    totals: Option<Arc<Totals>>,
    every: Duration,
    pace: Pace,
    growth: bool,
    inbox: SyncSender<Message>,
    sessions: BTreeMap<(ProcessKey, PlanId), Reading>,
    searches: Searches,
    /// What one walk through the lists of each process that is watched costs.
    walking: Duration,
}

/// What is done with the books of one file in one process.
enum Reading {
    /// They are compared with our counts.
    Compare(Box<Session>),
    /// They are all there is.
    Watch(Box<Watch>),
}

impl Reading {
    fn due(&self) -> BootTime {
        match self {
            Self::Compare(session) => session.due(),
            Self::Watch(watch) => watch.due(),
        }
    }
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
                let now = clock::now();
                let (due, look_due) = (later(now, wait), later(now, YOUNG));
                let session = Session::new(process, plan, attachment.file, hooks, !urgent, due, look_due);
                let Some(session) = session else {
                    return;
                };
                if self.sessions.len() < SESSIONS_MAX {
                    self.sessions
                        .insert((process, plan), Reading::Compare(Box::new(session)));
                } else {
                    let mut facts = BookFacts::default();
                    facts.baseline.doubt = Some(full());
                    // Nobody listens any more only when the agent ends.
                    let _ = self.inbox.send(Message::Booked(process, plan, Box::new(facts)));
                }
            }
            Request::Watch {
                process,
                plan,
                attachment,
                hooks,
                urgent,
            } => {
                let wait = if urgent {
                    Duration::ZERO
                } else {
                    self.pace.every.min(YOUNG)
                };
                let due = later(clock::now(), wait);
                let watch = Watch::new(process, plan, attachment.file, hooks, due, self.growth);
                let Some(watch) = watch.filter(|_| self.sessions.len() < SESSIONS_MAX) else {
                    let facts = WatchFacts {
                        doubt: Some(full()),
                        ..WatchFacts::default()
                    };
                    let _ = self.inbox.send(Message::Watched(process, plan, Box::new(facts)));
                    return;
                };
                self.sessions
                    .insert((process, plan), Reading::Watch(Box::new(watch)));
            }
            Request::Unfollow { process, plan } => {
                self.sessions.remove(&(process, plan));
                self.recount();
            }
            Request::Forget { process } => {
                self.sessions.retain(|(key, _), _| *key != process);
                self.recount();
            }
            Request::CompareAll(asked) => {
                let now = clock::now();
                for reading in self.sessions.values_mut() {
                    match reading {
                        Reading::Compare(session) => session.ask(&asked, now),
                        Reading::Watch(watch) => watch.ask(&asked, now),
                    }
                }
            }
        }
    }

    /// After some are gone.
    fn recount(&mut self) {
        let costs = self.sessions.values().map(|reading| match reading {
            Reading::Watch(watch) => watch.walk_cost(),
            Reading::Compare(_) => Duration::ZERO,
        });
        self.walking = costs.sum();
    }

    /// One piece of work; `false` = nobody listens any more.
    fn step(&mut self, key: (ProcessKey, PlanId)) -> bool {
        let (process, plan) = key;
        let mut more = Vec::new();
        let message = match (self.sessions.get_mut(&key), &self.totals) {
            (Some(Reading::Compare(session)), Some(totals)) => {
                match session.step(totals, self.every, self.pace.every) {
                    session::Step::Told(facts) => {
                        more.extend(session.take_answered().into_iter().map(Message::Compared));
                        Message::Booked(process, plan, facts)
                    }
                    session::Step::Quiet => return true,
                    session::Step::Over => {
                        self.sessions.remove(&key);
                        return true;
                    }
                }
            }
            (Some(Reading::Watch(watch)), _) => {
                self.walking = self.walking.saturating_sub(watch.walk_cost());
                let step = watch.step(self.pace, &mut self.searches, self.walking);
                self.walking += watch.walk_cost();
                match step {
                    watch::Step::Told(facts) => {
                        let asked = watch.take_answered();
                        more.extend(watch.take_growth().map(|grew| Message::Grew(plan, grew)));
                        more.extend(asked.into_iter().map(Message::Compared));
                        Message::Watched(process, plan, facts)
                    }
                    watch::Step::Over => {
                        self.sessions.remove(&key);
                        self.recount();
                        Message::WatchOver(process, plan)
                    }
                }
            }
            (Some(Reading::Compare(_)), None) => {
                self.sessions.remove(&key);
                return true;
            }
            (None, _) => return true,
        };
        let mut messages = std::iter::once(message).chain(more);
        messages.all(|message| self.inbox.send(message).is_ok())
    }
}

/// Said of books that are not read.
fn full() -> String {
    format!("those of {SESSIONS_MAX} processes are read already")
}

/// `now` and a while.
fn later(now: BootTime, wait: Duration) -> BootTime {
    BootTime(
        now.0
            .saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::{FileKey, Place};
    use crate::source::tokio::{self, books::TokioBooks};
    use std::sync::mpsc::sync_channel;

    fn hooks() -> Arc<HookPlan> {
        Arc::new(HookPlan {
            runtime: tokio::RUNTIME,
            version: None,
            points: Vec::new(),
            sites: Vec::new(),
            libraries: Vec::new(),
            gaps: Vec::new(),
            evidence: "a test".into(),
            finish_is_early: false,
            books: Some(Arc::new(TokioBooks::new(&[], &[], |_| None))),
            names: None,
            stacks: None,
        })
    }

    fn follow(tgid: u32, hooks: &Arc<HookPlan>) -> Request {
        let place = Place::Backing(1, 1);
        let file = FileKey {
            place,
            size: 1,
            mtime: 1,
        };
        Request::Follow {
            process: process(tgid),
            plan: PlanId(1),
            attachment: AttachmentKey {
                file,
                runtime: tokio::RUNTIME,
            },
            hooks: Arc::clone(hooks),
            urgent: true,
        }
    }

    fn process(tgid: u32) -> ProcessKey {
        ProcessKey {
            start_boottime: 1,
            tgid,
            pad: 0,
        }
    }

    /// The books of one process too many are not read, which is said of it; once another one has ended there is room.
    #[test]
    fn process_beyond_the_cap_is_told_so_and_others_are_read() {
        let (inbox, told) = sync_channel(16);
        let mut reader = Reader {
            totals: None,
            every: Duration::from_secs(30),
            pace: Pace {
                every: Duration::from_secs(5),
                share: 100.0,
            },
            growth: false,
            inbox,
            sessions: BTreeMap::new(),
            searches: Searches::default(),
            walking: Duration::ZERO,
        };
        let hooks = hooks();
        let most = u32::try_from(SESSIONS_MAX).unwrap();
        for tgid in 1..=most {
            reader.take(follow(tgid, &hooks));
        }
        assert!(told.try_recv().is_err(), "there was room for all of these");
        reader.take(follow(most + 1, &hooks));
        let Ok(Message::Booked(key, _, facts)) = told.try_recv() else {
            panic!("nothing is said of the process beyond the cap")
        };
        assert_eq!(key, process(most + 1));
        let doubt = facts.baseline.doubt.unwrap();
        assert!(doubt.contains(&SESSIONS_MAX.to_string()), "{doubt}");
        assert_eq!(reader.sessions.len(), SESSIONS_MAX);

        reader.take(Request::Forget { process: process(7) });
        reader.take(follow(most + 2, &hooks));
        assert!(told.try_recv().is_err() && reader.sessions.len() == SESSIONS_MAX);
    }
}
