//! From the raw creation stack of a thread to its site, and to what the kernel has to learn to recognise it.

use super::code::Codes;
use super::creation;
use super::site::{Choice, choose, unknown_creator};
use crate::source::SiteInfo;
use crate::source::creation::{Creation, Shared};
use crate::stack::bounded::Bounded;
use crate::stack::symbolize::{Batch as Symbols, NameCache, NamedFrame};
use crate::stack::table::Refresh;
use crate::stack::{DebugFiles, End, FrameLearner, ModuleCache, ModuleTable, RawStack, Reach, unwind};
use crate::types::{ExecId, ProcessKey};
use leak_agent_common::key::site::{RESERVED, TICKET};
use leak_agent_common::settings::WALK_FRAMES;
use std::collections::BTreeMap;
use std::collections::HashMap;

/// Process images of which modules and learned frames are kept.
const MAX_IMAGES: usize = 2048;
/// Learned frames per image. A program of a hundred sites has some hundred.
const MAX_FRAMES: usize = 4096;
/// Numbers per image whose sites are remembered, to notice when two sites get one number.
const MAX_NUMBERS: usize = 2048;
/// Files of which unwind data is kept, and how many bytes in all.
const MAX_MODULES: usize = 4096;
const MAX_MODULE_BYTES: usize = 192 << 20;
/// Addresses of which names are kept.
const MAX_NAMES: usize = 65_536;
/// How many frames of a stack people are shown.
const MAX_SHOWN: usize = 64;

/// A process image.
type Image = (ProcessKey, ExecId);

/// What is known of one image.
#[derive(Debug)]
struct ImageState {
    table: ModuleTable,
    learner: FrameLearner,
    /// The sites that the numbers were given to, by number.
    sites: HashMap<u64, SiteInfo>,
    /// Frames of code that was unmapped, which the kernel still knows.
    forgotten: Vec<u64>,
}

/// What became of a stack.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It has a site.
    Resolved(Box<Resolved>),
    /// The process has vanished, and nothing was known of it.
    Gone,
}

/// A resolved creation stack.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The site of this very stack: what the number in its record (a ticket or a learned one) leads to.
    pub site: SiteInfo,
    /// The number that the kernel will give to this stack from now on, once `learned` is in its map, and the
    /// site to show for it. The site is ambiguous when the kernel cannot tell some sites apart. `None`: the
    /// kernel goes on giving tickets.
    pub number: Option<(u64, SiteInfo)>,
    /// Entries to delete from the kernel's map, before `learned` goes in: code that was unmapped.
    pub forgotten: Vec<u64>,
    /// Entries to insert into the kernel's map, or to replace there: (pc, size).
    pub learned: Vec<(u64, u32)>,
    /// The stack for people, innermost frame first, at most 64 lines.
    pub stack: Vec<String>,
    /// Whether the whole stack is there.
    pub complete: bool,
}

/// Resolves creation stacks. For one worker thread: everything here may block on files.
#[derive(Debug)]
pub struct Resolver {
    images: Bounded<Image, ImageState>,
    modules: ModuleCache,
    names: NameCache,
    codes: Codes,
    shared: Shared,
    counters: BTreeMap<&'static str, u64>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new(DebugFiles::default())
    }
}

impl Resolver {
    /// A resolver that knows nothing yet, and looks there for the debug files of stripped programs.
    #[must_use]
    pub fn new(debug_files: DebugFiles) -> Self {
        Self {
            images: Bounded::new(MAX_IMAGES),
            modules: ModuleCache::new(MAX_MODULES, MAX_MODULE_BYTES),
            names: NameCache::new(MAX_NAMES, debug_files),
            codes: Codes::default(),
            shared: Shared::default(),
            counters: BTreeMap::new(),
        }
    }

