//! Names of tokio spawn sites: from the vtable of a task type to what its programmer calls it, and where it stands
//! in the source.
//!
//! With symbols the name is the future's type; without, the place in the source that its poll function panics
//! with, as stripping leaves that; else the site's id. What is a guess is marked as one.

mod code;
mod demangle;
mod local;
mod location;
mod place;
mod symbols;
mod system;

use super::vtable::{Class, TaskVtable};
use crate::elf::{Functions, Image, Pointers};
use crate::source::SiteInfo;
use crate::types::ExecutableId;
use code::Code;
use demangle::{Pretty, pretty};
use local::Schedulers;
use location::Locations;
use place::{Place, place};
use symbols::{Named, Symbols};
use system::Workers;

/// Other types that a note lists.
const MAX_RIVALS: usize = 4;

/// What a worker's loop is called where no symbol names it.
const WORKER: &str = "tokio worker thread";

/// What people are shown of each task type, in the order of `vtables`. Reads the symbols once and decodes the code
/// around the vtables, at most 64 MiB of it; total.
#[must_use]
pub fn describe(
    image: &Image<'_>,
    pointers: &Pointers,
    functions: &Functions,
    vtables: &[TaskVtable],
    id: &ExecutableId,
) -> Vec<SiteInfo> {
    let mut code = Code::new(image, pointers, functions);
    let mut symbols = Symbols::read(image);
    let named = symbols.name_all(&mut code, vtables);
    let workers = Workers::new(&code);
    let mut locations = Locations::new(&code);
    let mut schedulers = Schedulers::default();
    let mut sites = Vec::with_capacity(vtables.len());
    for (vtable, named) in vtables.iter().zip(named) {
        let facts = Facts {
            pretty: named.futures.first().map(|future| pretty(future)),
            local: named
                .local
                .or_else(|| schedulers.is_local(&mut locations, &mut code, vtable)),
            place: place(&mut locations, &mut code, vtable),
            worker: workers.is_worker(&mut code, vtable),
            unread: code.exhausted(),
            named,
        };
        sites.push(facts.site(vtable, id));
    }
    sites
}

/// What was found out about one vtable.
struct Facts<'data> {
    named: Named,
    pretty: Option<Pretty>,
    place: Place<'data>,
    /// It runs on a `LocalSet`; `None` = not known.
    local: Option<bool>,
    /// The code is that of a worker's loop.
    worker: bool,
    /// Code was left unread.
    unread: bool,
}

impl Facts<'_> {
    fn site(&self, vtable: &TaskVtable, executable: &ExecutableId) -> SiteInfo {
        let id = format!("{executable}:{:#x}", vtable.vaddr.0);
        let system = self.worker
            || self
                .pretty
                .as_ref()
                .is_some_and(|pretty| pretty.worker && !self.named.ambiguous);
        // What runs a boxed future tells nothing of it.
        let erased = self.pretty.as_ref().is_some_and(|pretty| pretty.erased);
        let location = self
            .place
            .at
            .filter(|_| !system && !erased)
            .map(|at| at.to_string());
        let name = match (&self.pretty, &location) {
            (Some(pretty), _) if system && pretty.worker => pretty.name.clone(),
            _ if system => WORKER.to_owned(),
            // A place is better than a guess.
            (_, Some(location)) if self.guessed() => location.clone(),
            (Some(pretty), _) => pretty.name.clone(),
            (None, Some(location)) => location.clone(),
            (None, None) => id.clone(),
        };
        let kind = match (vtable.class(), self.local) {
            (Class::Async | Class::Unknown, Some(true)) => "local",
            (class, _) => class.label(),
        };
        SiteInfo {
            id,
            name,
            location,
            kind,
            system,
            ambiguous: self.named.ambiguous,
            note: self.note(system),
        }
    }

    /// The type is one of several, but where its body begins is known.
    fn guessed(&self) -> bool {
        self.named.ambiguous && self.place.body
    }

    /// What there is to know beside the name; `None` = nothing.
    fn note(&self, system: bool) -> Option<String> {
        let mut notes = Vec::new();
        if system {
            notes.push("runs the tasks of a multi-thread runtime".to_owned());
        } else {
            self.note_name(&mut notes);
            self.note_place(&mut notes);
        }
        if self.unread {
            notes.push("the tasks of this file have more code than is read for names".to_owned());
        }
        (!notes.is_empty()).then(|| notes.join("; "))
    }

    fn note_name(&self, notes: &mut Vec<String>) {
        let Some(pretty) = &self.pretty else {
            return;
        };
        if pretty.erased {
            notes.push("a boxed future, whose type does not tell whose it is".to_owned());
        }
        if !pretty.through.is_empty() {
            notes.push(format!("in {}", pretty.through.join(", ")));
        }
        if self.named.ambiguous {
            let guessed = self.guessed();
            let mut rivals: Vec<String> = Vec::new();
            for future in self.named.futures.iter().skip(usize::from(!guessed)) {
                let name = demangle::pretty(future).name;
                if (guessed || name != pretty.name) && !rivals.contains(&name) {
                    rivals.push(name);
                }
            }
            let more = rivals.len().saturating_sub(MAX_RIVALS);
            rivals.truncate(MAX_RIVALS);
            notes.push(match (rivals.is_empty(), more) {
                (true, _) => {
                    "shares its code with tasks of equal shape, one of which has this name".to_owned()
                }
                (false, 0) => format!("or {}", rivals.join(", ")),
                (false, more) => format!("or {}, or {more} more", rivals.join(", ")),
            });
        }
    }

    fn note_place(&self, notes: &mut Vec<String>) {
        let (erased, written) = self
            .pretty
            .as_ref()
            .map_or((false, false), |pretty| (pretty.erased, pretty.written));
        if erased {
            return;
        }
        let place = &self.place;
        match place.at {
            Some(_) if place.body && written => {
                notes.push("the location is that of a future which it polls".to_owned());
            }
            Some(_) if !place.body => {
                notes.push("the location is somewhere in its code, not where it begins".to_owned());
            }
            None if self.pretty.is_none() => {
                notes.push("no symbol names it and its code does not say where it begins".to_owned());
            }
            _ => {}
        }
        if self.pretty.is_none() && !place.others.is_empty() {
            let others: Vec<String> = place.others.iter().map(ToString::to_string).collect();
            notes.push(format!("its code names {}", others.join(", ")));
        }
    }
}
