//! Loading: the object into the kernel, its programs onto the kernel's tracepoints, and the walk over the
//! tasks that were there before.

use super::attach::{Attacher, Means};
use super::error::chain;
use super::maps::{Counters, Frames, Map, Points, Totals, say_walked};
use super::ring::{Logs, Ring};
use super::slots::Slots;
use super::{BpfError, fields, object, syscall};
use aya::maps::{Map as AyaMap, MapData, RingBuf};
use aya::programs::{BtfTracePoint, Iter, UProbe};
use aya::{Ebpf, EbpfLoader};
use leak_agent_common::key::runtime;
use leak_agent_common::settings;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

/// Sizes and switches, fixed at load time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the ring buffer: a power of two, at least a page.
    pub ring_bytes: u32,
    /// Rows of totals.
    pub sites: u32,
    /// Processes (each may need one `~other` row per runtime).
    pub processes: u32,
    /// Stacks that one process may send per second.
    pub stacks_per_second: u32,
    /// Bytes of stack per record.
    pub stack_bytes: u32,
    /// Rows of totals that one process may have.
    pub sites_per_process: u32,
    /// One of so many spawns and finishes is streamed; 0 = none.
    pub stream_every: u32,
    /// What runs at the hooks in files.
    pub hook: Hook,
    /// One perf link per point, also where the kernel has multi links: for tests.
    pub perf_links: bool,
}

/// What the programs of the hooks in files do.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Hook {
    /// Counts.
    #[default]
    Count,
    /// Does nothing: what a probe costs whatever runs at it, for measurements.
    Empty,
}

impl Hook {
    /// The programs by runtime, by their names in the object.
    pub(super) const fn programs(self) -> [(u32, &'static str); 2] {
        match self {
            Self::Count => [(runtime::TOKIO, "tokio_hook"), (runtime::GO, "go_hook")],
            Self::Empty => [(runtime::TOKIO, "empty_hook"), (runtime::GO, "empty_hook")],
        }
    }
}

/// Attach points of all plans together.
const MAX_POINTS: u32 = 65_536;
/// Plans at the same time.
const MAX_PLANS: u32 = 4_096;
/// Places in libraries that create tasks for others: an executable has a handful.
const MAX_LIBRARIES: u32 = 16_384;

/// Programs and the tracepoints they go on, in this order: exit and exec before birth, the walk after all of
/// them. See the thread probes for why nothing is then counted twice or missed.
const TRACEPOINTS: &[(&str, &str)] = &[
    ("task_exit", "sched_process_exit"),
    ("task_exec", "sched_process_exec"),
    ("task_newtask", "task_newtask"),
];

/// The loaded programs: they count for as long as this lives. The kernel detaches everything when the
/// process ends, however it ends.
pub struct Kernel {
    /// Totals per site.
    pub totals: Arc<Totals>,
    /// Learned frame sizes; taken by the thread that learns.
    pub frames: Option<Frames>,
    /// The programs' counters.
    pub counters: Counters,
    /// The ring; taken by whoever drains it.
    pub ring: Option<Ring>,
    /// The programs' rare messages; taken by whoever drains them.
    pub logs: Option<Logs>,
    /// Attaches plans to files; taken by the thread that does it.
    pub attacher: Option<Attacher>,
    /// Descriptors of the programs, for their run-time statistics.
    pub(super) programs: Vec<(&'static str, OwnedFd)>,
    /// Holds the links of the tracepoints.
    _loaded: Arc<Mutex<Ebpf>>,
    _stats: Option<OwnedFd>,
}

impl Kernel {
    /// Loads the programs, attaches those of the kernel's tracepoints, and counts the tasks that are there.
    /// Blocks for about 100 ms, plus 1 ms per 1,000 tasks.
    ///
    /// # Errors
    ///
    /// Missing rights or kernel features, by the step that needed them.
    pub fn load(limits: &Limits, stats: bool) -> Result<Self, BpfError> {
        Self::load_from(object::OBJECT, limits, stats)
    }

