//! The ring: records out of it, in bounded batches; and the programs' rare log messages.

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use std::os::fd::{AsFd, BorrowedFd};

/// The ring buffer's reading end.
pub struct Ring(RingBuf<MapData>);

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ring")
    }
}

impl Ring {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self(ring)
    }

    /// Hands up to `most` records to `take`, oldest first; returns how many there were.
    pub fn drain(&mut self, most: usize, mut take: impl FnMut(&[u8])) -> usize {
        for count in 0..most {
            let Some(item) = self.0.next() else { return count };
            take(&item);
        }
        most
    }

    /// What becomes readable when there are records.
    #[must_use]
    pub fn poll_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The programs' messages: rare, cold paths only. They go to `log`, and from there into `tracing`.
pub struct Logs(EbpfLogger<&'static dyn log::Log>);

impl std::fmt::Debug for Logs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Logs")
    }
}

impl Logs {
    /// `None`, said once: the object has no messages.
    pub(super) fn new(programs: &mut Ebpf) -> Option<Self> {
        match EbpfLogger::init(programs) {
            Ok(logger) => Some(Self(logger)),
            Err(error) => {
                tracing::warn!(%error, "messages of the BPF programs will not be seen");
                None
            }
        }
    }

    /// Passes on what is there.
    pub fn flush(&mut self) {
        self.0.flush();
    }
}
