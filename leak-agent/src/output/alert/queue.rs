//! What waits for one receiver: in memory, and on disk, so that neither an outage of the receiver nor the agent's own end
//! loses it. Bounded by number and bytes: then the oldest goes.
//!
//! Without a disk that takes it (full, read-only, in use by another agent), entries stay in memory and are written as soon as
//! that works again.

mod folder;

pub(super) use folder::QueueError;

use super::notification::{Notification, VERSION};
use crate::config::notify::QueueLimits;
use folder::Folder;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

/// The queue of one receiver.
#[derive(Debug)]
pub(super) struct Queue {
    limits: QueueLimits,
    /// Where it is kept; `None` = in memory only.
    dir: Option<PathBuf>,
    /// `None` = in memory only, or the folder could not be opened yet.
    folder: Option<Folder>,
    entries: VecDeque<Entry>,
    next: u64,
    bytes: u64,
    counts: QueueCounts,
    /// The disk failed last time: said once.
    failing: bool,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    id: String,
    bytes: u64,
    /// `None` = it is on disk, and only there.
    held: Option<Vec<u8>>,
}

/// What happened to the entries of a queue since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct QueueCounts {
    /// Found there or put in.
    pub(super) taken: u64,
    /// Dropped, by reason.
    pub(super) dropped: BTreeMap<&'static str, u64>,
    /// Failed attempts to write to the disk.
    pub(super) disk_errors: u64,
}

impl Queue {
    /// Opens the queue in this folder, with what an earlier run has left there; `None` = in memory only. A folder that
    /// cannot be used is told once and counted.
    pub(super) fn open(dir: Option<&Path>, limits: QueueLimits) -> Self {
        let mut queue = Self {
            limits,
            dir: dir.map(Path::to_owned),
            folder: None,
            entries: VecDeque::new(),
            next: 1,
            bytes: 0,
            counts: QueueCounts::default(),
            failing: false,
        };
        queue.refresh();
        queue
    }

    /// Tries again what the disk did not do: opens the folder, writes what is in memory only. Not while an entry is under
    /// way: those found in the folder are older, and come first.
    pub(super) fn refresh(&mut self) {
        if self.folder.is_none()
            && let Some(dir) = &self.dir
        {
            match Folder::open(dir) {
                Ok((folder, found)) => self.adopt(folder, found),
                Err(error) => return self.failed(&error),
            }
        }
        self.save();
    }