    /// Begins a batch of stacks, which share what has to be read of symbols. Drop it when no more stacks
    /// wait: it keeps what it has read, hundreds of MiB for programs with large debug information.
    pub fn batch(&mut self) -> Batch<'_> {
        Batch {
            resolver: self,
            symbols: Symbols::new(),
        }
    }

    /// Resolves one stack: a batch of one. See [`Batch::resolve`].
    pub fn resolve(&mut self, process: ProcessKey, exec: ExecId, number: u64, stack: &RawStack) -> Outcome {
        self.batch().resolve(process, exec, number, stack)
    }

    /// Forgets the images of a process, after its exit, and after an `exec` all but the `current` one.
    pub fn forget(&mut self, process: ProcessKey, current: Option<ExecId>) {
        self.images
            .retain(|(key, exec), _| *key != process || Some(*exec) == current);
    }

    /// What came in, what became of it, and what the caches dropped.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        let mut counters = self.counters.clone();
        counters.insert("module_files_read", self.modules.read);
        counters.insert("module_files_refused", self.modules.refused);
        counters.insert("module_files_evicted", self.modules.evicted());
        counters.insert("symbols_looked_up", self.names.looked_up);
        counters.insert("symbols_failed", self.names.failed);
        counters.insert("symbols_evicted", self.names.evicted());
        counters.insert("stack_images_evicted", self.images.evicted());
        counters.insert("creation_stacks_evicted", self.shared.evicted());
        counters
    }

    fn count(&mut self, name: &'static str, by: u64) {
        if by > 0 {
            *self.counters.entry(name).or_insert(0) += by;
        }
    }
}

/// A batch of stacks. Not for sharing between threads, unlike the [`Resolver`].
pub struct Batch<'resolver> {
    resolver: &'resolver mut Resolver,
    symbols: Symbols,
}

