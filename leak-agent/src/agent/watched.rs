//! The plans that begin without probes: their numbers, the processes that use them, what is still to be read, and how
//! probes take over.
//!
//! ```text
//! watched ── a count grows (--mode auto) ──► attaching ──► attached: new processes are traced from the start;
//!                                                          each old one is watched until its baseline is known
//! ```
//!
//! Probes stay for as long as anybody uses the file: who grew once is worth watching closely, and comings and goings of
//! probes would tear the counts apart.

use crate::discovery::AttachmentKey;
use crate::types::{PlanId, ProcessKey};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::sync::Arc;

/// Numbers from here on are those of plans without probes: the kernel has no plan with such a number.
const FIRST: u32 = 1 << 31;
/// Answers without a baseline after which a process is traced without one.
const ATTEMPTS: u32 = 8;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Watched {
    plans: HashMap<AttachmentKey, Plan>,
    users: BTreeMap<ProcessKey, BTreeMap<AttachmentKey, User>>,
    given: u32,
}

/// One file that is watched, or was at first.
#[derive(Debug)]
pub(super) struct Plan {
    /// Its number without probes.
    pub(super) id: PlanId,
    probes: Probes,
    /// Where they would go, and the file's name among people; `None` = they are not wanted.
    pub(super) file: Option<(Arc<File>, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probes {
    None,
    Attaching,
    Attached(PlanId),
    Refused,
}

/// A process with such a file.
#[derive(Clone, Copy, Debug, Default)]
struct User {
    /// It was read at least once, or never will be.
    read: bool,
    /// Probes count in it, too, and its baseline is not known yet: the answers so far.
    moving: Option<u32>,
}

/// How a process is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By its memory, under this number.
    Watch(PlanId),
    /// By probes.
    Trace(PlanId),
}

impl Watched {
    /// Takes a plan in; gives its number. `file` is where probes go if they are wanted later.
    pub(super) fn begin(&mut self, attachment: AttachmentKey, file: Option<(Arc<File>, String)>) -> PlanId {
        let id = PlanId(FIRST | self.given);
        self.given = self.given.wrapping_add(1) & !FIRST;
        let probes = Probes::None;
        self.plans.insert(attachment, Plan { id, probes, file });
        id
    }

    /// Nobody uses it any more. Gives its number, and whether it has probes, or is about to have.
    pub(super) fn end(&mut self, attachment: &AttachmentKey) -> Option<(PlanId, bool)> {
        let plan = self.plans.remove(attachment)?;
        Some((
            plan.id,
            matches!(plan.probes, Probes::Attaching | Probes::Attached(_)),
        ))
    }

    /// Whose number this is.
    pub(super) fn attachment(&self, plan: PlanId) -> Option<AttachmentKey> {
        let mut plans = self.plans.iter();
        plans.find_map(|(attachment, of)| (of.id == plan).then_some(*attachment))
    }

    /// A process uses this file; `None` = it is not watched.
    pub(super) fn follow(&mut self, process: ProcessKey, attachment: AttachmentKey) -> Option<Way> {
        let plan = self.plans.get(&attachment)?;
        let (way, read) = match plan.probes {
            Probes::Attached(traced) => (Way::Trace(traced), true),
            Probes::None | Probes::Attaching | Probes::Refused => (Way::Watch(plan.id), false),
        };
        let user = User { read, moving: None };
        self.users.entry(process).or_default().insert(attachment, user);
        Some(way)
    }

    /// It uses it no more. Gives the number without probes, if it is still watched, too.
    pub(super) fn unfollow(&mut self, process: ProcessKey, attachment: &AttachmentKey) -> Option<PlanId> {
        if let Some(files) = self.users.get_mut(&process) {
            files.remove(attachment);
        }
        self.plans.get(attachment).map(|plan| plan.id)
    }

    /// The process has ended, or runs another image.
    pub(super) fn forget(&mut self, process: ProcessKey) {
        self.users.remove(&process);
    }

    /// It was read, or never will be.
    pub(super) fn was_read(&mut self, process: ProcessKey, plan: PlanId) {
        for (attachment, user) in self.users.get_mut(&process).into_iter().flatten() {
            user.read |= self.plans.get(attachment).is_some_and(|of| of.id == plan);
        }
    }

    /// Every process that is followed was read at least once.
    pub(super) fn all_read(&self) -> bool {
        self.users
            .values()
            .flat_map(BTreeMap::values)
            .all(|user| user.read)
    }