    /// Puts what was found in a folder before what is there.
    fn adopt(&mut self, folder: Folder, found: Vec<(u64, u64)>) {
        let newer = std::mem::take(&mut self.entries);
        self.next = 1;
        for (number, bytes) in found {
            self.entries.push_back(Entry {
                number,
                id: String::new(),
                bytes,
                held: None,
            });
            self.next = self.next.max(number.saturating_add(1));
            self.bytes = self.bytes.saturating_add(bytes);
            self.counts.taken += 1;
        }
        for mut entry in newer {
            entry.number = self.next;
            self.next = self.next.saturating_add(1);
            self.entries.push_back(entry);
        }
        self.folder = Some(folder);
        self.works();
        self.shrink();
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many bytes wait.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether all that waits is on disk, and what comes would be, as far as is known.
    pub(super) fn is_safe(&self) -> bool {
        !self.failing && self.entries.iter().all(|entry| entry.held.is_none())
    }

    pub(super) fn counts(&self) -> &QueueCounts {
        &self.counts
    }

    /// Puts one in. It is on disk when this returns, if the disk takes it.
    pub(super) fn push(&mut self, notification: &Notification) {
        self.counts.taken += 1;
        let body = match serde_json::to_vec(notification) {
            Ok(body) => body,
            Err(error) => {
                tracing::error!(%error, id = notification.id, "cannot write a notification as JSON");
                self.drop_one("unwritable");
                return;
            }
        };
        let bytes = body.len() as u64;
        if bytes > self.limits.bytes {
            self.drop_one("too_large");
            return;
        }
        self.entries.push_back(Entry {
            number: self.next,
            id: notification.id.clone(),
            bytes,
            held: Some(body),
        });
        self.next = self.next.saturating_add(1);
        self.bytes += bytes;
        self.shrink();
        self.save();
    }

    /// The oldest. What cannot be read is set aside and counted; then it is the next one.
    pub(super) fn front(&mut self) -> Option<Notification> {
        loop {
            let entry = self.entries.front()?;
            let read = match (&entry.held, &self.folder) {
                (Some(body), _) => Ok(body.clone()),
                (None, Some(folder)) => folder.read(entry.number),
                (None, None) => Err(QueueError::Damaged { what: "lost" }),
            };
            match read.and_then(|body| parse(&body)) {
                // Too many open files, a disk that is away: it may be there again later.
                Err(error) if error.may_pass() => {
                    self.failed(&error);
                    return None;
                }
                Ok(notification) => {
                    let mut from_disk = false;
                    if let Some(entry) = self.entries.front_mut() {
                        entry.id.clone_from(&notification.id);
                        from_disk = entry.held.is_none();
                    }
                    if from_disk {
                        self.works();
                    }
                    return Some(notification);
                }
                Err(error) => {
                    let number = entry.number;
                    tracing::warn!(%error, number, "a queued notification is unreadable and set aside");
                    if let Some(folder) = &self.folder {
                        folder.set_aside(number);
                    }
                    self.pop();
                    self.drop_one("damaged");
                }
            }
        }
    }

    /// Takes the oldest out, if it is this one: it was delivered. It may have been dropped meanwhile.
    pub(super) fn done(&mut self, id: &str) -> bool {
        let is_front = self.entries.front().is_some_and(|entry| entry.id == id);
        if is_front {
            self.remove_front();
        }
        is_front
    }

    /// Takes the oldest out, if it is this one, and counts it as dropped.
    pub(super) fn give_up(&mut self, id: &str, reason: &'static str) {
        if self.done(id) {
            self.drop_one(reason);
        }
    }

    /// What an earlier run has left with [`Self::write_memory`].
    pub(super) fn read_memory(&self) -> Option<Vec<u8>> {
        let read = self.folder.as_ref()?.read_memory();
        read.unwrap_or_else(|error| {
            tracing::warn!(%error, "whom the receiver was told of is not known any more");
            None
        })
    }

    /// Keeps something for the next run, if the disk takes it.
    pub(super) fn write_memory(&mut self, body: &[u8]) {
        let written = self.folder.as_ref().map(|folder| folder.write_memory(body));
        if let Some(Err(error)) = written {
            self.failed(&error);
        }
    }

    /// Tries to write what is in memory only.
    fn save(&mut self) {
        let Some(folder) = &self.folder else { return };
        let mut failure = None;
        let mut wrote = false;
        for entry in &mut self.entries {
            let Some(body) = &entry.held else { continue };
            match folder.write(entry.number, body) {
                Ok(()) => {
                    entry.held = None;
                    wrote = true;
                }
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        match failure {
            Some(error) => self.failed(&error),
            None if wrote => self.works(),
            None => {}
        }
    }

    /// The disk did what was wanted of it.
    fn works(&mut self) {
        if std::mem::replace(&mut self.failing, false) {
            tracing::info!("queued notifications are on disk again");
        }
    }

    /// Keeps within the limits: the oldest go.
    fn shrink(&mut self) {
        while self.entries.len() > self.limits.entries || self.bytes > self.limits.bytes {
            self.remove_front();
            self.drop_one("queue_full");
        }
    }

    fn remove_front(&mut self) {
        if let Some(entry) = self.pop()
            && entry.held.is_none()
            && let Some(folder) = &self.folder
            && let Err(error) = folder.remove(entry.number)
        {
            // It would be sent once more after a restart.
            self.failed(&error);
        }
    }

    fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        Some(entry)
    }

    fn drop_one(&mut self, reason: &'static str) {
        *self.counts.dropped.entry(reason).or_default() += 1;
    }

    fn failed(&mut self, error: &QueueError) {
        self.counts.disk_errors += 1;
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(%error, "notifications wait in memory only: a restart of the agent would lose them");
        }
    }
}

fn parse(body: &[u8]) -> Result<Notification, QueueError> {
    let notification: Notification = serde_json::from_slice(body).map_err(QueueError::Json)?;
    if notification.version > VERSION {
        return Err(QueueError::Newer {
            version: notification.version,
        });
    }
    Ok(notification)
}

#[cfg(test)]
mod tests;