impl Batch<'_> {
    /// Resolves the creation stack that was counted under `number` in this image of this process.
    ///
    /// Blocks: reads the process's mappings every time (a stale table would give wrong sites silently), and
    /// the files and symbols that are new. Takes 0.1 ms for known addresses, some 100 ms for the first
    /// address in a large file.
    pub fn resolve(&mut self, process: ProcessKey, exec: ExecId, number: u64, stack: &RawStack) -> Outcome {
        self.resolver.count("stacks", 1);
        let image = (process, exec);
        match self.refresh(image) {
            Ok(true) => {}
            Ok(false) => return Outcome::Gone,
            Err(Unreadable) => {
                return Outcome::Resolved(Box::new(Resolved::unknown(
                    "the process's mappings cannot be read",
                )));
            }
        }
        let Self { resolver, symbols } = self;
        let Resolver {
            images,
            modules,
            names,
            codes,
            shared,
            ..
        } = &mut **resolver;
        let Some(state) = images.get(&image) else {
            return Outcome::Gone;
        };
        let forgotten = std::mem::take(&mut state.forgotten);
        if !forgotten.is_empty() {
            state.sites.clear();
        }

        let variable = state.learner.variable;
        let refused = state.learner.refused;
        let unwound = unwind(&mut state.table, modules, stack);
        let frames = symbols.name(&mut state.table, modules, names, &unwound);
        let frames = codes.mark(&mut state.table, modules, &unwound, frames);
        let Choice { mut site, wanted } = choose(&frames, unwound.end);
        site.created_by = Some(shared.of(creation::calls(&frames)));
        let lesson = state.learner.learn(&unwound, wanted);
        let given = lesson
            .site
            .map(|number| (number, state.given(number, &site, lesson.reach, &frames)));
        let resolved = Resolved {
            site,
            number: given,
            forgotten,
            learned: lesson.learned,
            stack: frames.iter().take(MAX_SHOWN).map(ToString::to_string).collect(),
            complete: unwound.end == End::Complete,
        };
        let variable = state.learner.variable - variable;
        let refused = state.learner.refused - refused;
        resolver.count("stack_frames_variable", variable);
        resolver.count("stack_frames_refused", refused);
        resolver.count(ending(unwound.end), 1);
        let learned_number = number >= RESERVED && number & TICKET == 0;
        if learned_number && lesson.site != Some(number) {
            // The sizes have changed since the kernel walked: once is normal, a steady rate is not.
            resolver.count("stacks_renumbered", 1);
        }
        Outcome::Resolved(Box::new(resolved))
    }

    /// The calls that led to a task that is no thread, of a stack that was sent for it. Costs as [`Self::resolve`]. `None` =
    /// the process is gone, or its mappings cannot be read.
    pub fn creation(&mut self, process: ProcessKey, exec: ExecId, stack: &RawStack) -> Option<Creation> {
        self.resolver.count("creation_stacks", 1);
        let image = (process, exec);
        if !self.refresh(image).unwrap_or(false) {
            return None;
        }
        let Self { resolver, symbols } = self;
        let Resolver {
            images,
            modules,
            names,
            shared,
            ..
        } = &mut **resolver;
        let state = images.get(&image)?;
        let unwound = unwind(&mut state.table, modules, stack);
        let frames = symbols.name(&mut state.table, modules, names, &unwound);
        let creation = shared.of(creation::calls(&frames));
        resolver.count(ending(unwound.end), 1);
        Some(creation)
    }

    /// Reads the mappings of a process; `false` = it is gone.
    fn refresh(&mut self, image: Image) -> Result<bool, Unreadable> {
        let refreshed = match self.resolver.images.get(&image) {
            Some(state) => state.table.refresh().map(|refreshed| {
                if let Refresh::Changed(ranges) = refreshed
                    && !ranges.is_empty()
                {
                    state.forgotten.extend(state.learner.forget(&ranges));
                }
                true
            }),
            None => ModuleTable::load(image.0).map(|table| {
                let state = table.map(|table| ImageState {
                    table,
                    learner: FrameLearner::new(MAX_FRAMES),
                    sites: HashMap::new(),
                    forgotten: Vec::new(),
                });
                let found = state.is_some();
                if let Some(state) = state {
                    self.resolver.images.insert(image, state);
                }
                found
            }),
        };
        match refreshed {
            Ok(true) => Ok(true),
            Ok(false) => {
                self.resolver.count("stacks_of_gone_processes", 1);
                Ok(false)
            }
            Err(error) => {
                self.resolver.count("stacks_without_mappings", 1);
                tracing::debug!(tgid = image.0.tgid, %error, "mappings not readable");
                Err(Unreadable)
            }
        }
    }
}

/// The mappings of a process cannot be read: counted, and told once.
struct Unreadable;

/// The counter of a way to end.
fn ending(end: End) -> &'static str {
    match end {
        End::Complete => "stacks_complete",
        End::Cut => "stacks_cut",
        End::NoUnwindInfo => "stacks_without_unwind_data",
        End::Error(_) => "stacks_with_errors",
    }
}

impl Resolved {
    fn unknown(reason: &str) -> Self {
        Self {
            site: unknown_creator(reason),
            number: None,
            forgotten: Vec::new(),
            learned: Vec::new(),
            stack: Vec::new(),
            complete: false,
        }
    }
}

impl ImageState {
    /// The site to show for a number, now that `site` has got it.
    fn given(&mut self, number: u64, site: &SiteInfo, reach: Reach, frames: &[NamedFrame]) -> SiteInfo {
        let room = self.sites.len() < MAX_NUMBERS;
        let Some(known) = self.sites.get_mut(&number) else {
            if room {
                self.sites.insert(number, site.clone());
            }
            return site.clone();
        };
        if known.id != site.id && !known.ambiguous {
            let last = match reach {
                Reach::Wall(index) => index,
                _ => WALK_FRAMES - 1,
            };
            let stop = frames.iter().rfind(|frame| frame.index <= last);
            *known = mixed(known, stop);
        }
        known.clone()
    }
}

