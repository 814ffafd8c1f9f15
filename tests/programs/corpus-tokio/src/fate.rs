//! What becomes of a task.

use std::sync::LazyLock;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// What becomes of a task.
#[derive(Clone, Copy)]
pub(crate) enum Fate {
    /// It works for so long and ends.
    Lives(Duration),
    /// It waits for work until the program ends.
    Held,
    /// It waits for an answer of somebody who has forgotten it.
    Lost,
}

/// The work of tasks that are held: there never is any.
static WORK: LazyLock<Notify> = LazyLock::new(Notify::new);

impl Fate {
    /// As the schedule writes it.
    pub(crate) fn of(text: &str) -> Self {
        match text {
            "held" => Self::Held,
            "lost" => Self::Lost,
            lives => Self::Lives(Duration::from_micros(lives.parse().expect("microseconds"))),
        }
    }

    /// Meets it.
    pub(crate) async fn meet(self) {
        match self {
            Self::Lives(time) if time.is_zero() => tokio::task::yield_now().await,
            Self::Lives(time) => tokio::time::sleep(time).await,
            Self::Held => WORK.notified().await,
            Self::Lost => {
                let (sender, answer) = oneshot::channel::<()>();
                std::mem::forget(sender);
                let _ = answer.await;
            }
        }
    }

    /// As bytes of a request.
    pub(crate) fn request(self) -> [u8; 8] {
        match self {
            Self::Lives(time) => u64::try_from(time.as_micros()).expect("not so long"),
            Self::Held => u64::MAX,
            Self::Lost => u64::MAX - 1,
        }
        .to_le_bytes()
    }

    /// Out of a request.
    pub(crate) fn requested(bytes: [u8; 8]) -> Self {
        match u64::from_le_bytes(bytes) {
            u64::MAX => Self::Held,
            lost if lost == u64::MAX - 1 => Self::Lost,
            micros => Self::Lives(Duration::from_micros(micros)),
        }
    }
}
