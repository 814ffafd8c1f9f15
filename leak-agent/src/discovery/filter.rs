//! Who is followed: what the operator asked for, as three questions in the order in which they can be answered.

use crate::config::ExeFilter;
use std::collections::BTreeSet;

/// Who is followed. A process must pass every part.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Only these; empty = all.
    pub pids: BTreeSet<u32>,
    /// Only these executables, by path (as the process sees it) or file name; empty = all.
    pub exes: ExeFilter,
    /// The agent's own pid, which is not followed unless it is asked for by pid or this is `None`.
    pub own: Option<u32>,
}

impl Filter {
    /// Everyone but the agent itself.
    #[must_use]
    pub fn everyone_else() -> Self {
        Self {
            pids: BTreeSet::new(),
            exes: ExeFilter::default(),
            own: Some(std::process::id()),
        }
    }

    /// Whether this pid can be wanted at all. Known from a notice alone.
    #[must_use]
    pub fn wants_pid(&self, pid: u32) -> bool {
        if self.pids.is_empty() {
            self.own != Some(pid)
        } else {
            self.pids.contains(&pid)
        }
    }

    /// Whether this executable is wanted. `None` (could not be read) is wanted only if no executable is asked for.
    #[must_use]
    pub fn wants_exe(&self, exe: Option<&str>) -> bool {
        self.exes.wants(exe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The agent does not follow itself, unless somebody asks for its pid or switches the rule off.
    #[test]
    fn own_process_is_followed_only_when_asked() {
        let mut filter = Filter::everyone_else();
        let me = std::process::id();
        assert!(!filter.wants_pid(me) && filter.wants_pid(me + 1));
        filter.pids = BTreeSet::from([me]);
        assert!(filter.wants_pid(me) && !filter.wants_pid(me + 1));
        filter.pids.clear();
        filter.own = None;
        assert!(filter.wants_pid(me));
    }

    /// Executables go by path or by file name.
    #[test]
    fn executables_are_wanted_by_path_or_name() {
        let filter = |patterns: &[&str]| Filter {
            exes: ExeFilter::new(patterns).unwrap(),
            ..Filter::everyone_else()
        };
        assert!(filter(&[]).wants_exe(None));
        assert!(filter(&["app*"]).wants_exe(Some("/srv/x/app-1")));
        assert!(!filter(&["app*"]).wants_exe(Some("/srv/app/x")));
        assert!(filter(&["/srv/*"]).wants_exe(Some("/srv/app/x")));
        assert!(!filter(&["/srv/*"]).wants_exe(None));
    }
}
