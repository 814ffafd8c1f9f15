//! Creation stacks in the loop: which thread reads them.

use super::Follower;
use crate::agent::names::{Request, Wanted};
use crate::event::StackEvent;
use crate::types::{BootTime, PlanId};
use std::sync::Arc;
use std::time::Duration;

/// Stacks of plans that are not known yet, at most, 16 KiB each: the first hits may be told before their attachment is.
const EARLY_MAX: usize = 256;
/// How long they are kept.
const EARLY: Duration = Duration::from_secs(10);

impl Follower {
    /// Takes a stack out of the ring.
    pub(super) fn stack(&mut self, stack: Box<StackEvent>, now: BootTime) {
        if self.discovery.ignores(&stack.process) {
            *self.counters.entry("stacks_not_wanted").or_default() += 1;
            return;
        }
        *self.counters.entry("stacks_seen").or_default() += 1;
        self.read_stack(stack, now);
    }

    /// Stacks that waited for their plan to be known.
    pub(super) fn early_stacks(&mut self, now: BootTime) {
        for (since, stack) in std::mem::take(&mut self.early) {
            self.read_stack_of(since, stack, now);
        }
    }

    fn read_stack(&mut self, stack: Box<StackEvent>, now: BootTime) {
        self.read_stack_of(now, stack, now);
    }

    fn read_stack_of(&mut self, since: BootTime, stack: Box<StackEvent>, now: BootTime) {
        let plan = PlanId(stack.site.plan);
        let attachment = self.plans.iter().find(|(_, id)| **id == plan);
        let attachment = attachment.map(|(attachment, _)| *attachment);
        let hooks = attachment.and_then(|attachment| self.hooks.get(&attachment));
        if plan != PlanId(0) && hooks.is_none() {
            if self.early.len() < EARLY_MAX && now.since(since) < EARLY {
                self.early.push((since, stack));
            } else {
                *self.counters.entry("stacks_of_unknown_plans").or_default() += 1;
            }
            return;
        }
        let file = attachment.and_then(|attachment| self.files.get(&attachment));
        let taken = match (hooks.filter(|hooks| hooks.stacks.is_some()), file) {
            (Some(hooks), Some((file, executable))) => self.names.submit(Request {
                plan,
                hooks: Arc::clone(hooks),
                file: Arc::clone(file),
                executable: executable.clone(),
                wanted: Wanted::Creation(stack),
            }),
            _ => self.stacks.submit(stack),
        };
        if !taken {
            *self.counters.entry("stacks_dropped_queue_full").or_default() += 1;
        }
    }
}
