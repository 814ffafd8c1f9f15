//! The tasks of runtimes in user space, without BPF: found by looks at `/proc`, counted from memory by the same thread as
//! with BPF.

use crate::agent::books::{self, Often};
use crate::agent::line::Line;
use crate::agent::message::Message;
use crate::agent::names::{self, Names};
use crate::agent::reconcile::Reconciler;
use crate::agent::watched::{Watched, Way};
use crate::config::AgentConfig;
use crate::discovery::{Action, AttachmentKey, Discovery, Filter, Notice, Pool, Settings};
use crate::engine::{Input, PlanFacts, Probes};
use crate::event::Event;
use crate::source::{self, HookPlan};
use crate::sys::{clock, proc};
use crate::types::{BootTime, ExecId, ExecutableId, PlanId, ProcessKey};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, sync_channel};
use std::time::Duration;

/// Messages that wait for the loop.
const INBOX: usize = 256;
/// Files whose tasks are counted at the same time, at most.
const FILES_MAX: usize = 8_192;
/// Said of a runtime that only probes count.
const UNREADABLE: &str =
    "no way is known to count its tasks from memory, and without BPF there are no probes";

/// What is known of them.
pub(super) struct Tasks {
    messages: Receiver<Message>,
    discovery: Discovery,
    pool: Pool,
    books: Sender<books::Request>,
    names: Names,
    watched: Watched,
    hooks: HashMap<AttachmentKey, Arc<HookPlan>>,
    /// The files of those plans whose sites are named as they are seen.
    files: HashMap<AttachmentKey, (Arc<File>, ExecutableId)>,
    plans: HashMap<AttachmentKey, PlanId>,
    /// Images that each process has had, as far as its path told.
    images: BTreeMap<ProcessKey, u32>,
}

/// A process as the scan of `/proc` sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) process: ProcessKey,
    pub(super) comm: &'a str,
    /// Forked, and no program executed since.
    pub(super) forked: bool,
}

impl Tasks {
    /// Starts the threads that look, inspect, read and name.
    ///
    /// # Errors
    ///
    /// No thread could be started.
    pub(super) fn start(config: &AgentConfig) -> io::Result<Self> {
        let (inbox, messages) = sync_channel(INBOX);
        let often = Often {
            reconcile: config.reconcile,
            watch: config.watch_interval,
            share: config.books_share,
            growth: false,
        };
        let books = books::spawn(None, often, inbox.clone())?;
        let names = names::spawn(inbox.clone())?;
        let pool = Pool::start(source::all(), move |done| {
            // Nobody listens any more only when the agent ends.
            let _ = inbox.send(Message::Discovered(done));
        })?;
        let settings = Settings {
            filter: Filter {
                pids: config.pids.iter().copied().collect(),
                exes: config.exes.clone(),
                own: (!config.follow_self).then(std::process::id),
            },
            host_root: proc::host_root(),
            debug_dirs: config.debug_dirs.clone(),
            processes_max: config.max_processes as usize,
            attachments_max: FILES_MAX,
            ..Settings::default()
        };
        Ok(Self {
            messages,
            discovery: Discovery::new(settings, clock::now()),
            pool,
            books,
            names,
            watched: Watched::default(),
            hooks: HashMap::new(),
            files: HashMap::new(),
            plans: HashMap::new(),
            images: BTreeMap::new(),
        })
    }

    /// Whom to ask for a reading at once.
    pub(super) fn reconciler(&self) -> Reconciler {
        Reconciler::new(Some(self.books.clone()))
    }

    /// A process has begun, or has a new image.
    pub(super) fn begins(&mut self, seen: Seen<'_>, now: BootTime, line: &mut Line) {
        let Seen {
            process,
            comm,
            forked,
        } = seen;
        let first = !self.images.contains_key(&process);
        let images = self.images.entry(process).or_default();
        *images += 1;
        let (exec, comm) = (ExecId(*images), comm.to_owned());
        let at = BootTime(process.start_boottime);
        if first && forked {
            // Nobody is its parent that we could ask: it may have inherited anything.
            line.take(Input::Event(Event::Forked {
                process,
                parent: process,
                exec,
                comm,
                at,
            }));
        } else {
            line.take(Input::Event(Event::Execed {
                process,
                exec,
                comm,
                at,
            }));
        }
        self.forget_books(process);
        let notice = if first {
            Notice::Counted { process }
        } else {
            Notice::Execed { process }
        };
        self.discovery.notice(notice, now);
        self.act(line);
    }

    /// A process has ended.
    pub(super) fn ends(&mut self, process: ProcessKey, now: BootTime, line: &mut Line) {
        self.images.remove(&process);
        line.take(Input::Event(Event::Exited { process, at: now }));
        self.forget_books(process);
        self.discovery.notice(Notice::Exited { process }, now);
        self.act(line);
    }

