//! The recorder: encodes on the caller's thread, compresses and writes on one of its own. Whatever happens to it, its
//! caller goes on.

use super::entry::{Encoder, Header, Misfit};
use super::{TapeError, Writer};
use crate::config::RecordConfig;
use crate::detect::Facts;
use crate::engine::{Engine, Input};
use crate::report::AgentFacts;
use crate::sys::clock;
use crate::types::BootTime;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// What is lost at most if the agent is killed.
const FLUSH_AFTER: Duration = Duration::from_millis(500);
/// Bytes that wait for the disk, at most.
const WAITING_MAX: u64 = 256 << 20;
/// How long the end waits for the disk.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Something to be written.
enum Piece {
    Entry(Vec<u8>),
    NextFile,
    End,
}

/// What both threads know.
#[derive(Debug, Default)]
struct Shared {
    /// Bytes that wait for the disk.
    waiting: AtomicU64,
    /// Bytes in all files so far.
    written: AtomicU64,
    /// The present file is full.
    full: AtomicBool,
    /// Nothing is recorded any more.
    stopped: AtomicBool,
}

/// Records what reaches the engine.
#[derive(Debug)]
pub struct Recorder {
    encoder: Encoder,
    pieces: Sender<Piece>,
    ended: Receiver<()>,
    shared: Arc<Shared>,
    entries: u64,
    lost: u64,
}

impl Recorder {
    /// Begins a tape.
    ///
    /// # Errors
    ///
    /// The file cannot be made, or no thread can be started.
    pub fn start(config: RecordConfig, header: &Header) -> Result<Self, TapeError> {
        let bytes_max = config.bytes_max;
        let writer = Writer::create(config, header)?;
        let shared = Arc::new(Shared::default());
        let (pieces, waiting) = channel();
        let (end, ended) = channel();
        let known = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("tape".to_owned())
            .spawn(move || {
                if let Err(error) = write(writer, &waiting, &known, bytes_max) {
                    known.stopped.store(true, Ordering::Relaxed);
                    tracing::warn!(error = %chain(&error), "nothing is recorded any more");
                }
                // Nobody waits for it unless the agent ends.
                let _ = end.send(());
            })
            .map_err(TapeError::Thread)?;
        Ok(Self {
            encoder: Encoder::default(),
            pieces,
            ended,
            shared,
            entries: 0,
            lost: 0,
        })
    }

    /// Records an input.
    pub fn input(&mut self, input: &Input) {
        if self.goes_on() {
            let entry = self.encoder.input(input);
            self.send(entry);
        }
    }

    /// Records that a report was made, of what the agent said of itself and what the detectors were `told`. `engine`: its state now, to begin another file with if this one is full.
    pub fn tick(&mut self, at: BootTime, facts: &AgentFacts, told: &Facts, engine: &Engine) {
        if !self.goes_on() {
            return;
        }
        self.send(Encoder::tick(at, facts, told));
        if self.shared.full.swap(false, Ordering::Relaxed) {
            // A thread that has ended has said so.
            let _ = self.pieces.send(Piece::NextFile);
            let state = self.encoder.state(engine);
            self.send(state);
        }
    }

    /// What was written, and what was not, by name.
    #[must_use]
    pub fn counters(&self) -> [(&'static str, u64); 4] {
        [
            ("tape_entries", self.entries),
            ("tape_bytes", self.shared.written.load(Ordering::Relaxed)),
            ("tape_entries_lost", self.lost),
            (
                "tape_stopped",
                u64::from(self.shared.stopped.load(Ordering::Relaxed)),
            ),
        ]
    }

    /// Counts an entry that is lost because recording has stopped.
    fn goes_on(&mut self) -> bool {
        let stopped = self.shared.stopped.load(Ordering::Relaxed);
        self.lost += u64::from(stopped);
        !stopped
    }

    fn send(&mut self, entry: Result<Vec<u8>, Misfit>) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(misfit) => return self.stop(&misfit),
        };
        let bytes = entry.len() as u64;
        if self.shared.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > WAITING_MAX {
            return self.stop("the disk is too slow for the tape");
        }
        self.entries += 1;
        // A thread that has ended has said so.
        let _ = self.pieces.send(Piece::Entry(entry));
    }

    /// A tape with a gap would be a lie: it ends before it.
    fn stop(&mut self, reason: &str) {
        self.lost += 1;
        self.shared.stopped.store(true, Ordering::Relaxed);
        tracing::warn!(reason, "nothing is recorded any more");
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.pieces.send(Piece::End);
        // A disk that hangs must not keep the agent from ending.
        let _ = self.ended.recv_timeout(END_WITHIN);
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// The thread: writes until there is nothing more to come.
fn write(
    mut writer: Writer,
    pieces: &Receiver<Piece>,
    shared: &Shared,
    bytes_max: u64,
) -> Result<(), TapeError> {
    // Since when something waits to be flushed, whether it was said that the file is full, bytes in the files before.
    let (mut dirty, mut told, mut before) = (None::<BootTime>, false, 0);
    shared.written.store(writer.bytes(), Ordering::Relaxed);
    loop {
        // With nothing to flush there is nothing to do until something comes.
        let piece = match dirty {
            Some(since) => pieces.recv_timeout(FLUSH_AFTER.saturating_sub(clock::now().since(since))),
            None => pieces.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match piece {
            Ok(Piece::Entry(entry)) => {
                writer.push(&entry)?;
                shared.waiting.fetch_sub(entry.len() as u64, Ordering::Relaxed);
                let since = *dirty.get_or_insert_with(clock::now);
                if clock::now().since(since) >= FLUSH_AFTER {
                    writer.flush()?;
                    dirty = None;
                }
            }
            Ok(Piece::NextFile) => {
                before += writer.bytes();
                writer.rotate()?;
                (dirty, told) = (None, false);
            }
            Ok(Piece::End) | Err(RecvTimeoutError::Disconnected) => return writer.end(),
            Err(RecvTimeoutError::Timeout) => {
                writer.flush()?;
                dirty = None;
            }
        }
        shared.written.store(before + writer.bytes(), Ordering::Relaxed);
        if !told && writer.bytes() >= bytes_max {
            told = true;
            shared.full.store(true, Ordering::Relaxed);
        }
    }
}
