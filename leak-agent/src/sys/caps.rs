//! What the agent needs of the machine, and what of it is missing: capabilities, kernel features, limits. Each is probed
//! for by itself; the kernel's version is never asked.

use super::clock;
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, capabilities};
use std::io;
use std::path::Path;

/// One thing that the agent needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Requirement {
    /// Its name, as administrators know it: "CAP_BPF", "/sys/kernel/btf/vmlinux".
    pub name: &'static str,
    /// Whether it is there.
    pub state: State,
    /// What does not work without it.
    pub needed_for: &'static str,
    /// What to do about it.
    pub hint: &'static str,
}

/// Whether something is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// It is.
    Met,
    /// It is not, and this is what was found instead.
    Missing(String),
    /// The machine does not say: why.
    Unknown(String),
}

impl Requirement {
    /// Whether it is known to be missing.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self.state, State::Missing(_))
    }
}

/// `PROC_USER_INIT_INO` and its like of the kernel (include/linux/proc_ns.h): inode numbers of the first namespaces.
const FIRST_USER_NAMESPACE: u32 = 0xEFFF_FFFD;
const FIRST_PID_NAMESPACE: u32 = 0xEFFF_FFFC;
const FIRST_TIME_NAMESPACE: u32 = 0xEFFF_FFFA;

/// Looks at everything that the agent needs, for the calling thread. Some 20 system calls; creates one small BPF map and
/// lets it go.
#[must_use]
pub fn survey() -> Vec<Requirement> {
    let mut found = capability_survey();
    found.extend(namespace_survey());
    found.extend(kernel_survey());
    found
}

fn capability_survey() -> Vec<Requirement> {
    use CapabilitySet as Cap;
    const HINT: &str = "run as root, or add it to the container's securityContext.capabilities or the unit's \
                        AmbientCapabilities";
    let effective = capabilities(None).map(|sets| sets.effective);
    let needs = |name, any_of: CapabilitySet, needed_for| Requirement {
        name,
        state: match &effective {
            Ok(sets) if sets.intersects(any_of) => State::Met,
            Ok(_) => State::Missing("not in the effective set".to_owned()),
            Err(error) => State::Unknown(error.to_string()),
        },
        needed_for,
        hint: HINT,
    };
    vec![
        needs("CAP_BPF", Cap::BPF | Cap::SYS_ADMIN, "loading BPF programs"),
        needs(
            "CAP_PERFMON",
            Cap::PERFMON | Cap::SYS_ADMIN,
            "tracing programs and uprobes",
        ),
        needs(
            "CAP_SYS_PTRACE",
            Cap::SYS_PTRACE,
            "reading the mappings and memory of processes of other users",
        ),
        needs(
            "CAP_CHECKPOINT_RESTORE",
            Cap::CHECKPOINT_RESTORE | Cap::SYS_ADMIN,
            "opening executables that were deleted or replaced (/proc/PID/map_files)",
        ),
        needs(
            "CAP_DAC_READ_SEARCH",
            Cap::DAC_READ_SEARCH | Cap::DAC_OVERRIDE,
            "reading executables that only their owner may read",
        ),
    ]
}

fn namespace_survey() -> Vec<Requirement> {
    let first = |name, kind: &str, inode: u32, needed_for, hint| Requirement {
        name,
        state: match std::fs::read_link(format!("/proc/self/ns/{kind}")) {
            Ok(link) if link == Path::new(&format!("{kind}:[{inode}]")) => State::Met,
            Ok(link) => State::Missing(format!("the agent is in {}", link.display())),
            // A kernel without this sort of namespace has only the first one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::Met,
            Err(error) => State::Unknown(error.to_string()),
        },
        needed_for,
        hint,
    };
    vec![
        first(
            "first user namespace",
            "user",
            FIRST_USER_NAMESPACE,
            "capabilities that the kernel's tracing accepts",
            "do not run the agent in a rootless container",
        ),
        first(
            "first pid namespace",
            "pid",
            FIRST_PID_NAMESPACE,
            "matching the kernel's pids with those of /proc",
            "set hostPID: true, or run the agent outside a container",
        ),
        first(
            "first time namespace",
            "time",
            FIRST_TIME_NAMESPACE,
            "matching the kernel's start times with those of /proc",
            "run the agent without a time namespace",
        ),
    ]
}