    /// Takes in what the threads found, for this long.
    pub(super) fn serve(&mut self, time: Duration, line: &mut Line) {
        let now = clock::now();
        let wait = self.discovery.next_wake().since(now).min(time);
        match self.messages.recv_timeout(wait) {
            Ok(message) => self.take(message, line),
            Err(RecvTimeoutError::Timeout) => self.discovery.tick(clock::now()),
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(time), // threads are counted all the same
        }
        self.act(line);
    }

    /// Everything that was there at the start was looked at, inspected and read.
    pub(super) fn settled(&self) -> bool {
        self.discovery.settled() && self.watched.all_read()
    }

    /// What came in and what was dropped, by name.
    pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
        self.discovery.counters().each().collect()
    }

    fn take(&mut self, message: Message, line: &mut Line) {
        match message {
            Message::Discovered(done) => self.discovery.done(done, clock::now()),
            Message::Watched(process, plan, facts) => {
                self.watched.was_read(process, plan);
                line.take(Input::Watched { process, plan, facts });
                let unnamed = line.take_unnamed();
                for named in names::by_number(&unnamed, |plan| self.watched.attachment(plan), &self.hooks) {
                    line.take(named);
                }
                for request in names::requests(unnamed, &self.plans, &self.hooks, &self.files) {
                    // Without the thread, sites are shown by their numbers.
                    let _ = self.names.submit(request);
                }
            }
            Message::WatchOver(process, plan) => self.watched.was_read(process, plan),
            Message::Named(plan, sites) => line.take(Input::Named { plan, sites }),
            Message::Compared(asked) => drop(asked),
            // Those of BPF: nobody sends them.
            Message::Events(_)
            | Message::Attached(..)
            | Message::Detached(_)
            | Message::Booked(..)
            | Message::Grew(..)
            | Message::Resolved(_)
            | Message::Created(_) => {}
        }
    }

    /// Does what discovery has decided.
    fn act(&mut self, line: &mut Line) {
        while let Some(action) = self.discovery.next_action() {
            match action {
                Action::Run(job) => {
                    if let Err(job) = self.pool.submit(job) {
                        self.discovery.rejected(job, clock::now());
                    }
                }
                Action::Describe { process, comm, exe } => {
                    line.take(Input::Describe { process, comm, exe });
                }
                Action::Unlisted { .. } => {}
                Action::Attach {
                    attachment,
                    file,
                    executable,
                    plan,
                    ..
                } => {
                    let now = clock::now();
                    let told = if plan.books.is_some() {
                        let id = self.watched.begin(attachment, None);
                        let facts = Box::new(PlanFacts::new(&plan, now, Probes::None));
                        line.take(Input::PlanArmed { plan: id, facts });
                        self.plans.insert(attachment, id);
                        if plan.names.is_some() {
                            self.files.insert(attachment, (file, executable));
                        }
                        self.hooks.insert(attachment, plan);
                        Ok(())
                    } else {
                        Err(UNREADABLE.to_owned())
                    };
                    self.discovery.attached(&attachment, told, now);
                }
                Action::Detach { attachment } => {
                    self.hooks.remove(&attachment);
                    self.files.remove(&attachment);
                    self.plans.remove(&attachment);
                    if let Some((plan, _)) = self.watched.end(&attachment) {
                        line.take(Input::PlanDropped { plan });
                    }
                }
                Action::Follow { process, attachment } => {
                    let hooks = self.hooks.get(&attachment).map(Arc::clone);
                    if let (Some(Way::Watch(plan)), Some(hooks)) =
                        (self.watched.follow(process, attachment), hooks)
                    {
                        line.take(Input::Follow { process, plan });
                        self.ask_books(books::Request::Watch {
                            process,
                            plan,
                            attachment,
                            hooks,
                            urgent: true,
                        });
                    }
                }
                Action::Unfollow { process, attachment } => {
                    if let Some(plan) = self.watched.unfollow(process, &attachment) {
                        line.take(Input::Unfollow { process, plan });
                        self.ask_books(books::Request::Unfollow { process, plan });
                    }
                }
                Action::Unsupported {
                    process,
                    runtime,
                    path,
                    reason,
                } => {
                    if let Some(runtime) = runtime {
                        let reason = format!("{path}: {reason}");
                        line.take(Input::Refuse {
                            process,
                            runtime,
                            reason,
                        });
                    }
                }
                Action::Gone { process } => self.forget_books(process), // the scan says so, too
            }
        }
    }

    fn forget_books(&mut self, process: ProcessKey) {
        self.watched.forget(process);
        self.ask_books(books::Request::Forget { process });
    }

    fn ask_books(&self, request: books::Request) {
        // Without the thread nothing is read, and the report says so.
        let _ = self.books.send(request);
    }
}
