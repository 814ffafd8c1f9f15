//! Names of tokio spawn sites: from the vtable of a task type to what its programmer calls it, and where it stands
//! in the source.
//!
//! With symbols the name is the future's type; without, the place in the source that its poll function panics
//! with, as stripping leaves that; else the site's id. What is a guess is marked as one.

mod code;
mod demangle;
mod lines;
mod local;
mod location;
mod place;
mod site;
mod symbols;
mod system;

use super::vtable::TaskVtable;
use crate::elf::{Functions, Image, Pointers};
use crate::source::SiteInfo;
use crate::types::ExecutableId;
use code::Code;
use demangle::pretty;
use lines::Lines;
use local::Schedulers;
use location::Locations;
use place::place;
use site::Facts;
use symbols::Symbols;
use system::Workers;

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
    let mut facts = Vec::with_capacity(vtables.len());
    for (vtable, named) in vtables.iter().zip(named) {
        facts.push(Facts {
            pretty: named.futures.first().map(|future| pretty(future)),
            local: named
                .local
                .or_else(|| schedulers.is_local(&mut locations, &mut code, vtable)),
            place: place(&mut locations, &mut code, vtable),
            worker: workers.is_worker(&mut code, vtable),
            unread: code.exhausted(),
            named,
        });
    }
    // Debug information is asked only where the code does not say where a task begins.
    let starts = facts.iter().flat_map(Facts::wanted_lines);
    let lines = Lines::read(image, functions, starts);
    let sites = facts.iter().zip(vtables);
    sites
        .map(|(facts, vtable)| facts.site(vtable, &lines, id))
        .collect()
}

#[cfg(test)]
mod tests;
