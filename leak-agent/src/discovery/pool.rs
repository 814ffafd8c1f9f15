//! The threads that run jobs: a prompt lane for `/proc`, a patient lane at the lowest priority for executables.
//!
//! A read may hang for as long as somebody else wishes: `/proc/PID/maps` waits for the process's memory lock, a file on a
//! network for its server. Such a thread cannot be stopped, so that a watchdog puts another one in its place, a limited
//! number of times; when the thread comes back, it ends.

use super::job::{Done, Job, Lane};
use super::process::later;
use crate::source::Source;
use crate::sys::clock;
use crate::types::BootTime;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// How many jobs wait in a lane.
const LANE_DEPTH: usize = 128;
/// Stack of a worker, bytes: inspectors may recurse, within their limits.
const STACK_BYTES: usize = 4 << 20;
/// Threads that may take the place of hanging ones, per lane.
const SUBSTITUTES_MAX: usize = 8;
/// How often the watchdog looks.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Runs jobs. Dropping it lets the threads end after the job they are on; nobody waits for them.
#[derive(Debug)]
pub struct Pool {
    prompt: SyncSender<Job>,
    patient: SyncSender<Job>,
    crew: Arc<Crew>,
}

/// How a lane is staffed.
#[derive(Clone, Copy, Debug)]
struct Staffing {
    name: &'static str,
    threads: usize,
    nice: i32,
    /// A thread that is on one job for longer hangs.
    patience: Duration,
}

const PROMPT: Staffing = Staffing {
    name: "look",
    threads: 1,
    nice: 0,
    patience: Duration::from_secs(10),
};
/// Two: one large executable must not hold up all small ones.
const PATIENT: Staffing = Staffing {
    name: "inspect",
    threads: 2,
    nice: 19,
    patience: Duration::from_secs(120),
};

/// All that the threads share.
struct Crew {
    sources: Vec<Box<dyn Source>>,
    deliver: Box<dyn Fn(Done) + Send + Sync>,
    substitutes: AtomicU64,
}

impl std::fmt::Debug for Crew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crew").finish_non_exhaustive()
    }
}

/// A lane as its threads see it.
struct Line {
    staffing: Staffing,
    jobs: Mutex<Receiver<Job>>,
    /// For each thread: since when it is on its job (nanoseconds of the boot clock), 0 = on none.
    workers: Mutex<Vec<Arc<AtomicU64>>>,
    crew: Arc<Crew>,
}

impl Pool {
    /// Starts four threads. `deliver` is called on them with each answer.
    ///
    /// # Errors
    ///
    /// A thread cannot be started.
    pub fn start(
        sources: Vec<Box<dyn Source>>,
        deliver: impl Fn(Done) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::staffed(sources, deliver, [PROMPT, PATIENT], WATCH_EVERY)
    }

    fn staffed(
        sources: Vec<Box<dyn Source>>,
        deliver: impl Fn(Done) + Send + Sync + 'static,
        [prompt, patient]: [Staffing; 2],
        watch_every: Duration,
    ) -> io::Result<Self> {
        let crew = Arc::new(Crew {
            sources,
            deliver: Box::new(deliver),
            substitutes: AtomicU64::new(0),
        });
        let (prompt, prompt_line) = Line::open(prompt, &crew)?;
        let (patient, patient_line) = Line::open(patient, &crew)?;
        let lines = [Arc::downgrade(&prompt_line), Arc::downgrade(&patient_line)];
        std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || watch(&lines, watch_every))?;
        Ok(Self {
            prompt,
            patient,
            crew,
        })
    }

    /// Queues a job; never blocks.
    ///
    /// # Errors
    ///
    /// The lane is full: the job comes back, for [`super::Discovery::rejected`].
    pub fn submit(&self, job: Job) -> Result<(), Job> {
        let lane = match job.lane() {
            Lane::Prompt => &self.prompt,
            Lane::Patient => &self.patient,
        };
        lane.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
        })
    }

    /// How often a thread had to take the place of one that hangs.
    #[must_use]
    pub fn substitutes(&self) -> u64 {
        self.crew.substitutes.load(Ordering::Relaxed)
    }
}

impl Line {
    fn open(staffing: Staffing, crew: &Arc<Crew>) -> io::Result<(SyncSender<Job>, Arc<Self>)> {
        let (sender, jobs) = sync_channel(LANE_DEPTH);
        let line = Arc::new(Self {
            staffing,
            jobs: Mutex::new(jobs),
            workers: Mutex::new(Vec::new()),
            crew: crew.clone(),
        });
        for _ in 0..staffing.threads {
            line.hire()?;
        }
        Ok((sender, line))
    }

    fn hire(self: &Arc<Self>) -> io::Result<()> {
        let busy = Arc::new(AtomicU64::new(0));
        let (line, own) = (self.clone(), busy.clone());
        std::thread::Builder::new()
            .name(self.staffing.name.to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || line.work(&own))?;
        self.workers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(busy);
        Ok(())
    }

    fn work(&self, busy: &Arc<AtomicU64>) {
        // On Linux the priority is the thread's own. A refusal only makes us less polite.
        if self.staffing.nice != 0
            && let Err(error) = rustix::process::nice(self.staffing.nice)
        {
            tracing::debug!(%error, "cannot lower the priority of a worker");
        }
        loop {
            let next = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = next else { return };
            busy.store(clock::now().0.max(1), Ordering::Relaxed);
            (self.crew.deliver)(job.run(&self.crew.sources));
            let since = BootTime(busy.swap(0, Ordering::Relaxed));
            if self.hangs(since, clock::now()) && self.leave(busy) {
                return;
            }
        }
    }

