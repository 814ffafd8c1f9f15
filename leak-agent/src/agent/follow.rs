//! The agent's loop: everything that happens comes through one inbox, and once per interval the totals are read
//! and a report is made.
//!
//! ```text
//!  kernel ─ ring thread ──────┐                      ┌─► attach thread ─► kernel
//!  discovery pool ────────────┼─► inbox ─► Follower ─┼─► discovery pool
//!  attach thread ─────────────┤              │       └─► stack thread ──► kernel (learned frames)
//!  stack thread ──────────────┤              ├─► books thread ──► memory of processes
//!  books thread ──────────────┤              └─► name thread ───► executables
//!  name thread ───────────────┤
//!  kernel ─ totals, counters ─┴─ every tick ───► engine ─► snapshot ─► report ─► outputs
//! ```

mod creations;
mod facts;
mod probeless;

use super::attachments::{self, Request};
use super::books::{self, Often};
use super::handle::{AgentHandle, StartError, Stop};
use super::judge::{self, Judge};
use super::line::Line;
use super::message::{Created, Message, Resolution};
use super::names::{self, Names};
use super::pace::Pace;
use super::reconcile::Reconciler;
use super::ring::{self, RingCounts};
use super::stacks::{self, Stacks};
use super::watched::{Watched, Way};
use crate::bpf::error::chain;
use crate::bpf::{Hook, Kernel, Limits};
use crate::config::{AgentConfig, Mode};
use crate::detect::Judgement;
use crate::discovery::{Action, AttachmentKey, Discovery, Filter, Notice, Pool, Settings};
use crate::engine::{Input, Snapshot, Totals, Uncounted};
use crate::event::{Event, StackEvent};
use crate::output::alert::AlertBooks;
use crate::report::Report;
use crate::source::{self, HookPlan};
use crate::stack::DebugFiles;
use crate::sys::{caps, clock, heap, proc};
use crate::types::{BootTime, ExecutableId, PlanId};
use leak_agent_common::counter::Counter;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, sync_channel};
use std::time::Duration;
use tokio::sync::watch;

/// Messages that wait for the loop; batches of records count as one.
const INBOX: usize = 256;
/// The first scan counts as done after this time at the latest.
const SETTLES_WITHIN: Duration = Duration::from_secs(15);
/// How soon the loop notices that it is to stop.
const PATIENCE: Duration = Duration::from_millis(50);

