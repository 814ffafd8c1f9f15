//! From the raw creation stack of a thread to its site, and to what the kernel has to learn to recognise it.

use super::site::{Choice, choose, unknown_creator};
use crate::source::SiteInfo;
use crate::stack::bounded::Bounded;
use crate::stack::symbolize::{Batch as Symbols, NameCache, NamedFrame};
use crate::stack::table::Refresh;
use crate::stack::{End, FrameLearner, ModuleCache, ModuleTable, RawStack, Reach, unwind};
use crate::types::{ExecId, ProcessKey};
use leak_agent_common::key::site::{RESERVED, TICKET};
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
    counters: BTreeMap<&'static str, u64>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new()
    }
}

impl Resolver {
    /// A resolver that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            images: Bounded::new(MAX_IMAGES),
            modules: ModuleCache::new(MAX_MODULES, MAX_MODULE_BYTES),
            names: NameCache::new(MAX_NAMES),
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
        let mut forgotten = Vec::new();
        let refreshed = match self.resolver.images.get(&image) {
            Some(state) => state.table.refresh().map(Some),
            None => ModuleTable::load(process).map(|table| {
                let table = table?;
                let state = ImageState {
                    table,
                    learner: FrameLearner::new(MAX_FRAMES),
                    sites: HashMap::new(),
                };
                self.resolver.images.insert(image, state);
                Some(Refresh::Same)
            }),
        };
        let refreshed = match refreshed {
            Ok(Some(refreshed)) => refreshed,
            Ok(None) => {
                self.resolver.count("stacks_of_gone_processes", 1);
                return Outcome::Gone;
            }
            Err(error) => {
                self.resolver.count("stacks_without_mappings", 1);
                tracing::debug!(tgid = process.tgid, %error, "mappings not readable");
                return Outcome::Resolved(Box::new(Resolved::unknown(
                    "the process's mappings cannot be read",
                )));
            }
        };
        let Self { resolver, symbols } = self;
        let Resolver {
            images,
            modules,
            names,
            ..
        } = &mut **resolver;
        let Some(state) = images.get(&image) else {
            return Outcome::Gone;
        };
        if let Refresh::Changed(ranges) = refreshed
            && !ranges.is_empty()
        {
            forgotten = state.learner.forget(&ranges);
            state.sites.clear();
        }

        let variable = state.learner.variable;
        let refused = state.learner.refused;
        let unwound = unwind(&mut state.table, modules, stack);
        let frames = symbols.name(&mut state.table, modules, names, &unwound);
        let Choice { site, wanted } = choose(&frames, unwound.end);
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
}

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
            let stop = match reach {
                Reach::Wall(index) => frames.iter().rfind(|frame| frame.index == index),
                _ => frames.iter().rfind(|frame| frame.index < WALKED),
            };
            *known = mixed(known, stop);
        }
        known.clone()
    }
}

/// The walk takes no more frames.
const WALKED: usize = leak_agent_common::settings::WALK_FRAMES;

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
        note: Some(format!(
            "the kernel sees creation stacks only up to this frame, whose size varies; one of the sites is {}",
            first.name
        )),
    }
}