/// Several sites that the kernel cannot tell apart: creation stacks look the same to it up to `stop`.
fn mixed(first: &SiteInfo, stop: Option<&NamedFrame>) -> SiteInfo {
    let Some(stop) = stop else {
        return SiteInfo {
            ambiguous: true,
            ..first.clone()
        };
    };
    let function = stop.function().map_or_else(|| stop.to_string(), str::to_owned);
    let id = stop.id.as_ref().map_or_else(String::new, ToString::to_string);
    SiteInfo {
        id: format!("{id}:{:#x}", stop.vaddr),
        name: format!("several sites behind {function}"),
        location: None,
        kind: first.kind,
        system: false,
        ambiguous: true,
        created_by: None,
        note: Some(format!(
            "the kernel recognises creation stacks only up to this frame; one of the sites is {}",
            first.name
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::process::{ProcessFiles, key_of};
    use crate::types::ExecutableId;
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    /// A program that waits in one system call of the C library, and the stack it waits with.
    ///
    /// The frame pointer is not known from outside; the code on this stack does not need it.
    fn waiting_program() -> (Child, RawStack) {
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let key = key_of(child.id());
        for _ in 0..1000 {
            if let Some(stack) = waiting_stack(key) {
                return (child, stack);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        panic!("the program does not come to wait");
    }

    fn waiting_stack(key: ProcessKey) -> Option<RawStack> {
        // The number of the call (230 is clock_nanosleep), its six arguments, sp, pc.
        let call = std::fs::read_to_string(format!("/proc/{}/syscall", key.tgid)).unwrap();
        let fields: Vec<&str> = call.split_ascii_whitespace().collect();
        if fields.first() != Some(&"230") {
            return None;
        }
        let hex = |index: usize| u64::from_str_radix(fields[index].trim_start_matches("0x"), 16).unwrap();
        let (sp, ip) = (hex(7), hex(8));
        let start = sp & !1023;
        let files = ProcessFiles::new(key);
        let piece = |index: u64| files.memory(start + index * 1024, 1024);
        Some(RawStack {
            ip,
            sp,
            bp: 0,
            start,
            bytes: (0..16).map_while(piece).flatten().collect(),
            cut: false,
        })
    }

    fn resolved(outcome: Outcome) -> Resolved {
        match outcome {
            Outcome::Resolved(resolved) => *resolved,
            Outcome::Gone => panic!("gone"),
        }
    }

    /// A real stack of a real process leads into its executable; the same stack again teaches nothing and
    /// gets the same number; and it is still resolved after the process is gone.
    #[test]
    fn resolver_of_a_living_process_names_its_executable() {
        let (mut child, stack) = waiting_program();
        let key = key_of(child.id());
        let mut resolver = Resolver::default();
        let first = resolved(resolver.resolve(key, ExecId(1), TICKET | 1, &stack));
        assert!(first.complete, "{:#?}", first.stack);
        assert!(
            first.site.name.starts_with("sleep+0x")
                || first.stack.iter().any(|line| line.contains("(sleep)"))
        );
        assert!(first.learned.len() >= 2 && first.learned.iter().any(|(_, size)| *size == 0));
        let (number, shown) = first.number.clone().unwrap();
        assert_eq!(shown, first.site);

        let again = resolved(resolver.resolve(key, ExecId(1), number, &stack));
        assert_eq!(
            (again.learned, again.site.id.clone()),
            (vec![], first.site.id.clone())
        );
        child.kill().unwrap();
        child.wait().unwrap();
        let after = resolved(resolver.resolve(key, ExecId(1), number, &stack));
        assert_eq!(after.site.id, first.site.id);
        assert_eq!(resolver.counters().get("stacks_complete"), Some(&3));
        assert_eq!(resolver.counters().get("stacks_renumbered"), None);

        resolver.forget(key, None);
        assert_eq!(resolver.resolve(key, ExecId(1), number, &stack), Outcome::Gone);
    }

    /// An `exec` makes a new image: nothing of the old one stays.
    #[test]
    fn resolver_after_exec_keeps_the_current_image_only() {
        let key = key_of(std::process::id());
        let stack = RawStack {
            ip: 0,
            sp: 0,
            bp: 0,
            start: 0,
            bytes: Vec::new(),
            cut: false,
        };
        let mut resolver = Resolver::default();
        for exec in [1, 2] {
            let unknown = resolved(resolver.resolve(key, ExecId(exec), TICKET, &stack));
            assert_eq!(unknown.site.kind, "unknown");
        }
        resolver.forget(key, Some(ExecId(2)));
        assert!(resolver.images.get(&(key, ExecId(1))).is_none());
        assert!(resolver.images.get(&(key, ExecId(2))).is_some());
    }

    /// When two sites get one number, the number shows that it holds several, and goes on showing it.
    #[test]
    fn resolver_of_one_number_for_two_sites_marks_it_ambiguous() {
        let key = key_of(std::process::id());
        let mut state = ImageState {
            table: ModuleTable::load(key).unwrap().unwrap(),
            learner: FrameLearner::new(16),
            sites: HashMap::new(),
            forgotten: Vec::new(),
        };
        let site = |name: &str| SiteInfo {
            id: name.to_owned(),
            ..unknown_creator(name)
        };
        let frames = [NamedFrame {
            index: 1,
            module: Some("app".to_owned()),
            id: Some(ExecutableId::BuildId(vec![1; 20])),
            language: crate::stack::module::Language::Other,
            vaddr: 0x77,
            name: None,
        }];
        let wall = Reach::Wall(1);
        assert_eq!(state.given(9, &site("a"), wall, &frames), site("a"));
        assert!(!state.given(9, &site("a"), wall, &frames).ambiguous);
        let both = state.given(9, &site("b"), wall, &frames);
        assert!(both.ambiguous);
        assert_eq!(both.id, "0101010101010101:0x77");
        assert_eq!(state.given(9, &site("a"), wall, &frames), both);
        assert_eq!(state.given(8, &site("a"), wall, &frames), site("a"));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

        /// Random registers and bytes over the real modules of this process end in some site, soon.
        #[test]
        fn resolver_of_random_stacks_always_answers(
            words in proptest::collection::vec((0_u8..4, proptest::prelude::any::<u64>()), 0..300),
            bp in proptest::prelude::any::<u16>(),
        ) {
            let key = key_of(std::process::id());
            let table = ModuleTable::load(key).unwrap().unwrap();
            let code: Vec<_> = table.mappings().list.iter().filter(|map| map.inode != 0).collect();
            let sp = 0x7000_0000_0000_u64;
            // Most words point into code or into the stack itself.
            let word = |(kind, value): (u8, u64)| match kind {
                0 => value,
                1 => sp + value % 4096,
                _ => {
                    let map = code[usize::try_from(value % 1000).unwrap() % code.len()];
                    map.start + value % (map.end - map.start)
                }
            };
            let words: Vec<u64> = words.into_iter().map(word).collect();
            let stack = RawStack {
                ip: words.first().copied().unwrap_or(0),
                sp,
                bp: sp + u64::from(bp) % 4096,
                start: sp,
                bytes: words.iter().flat_map(|word| word.to_le_bytes()).collect(),
                cut: false,
            };
            let mut resolver = RANDOM.lock().unwrap();
            let outcome = resolved(resolver.resolve(key, ExecId(0), TICKET, &stack));
            proptest::prop_assert!(!outcome.site.name.is_empty());
        }
    }

    static RANDOM: std::sync::LazyLock<std::sync::Mutex<Resolver>> =
        std::sync::LazyLock::new(|| std::sync::Mutex::new(Resolver::default()));
}
