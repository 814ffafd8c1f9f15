//! Files without probes, in the loop: how they begin, and how probes come to those whose tasks grow.

use super::Follower;
use crate::agent::attachments::Request;
use crate::agent::books;
use crate::bpf::BpfError;
use crate::bpf::error::chain;
use crate::discovery::AttachmentKey;
use crate::engine::growth::Grew;
use crate::engine::{Input, PlanFacts, Probes};
use crate::source::HookPlan;
use crate::sys::clock;
use crate::types::{PlanId, ProcessKey};
use std::fs::File;
use std::sync::Arc;

/// Said of a runtime that only probes count.
const UNREADABLE: &str = "no way is known to count its tasks from memory: --mode trace counts them by probes";

impl Follower {
    /// Follows a file without probes: nothing is put into it.
    pub(super) fn watch(
        &mut self,
        attachment: AttachmentKey,
        hooks: &Arc<HookPlan>,
        file: Option<(Arc<File>, String)>,
    ) {
        let now = clock::now();
        let told = if hooks.books.is_some() {
            let facts = PlanFacts::new(hooks, now, Probes::None);
            let plan = self.watched.begin(attachment, file);
            self.plans.insert(attachment, plan);
            let facts = Box::new(facts);
            self.line.take(Input::PlanArmed { plan, facts });
            Ok(())
        } else {
            Err(UNREADABLE.to_owned())
        };
        self.discovery.attached(&attachment, told, now);
    }

    /// The tasks of a process that is watched grow: its executable gets probes.
    pub(super) fn want_probes(&mut self, plan: PlanId, grew: &Grew) {
        let name = self.line.engine().site_name(plan, grew.site);
        let how = format!(
            "the tasks of {} grew from {} to {}, in each of the last windows of {} readings",
            name.unwrap_or_else(|| format!("site {:#x}", grew.site)),
            grew.from,
            grew.to,
            grew.readings
        );
        let Some((attachment, file, path)) = self.watched.grew(plan) else {
            return;
        };
        let Some(plan) = self.hooks.get(&attachment).map(Arc::clone) else {
            return;
        };
        tracing::info!(path, how, "attach");
        let request = Request::Attach {
            attachment,
            file,
            path,
            plan,
            reason: Some(how),
        };
        if self.requests.send(request).is_ok() {
            self.attaching += 1;
        }
    }

    /// Probes are in a file that was watched so far, or are not.
    pub(super) fn probes_attached(
        &mut self,
        attachment: AttachmentKey,
        result: Result<(PlanId, Box<PlanFacts>), BpfError>,
    ) {
        let Some(hooks) = self.hooks.get(&attachment).map(Arc::clone) else {
            return; // let go meanwhile: its detachment is on its way
        };
        match result {
            Ok((plan, facts)) => {
                self.line.take(Input::PlanArmed { plan, facts });
                self.plans.insert(attachment, plan);
                for process in self.watched.attached(&attachment, plan) {
                    self.ask_books(books::Request::Follow {
                        process,
                        plan,
                        attachment,
                        hooks: Arc::clone(&hooks),
                        urgent: true,
                    });
                }
            }
            Err(error) => {
                let reason = self.attach_failed(&error);
                if let Some(plan) = self.watched.refused(&attachment) {
                    let mut facts = PlanFacts::new(&hooks, clock::now(), Probes::None);
                    facts.gaps.push(format!(
                        "its tasks grow, and probes could not be attached: {reason}"
                    ));
                    let facts = Box::new(facts);
                    self.line.take(Input::PlanArmed { plan, facts });
                }
            }
        }
    }

    /// Counts and tells a failed attachment; why, for people.
    pub(super) fn attach_failed(&mut self, error: &BpfError) -> String {
        *self.attach_failures.entry(error.reason()).or_default() += 1;
        let reason = chain(error);
        tracing::warn!(reason, "attach");
        reason
    }

    /// What was alive before its probes is known: a process that was watched is traced from now on.
    pub(super) fn trace_instead(&mut self, process: ProcessKey, watched: PlanId, traced: PlanId) {
        self.line.take(Input::Follow {
            process,
            plan: traced,
        });
        self.line.take(Input::Unfollow {
            process,
            plan: watched,
        });
        self.ask_books(books::Request::Unfollow {
            process,
            plan: watched,
        });
    }

    pub(super) fn forget_books(&mut self, process: ProcessKey) {
        self.watched.forget(process);
        self.ask_books(books::Request::Forget { process });
    }
}
