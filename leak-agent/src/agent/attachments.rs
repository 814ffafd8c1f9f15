//! The thread that attaches and detaches plans: both block, and neither may hold up the event line.

use super::message::Message;
use crate::bpf::{Attached, Attacher};
use crate::discovery::AttachmentKey;
use crate::engine::{PlanFacts, Probes};
use crate::source::HookPlan;
use crate::sys::clock;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::thread::JoinHandle;

/// What the thread is asked for.
pub(super) enum Request {
    /// Attach and arm this plan.
    Attach {
        attachment: AttachmentKey,
        file: Arc<File>,
        path: String,
        plan: Arc<HookPlan>,
        /// Why, as half a sentence; `None` = so the operator wants it.
        reason: Option<String>,
    },
    /// Detach it.
    Detach(AttachmentKey),
}

/// Starts the thread; it ends, and detaches everything, when the returned sender is dropped.
///
/// # Errors
///
/// No thread could be started.
pub(super) fn spawn(
    attacher: Attacher,
    inbox: SyncSender<Message>,
) -> io::Result<(Sender<Request>, JoinHandle<()>)> {
    let (sender, requests) = channel();
    let thread = std::thread::Builder::new()
        .name("attach".to_owned())
        .spawn(move || serve(attacher, &requests, &inbox))?;
    Ok((sender, thread))
}

fn serve(mut attacher: Attacher, requests: &Receiver<Request>, inbox: &SyncSender<Message>) {
    let mut attached: HashMap<AttachmentKey, Attached> = HashMap::new();
    for request in requests {
        let answer = match request {
            Request::Attach {
                attachment,
                file,
                path,
                plan,
                reason,
            } => {
                let result = attacher.attach(&file, &path, &plan).map(|done| {
                    let facts = PlanFacts::new(&plan, clock::now(), Probes::Attached(reason));
                    let id = done.plan;
                    tracing::info!(path, plan = id.0, points = plan.points.len(), runtime = %plan.runtime, "attached");
                    attached.insert(attachment, done);
                    (id, Box::new(facts))
                });
                Message::Attached(attachment, result)
            }
            Request::Detach(attachment) => {
                let Some(done) = attached.remove(&attachment) else {
                    continue;
                };
                let id = done.plan;
                attacher.detach(done);
                tracing::info!(plan = id.0, "detached");
                Message::Detached(id)
            }
        };
        if inbox.send(answer).is_err() {
            break;
        }
    }
    attacher.detach_all(attached.into_values().collect());
}
