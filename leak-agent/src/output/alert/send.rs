//! One attempt to tell a receiver: what is sent, and what came of it.

mod command;
mod http;
mod secret;
mod signature;

pub(super) use command::Program;
pub(super) use http::HttpClient;

use super::AlertError;
use super::notification::Notification;
use super::render::{alertmanager, line};
use crate::config::notify::{ReceiverConfig, Target};
use crate::sys::clock;
use std::time::Duration;

/// What came of an attempt.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The receiver has it.
    Delivered,
    /// Not now: try again.
    Again {
        /// What happened, as half a sentence.
        why: String,
        /// How long the receiver asked to wait.
        after: Option<Duration>,
    },
    /// Never: the receiver does not want it.
    Refused {
        /// What happened, as half a sentence.
        why: String,
    },
}

/// A receiver that can be told something.
#[derive(Debug)]
pub(super) enum Sender {
    Webhook(HttpClient),
    Alertmanager {
        client: HttpClient,
        /// How often what stands is sent.
        repeat: Duration,
    },
    Command(Program),
    Log,
}

impl Sender {
    /// Reads what its files hold, so that what is wrong with them is known at the start.
    pub(super) fn prepare(config: &ReceiverConfig) -> Result<Self, AlertError> {
        Ok(match &config.target {
            Target::Webhook(target) => Self::Webhook(HttpClient::prepare(target, None)?),
            Target::Alertmanager(target) => Self::Alertmanager {
                client: HttpClient::prepare(target, Some("/api/v2/alerts"))?,
                repeat: config.pace.repeat_interval,
            },
            Target::Command(target) => Self::Command(Program::prepare(target)?),
            Target::Log => Self::Log,
        })
    }

    /// Whether it is reached at once and always.
    pub(super) fn is_log(&self) -> bool {
        matches!(self, Self::Log)
    }

    /// Tells it. Ends within the receiver's time limit, whatever is on the other side.
    pub(super) async fn send(&self, notification: &Notification) -> Outcome {
        let body = match self.body(notification) {
            Ok(body) => body,
            Err(error) => {
                return Outcome::Refused {
                    why: format!("cannot be written as JSON: {error}"),
                };
            }
        };
        match self {
            Self::Webhook(client) | Self::Alertmanager { client, .. } => {
                client.post(&notification.id, body).await
            }
            Self::Command(program) => program.run(notification, &body).await,
            Self::Log => {
                line::log(notification);
                Outcome::Delivered
            }
        }
    }

    fn body(&self, notification: &Notification) -> serde_json::Result<Vec<u8>> {
        match self {
            Self::Alertmanager { repeat, .. } => alertmanager::body(notification, *repeat, clock::unix()),
            Self::Webhook(_) | Self::Command(_) | Self::Log => serde_json::to_vec(notification),
        }
    }
}
