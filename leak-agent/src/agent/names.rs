//! The thread that names spawn sites when processes show for the first time that they exist: it reads executables, and may
//! wait for a disk.

use super::message::Message;
use crate::discovery::{AttachmentKey, INSPECT_BYTES_MAX};
use crate::elf::Elf;
use crate::engine::Input;
use crate::source::{HookPlan, SiteInfo};
use crate::sys::map::MappedFile;
use crate::types::{ExecutableId, PlanId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};

/// Sites that are to be named.
pub(super) struct Request {
    pub(super) plan: PlanId,
    pub(super) hooks: Arc<HookPlan>,
    /// The file that the plan is of.
    pub(super) file: Arc<File>,
    pub(super) executable: ExecutableId,
    pub(super) numbers: Vec<u64>,
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
            numbers,
        })
    };
    by_plan(unnamed).into_iter().filter_map(request).collect()
}

/// Starts the thread; it ends when the returned sender is dropped.
///
/// # Errors
///
/// No thread could be started.
pub(super) fn spawn(inbox: SyncSender<Message>) -> io::Result<Sender<Request>> {
    let (sender, requests) = channel();
    // Nobody waits for it at the end: it holds nothing in the kernel.
    std::thread::Builder::new()
        .name("names".to_owned())
        .spawn(move || serve(&requests, &inbox))?;
    Ok(sender)
}

fn serve(requests: &Receiver<Request>, inbox: &SyncSender<Message>) {
    for request in requests {
        let sites = name(&request);
        if inbox.send(Message::Named(request.plan, sites)).is_err() {
            return;
        }
    }
}

/// What cannot be read goes on being shown by its number.
fn name(request: &Request) -> Vec<(u64, SiteInfo)> {
    let Some(names) = &request.hooks.names else {
        return Vec::new();
    };
    let map = match MappedFile::map(&request.file, INSPECT_BYTES_MAX) {
        Ok(map) => map,
        Err(error) => {
            tracing::debug!(%error, plan = request.plan.0, "map a file for the names of its sites");
            return Vec::new();
        }
    };
    let named = catch_unwind(AssertUnwindSafe(|| {
        let elf = Elf {
            data: &map,
            id: request.executable.clone(),
            debug: None,
        };
        names.names(&elf, &request.numbers)
    }));
    match named {
        // The zeros behind a cut are not the file's.
        Ok(named) if !map.cut() => named,
        Ok(_) => Vec::new(),
        Err(_) => {
            tracing::warn!(
                plan = request.plan.0,
                "naming the sites of a file failed (a defect of the agent)"
            );
            Vec::new()
        }
    }
}