    fn hangs(&self, since: BootTime, now: BootTime) -> bool {
        since.0 != 0 && later(since, self.staffing.patience) < now
    }

    /// Ends a thread that was replaced; `false` = it is needed.
    fn leave(&self, own: &Arc<AtomicU64>) -> bool {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let surplus = workers.len() > self.staffing.threads;
        if surplus {
            workers.retain(|worker| !Arc::ptr_eq(worker, own));
        }
        surplus
    }

    /// Hires until enough threads do not hang, or too many do.
    fn relieve(self: &Arc<Self>, now: BootTime) {
        loop {
            let (all, hanging) = {
                let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
                let since = |worker: &Arc<AtomicU64>| BootTime(worker.load(Ordering::Relaxed));
                let hanging = workers.iter().filter(|worker| self.hangs(since(worker), now));
                (workers.len(), hanging.count())
            };
            let enough = all - hanging >= self.staffing.threads;
            if enough || all >= self.staffing.threads + SUBSTITUTES_MAX {
                return;
            }
            if let Err(error) = self.hire() {
                tracing::warn!(%error, lane = self.staffing.name, "cannot replace a worker that hangs");
                return;
            }
            let substitutes = self.crew.substitutes.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::warn!(
                lane = self.staffing.name,
                substitutes,
                "a worker hangs and was replaced"
            );
        }
    }
}

/// Ends when the lanes have ended.
fn watch(lines: &[Weak<Line>], every: Duration) {
    loop {
        std::thread::sleep(every);
        let alive: Vec<_> = lines.iter().filter_map(Weak::upgrade).collect();
        if alive.is_empty() {
            return;
        }
        for line in alive {
            line.relieve(clock::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::{FileKey, Place};
    use super::super::inspect::Inspect;
    use super::super::job::{Answer, Work};
    use super::*;
    use crate::elf::Elf;
    use crate::source::Inspection;
    use crate::stack::DebugFiles;
    use crate::types::Runtime;
    use std::sync::mpsc::{Sender, channel};

    const RUNTIME: Runtime = Runtime {
        wire: 98,
        label: "hanging",
    };

    /// Hangs on small files until it is let go.
    struct Hanging(Mutex<Receiver<()>>, usize);

    impl Source for Hanging {
        fn runtime(&self) -> Runtime {
            RUNTIME
        }

        fn inspect(&self, elf: &Elf<'_>) -> Inspection {
            if elf.data.len() < self.1 {
                let _ = self.0.lock().unwrap().recv();
            }
            Inspection::NotMine
        }
    }

    fn inspection(path: &std::path::Path, inode: u64) -> Job {
        Job(Work::Inspect(Box::new(Inspect {
            key: FileKey {
                place: Place::Inode { dev: 0, inode },
                size: 0,
                mtime: 0,
            },
            file: Arc::new(std::fs::File::open(path).unwrap()),
            path: path.display().to_string(),
            process: None,
            debug_files: DebugFiles::default(),
        })))
    }

    fn inode_of(done: &Done) -> u64 {
        match done.0 {
            Answer::Inspected {
                file:
                    FileKey {
                        place: Place::Inode { inode, .. },
                        ..
                    },
                ..
            } => inode,
            _ => panic!("{done:?}"),
        }
    }

    fn pool(sources: Vec<Box<dyn Source>>) -> (Pool, Receiver<Done>) {
        let (sender, answers): (Sender<Done>, _) = channel();
        let patient = Staffing {
            patience: Duration::from_millis(20),
            ..PATIENT
        };
        let deliver = move |done| {
            let _ = sender.send(done);
        };
        let pool = Pool::staffed(sources, deliver, [PROMPT, patient], Duration::from_millis(5)).unwrap();
        (pool, answers)
    }

    /// Files whose inspection hangs do not keep others from being inspected, and their own answers come in the end.
    #[test]
    fn inspections_that_hang_do_not_hold_up_the_others() {
        let small = std::env::temp_dir().join(format!("leak-agent-pool-{}", std::process::id()));
        std::fs::write(&small, b"\x7fELF").unwrap();
        let (let_go, gate) = channel();
        let (pool, answers) = pool(vec![Box::new(Hanging(Mutex::new(gate), 100))]);
        for inode in 1..=4 {
            pool.submit(inspection(&small, inode)).unwrap();
        }
        let large = std::env::current_exe().unwrap();
        pool.submit(inspection(&large, 9)).unwrap();
        let first = answers.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(inode_of(&first), 9);
        assert!(pool.substitutes() >= 3, "{}", pool.substitutes());
        drop(let_go);
        let mut rest: Vec<u64> = (0..4)
            .map(|_| inode_of(&answers.recv_timeout(Duration::from_secs(30)).unwrap()))
            .collect();
        rest.sort_unstable();
        assert_eq!(rest, [1, 2, 3, 4]);
        std::fs::remove_file(small).unwrap();
    }

    /// A full lane gives the job back; the other lane is not concerned.
    #[test]
    fn full_lane_gives_the_job_back() {
        let small = std::env::temp_dir().join(format!("leak-agent-full-{}", std::process::id()));
        std::fs::write(&small, b"\x7fELF").unwrap();
        let (let_go, gate) = channel();
        let (pool, _answers) = pool(vec![Box::new(Hanging(Mutex::new(gate), 100))]);
        let most = LANE_DEPTH + PATIENT.threads + SUBSTITUTES_MAX;
        let refused = (0..=most as u64).find_map(|inode| pool.submit(inspection(&small, inode)).err());
        assert_eq!(refused.map(|job| job.lane()), Some(Lane::Patient));
        drop(let_go);
        std::fs::remove_file(small).unwrap();
    }
}