/// Starts it: loads the programs, counts what is there, and goes on on a thread of its own.
///
/// # Errors
///
/// Why BPF cannot be used, or no thread can be started.
pub(super) fn start(config: AgentConfig, alerts: AlertBooks) -> Result<AgentHandle, StartError> {
    let started = clock::now();
    if let Some(limit) = caps::raise_descriptor_limit() {
        tracing::debug!(limit, "open files");
    }
    let limits = Limits {
        ring_bytes: config.ring_bytes,
        sites: config.max_sites,
        processes: config.max_processes,
        stacks_per_second: config.stacks_per_second,
        stack_bytes: config.stack_bytes,
        sites_per_process: config.max_sites_per_process,
        stream_every: config.stream_every.unwrap_or(0),
        hook: Hook::Count,
        perf_links: false,
    };
    let mut kernel = Kernel::load(&limits, config.stats).map_err(|error| super::why_no_bpf(&error))?;
    let (inbox, messages) = sync_channel(INBOX);
    let stop = Arc::new(AtomicBool::new(false));
    let ring_counts = Arc::new(RingCounts::default());
    let mut threads = Vec::new();
    if let Some(ring) = kernel.ring.take() {
        let logs = kernel.logs.take();
        let counts = Arc::clone(&ring_counts);
        threads.push(
            ring::spawn(ring, logs, inbox.clone(), counts, Arc::clone(&stop)).map_err(StartError::Thread)?,
        );
    }
    let missing = |what: &str| StartError::Bpf {
        reason: format!("no {what}"),
        lacks_privilege: false,
    };
    let attacher = kernel.attacher.take().ok_or_else(|| missing("attacher"))?;
    let (requests, thread) = attachments::spawn(attacher, inbox.clone()).map_err(StartError::Thread)?;
    threads.push(thread);
    let frames = kernel.frames.take().ok_or_else(|| missing("frames"))?;
    // Nobody waits for this one at the end: it holds nothing in the kernel but a map, and the symbols of a large file
    // may take it seconds.
    let host_root = proc::host_root();
    let debug_files = DebugFiles::new(&host_root, &config.debug_dirs);
    let stacks = stacks::spawn(frames, debug_files, inbox.clone()).map_err(StartError::Thread)?;
    let often = Often {
        reconcile: config.reconcile,
        watch: config.watch_interval,
        share: config.books_share,
        growth: config.mode == Mode::Auto,
    };
    let books =
        books::spawn(Some(Arc::clone(&kernel.totals)), often, inbox.clone()).map_err(StartError::Thread)?;
    let names = names::spawn(inbox.clone()).map_err(StartError::Thread)?;
    let answers = inbox.clone();
    let pool = Pool::start(source::all(), move |done| {
        // Nobody listens any more only when the agent ends.
        let _ = answers.send(Message::Discovered(done));
    })
    .map_err(StartError::Thread)?;
    drop(inbox);

    let settings = Settings {
        filter: Filter {
            pids: config.pids.iter().copied().collect(),
            exes: config.exes.clone(),
            own: (!config.follow_self).then(std::process::id),
        },
        host_root,
        debug_dirs: config.debug_dirs.clone(),
        processes_max: config.max_processes as usize,
        ..Settings::default()
    };
    let mut discovery = Discovery::new(settings, started);
    for pattern in config.exes.patterns() {
        discovery.pin(pattern, started);
    }
    let judge = Judge::start(&config.policy).map_err(StartError::Thread)?;
    let line = Line::start(super::BY_KERNEL, &config)?;
    let mut follower = Follower {
        judge,
        line,
        config,
        alerts,
        started,
        kernel,
        discovery,
        pool,
        requests,
        stacks,
        books,
        names,
        hooks: HashMap::new(),
        files: HashMap::new(),
        watched: Watched::default(),
        early: Vec::new(),
        plans: HashMap::new(),
        attaching: 0,
        settled: false,
        passed: 0,
        trimmed_after: None,
        fill: [0; 3],
        lost_counts: 0,
        kernel_counters: BTreeMap::new(),
        attach_failures: BTreeMap::new(),
        counters: BTreeMap::new(),
        pace: Pace::new(clock::now()),
        ring_counts,
    };
    let reconciler = Reconciler::new(Some(follower.books.clone()));
    let nothing = Snapshot {
        at: started,
        ..Snapshot::default()
    };
    let first = Report::build(&nothing, &Judgement::default(), &follower.facts(&nothing));
    let handle = AgentHandle::spawn(first, move |reports, until| {
        follower.run(&messages, reports, until);
        stop.store(true, Ordering::Relaxed);
        drop(messages);
        drop(follower);
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the agent panicked");
            }
        }
    })?;
    Ok(handle.with_reconciler(reconciler))
}

/// The state of the loop.
struct Follower {
    judge: Judge,
    config: AgentConfig,
    /// What became of the notifications.
    alerts: AlertBooks,
    started: BootTime,
    kernel: Kernel,
    line: Line,
    discovery: Discovery,
    pool: Pool,
    requests: Sender<Request>,
    stacks: Stacks,
    books: Sender<books::Request>,
    names: Names,
    hooks: HashMap<AttachmentKey, Arc<HookPlan>>,
    /// The files of those plans whose sites are named as they are seen.
    files: HashMap<AttachmentKey, (Arc<File>, ExecutableId)>,
    watched: Watched,
    /// Creation stacks of plans that are not known yet, and since when.
    early: Vec<(BootTime, Box<StackEvent>)>,
    plans: HashMap<AttachmentKey, PlanId>,
    attaching: usize,
    settled: bool,
    /// Events since the last tick that tell the engine nothing.
    passed: u64,
    /// Inspections that had been made when freed memory was last given back.
    trimmed_after: Option<u64>,
    fill: [usize; 3],
    lost_counts: u64,
    kernel_counters: BTreeMap<Counter, u64>,
    attach_failures: BTreeMap<&'static str, u64>,
    counters: BTreeMap<&'static str, u64>,
    pace: Pace,
    ring_counts: Arc<RingCounts>,
}

