//! What became of the notifications, as metrics.

use super::catalogue as names;
use super::family::Family;
use crate::report::Receiver;
use std::collections::BTreeSet;

/// The families of all receivers.
pub(super) fn families(receivers: &[Receiver]) -> [Family; 7] {
    let mut notifications = Family::new(names::NOTIFICATIONS);
    let mut dropped = Family::new(names::NOTIFICATIONS_DROPPED);
    let mut queue = Family::new(names::NOTIFICATION_QUEUE);
    let mut bytes = Family::new(names::NOTIFICATION_QUEUE_BYTES);
    let mut on_disk = Family::new(names::NOTIFICATION_ON_DISK);
    let mut time = Family::new(names::NOTIFICATION_TIME);
    let mut events = Family::new(names::NOTIFICATION_EVENTS);
    let mut seen = BTreeSet::new();
    for receiver in receivers.iter().filter(|receiver| seen.insert(&receiver.name)) {
        let name = receiver.name.as_str();
        let given_up = receiver
            .dropped
            .values()
            .fold(0, |sum: u64, count| sum.saturating_add(*count));
        for (outcome, count) in [
            ("taken", receiver.taken),
            ("delivered", receiver.delivered),
            ("dropped", given_up),
            ("failed_attempt", receiver.failed_attempts),
        ] {
            notifications.push([name, &receiver.kind, outcome], count);
        }
        for (reason, count) in &receiver.dropped {
            dropped.push([name, reason], *count);
        }
        queue.push([name], receiver.waiting);
        bytes.push([name], receiver.waiting_bytes);
        on_disk.push([name], receiver.on_disk);
        if let Some(at) = receiver.last_delivered {
            time.push([name], at);
        }
        for (event, count) in [
            ("settled", receiver.settled),
            ("over_limit", receiver.over_limit),
            ("held", receiver.held),
            ("disk_error", receiver.disk_errors),
        ] {
            events.push([name, event], count);
        }
    }
    [notifications, dropped, queue, bytes, on_disk, time, events]
}
