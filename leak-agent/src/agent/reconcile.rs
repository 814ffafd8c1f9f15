//! Comparisons on demand: somebody wants to know now whether our counts and the runtimes' own books agree.

use super::books;
use std::convert::Infallible;
use std::sync::mpsc::Sender;
use tokio::sync::mpsc;

/// Asks a running agent for comparisons. Cheap to clone; outlives the agent harmlessly.
#[derive(Clone, Debug)]
pub struct Reconciler(Option<Sender<books::Request>>);

/// One question, as it goes around: it is answered once all of its clones are dropped.
#[derive(Clone, Debug)]
pub(super) struct Asked(#[expect(dead_code, reason = "only its end is waited for")] mpsc::Sender<Infallible>);

/// A question that was asked.
#[derive(Debug)]
pub struct Comparison(mpsc::Receiver<Infallible>);

impl Reconciler {
    /// Asks the thread behind `books`; `None` = nobody reads any books.
    pub(super) fn new(books: Option<Sender<books::Request>>) -> Self {
        Self(books)
    }

    /// Has the books of all followed processes compared as soon as possible, whenever their turn would be. One that is being
    /// compared already is compared once more after that.
    #[must_use = "without waiting, nobody knows when it is done"]
    pub fn now(&self) -> Comparison {
        let (sender, receiver) = mpsc::channel(1);
        if let Some(books) = &self.0 {
            // Without the thread there is nothing to wait for.
            let _ = books.send(books::Request::CompareAll(Asked(sender)));
        }
        Comparison(receiver)
    }
}

impl Comparison {
    /// Waits until every comparison has come to a result, or to nothing, and the agent has taken it in: the next report
    /// has it. The caller bounds the time.
    pub async fn done(&mut self) {
        while self.0.recv().await.is_some() {}
    }
}
