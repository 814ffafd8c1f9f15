//! The threads that run jobs: a prompt lane for `/proc`, a patient lane at the lowest priority for executables.

use super::job::{Done, Job, Lane};
use crate::source::Source;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// How many jobs wait in a lane.
const LANE_DEPTH: usize = 128;
/// Threads of the patient lane: one large executable must not hold up all small ones.
const PATIENT_THREADS: usize = 2;
/// Stack of a worker, bytes: inspectors may recurse, within their limits.
const STACK_BYTES: usize = 4 << 20;

/// Runs jobs. Dropping it lets the threads end after the job they are on; nobody waits for them.
#[derive(Debug)]
pub struct Pool {
    prompt: SyncSender<Job>,
    patient: SyncSender<Job>,
}

impl Pool {
    /// Starts three threads. `deliver` is called on them with each answer; it must not block for long.
    ///
    /// # Errors
    ///
    /// A thread cannot be started.
    pub fn start(
        sources: Vec<Box<dyn Source>>,
        deliver: impl Fn(Done) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let sources: Arc<[Box<dyn Source>]> = sources.into();
        let deliver: Arc<dyn Fn(Done) + Send + Sync> = Arc::new(deliver);
        let lane = |name: &str, threads: usize, nice: i32| -> io::Result<SyncSender<Job>> {
            let (sender, jobs) = sync_channel(LANE_DEPTH);
            let jobs = Arc::new(Mutex::new(jobs));
            for _ in 0..threads {
                let (jobs, sources, deliver) = (jobs.clone(), sources.clone(), deliver.clone());
                std::thread::Builder::new()
                    .name(name.to_owned())
                    .stack_size(STACK_BYTES)
                    .spawn(move || work(&jobs, &sources, &*deliver, nice))?;
            }
            Ok(sender)
        };
        Ok(Self {
            prompt: lane("look", 1, 0)?,
            patient: lane("inspect", PATIENT_THREADS, 19)?,
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
}

fn work(
    jobs: &Mutex<Receiver<Job>>,
    sources: &[Box<dyn Source>],
    deliver: &(dyn Fn(Done) + Send + Sync),
    nice: i32,
) {
    // On Linux the priority is the thread's own. A refusal only makes us less polite.
    if nice != 0
        && let Err(error) = rustix::process::nice(nice)
    {
        tracing::debug!(%error, "cannot lower the priority of a worker");
    }
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        deliver(job.run(sources));
    }
}
