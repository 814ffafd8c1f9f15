//! The event line's first hop in user space: a thread that does nothing but empty the ring, in bounded batches.

use super::message::Message;
use crate::bpf::ring::{Logs, Ring};
use crate::event::Event;
use leak_agent_common::record::Record;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

/// Records per batch.
const BATCH: usize = 1024;
/// How soon the thread notices that it is to stop, and passes on what the programs log.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// What went through.
#[derive(Debug, Default)]
pub(super) struct RingCounts {
    /// Records taken out of the ring.
    pub(super) taken: AtomicU64,
    /// Records that were none this build knows.
    pub(super) undecodable: AtomicU64,
}

/// Starts the thread. It ends when `stop` is set or nobody reads the inbox any more. While the inbox is full it
/// waits; then the ring fills up, and the kernel counts what does not fit.
///
/// # Errors
///
/// No thread could be started.
pub(super) fn spawn(
    mut ring: Ring,
    mut logs: Option<Logs>,
    inbox: SyncSender<Message>,
    counts: Arc<RingCounts>,
    stop: Arc<AtomicBool>,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("ring".to_owned())
        .spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let mut events = Vec::new();
                let taken = ring.drain(BATCH, |bytes| match Record::decode(bytes) {
                    Ok(record) => events.push(Event::from(record)),
                    Err(error) => {
                        if counts.undecodable.fetch_add(1, Ordering::Relaxed) == 0 {
                            tracing::error!(%error, "record in the ring");
                        }
                    }
                });
                counts.taken.fetch_add(taken as u64, Ordering::Relaxed);
                if !events.is_empty() && inbox.send(Message::Events(events)).is_err() {
                    return;
                }
                if taken < BATCH {
                    if let Some(logs) = &mut logs {
                        logs.flush();
                    }
                    let fd = ring.poll_fd();
                    if let Err(error) = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&PATIENCE))
                        && error != rustix::io::Errno::INTR
                    {
                        tracing::error!(%error, "wait for the ring");
                        return;
                    }
                }
            }
        })
}
