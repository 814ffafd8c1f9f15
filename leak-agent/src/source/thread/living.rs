//! What a living thread is, by its own stack: which code it was started to run.

use super::glue::{Part, part};
use super::site::UNKNOWN;
use crate::source::{CodeFrame, SiteInfo};
use crate::stack::symbolize::NamedFrame;
use crate::types::label::Label;

/// The code that a thread was started for: the outermost of its stack that is not there to start threads. `leader`: it is the
/// process's first. Who started it is not on its own stack.
#[must_use]
pub fn living(frames: &[NamedFrame], leader: bool) -> SiteInfo {
    if leader {
        return super::reserved(leak_agent_common::key::site::MAIN);
    }
    let parts: Vec<Part> = frames.iter().map(part).collect();
    let pool = parts.iter().rev().find_map(|part| match part {
        Part::Pool(name) => Some(*name),
        _ => None,
    });
    let kind: Label = match pool {
        Some("tokio") => "tokio pool",
        Some("rayon") => "rayon",
        _ if parts.contains(&Part::Go) => super::site::GO,
        _ if parts.contains(&Part::Jvm) => "jvm",
        _ if parts.contains(&Part::Python) => "python",
        _ if parts.contains(&Part::Std) => "std::thread",
        _ if frames.is_empty() => UNKNOWN,
        _ => "pthread",
    };
    if kind == super::site::GO {
        return site("Go scheduler thread (M)".to_owned(), kind);
    }
    let own = frames
        .iter()
        .zip(&parts)
        .rfind(|(_, part)| matches!(part, Part::Program | Part::Nameless))
        .or_else(|| frames.iter().zip(&parts).rfind(|(_, part)| **part != Part::Libc));
    let name = match own {
        Some((frame, _)) => match frame.function() {
            Some(function) => function.to_owned(),
            None => format!("{}+{:#x}", super::site::module_name(frame), frame.vaddr),
        },
        None => "thread".to_owned(),
    };
    site(name, kind)
}

fn site(name: String, kind: Label) -> SiteInfo {
    SiteInfo {
        // Where it was started is what a site's id says, and that is not known.
        id: String::new(),
        name,
        location: None,
        kind,
        system: false,
        ambiguous: false,
        note: None,
        created_by: None,
    }
}

/// A frame as a call; the address of one without a name is that in its file.
#[must_use]
pub fn call(frame: &NamedFrame) -> CodeFrame {
    let name = frame.name.as_ref();
    let location = name.and_then(|name| name.location.as_deref());
    let address = format!("{}:{:#x}", super::site::module_name(frame), frame.vaddr);
    CodeFrame::new(
        frame.function(),
        location,
        name.is_some_and(|name| name.inlined),
        &address,
    )
}
