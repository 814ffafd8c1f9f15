//! Limits of a process, and how near it is to them: of its control groups, its user, the machine and its address space.
//!
//! All of it is best effort: a limit that cannot be read, or is none, is `None`. Blocks for some dozens of small reads.

use super::map::page_size;
use super::proc::{self, ProcDir};
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// Groups above a process that are looked at.
const DEPTH_MAX: usize = 16;
/// The most bytes of a file that are read.
const TEXT_MAX: u64 = 4096;
/// How long the threads of a user's other processes are taken to be as many as they were.
const OTHERS_FOR: Duration = Duration::from_secs(300);
/// Users that are remembered.
const USERS_MAX: usize = 256;

/// How much of how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// In use.
    pub used: u64,
    /// At most.
    pub limit: u64,
}

/// The limits of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Tasks of a control group above it: the one with the least left.
    pub cgroup_pids: Option<Ceiling>,
    /// Threads of its user (`RLIMIT_NPROC`); root has no such limit.
    pub user_threads: Option<Ceiling>,
    /// Threads of the machine.
    pub system_threads: Option<Ceiling>,
    /// Its address space (`RLIMIT_AS`), bytes: what the stacks of threads fill.
    pub address_space: Option<Ceiling>,
    /// Memory of a control group above it, bytes.
    pub cgroup_memory: Option<Ceiling>,
}

/// Reads limits; remembers what is dear to count.
#[derive(Debug)]
pub struct Reader {
    cgroups: PathBuf,
    /// Threads of a user's processes, and when they were counted.
    users: HashMap<u32, (Duration, u64)>,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            cgroups: proc::host_root().join("sys/fs/cgroup"),
            users: HashMap::new(),
        }
    }
}

/// What `status` and `limits` say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Own {
    uid: u32,
    threads: u64,
    processes_max: Option<u64>,
    address_space_max: Option<u64>,
}

impl Reader {
    /// The limits of a process at `now` (any clock that runs on); `None` = it is gone, or may not be read.
    pub fn read(&mut self, pid: u32, now: Duration) -> Option<ProcessLimits> {
        let dir = ProcDir::open(pid).ok()??;
        let status = dir.text("status")?;
        let limits = dir.text("limits")?;
        let own = own(&status, &limits)?;
        let groups = dir.text("cgroup").unwrap_or_default();
        let pages = dir.text("statm").and_then(|text| first_number(&text));
        let user_threads = own.processes_max.filter(|_| own.uid != 0).map(|limit| Ceiling {
            used: self.threads_of(own.uid, now).max(own.threads),
            limit,
        });
        Some(ProcessLimits {
            cgroup_pids: self.tightest(&groups, "pids", ["pids.current", "pids.max"]),
            user_threads,
            system_threads: system_threads(),
            address_space: own.address_space_max.zip(pages).map(|(limit, pages)| Ceiling {
                used: pages.saturating_mul(page_size() as u64),
                limit,
            }),
            cgroup_memory: self
                .tightest(&groups, "memory", ["memory.current", "memory.max"])
                .or_else(|| {
                    let files = ["memory.usage_in_bytes", "memory.limit_in_bytes"];
                    self.tightest(&groups, "memory", files)
                }),
        })
    }

    /// Of the groups above a process the one with the least left.
    fn tightest(&self, groups: &str, controller: &str, [used, limit]: [&str; 2]) -> Option<Ceiling> {
        let group = group_of(groups, controller)?;
        let roots = [
            self.cgroups.clone(),
            self.cgroups.join("unified"),
            self.cgroups.join(controller),
        ];
        let mut tightest: Option<Ceiling> = None;
        for root in roots {
            for folder in group.ancestors().take(DEPTH_MAX) {
                let folder = root.join(folder);
                let number = |file| first_number(&file_text(&folder.join(file))?);
                let Some((used, limit)) = number(used).zip(number(limit)) else {
                    continue;
                };
                let left = |ceiling: &Ceiling| ceiling.limit.saturating_sub(ceiling.used);
                let here = Ceiling { used, limit };
                // Version 1 writes a number of pages that nobody has instead of "max".
                let is_limit = limit < i64::MAX as u64 / 2;
                if is_limit && tightest.is_none_or(|before| left(&here) < left(&before)) {
                    tightest = Some(here);
                }
            }
        }
        tightest
    }

    /// Threads of all processes of a user.
    fn threads_of(&mut self, uid: u32, now: Duration) -> u64 {
        if let Some((at, threads)) = self.users.get(&uid)
            && now.saturating_sub(*at) < OTHERS_FOR
        {
            return *threads;
        }
        let pids = proc::process_ids().unwrap_or_default();
        let threads = pids.into_iter().filter_map(|pid| {
            let status = ProcDir::open(pid).ok()??.text("status")?;
            let own = own(&status, "")?;
            (own.uid == uid).then_some(own.threads)
        });
        let threads = threads.sum();
        if self.users.len() >= USERS_MAX {
            self.users.clear();
        }
        self.users.insert(uid, (now, threads));
        threads
    }
}

