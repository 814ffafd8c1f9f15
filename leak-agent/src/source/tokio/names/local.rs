//! Which tasks run on a `LocalSet`: the code that schedules them tells, stripped or not.
//!
//! The two runtimes queue a task in their scheduler, and that code panics with places under
//! `runtime/scheduler/`. A `LocalSet` asks for its thread and wakes it; it never enters a scheduler. Checked against builds of
//! tokio 1.38, 1.47 and 1.54, with and without link-time optimisation.

use super::code::Code;
use super::location::{Locations, Owner};
use crate::source::tokio::vtable::{Class, TaskVtable};
use std::collections::HashMap;

/// Calls between `raw::schedule` and the code that queues: 1 with fat LTO, 2 when optimised for size.
const MAX_CALLS: u32 = 3;

/// Functions visited per scheduler.
const MAX_VISITS: usize = 300;

/// What was found out by the address of the `schedule` slot, which all tasks of a scheduler share.
#[derive(Default)]
pub(super) struct Schedulers {
    known: HashMap<u64, Option<bool>>,
}

impl Schedulers {
    /// Whether the vtable's tasks run on a `LocalSet`; `None` = the code does not tell, or is of tokio before 1.23.
    pub(super) fn is_local<'data>(
        &mut self,
        locations: &mut Locations<'data>,
        code: &mut Code<'_, 'data>,
        vtable: &TaskVtable,
    ) -> Option<bool> {
        let schedule = vtable.schedule().filter(|_| vtable.class() == Class::Async)?;
        *self.known.entry(schedule.0).or_insert_with(|| {
            let found = locations.reached(code, schedule.0, MAX_CALLS, MAX_VISITS);
            let mut paths = found
                .iter()
                .filter(|found| found.owner == Owner::Runtime)
                .map(|found| found.location.path)
                .peekable();
            paths.peek()?;
            Some(!paths.any(|path| path.contains("/runtime/scheduler/")))
        })
    }
}