fn kernel_survey() -> Vec<Requirement> {
    vec![
        Requirement {
            name: "bpf()",
            state: match create_bpf_map() {
                Ok(()) => State::Met,
                Err(error) => State::Missing(error.to_string()),
            },
            needed_for: "everything but counting threads from /proc",
            hint: "needs CAP_BPF, a kernel with CONFIG_BPF_SYSCALL, and a seccomp profile that lets bpf() pass",
        },
        Requirement {
            name: "/sys/kernel/btf/vmlinux",
            state: present("/sys/kernel/btf/vmlinux"),
            needed_for: "finding the fields of the kernel's structs",
            hint: "needs a kernel with CONFIG_DEBUG_INFO_BTF, and /sys in the container",
        },
        Requirement {
            name: "uprobes",
            state: present("/sys/bus/event_source/devices/uprobe/type"),
            needed_for: "following runtimes in user space",
            hint: "needs a kernel with CONFIG_UPROBE_EVENTS, and /sys in the container",
        },
        Requirement {
            name: "kernel lockdown",
            state: lockdown(std::fs::read_to_string("/sys/kernel/security/lockdown")),
            needed_for: "BPF programs that read kernel memory",
            hint: "boot without lockdown=confidentiality; integrity is no obstacle",
        },
        Requirement {
            name: "kernel.perf_event_paranoid",
            state: paranoia(
                std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid"),
                capabilities(None).is_ok_and(|sets| {
                    sets.effective
                        .intersects(CapabilitySet::PERFMON | CapabilitySet::SYS_ADMIN)
                }),
            ),
            needed_for: "uprobes on kernels without multi links",
            hint: "give the agent CAP_PERFMON, for which the setting does not count",
        },
        Requirement {
            name: "open files",
            state: {
                let limit = rustix::process::getrlimit(Resource::Nofile);
                descriptors(limit.current)
            },
            needed_for: "one descriptor or more for each attached file",
            hint: "raise LimitNOFILE of the unit, or the container runtime's default",
        },
        Requirement {
            name: "CLOCK_BOOTTIME",
            state: if clock::now().0 > 0 {
                State::Met
            } else {
                State::Missing("the clock stands at 0".to_owned())
            },
            needed_for: "telling processes apart by their start",
            hint: "",
        },
    ]
}

/// Descriptors that the agent wants to be able to have: see the caps of discovery and of the HTTP server.
const DESCRIPTORS_WANTED: u64 = 4096;

fn descriptors(limit: Option<u64>) -> State {
    match limit {
        Some(limit) if limit < DESCRIPTORS_WANTED => State::Missing(format!(
            "the limit is {limit}, and {DESCRIPTORS_WANTED} are wanted"
        )),
        _ => State::Met,
    }
}

/// Raises the soft limit of open files to the hard one; gives the limit that holds now, `None` = none.
pub fn raise_descriptor_limit() -> Option<u64> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

fn present(path: &str) -> State {
    match std::fs::File::open(path) {
        Ok(_) => State::Met,
        Err(error) => State::Missing(error.to_string()),
    }
}

/// The file marks the level in force: `none [integrity] confidentiality`. Without the file there is no lockdown, or
/// securityfs is not mounted.
fn lockdown(text: io::Result<String>) -> State {
    match text {
        Ok(text) if text.contains("[confidentiality]") => {
            State::Missing("the level is confidentiality".to_owned())
        }
        Ok(_) => State::Met,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            State::Unknown("securityfs is not mounted, or the kernel has no lockdown".to_owned())
        }
        Err(error) => State::Unknown(error.to_string()),
    }
}

