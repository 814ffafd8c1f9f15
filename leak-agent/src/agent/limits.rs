//! The limits thread: reads how far processes are from their limits, for the detectors. It may block.

use crate::detect::{Limits, Usage};
use crate::sys::limits::{Ceiling, ProcessLimits, Reader};
use crate::types::{BootTime, ProcessKey};
use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Rounds that may wait: a thread that is slow is not asked again.
const WAITING: usize = 1;

/// A round: whose limits, and when.
struct Round {
    processes: Vec<ProcessKey>,
    at: BootTime,
}

/// The thread, seen from the loop. It ends when this is dropped.
pub(super) struct LimitReader {
    rounds: SyncSender<Round>,
    answers: Receiver<BTreeMap<ProcessKey, Limits>>,
}

impl LimitReader {
    /// Starts the thread.
    pub(super) fn spawn() -> io::Result<Self> {
        let (rounds, wanted) = sync_channel::<Round>(WAITING);
        let (answer, answers) = sync_channel(WAITING + 1);
        std::thread::Builder::new()
            .name("limits".to_owned())
            .spawn(move || {
                let mut reader = Reader::default();
                for round in wanted {
                    let now = Duration::from_nanos(round.at.0);
                    let read = round.processes.into_iter().filter_map(|process| {
                        let limits = reader.read(process.tgid, now)?;
                        Some((process, told(&limits)))
                    });
                    if answer.send(read.collect()).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { rounds, answers })
    }

    /// Asks for the limits of these processes, unless the thread is still busy.
    pub(super) fn ask(&self, processes: Vec<ProcessKey>, at: BootTime) {
        // Without the thread nothing is told of limits.
        let _ = self.rounds.try_send(Round { processes, at });
    }

    /// What was read meanwhile.
    pub(super) fn take(&self) -> BTreeMap<ProcessKey, Limits> {
        self.answers.try_iter().flatten().collect()
    }
}

fn told(of: &ProcessLimits) -> Limits {
    let usage = |of: Option<Ceiling>| {
        of.map(|of| Usage {
            used: of.used,
            limit: of.limit,
        })
    };
    Limits {
        cgroup_pids: usage(of.cgroup_pids),
        user_threads: usage(of.user_threads),
        system_threads: usage(of.system_threads),
        stack_memory: usage(of.address_space),
        cgroup_memory: usage(of.cgroup_memory),
    }
}