    /// The same with another object than the agent's own. Its first byte must lie at a multiple of 8.
    ///
    /// # Errors
    ///
    /// As [`Self::load`], and an object that is none or is of another build.
    pub fn load_from(object: &[u8], limits: &Limits, stats: bool) -> Result<Self, BpfError> {
        let offsets = fields::offsets()?;
        let cpus = aya::util::nr_cpus().map_err(|(file, error)| BpfError::Object {
            reason: format!("number of CPUs from {file}: {error}"),
        })?;
        let slots = Slots::capacity(cpus);
        let mut programs = load_object(object, limits, slots, &offsets)?;
        let stats = if stats {
            Some(syscall::enable_stats().map_err(|source| BpfError::Map {
                operation: "enable run-time statistics for",
                map: "all programs",
                source,
            })?)
        } else {
            None
        };

        let maps = Maps::of(&programs)?; // before any map is taken out
        let logs = Logs::new(&mut programs);
        let btf = aya::Btf::from_sys_fs().map_err(|error| BpfError::KernelTypes {
            reason: error.to_string(),
        })?;
        for (program, hook) in TRACEPOINTS {
            attach_tracepoint(&mut programs, program, hook, &btf)?;
        }
        walk(&mut programs, &btf)?;
        say_walked(&maps.take("SWITCHES", 1)?)?;

        let ring = RingBuf::try_from(programs.take_map("RING").ok_or_else(|| missing("map RING"))?).map_err(
            |error| BpfError::Object {
                reason: format!("ring buffer: {error}"),
            },
        )?;
        let points = Points {
            points: maps.take("POINTS", MAX_POINTS)?,
            plans: maps.take("PLANS", MAX_PLANS)?,
            libraries: maps.take("LIBRARIES", MAX_LIBRARIES)?,
        };
        let mut fds = TRACEPOINTS
            .iter()
            .map(|(program, _)| Ok((*program, program_fd(&programs, program)?)))
            .collect::<Result<Vec<_>, BpfError>>()?;
        let loaded = Arc::new(Mutex::new(programs));
        let (means, hooks) = hook_programs(limits, object, &loaded, &maps)?;
        fds.extend(hooks);
        Ok(Self {
            totals: Arc::new(Totals {
                sites: maps.take("SITES", limits.sites)?,
                slots: Slots::open(maps.take("SLOTS", slots)?)?,
                others: maps.take("OTHERS", limits.processes)?,
                cpus,
            }),
            frames: Some(Frames(maps.take("FRAMES", limits.sites)?)),
            counters: Counters {
                map: maps.take("COUNTERS", 64)?,
                cpus,
            },
            ring: Some(Ring::new(ring)),
            logs,
            attacher: Some(Attacher::new(means, points, MAX_POINTS, MAX_PLANS)),
            programs: fds,
            _loaded: loaded,
            _stats: stats,
        })
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").finish_non_exhaustive()
    }
}

fn missing(what: &str) -> BpfError {
    BpfError::Object {
        reason: format!("{what} is not in it"),
    }
}

fn load_object(
    object: &[u8],
    limits: &Limits,
    slots: u32,
    offsets: &[(&'static str, u32)],
) -> Result<Ebpf, BpfError> {
    let mut loader = EbpfLoader::new();
    for (symbol, offset) in offsets {
        loader.override_global(symbol, offset, false);
    }
    loader
        .allow_unsupported_maps()
        .override_global(settings::STACK_BYTES_SYMBOL, &limits.stack_bytes, true)
        .override_global(settings::STACKS_PER_SEC_SYMBOL, &limits.stacks_per_second, true)
        .override_global(
            settings::SITES_PER_PROCESS_SYMBOL,
            &limits.sites_per_process,
            true,
        )
        .override_global(settings::STREAM_EVERY_SYMBOL, &limits.stream_every, true)
        .map_max_entries("SITES", limits.sites)
        .map_max_entries("SLOTS", slots)
        .map_max_entries("OTHERS", limits.processes)
        .map_max_entries("BUDGETS", limits.processes)
        .map_max_entries("FRAMES", limits.sites)
        .map_max_entries("TOLD", limits.sites)
        .map_max_entries("RING", limits.ring_bytes)
        .map_max_entries("POINTS", MAX_POINTS)
        .map_max_entries("PLANS", MAX_PLANS)
        .map_max_entries("LIBRARIES", MAX_LIBRARIES);
    loader
        .load(object::checked(object)?)
        .map_err(|error| BpfError::Load {
            program: "maps of leak-agent.bpf.o",
            source: error.into(),
        })
}

fn attach_tracepoint(
    programs: &mut Ebpf,
    name: &'static str,
    hook: &str,
    btf: &aya::Btf,
) -> Result<(), BpfError> {
    let program: &mut BtfTracePoint = programs
        .program_mut(name)
        .ok_or_else(|| missing(name))?
        .try_into()
        .map_err(|error: aya::programs::ProgramError| BpfError::Load {
            program: name,
            source: error.into(),
        })?;
    program.load(hook, btf).map_err(|error| BpfError::Load {
        program: name,
        source: error.into(),
    })?;
    program.attach().map_err(|error| BpfError::AttachKernel {
        program: name,
        source: error.into(),
    })?;
    Ok(())
}

/// Counts every task that is there. Reading the iterator to its end runs the program once per task.
fn walk(programs: &mut Ebpf, btf: &aya::Btf) -> Result<(), BpfError> {
    const NAME: &str = "task_walk";
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| BpfError::AttachKernel {
        program: NAME,
        source,
    };
    let program: &mut Iter = programs
        .program_mut(NAME)
        .ok_or_else(|| missing(NAME))?
        .try_into()
        .map_err(|error: aya::programs::ProgramError| BpfError::Load {
            program: NAME,
            source: error.into(),
        })?;
    program.load("task", btf).map_err(|error| BpfError::Load {
        program: NAME,
        source: error.into(),
    })?;
    let link = program.attach().map_err(|error| failed(error.into()))?;
    let link = program.take_link(link).map_err(|error| failed(error.into()))?;
    let mut file = link.into_file().map_err(|error| failed(error.into()))?;
    let mut nothing = Vec::new();
    file.read_to_end(&mut nothing)
        .map_err(|error| failed(error.into()))?;
    Ok(())
}

/// Descriptors of the maps, by name, and what relocation needs of them.
struct Maps(HashMap<String, OwnedFd>);

impl Maps {
    fn of(programs: &Ebpf) -> Result<Self, BpfError> {
        let mut fds = HashMap::new();
        for (name, map) in programs.maps() {
            let Some(data) = data(map) else { continue };
            let fd = data
                .fd()
                .as_fd()
                .try_clone_to_owned()
                .map_err(|source| BpfError::Map {
                    operation: "duplicate the descriptor of",
                    map: "(any)",
                    source,
                })?;
            fds.insert(name.to_owned(), fd);
        }
        Ok(Self(fds))
    }

    fn take(&self, name: &'static str, capacity: u32) -> Result<Map, BpfError> {
        let fd = self.0.get(name).ok_or_else(|| missing(name))?;
        let fd = fd.try_clone().map_err(|source| BpfError::Map {
            operation: "duplicate",
            map: name,
            source,
        })?;
        Ok(Map { fd, name, capacity })
    }
}

/// `None`: a kind of map that the object does not declare.
fn data(map: &AyaMap) -> Option<&MapData> {
    match map {
        AyaMap::Array(data)
        | AyaMap::BloomFilter(data)
        | AyaMap::CpuMap(data)
        | AyaMap::DevMap(data)
        | AyaMap::DevMapHash(data)
        | AyaMap::HashMap(data)
        | AyaMap::LpmTrie(data)
        | AyaMap::LruHashMap(data)
        | AyaMap::PerCpuArray(data)
        | AyaMap::PerCpuHashMap(data)
        | AyaMap::PerCpuLruHashMap(data)
        | AyaMap::PerfEventArray(data)
        | AyaMap::ProgramArray(data)
        | AyaMap::Queue(data)
        | AyaMap::RingBuf(data)
        | AyaMap::SockHash(data)
        | AyaMap::SockMap(data)
        | AyaMap::Stack(data)
        | AyaMap::StackTraceMap(data)
        | AyaMap::Unsupported(data)
        | AyaMap::XskMap(data) => Some(data),
        _ => None,
    }
}

fn program_fd(programs: &Ebpf, name: &'static str) -> Result<OwnedFd, BpfError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| BpfError::Load {
        program: name,
        source,
    };
    let program = programs.program(name).ok_or_else(|| missing(name))?;
    let fd = program.fd().map_err(|error| failed(error.into()))?;
    fd.as_fd()
        .try_clone_to_owned()
        .map_err(|error| failed(error.into()))
}

/// Programs by name.
type Programs = Vec<(&'static str, OwnedFd)>;

/// Loads the programs of the hooks in files: for multi links where the kernel has them, else for perf links.
fn hook_programs(
    limits: &Limits,
    object: &[u8],
    loaded: &Arc<Mutex<Ebpf>>,
    maps: &Maps,
) -> Result<(Means, Programs), BpfError> {
    let hooks = BTreeMap::from(limits.hook.programs());
    let names: BTreeSet<&'static str> = hooks.values().copied().collect();
    if !limits.perf_links {
        match load_multi(object, &names, maps) {
            Ok(programs)
                if programs
                    .iter()
                    .all(|(_, fd)| syscall::has_multi_uprobe(fd.as_fd())) =>
            {
                let of = |hook: &str| {
                    let (name, fd) = programs
                        .iter()
                        .find(|(name, _)| *name == hook)
                        .ok_or_else(|| missing(hook))?;
                    fd.try_clone().map_err(|error| BpfError::Load {
                        program: name,
                        source: error.into(),
                    })
                };
                let by_runtime = hooks.iter().map(|(runtime, hook)| Ok((*runtime, of(hook)?)));
                let by_runtime = by_runtime.collect::<Result<_, BpfError>>()?;
                return Ok((Means::Multi(by_runtime), programs));
            }
            Ok(_) => tracing::info!("no multi links for uprobes: one perf link per point"),
            Err(error) => {
                tracing::info!(error = %chain(&error), "no multi links for uprobes: one perf link per point");
            }
        }
    }
    let mut programs = loaded.lock().unwrap_or_else(PoisonError::into_inner);
    let mut fds = Vec::new();
    for name in names {
        let failed = |error: aya::programs::ProgramError| BpfError::Load {
            program: name,
            source: error.into(),
        };
        let program: &mut UProbe = programs
            .program_mut(name)
            .ok_or_else(|| missing(name))?
            .try_into()
            .map_err(failed)?;
        program.load().map_err(failed)?;
        fds.push((name, program_fd(&programs, name)?));
    }
    Ok((Means::Perf(hooks, Arc::clone(loaded)), fds))
}

/// aya 0.14 cannot load programs for multi links: the same object once more, relocated to the maps that aya
/// made, through the raw system call.
fn load_multi(object: &[u8], names: &BTreeSet<&'static str>, maps: &Maps) -> Result<Programs, BpfError> {
    let unusable = |error: &dyn std::fmt::Display| BpfError::Object {
        reason: error.to_string(),
    };
    let mut object = aya_obj::Object::parse(object::checked(object)?).map_err(|error| unusable(&error))?;
    let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    let declared: Vec<(String, aya_obj::Map)> = object
        .maps
        .iter()
        .map(|(name, map)| (name.clone(), map.clone()))
        .collect();
    let bound = declared
        .iter()
        .map(|(name, map)| {
            let fd = maps.0.get(name).ok_or_else(|| missing(name))?;
            Ok((name.as_str(), fd.as_raw_fd(), map))
        })
        .collect::<Result<Vec<_>, BpfError>>()?;
    object
        .relocate_maps(bound.into_iter(), &text)
        .map_err(|error| unusable(&error))?;
    object.relocate_calls(&text).map_err(|error| unusable(&error))?;
    let load = |name: &'static str| {
        let program = object.programs.get(name).ok_or_else(|| missing(name))?;
        let function = object
            .functions
            .get(&program.function_key())
            .ok_or_else(|| missing(name))?;
        let instructions = syscall::instruction_bytes(&function.instructions);
        let fd = syscall::load_multi_uprobe(name, &instructions, &object.license);
        let fd = fd.map_err(|error| BpfError::Load {
            program: name,
            source: error.into(),
        })?;
        Ok((name, fd))
    };
    names.iter().map(|name| load(name)).collect()
}