impl Follower {
    fn run(&mut self, messages: &Receiver<Message>, reports: &watch::Sender<Arc<Report>>, until: &Stop) {
        let mut due = clock::now();
        while !until.wait(Duration::ZERO) {
            let now = clock::now();
            if now >= due {
                let snapshot = self.tick(now);
                reports.send_replace(Arc::new(self.report(&snapshot)));
                let done = clock::now();
                self.pace.tick(now, done);
                due = BootTime(done.0 + self.interval());
                continue;
            }
            let wake = due.min(self.discovery.next_wake());
            match messages.recv_timeout(wake.since(now).min(PATIENCE)) {
                Ok(message) => {
                    let now = clock::now();
                    self.take(message, now);
                    self.pace.turn(now, clock::now());
                }
                Err(RecvTimeoutError::Timeout) => {
                    let now = clock::now();
                    self.discovery.tick(now);
                    self.act();
                    self.pace.turn(now, clock::now());
                }
                Err(RecvTimeoutError::Disconnected) => {
                    tracing::error!("all threads that feed the agent have ended");
                    return;
                }
            }
        }
    }

    /// Until everything that was there at the start is followed, counts are read more often: whoever waits for
    /// the first complete report waits no longer than needed.
    fn interval(&self) -> u64 {
        let interval = if self.settled {
            self.config.interval
        } else {
            self.config.interval.min(PATIENCE)
        };
        u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX)
    }

    fn take(&mut self, message: Message, now: BootTime) {
        match message {
            Message::Events(events) => {
                for event in events {
                    self.event(event, now);
                }
            }
            Message::Discovered(done) => self.discovery.done(done, now),
            Message::Attached(attachment, result) => {
                self.attaching = self.attaching.saturating_sub(1);
                if self.config.mode != Mode::Trace {
                    self.probes_attached(attachment, result);
                    self.act();
                    return;
                }
                let told = match result {
                    Ok((plan, facts)) => {
                        self.plans.insert(attachment, plan);
                        self.line.take(Input::PlanArmed { plan, facts });
                        Ok(())
                    }
                    Err(error) => Err(self.attach_failed(&error)),
                };
                self.discovery.attached(&attachment, told, now);
            }
            Message::Booked(process, plan, facts) => {
                let known = facts.agreed_at.is_some();
                if let Ok(watched) = self.watched.told(process, plan, known) {
                    if let Some(watched) = watched {
                        self.trace_instead(process, watched, plan);
                    }
                    self.line.take(Input::Booked { process, plan, facts });
                }
            }
            Message::Compared(asked) => drop(asked),
            Message::Watched(process, plan, facts) => {
                self.watched.was_read(process, plan);
                self.line.take(Input::Watched { process, plan, facts });
            }
            Message::Grew(plan, grew) => self.want_probes(plan, &grew),
            Message::WatchOver(process, plan) => self.watched.was_read(process, plan),
            Message::Detached(plan) => self.line.take(Input::PlanDropped { plan }),
            Message::Named(plan, sites) => self.line.take(Input::Named { plan, sites }),
            Message::Resolved(resolution) => {
                let Resolution {
                    process,
                    exec,
                    number,
                    site,
                } = resolution;
                self.line.take(Input::Resolve {
                    process,
                    exec,
                    number,
                    site,
                });
            }
            Message::Created(created) => {
                let Created {
                    process,
                    exec,
                    plan,
                    number,
                    creation,
                } = created;
                self.line.take(Input::Created {
                    process,
                    exec,
                    plan,
                    number,
                    creation,
                });
            }
        }
        self.act();
    }

    fn event(&mut self, event: Event, now: BootTime) {
        self.pace.event(&event, now);
        match &event {
            Event::Stack(_) | Event::Task { .. } => self.passed += 1,
            Event::Forked { .. } | Event::Execed { .. } | Event::Exited { .. } => {
                self.line.take(Input::Event(event.clone()));
            }
        }
        let notice = match event {
            Event::Stack(stack) => {
                self.stack(stack, now);
                return;
            }
            Event::Forked { process, parent, .. } => Notice::Forked { process, parent },
            Event::Execed { process, exec, .. } => {
                self.stacks.forget(process, Some(exec));
                self.forget_books(process);
                Notice::Execed { process }
            }
            Event::Exited { process, .. } => {
                self.forget_books(process);
                Notice::Exited { process }
            }
            Event::Task { .. } => return,
        };
        self.discovery.notice(notice, now);
    }

    /// Does what discovery has decided.
    fn act(&mut self) {
        while let Some(action) = self.discovery.next_action() {
            match action {
                Action::Run(job) => {
                    if let Err(job) = self.pool.submit(job) {
                        self.discovery.rejected(job, clock::now());
                    }
                }
                Action::Describe { process, comm, exe } => {
                    self.line.take(Input::Describe { process, comm, exe });
                }
                Action::Unlisted { process } => self.line.take(Input::Unlisted { process }),
                Action::Attach {
                    attachment,
                    file,
                    path,
                    executable,
                    plan,
                } => {
                    self.hooks.insert(attachment, Arc::clone(&plan));
                    if plan.names.is_some() || plan.stacks.is_some() {
                        self.files.insert(attachment, (Arc::clone(&file), executable));
                    }
                    if self.config.mode != Mode::Trace {
                        let file = (self.config.mode == Mode::Auto).then_some((file, path));
                        self.watch(attachment, &plan, file);
                        continue;
                    }
                    let request = Request::Attach {
                        attachment,
                        file,
                        path,
                        plan,
                        reason: None,
                    };
                    if self.requests.send(request).is_ok() {
                        self.attaching += 1;
                    }
                }
                Action::Detach { attachment } => {
                    self.plans.remove(&attachment);
                    self.hooks.remove(&attachment);
                    self.files.remove(&attachment);
                    if let Some((watched, probes)) = self.watched.end(&attachment) {
                        self.line.take(Input::PlanDropped { plan: watched });
                        if !probes {
                            continue;
                        }
                    }
                    // A thread that is gone has detached everything.
                    let _ = self.requests.send(Request::Detach(attachment));
                }
                Action::Follow { process, attachment } => {
                    if let Some(Way::Watch(plan)) = self.watched.follow(process, attachment) {
                        self.line.take(Input::Follow { process, plan });
                        let hooks = self.hooks.get(&attachment).map(Arc::clone);
                        let urgent = self.line.engine().ran_before(process, plan);
                        if let Some(hooks) = hooks {
                            self.ask_books(books::Request::Watch {
                                process,
                                plan,
                                attachment,
                                hooks,
                                urgent,
                            });
                        }
                        continue;
                    }
                    if let Some(plan) = self.plans.get(&attachment).copied() {
                        self.line.take(Input::Follow { process, plan });
                        if let Some(hooks) = self.hooks.get(&attachment) {
                            self.ask_books(books::Request::Follow {
                                process,
                                plan,
                                attachment,
                                hooks: Arc::clone(hooks),
                                urgent: self.line.engine().ran_before(process, plan),
                            });
                        }
                    }
                }
                Action::Unfollow { process, attachment } => {
                    let watched = self.watched.unfollow(process, &attachment);
                    let plan = self.plans.get(&attachment).copied();
                    for plan in watched.into_iter().chain(plan) {
                        self.line.take(Input::Unfollow { process, plan });
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
                        self.line.take(Input::Refuse {
                            process,
                            runtime,
                            reason,
                        });
                    }
                }
                Action::Gone { process } => {
                    self.watched.forget(process);
                    let at = clock::now();
                    self.line.take(Input::Event(Event::Exited { process, at }));
                }
            }
        }
    }

    fn ask_books(&self, request: books::Request) {
        // Without the thread, baselines stay unknown, and the report says so.
        let _ = self.books.send(request);
    }

    /// Whose plan this is, with probes or without.
    fn attachment(&self, plan: PlanId) -> Option<AttachmentKey> {
        let mut plans = self.plans.iter();
        let traced = plans.find_map(|(attachment, id)| (*id == plan).then_some(*attachment));
        traced.or_else(|| self.watched.attachment(plan))
    }

    /// Asks for the names of sites that were seen for the first time.
    fn ask_names(&mut self) {
        let unnamed = self.line.take_unnamed();
        for named in names::by_number(&unnamed, |plan| self.attachment(plan), &self.hooks) {
            self.line.take(named);
        }
        for request in names::requests(unnamed, &self.plans, &self.hooks, &self.files) {
            // Without the thread, sites are shown by their numbers.
            let _ = self.names.submit(request);
        }
    }

    /// Reads the kernel's books and clears what is over.
    fn tick(&mut self, now: BootTime) -> Snapshot {
        match self.kernel.counters.read() {
            Ok(counters) => self.kernel_counters = counters.into_iter().collect(),
            Err(error) => self.failed("counters_unreadable", &error),
        }
        self.lost_counts = self
            .kernel_counters
            .get(&Counter::LostCounts)
            .copied()
            .unwrap_or(0);
        let events = std::mem::take(&mut self.passed);
        self.line.take(Input::Passed { events });
        match self.kernel.totals.read() {
            Ok(reading) => {
                self.fill = reading.fill;
                self.line.take(Input::Totals(Totals {
                    rows: reading.rows,
                    lost_counts: self.lost_counts,
                    at: clock::now(),
                }));
                self.ask_names();
                self.compare_with_proc(now);
            }
            Err(error) => self.failed("totals_unreadable", &error),
        }
        self.line.take(Input::Sweep { at: now });
        let garbage = self.line.take_garbage();
        for row in &garbage.rows {
            if let Err(error) = self.kernel.totals.forget(row) {
                self.failed("rows_not_forgotten", &error);
            }
        }
        for process in &garbage.processes {
            self.stacks.forget(*process, None);
        }
        self.early_stacks(now);
        self.discovery.tick(now);
        self.act();
        // On a node where processes begin all the time there may never be a moment without one to look at.
        let long_enough = now.since(self.started) >= SETTLES_WITHIN;
        let at_rest = self.attaching == 0 && self.discovery.settled() && self.watched.all_read();
        self.settled |= at_rest || long_enough;
        // To read the kernel's types and executables takes much more memory than what is kept of them.
        let inspections = self.discovery.counters().inspections;
        if at_rest && self.trimmed_after != Some(inspections) {
            self.trimmed_after = Some(inspections);
            // Some 50 ms after large executables: not on this thread. Without a thread it waits for the next inspection.
            let _ = std::thread::Builder::new()
                .name("trim".to_owned())
                .spawn(heap::give_back);
        }
        self.line.snapshot(clock::now())
    }

    /// Tells discovery whom the kernel counts, and the engine whom it does not, though `/proc` shows them.
    fn compare_with_proc(&mut self, now: BootTime) {
        for process in self.line.take_unknown() {
            self.discovery.notice(Notice::Counted { process }, now);
        }
        let engine = self.line.engine();
        self.discovery
            .counted_all(|id| engine.key(id.tgid, id.start.nanos()), now);
        let uncounted = self.discovery.uncounted().map(|found| Uncounted {
            process: found.process,
            comm: found.comm.to_owned(),
            exe: found.exe.map(str::to_owned),
            threads: found.threads,
        });
        let uncounted = Input::Uncounted(uncounted.collect());
        self.line.take(uncounted);
    }

    /// Counts a failure, and says it the first time.
    fn failed(&mut self, counter: &'static str, error: &dyn std::error::Error) {
        let count = self.counters.entry(counter).or_default();
        *count += 1;
        if *count == 1 {
            tracing::error!(error = chain(error), counter);
        }
    }

    /// Judges a snapshot and makes the report of it.
    fn report(&mut self, snapshot: &Snapshot) -> Report {
        let facts = self.facts(snapshot);
        let told = self.judge.facts(&self.line, snapshot.at, self.lost_counts);
        let judgement = self.line.judge(snapshot, told, &facts);
        judge::log(&judgement);
        self.line.report(snapshot, &judgement, &facts)
    }
}
