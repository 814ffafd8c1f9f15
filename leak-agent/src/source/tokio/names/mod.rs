//! Names of tokio spawn sites: from the vtable of a task type to what its programmer calls it, and where it stands
//! in the source.

mod code;
mod demangle;
mod symbols;

use super::vtable::TaskVtable;
use crate::elf::{Functions, Image, Pointers};
use crate::source::SiteInfo;
use crate::types::ExecutableId;
use code::Code;
use demangle::pretty;
use symbols::Symbols;

/// What people are shown of each task type, in the order of `vtables`.
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
    vtables
        .iter()
        .zip(named)
        .map(|(vtable, named)| {
            let p = named.futures.first().map(|best| pretty(best));
            let site = format!("{id}:{:x}", vtable.vaddr.0);
            SiteInfo {
                name: p.as_ref().map_or_else(|| site.clone(), |p| p.name.clone()),
                id: site,
                location: None,
                kind: if named.local == Some(true) {
                    "local"
                } else {
                    vtable.class().label()
                },
                system: p.is_some_and(|p| p.worker),
                ambiguous: named.ambiguous,
                note: Some(format!("{named:?}")),
            }
        })
        .collect()
}
