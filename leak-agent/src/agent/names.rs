//! The thread that names spawn sites when processes show for the first time that they exist, and reads the creation stacks of
//! runtimes whose tasks have stacks of their own: it reads executables, and may wait for a disk.

use super::message::{Created, Message};
use super::stacks::raw;
use crate::discovery::{AttachmentKey, INSPECT_BYTES_MAX};
use crate::elf::Elf;
use crate::engine::Input;
use crate::event::StackEvent;
use crate::source::creation::Shared;
use crate::source::{CodeFrame, HookPlan, SiteInfo};
use crate::sys::map::MappedFile;
use crate::types::{ExecutableId, PlanId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};

/// Creation stacks that wait at most, 16 KiB each.
const WAITING: usize = 1024;

/// What is to be read of an executable.
pub(super) struct Request {
    pub(super) plan: PlanId,
    pub(super) hooks: Arc<HookPlan>,
    /// The file that the plan is of.
    pub(super) file: Arc<File>,
    pub(super) executable: ExecutableId,
    pub(super) wanted: Wanted,
}

/// What is wanted.
pub(super) enum Wanted {
    /// The names of these sites.
    Names(Vec<u64>),
    /// The calls of this creation stack.
    Creation(Box<StackEvent>),
}

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Names {
    sender: Sender<Request>,
    waiting: Arc<AtomicUsize>,
}

impl Names {
    /// Hands over a request; `false`: too many stacks wait, it is dropped.
    pub(super) fn submit(&self, request: Request) -> bool {
        if matches!(request.wanted, Wanted::Creation(_))
            && self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING
        {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.sender.send(request).is_ok()
    }
}

/// What the numbers of these sites say by themselves, until they are named.
pub(super) fn by_number(
    unnamed: &BTreeSet<(PlanId, u64)>,
    attachment: impl Fn(PlanId) -> Option<AttachmentKey>,
    hooks: &HashMap<AttachmentKey, Arc<HookPlan>>,
) -> Vec<Input> {
    let named = |(plan, numbers): (PlanId, Vec<u64>)| {
        let names = hooks.get(&attachment(plan)?)?.names.as_ref()?;
        let info = |number: u64| Some((number, names.number_only(number)?));
        let sites = numbers.into_iter().filter_map(info).collect();
        Some(Input::Named { plan, sites })
    };
    by_plan(unnamed.iter().copied())
        .into_iter()
        .filter_map(named)
        .collect()
}

/// Numbers of sites, plan by plan.
fn by_plan(sites: impl IntoIterator<Item = (PlanId, u64)>) -> BTreeMap<PlanId, Vec<u64>> {
    let mut numbers: BTreeMap<PlanId, Vec<u64>> = BTreeMap::new();
    for (plan, number) in sites {
        numbers.entry(plan).or_default().push(number);
    }
    numbers
}

/// What is to be asked for these sites, plan by plan: of the plans whose file is at hand.
pub(super) fn requests(
    unnamed: BTreeSet<(PlanId, u64)>,
    plans: &HashMap<AttachmentKey, PlanId>,
    hooks: &HashMap<AttachmentKey, Arc<HookPlan>>,
    files: &HashMap<AttachmentKey, (Arc<File>, ExecutableId)>,
) -> Vec<Request> {
    let request = |(plan, numbers)| {
        let (attachment, _) = plans.iter().find(|(_, id)| **id == plan)?;
        let (file, executable) = files.get(attachment)?;
        Some(Request {
            plan,
            hooks: Arc::clone(hooks.get(attachment)?),
            file: Arc::clone(file),
            executable: executable.clone(),
            wanted: Wanted::Names(numbers),
        })
    };
    by_plan(unnamed).into_iter().filter_map(request).collect()
}

/// Starts the thread; it ends when what is returned is dropped.
///
/// # Errors
///
/// No thread could be started.
pub(super) fn spawn(inbox: SyncSender<Message>) -> io::Result<Names> {
    let (sender, requests) = channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let names = Names {
        sender,
        waiting: Arc::clone(&waiting),
    };
    // Nobody waits for it at the end: it holds nothing in the kernel.
    std::thread::Builder::new()
        .name("names".to_owned())
        .spawn(move || serve(&requests, &waiting, &inbox))?;
    Ok(names)
}

fn serve(requests: &Receiver<Request>, waiting: &AtomicUsize, inbox: &SyncSender<Message>) {
    let mut shared = Shared::default();
    for request in requests {
        let Request {
            plan,
            hooks,
            file,
            executable,
            wanted,
        } = request;
        let file = Executable {
            plan,
            file: &file,
            id: executable,
        };
        let answer = match wanted {
            Wanted::Names(numbers) => Some(Message::Named(plan, names(&file, &hooks, &numbers))),
            Wanted::Creation(event) => {
                waiting.fetch_sub(1, Ordering::Relaxed);
                let site = event.site;
                let calls = creation(&file, &hooks, *event);
                calls.map(|calls| Message::Created(Created::new(&site, shared.of(calls))))
            }
        };
        if answer.is_some_and(|answer| inbox.send(answer).is_err()) {
            return;
        }
    }
}

/// The names of these sites. What cannot be read goes on being shown by its number.
fn names(file: &Executable<'_>, hooks: &HookPlan, numbers: &[u64]) -> Vec<(u64, SiteInfo)> {
    let names = hooks.names.as_ref();
    let named = names.and_then(|names| file.read(|elf| names.names(elf, numbers)));
    named.unwrap_or_default()
}

/// The calls of a creation stack; `None` = it is not the creator's, or the file cannot be read.
fn creation(file: &Executable<'_>, hooks: &HookPlan, event: StackEvent) -> Option<Vec<CodeFrame>> {
    let (number, bias) = (event.site.site, event.bias);
    let stack = raw(event);
    let stacks = hooks.stacks.as_ref()?;
    file.read(|elf| stacks.creation(elf, number, bias, &stack))?
}

/// The executable that a plan is of.
struct Executable<'file> {
    plan: PlanId,
    file: &'file File,
    id: ExecutableId,
}

impl Executable<'_> {
    /// Has it read; `None` = it cannot be, or what was read cannot be trusted.
    fn read<T>(&self, what: impl FnOnce(&Elf<'_>) -> T) -> Option<T> {
        let map = MappedFile::map(self.file, INSPECT_BYTES_MAX);
        let map = map
            .inspect_err(
                |error| tracing::debug!(%error, plan = self.plan.0, "map a file for the names of its sites"),
            )
            .ok()?;
        let elf = Elf {
            data: &map,
            id: self.id.clone(),
            debug: None,
        };
        match catch_unwind(AssertUnwindSafe(|| what(&elf))) {
            // The zeros behind a cut are not the file's.
            Ok(read) => (!map.cut()).then_some(read),
            Err(_) => {
                tracing::warn!(
                    plan = self.plan.0,
                    "naming the sites of a file failed (a defect of the agent)"
                );
                None
            }
        }
    }
}