fn paranoia(text: io::Result<String>, capable: bool) -> State {
    match text {
        _ if capable => State::Met,
        Ok(text) => State::Missing(format!("it is {}, and CAP_PERFMON is missing", text.trim())),
        Err(error) => State::Unknown(error.to_string()),
    }
}

/// The first fields of the `bpf_attr` of `BPF_MAP_CREATE`; the kernel takes the rest as zeros.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

/// Creates an array of one word and closes it: the least that `bpf()` can be asked for.
#[allow(unsafe_code)]
fn create_bpf_map() -> io::Result<()> {
    use std::os::fd::{FromRawFd, OwnedFd};
    const BPF_MAP_CREATE: libc::c_long = 0;
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    let attr = MapCreate {
        map_type: BPF_MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
    };
    // SAFETY: the kernel reads `size_of::<MapCreate>()` bytes of `attr`, which lives through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_CREATE,
            &raw const attr,
            size_of::<MapCreate>(),
        )
    };
    let fd = i32::try_from(result).ok().filter(|fd| *fd >= 0);
    let fd = fd.ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just given us this descriptor; nobody else has it.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::thread::{CapabilitySets, set_capabilities};

    fn missing(requirements: &[Requirement]) -> Vec<&'static str> {
        let missing = requirements.iter().filter(|requirement| requirement.is_missing());
        missing.map(|requirement| requirement.name).collect()
    }

    /// A thread without capabilities misses each of them, and bpf() is tried, not deduced.
    #[test]
    fn thread_without_capabilities_misses_them_all() {
        std::thread::spawn(|| {
            let none = CapabilitySets {
                effective: CapabilitySet::empty(),
                permitted: CapabilitySet::empty(),
                inheritable: CapabilitySet::empty(),
            };
            set_capabilities(None, none).unwrap();
            let found = survey();
            let missing = missing(&found);
            for name in [
                "CAP_BPF",
                "CAP_PERFMON",
                "CAP_SYS_PTRACE",
                "CAP_CHECKPOINT_RESTORE",
                "CAP_DAC_READ_SEARCH",
                "kernel.perf_event_paranoid",
            ] {
                assert!(missing.contains(&name), "{name}: {missing:?}");
            }
            let unprivileged = std::fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled");
            let allowed = unprivileged.is_ok_and(|text| text.trim() == "0");
            assert_eq!(missing.contains(&"bpf()"), !allowed);
        })
        .join()
        .unwrap();
    }

    /// A thread with all capabilities misses none.
    #[test]
    fn thread_with_capabilities_misses_none_of_them() {
        if !capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN)) {
            println!("skipped: the test does not have CAP_SYS_ADMIN");
            return;
        }
        let found = survey();
        assert!(
            !missing(&found).iter().any(|name| name.starts_with("CAP_")),
            "{found:#?}"
        );
    }

    /// Only the level in brackets is in force.
    #[test]
    fn lockdown_level_in_brackets_is_the_one_in_force() {
        let level = |text: &str| lockdown(Ok(text.to_owned()));
        assert_eq!(level("[none] integrity confidentiality\n"), State::Met);
        assert_eq!(level("none [integrity] confidentiality\n"), State::Met);
        assert!(matches!(
            level("none integrity [confidentiality]\n"),
            State::Missing(_)
        ));
        assert!(matches!(
            lockdown(Err(io::ErrorKind::NotFound.into())),
            State::Unknown(_)
        ));
    }

    /// The limit of descriptors counts up to what is wanted; no limit is enough.
    #[test]
    fn descriptor_limit_below_what_is_wanted_is_missing() {
        assert!(matches!(descriptors(Some(1024)), State::Missing(_)));
        assert_eq!(descriptors(Some(4096)), State::Met);
        assert_eq!(descriptors(None), State::Met);
    }
}
