//! One receiver's worker: takes what waits, one after the other, and tries until it is delivered, refused or too old.

use super::backoff::{Backoff, chance};
use super::books::AlertBooks;
use super::bucket::Bucket;
use super::notification::Notification;
use super::queue::Queue;
use super::send::{Outcome, Sender};
use crate::config::notify::Pace;
use crate::sys::clock;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// A disk that cannot be read or written at the moment is tried again after this time at the latest.
const TRY_DISK_AGAIN: Duration = Duration::from_secs(10);

/// A queue, and who waits for it.
#[derive(Debug)]
pub(super) struct Line {
    queue: Mutex<Queue>,
    filled: Notify,
}

impl Line {
    pub(super) fn new(queue: Queue) -> Self {
        Self {
            queue: Mutex::new(queue),
            filled: Notify::new(),
        }
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts one in and wakes the worker.
    pub(super) fn push(&self, notification: &Notification) {
        self.queue().push(notification);
        self.filled.notify_one();
    }
}

/// The worker of one receiver.
#[derive(Debug)]
pub(super) struct Worker {
    /// Its number, and its name for the log.
    pub(super) receiver: usize,
    pub(super) name: String,
    pub(super) sender: Sender,
    pub(super) pace: Pace,
    pub(super) line: Arc<Line>,
    pub(super) books: AlertBooks,
    /// Turns true when the agent ends: then nothing is waited for.
    pub(super) ending: watch::Receiver<bool>,
}

impl Worker {
    /// Works until the agent ends and nothing can be delivered at once.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(&self.pace);
        let mut bucket = Bucket::new(self.pace.max_per_minute, clock::now());
        let mut current = String::new();
        loop {
            let front = {
                let mut queue = self.line.queue();
                queue.refresh();
                queue.front()
            };
            self.books.queue(self.receiver, &self.line.queue());
            let Some(notification) = front else {
                if *self.ending.borrow() {
                    return;
                }
                tokio::select! {
                    () = self.line.filled.notified() => {}
                    _ = self.ending.wait_for(|ending| *ending) => {}
                    () = tokio::time::sleep(TRY_DISK_AGAIN) => {}
                }
                continue;
            };
            if current != notification.id {
                current.clone_from(&notification.id);
                backoff.reset();
            }
            if clock::unix() - notification.created_at > self.pace.max_age.as_secs_f64() {
                self.give_up(&notification, "too_old", "it is too old");
                continue;
            }
            if !bucket.take(clock::now()) {
                let wait = bucket.wait(clock::now());
                if self.ended_within(wait).await {
                    return;
                }
                continue;
            }
            match self.sender.send(&notification).await {
                Outcome::Delivered => self.delivered(&notification),
                Outcome::Refused { why } => self.give_up(&notification, "refused", &why),
                Outcome::Again { why, after } => {
                    self.failed(&notification, &why, backoff.failures());
                    let pause = backoff.next(after, chance());
                    if self
                        .pace
                        .max_attempts
                        .is_some_and(|most| backoff.failures() >= most)
                    {
                        self.give_up(&notification, "attempts_exhausted", &why);
                        continue;
                    }
                    self.books.queue(self.receiver, &self.line.queue());
                    if self.ended_within(pause).await {
                        return;
                    }
                }
            }
        }
    }

    /// Waits; `true` = the agent ends, and there is no time to wait.
    async fn ended_within(&mut self, pause: Duration) -> bool {
        let ending = self.ending.wait_for(|ending| *ending);
        tokio::time::timeout(pause, ending).await.is_ok()
    }

    fn delivered(&self, notification: &Notification) {
        // Dropped from a full queue while it was under way, it was delivered and is counted there.
        let was_waiting = self.line.queue().done(&notification.id);
        self.books.note(self.receiver, |facts| {
            facts.delivered += u64::from(was_waiting);
            facts.last_delivered = Some(clock::unix());
            if facts.trouble.take().is_some() {
                tracing::info!(receiver = self.name, "the receiver is reached again");
            }
        });
    }

    fn failed(&self, notification: &Notification, why: &str, failures: u32) {
        let (receiver, id) = (self.name.as_str(), notification.id.as_str());
        self.books.note(self.receiver, |facts| {
            facts.failed_attempts += 1;
            // Said once per outage.
            if facts.trouble.replace(why.to_owned()).is_none() {
                tracing::warn!(receiver, why, "a receiver cannot be told; trying again");
            } else {
                tracing::debug!(receiver, id, why, failures, "another attempt failed");
            }
        });
    }

    fn give_up(&self, notification: &Notification, reason: &'static str, why: &str) {
        tracing::warn!(
            receiver = self.name,
            notification = notification.id,
            reason,
            why,
            "a notification is given up"
        );
        self.line.queue().give_up(&notification.id, reason);
        self.books
            .note(self.receiver, |facts| facts.trouble = Some(why.to_owned()));
    }
}