    /// Its count grows: where probes are to be attached; `None` = nowhere, or they are already.
    pub(super) fn grew(&mut self, plan: PlanId) -> Option<(AttachmentKey, Arc<File>, String)> {
        let mut plans = self.plans.iter_mut();
        let (attachment, plan) = plans.find(|(_, of)| of.id == plan)?;
        let (file, path) = plan.file.clone().filter(|_| plan.probes == Probes::None)?;
        plan.probes = Probes::Attaching;
        Some((*attachment, file, path))
    }

    /// Probes are attached and count under this number. Gives the processes that were watched so far: each goes on to
    /// be until its baseline is known.
    pub(super) fn attached(&mut self, attachment: &AttachmentKey, traced: PlanId) -> Vec<ProcessKey> {
        let Some(plan) = self.plans.get_mut(attachment) else {
            return Vec::new();
        };
        plan.probes = Probes::Attached(traced);
        let mut moving = Vec::new();
        for (process, files) in &mut self.users {
            if let Some(user) = files.get_mut(attachment) {
                user.moving = Some(0);
                moving.push(*process);
            }
        }
        moving
    }

    /// Probes could not be attached. Gives the number under which it goes on to be watched.
    pub(super) fn refused(&mut self, attachment: &AttachmentKey) -> Option<PlanId> {
        let plan = self.plans.get_mut(attachment)?;
        plan.probes = Probes::Refused;
        Some(plan.id)
    }

    /// The books told of a process what was alive before its probes, or did not (`known`). Gives the number under which it
    /// was watched, if it is to be traced from now on; `Err` = it is to be watched a while longer.
    pub(super) fn told(
        &mut self,
        process: ProcessKey,
        traced: PlanId,
        known: bool,
    ) -> Result<Option<PlanId>, ()> {
        for (attachment, user) in self.users.get_mut(&process).into_iter().flatten() {
            let Some(plan) = self.plans.get(attachment) else {
                continue;
            };
            let (Probes::Attached(id), Some(answers)) = (plan.probes, &mut user.moving) else {
                continue;
            };
            if id != traced {
                continue;
            }
            *answers += 1;
            if !known && *answers < ATTEMPTS {
                return Err(());
            }
            user.moving = None;
            return Ok(Some(plan.id));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::{FileKey, Place};
    use crate::source::tokio;

    fn process(tgid: u32) -> ProcessKey {
        ProcessKey {
            start_boottime: 1,
            tgid,
            pad: 0,
        }
    }

    fn attachment() -> AttachmentKey {
        AttachmentKey {
            file: FileKey {
                place: Place::Inode { dev: 1, inode: 2 },
                size: 3,
                mtime: 4,
            },
            runtime: tokio::RUNTIME,
        }
    }

    fn file() -> Option<(Arc<File>, String)> {
        Some((Arc::new(File::open("/proc/self/exe").unwrap()), "/app".to_owned()))
    }

    /// A process whose file gets probes is watched until its baseline is known; the next one is traced at once.
    #[test]
    fn processes_move_to_probes_one_by_one() {
        const TRACED: PlanId = PlanId(5);
        let mut watched = Watched::default();
        let plan = watched.begin(attachment(), file());
        for tgid in [1, 2] {
            assert_eq!(
                watched.follow(process(tgid), attachment()),
                Some(Way::Watch(plan))
            );
        }
        assert!(watched.grew(plan).is_some());
        assert!(watched.grew(plan).is_none(), "asked for twice");
        assert_eq!(watched.attached(&attachment(), TRACED), [process(1), process(2)]);
        assert_eq!(watched.follow(process(3), attachment()), Some(Way::Trace(TRACED)));
        assert_eq!(watched.told(process(3), TRACED, false), Ok(None));
        assert_eq!(watched.told(process(1), TRACED, false), Err(()));
        assert_eq!(watched.told(process(1), TRACED, true), Ok(Some(plan)));
        assert_eq!(watched.told(process(1), TRACED, true), Ok(None));
        for _ in 1..ATTEMPTS {
            assert_eq!(watched.told(process(2), TRACED, false), Err(()));
        }
        assert_eq!(watched.told(process(2), TRACED, false), Ok(Some(plan)));
        assert_eq!(watched.end(&attachment()), Some((plan, true)));
    }

    /// Without a file that was kept, growth changes nothing; a process counts as read once it was, or has ended.
    #[test]
    fn mode_watch_keeps_no_files_and_waits_for_the_first_reading() {
        let mut watched = Watched::default();
        let plan = watched.begin(attachment(), None);
        watched.follow(process(1), attachment());
        watched.follow(process(2), attachment());
        assert!(watched.grew(plan).is_none() && !watched.all_read());
        watched.was_read(process(1), plan);
        assert!(!watched.all_read());
        watched.forget(process(2));
        assert!(watched.all_read());
        assert_eq!(watched.end(&attachment()), Some((plan, false)));
    }
}