/// Path of a process's group below the root of a controller, or of the unified hierarchy; `None` = it has none, or one
/// that leads out of what can be seen.
fn group_of(groups: &str, controller: &str) -> Option<PathBuf> {
    let find = |wanted: &dyn Fn(&str) -> bool| {
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let controllers = parts.nth(1)?;
            let path = parts.next()?;
            wanted(controllers).then(|| path.to_owned())
        })
    };
    let own = find(&|controllers| controllers.split(',').any(|name| name == controller));
    let path = own.or_else(|| find(&str::is_empty))?;
    let path = Path::new(path.trim_start_matches('/')).to_owned();
    let inside = path
        .components()
        .all(|component| matches!(component, Component::Normal(_)));
    inside.then_some(path)
}

fn own(status: &str, limits: &str) -> Option<Own> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let soft = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    Some(Own {
        uid: field("Uid:")?.split_ascii_whitespace().next()?.parse().ok()?,
        threads: field("Threads:")?.trim().parse().ok()?,
        processes_max: soft("Max processes"),
        address_space_max: soft("Max address space"),
    })
}

/// All threads, against the smaller of the two limits.
fn system_threads() -> Option<Ceiling> {
    let number = |path: &str| first_number(&file_text(Path::new(path))?);
    let most = number("/proc/sys/kernel/threads-max")?;
    let pids = number("/proc/sys/kernel/pid_max").unwrap_or(most);
    let load = file_text(Path::new("/proc/loadavg"))?;
    Some(Ceiling {
        used: tasks_of(&load)?,
        limit: most.min(pids),
    })
}

/// "0.00 0.01 0.05 1/1234 5678": the number behind the slash.
fn tasks_of(load: &str) -> Option<u64> {
    let (_, tasks) = load.split_ascii_whitespace().nth(3)?.split_once('/')?;
    tasks.parse().ok()
}

fn first_number(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

fn file_text(path: &Path) -> Option<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(TEXT_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: &str = "4:memory:/a/b\n8:pids,hugetlb:/p\n1:name=systemd:/s\n0::/u/v\n";

    /// A controller of its own wins over the unified hierarchy; a path that leads out is none.
    #[test]
    fn group_is_that_of_the_controller() {
        assert_eq!(group_of(GROUPS, "pids"), Some("p".into()));
        assert_eq!(group_of(GROUPS, "cpu"), Some("u/v".into()));
        assert_eq!(group_of("0::/\n", "pids"), Some("".into()));
        assert_eq!(group_of("0::/../../other\n", "pids"), None);
        assert_eq!(group_of("garbage", "pids"), None);
    }

    /// The tightest of the groups above a process counts, and "max" is no limit.
    #[test]
    fn tightest_group_counts() {
        let root = std::env::temp_dir().join(format!("leak-agent-limits-{}", std::process::id()));
        let group = root.join("u/v");
        std::fs::create_dir_all(&group).unwrap();
        let write = |folder: &Path, used: &str, limit: &str| {
            std::fs::write(folder.join("pids.current"), used).unwrap();
            std::fs::write(folder.join("pids.max"), limit).unwrap();
        };
        let reader = Reader {
            cgroups: root.clone(),
            users: HashMap::new(),
        };
        let read = || reader.tightest("0::/u/v\n", "pids", ["pids.current", "pids.max"]);
        write(&group, "10\n", "max\n");
        assert_eq!(read(), None);
        write(&root.join("u"), "90\n", "100\n");
        assert_eq!(read(), Some(Ceiling { used: 90, limit: 100 }));
        write(&group, "10\n", "15\n");
        let tightest = read();
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(tightest, Some(Ceiling { used: 10, limit: 15 }));
    }

    /// Limits are the soft ones; what is unlimited is none; nonsense is nothing.
    #[test]
    fn soft_limits_are_read() {
        let status = "Name:\tx\nUid:\t1000\t1000\t1000\t1000\nThreads:\t7\n";
        let limits = "Max processes             500                  9999                 processes \n\
                      Max address space         unlimited            unlimited            bytes     \n";
        let expected = Own {
            uid: 1000,
            threads: 7,
            processes_max: Some(500),
            address_space_max: None,
        };
        assert_eq!(own(status, limits), Some(expected));
        assert_eq!(own("Uid:\tx\nThreads:\t7\n", limits), None);
        assert_eq!(tasks_of("0.00 0.01 0.05 1/1234 5678\n"), Some(1234));
        assert_eq!(tasks_of("0.00"), None);
    }

    /// This very process has limits that can be read, and a pid that nobody has has none.
    #[test]
    fn limits_of_this_process_are_read() {
        let mut reader = Reader::default();
        let limits = reader.read(std::process::id(), Duration::ZERO).unwrap();
        let system = limits.system_threads.unwrap();
        assert!(system.used > 0 && system.limit > system.used, "{system:?}");
        assert_eq!(reader.read(u32::MAX >> 1, Duration::ZERO), None);
    }
}
