//! From a named creation stack to the spawn site: the frame of the program that asked for the thread.

use super::glue::{Part, has_path, part, plain_path};
use crate::source::SiteInfo;
use crate::stack::End;
use crate::stack::module::Language;
use crate::stack::symbolize::NamedFrame;
use crate::types::ExecutableId;

/// Names are cut here in what people are shown.
const MAX_NAME: usize = 300;
/// Without names, the standard library's frames look like the program's: so many frames together are the
/// site then. `std::thread::spawn` has at most four of its own, a statically linked C library two.
const NAMELESS_FRAMES: usize = 6;
/// Of the virtual machine's own frames, so many tell what it starts a thread for.
const JVM_FRAMES: usize = 3;

/// Kind of the threads of which it is not known who made them.
pub(super) const UNKNOWN: &str = "unknown";
/// Kind of the threads that the Go scheduler made.
pub(super) const GO: &str = "go scheduler";
/// Kind of the threads that a tokio runtime made when it was built.
pub(super) const TOKIO_WORKER: &str = "tokio worker";
/// Kind of the threads that were made because closures waited for tokio's blocking pool.
pub(super) const TOKIO_BLOCKING: &str = "tokio blocking";

/// Kind of the threads of a tokio runtime where no symbol tells what they were made for.
pub(super) const TOKIO_POOL: &str = "tokio pool";

/// What a creation stack says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The site.
    pub site: SiteInfo,
    /// Index of the outermost frame that takes part in the choice: of the stack as it was unwound.
    pub wanted: usize,
}

/// Chooses the site of a creation stack: its frames, innermost first, and why they end.
#[must_use]
pub fn choose(frames: &[NamedFrame], end: End) -> Choice {
    let parts: Vec<Part> = frames.iter().map(part).collect();
    let first = parts.iter().position(|part| *part != Part::Libc);
    let unnamed = first.filter(|first| parts.get(*first) == Some(&Part::Nameless));
    let asker = unnamed.and_then(|first| asker(frames, &parts, first));
    if let Some((frame, Part::Go)) = asker.and_then(|at| Some((frames.get(at)?, *parts.get(at)?))) {
        return Choice {
            site: go_scheduler(frame),
            wanted: frame.index,
        };
    }
    match first.and_then(|first| Some((first, *parts.get(first)?, frames.get(first)?))) {
        Some((_, Part::IoUring, frame)) => Choice {
            site: runtime_site(frame, "io_uring worker", "io_uring", None),
            wanted: frame.index,
        },
        Some((_, Part::Python, frame)) => Choice {
            site: runtime_site(
                frame,
                "Python thread start",
                "python",
                Some("all threads that Python code starts: the interpreter's stack does not name the line"),
            ),
            wanted: frame.index,
        },
        Some((_, Part::Go, frame)) => Choice {
            site: go_scheduler(frame),
            wanted: frame.index,
        },
        Some((first, Part::Jvm, _)) => jvm(frames, &parts, first),
        _ => program(frames, &parts, end),
    }
}

/// Where a runtime's own code was recognised behind frames without names, in the same file: its outermost frame.
fn asker(frames: &[NamedFrame], parts: &[Part], first: usize) -> Option<usize> {
    let file = frames.get(first)?.id.as_ref();
    let run = frames.iter().zip(parts).enumerate().skip(first);
    run.take_while(|(_, (frame, part))| {
        let passed = match part {
            Part::Nameless => true,
            Part::Go | Part::Pool(_) => frame.function().is_some(),
            _ => false,
        };
        passed && frame.id.as_ref() == file
    })
    .filter(|(_, (_, part))| **part != Part::Nameless)
    .map(|(position, _)| position)
    .last()
}

/// The site "unknown creator", with the reason in half a sentence.
#[must_use]
pub fn unknown_creator(reason: &str) -> SiteInfo {
    SiteInfo {
        id: format!("unknown:{}", reason.replace(' ', "-")),
        name: "unknown creator".to_owned(),
        location: None,
        kind: UNKNOWN,
        system: false,
        ambiguous: false,
        note: Some(reason.to_owned()),
        created_by: None,
    }
}

/// Why a stack has no more frames, as half a sentence; `None` = it has all.
fn reason(end: End) -> Option<&'static str> {
    match end {
        End::Complete => None,
        End::Cut => Some("the creation stack is deeper than what was copied of it"),
        End::NoUnwindInfo => Some("the creation stack leads through code without unwind data"),
        End::Error(_) => Some("the creation stack could not be unwound"),
    }
}

/// A site of a language runtime, which has no line of the program.
fn runtime_site(frame: &NamedFrame, name: &str, kind: &'static str, note: Option<&str>) -> SiteInfo {
    SiteInfo {
        id: id(frame),
        name: name.to_owned(),
        location: None,
        kind,
        system: false,
        ambiguous: false,
        note: note.map(str::to_owned),
        created_by: None,
    }
}

/// The threads on which the Go scheduler runs goroutines: one site per file, for no code of the program asks for one of them.
fn go_scheduler(frame: &NamedFrame) -> SiteInfo {
    let file = frame
        .id
        .as_ref()
        .map_or_else(|| "no-file".to_owned(), ToString::to_string);
    let note = "the Go scheduler made them to run goroutines: none of these is the cause";
    SiteInfo {
        id: format!("{file}:go-scheduler"),
        ..runtime_site(frame, "Go scheduler thread (M)", GO, Some(note))
    }
}

/// `<executable id>:<address of the call, as a return address>`.
fn id(frame: &NamedFrame) -> String {
    match &frame.id {
        Some(id) => format!("{id}:{:#x}", frame.vaddr),
        None => format!("no-file:{:#x}", frame.vaddr),
    }
}

/// The identity of a file stands for itself where the build id is missing.
#[must_use]
pub fn module_name(frame: &NamedFrame) -> String {
    let id = || frame.id.as_ref().map(ExecutableId::to_string);
    frame.module.clone().or_else(id).unwrap_or_else(|| "?".to_owned())
}

/// The virtual machine starts a Java thread, or one of its own.
fn jvm(frames: &[NamedFrame], parts: &[Part], first: usize) -> Choice {
    let own = || {
        let frames = frames.iter().zip(parts).skip(first);
        frames
            .take_while(|(_, part)| **part == Part::Jvm)
            .map(|(frame, _)| frame)
    };
    if let Some(start) = own().find(|frame| frame.function() == Some("JVM_StartThread")) {
        let note = "all threads that Java code starts: the stack does not name the line";
        return Choice {
            site: runtime_site(start, "JVM thread start", "jvm", Some(note)),
            wanted: start.index,
        };
    }
    let Some(last) = own().take(JVM_FRAMES).last() else {
        return program(frames, parts, End::NoUnwindInfo);
    };
    let mut functions = own().filter_map(NamedFrame::function);
    let by = functions.find(|function| !function.starts_with("os::"));
    let note = by.map(|function| format!("by {}", cut(&plain_path(function))));
    Choice {
        site: runtime_site(last, "JVM service thread start", "jvm", note.as_deref()),
        wanted: last.index,
    }
}

/// The first frame of the program, innermost first.
fn program(frames: &[NamedFrame], parts: &[Part], end: End) -> Choice {
    let each = || frames.iter().zip(parts.iter().copied()).enumerate();
    let found = each().find(|(_, (_, part))| matches!(part, Part::Program | Part::Nameless | Part::NoFile));
    let (position, site) = match found {
        Some((_, (frame, Part::NoFile))) => {
            let site = SiteInfo {
                note: Some("created by code of no file, such as a just-in-time compiler's".to_owned()),
                ..unknown_creator("code of no file")
            };
            return Choice {
                site,
                wanted: frame.index,
            };
        }
        Some((position, (_, Part::Nameless))) => return nameless(frames, parts, position, end),
        Some((position, (frame, _))) => (position, frame),
        None => {
            // Only glue: the outermost frame of the innermost library says most.
            let pool = each().find(|(_, (_, part))| matches!(part, Part::Pool(_)));
            let same = |(position, (_, part)): (usize, (&NamedFrame, Part))| {
                let (first, (_, pool)) = pool?;
                (position >= first && (part == pool || part == Part::Std)).then_some((position, part == pool))
            };
            let last = each().skip(pool.map_or(0, |(first, _)| first)).map_while(same);
            let last = last.filter(|(_, is_pool)| *is_pool).last();
            let last = last.map(|(position, _)| position).or_else(|| {
                let named = each().filter(|(_, (_, part))| *part == Part::Std);
                named.map(|(position, _)| position).next_back()
            });
            let Some((position, frame)) = last.and_then(|last| Some((last, frames.get(last)?))) else {
                return Choice {
                    site: unknown_creator(reason(end).unwrap_or("no frame outside of the C library")),
                    wanted: frames.last().map_or(0, |frame| frame.index),
                };
            };
            let mut site = named_site(frames, frame, &glue(frames, parts, position));
            let missing = reason(end).unwrap_or("no frame of the program is on the creation stack");
            site.note = Some(match site.note {
                Some(note) => format!("{note}; {missing}"),
                None => missing.to_owned(),
            });
            // What stands behind could be the program, in a stack that is longer: keep such stacks apart.
            let wanted = frames.last().map_or(0, |frame| frame.index);
            return Choice { site, wanted };
        }
    };
    Choice {
        site: named_site(frames, site, &glue(frames, parts, position)),
        wanted: site.index,
    }
}

/// What lies between the C library and the site.
struct Glue {
    kind: &'static str,
    /// The function that the site called.
    via: Option<String>,
}

fn glue(frames: &[NamedFrame], parts: &[Part], position: usize) -> Glue {
    let inner = || frames.iter().zip(parts).take(position);
    let calls = |function: &str| {
        inner().any(|(frame, _)| frame.function().is_some_and(|name| name.contains(function)))
    };
    let pool = inner()
        .filter_map(|(_, part)| match part {
            Part::Pool(name) => Some(*name),
            _ => None,
        })
        .next_back();
    let kind = match pool {
        // A worker is a thread of the blocking pool that was told to run a worker.
        Some("tokio") if calls("::worker::Launch") || calls("::builder::Builder::build") => TOKIO_WORKER,
        Some("tokio") => TOKIO_BLOCKING,
        Some("rayon") => "rayon",
        _ if inner().any(|(_, part)| *part == Part::Std) => "std::thread",
        _ => "pthread",
    };
    let via = inner()
        .filter(|(_, part)| matches!(part, Part::Pool(_) | Part::Std))
        .filter_map(|(frame, part)| Some((plain_path(frame.function()?), *part)))
        .rfind(|(path, _)| !matches!(path.split("::").next(), None | Some("" | "core" | "alloc")));
    let via = match via {
        // What is left of `std::thread` when its public functions are inlined.
        Some((path, Part::Std)) if path.contains("unchecked") || path.starts_with("std::sys::") => {
            Some("std::thread".to_owned())
        }
        Some((path, Part::Std)) if !path.contains("::") => Some(format!("{path} of std::thread")),
        Some((path, Part::Pool(pool))) if !path.contains("::") && path != pool => {
            Some(format!("{path} of {pool}"))
        }
        Some((path, _)) => Some(path),
        None => pool.map(str::to_owned),
    };
    let via = via.map(|via| cut(&via));
    Glue { kind, via }
}

fn named_site(frames: &[NamedFrame], frame: &NamedFrame, glue: &Glue) -> SiteInfo {
    let outer = frames.iter().rfind(|outer| outer.index == frame.index);
    SiteInfo {
        id: id(frame),
        name: match (frame.function(), outer.and_then(NamedFrame::function)) {
            // Rust's line tables name inlined functions without their path.
            (Some(function), Some(outer)) if !has_path(function) && has_path(outer) => {
                cut(&format!("{function} in {outer}"))
            }
            (Some(function), _) => cut(function),
            (None, _) => format!("{}+{:#x}", module_name(frame), frame.vaddr),
        },
        location: frame.name.as_ref().and_then(|name| name.location.clone()),
        kind: glue.kind,
        system: false,
        ambiguous: false,
        note: glue.via.as_ref().map(|via| format!("via {via}")),
        created_by: None,
    }
}

/// A site in a module without symbols.
fn nameless(frames: &[NamedFrame], parts: &[Part], position: usize, end: End) -> Choice {
    let asker = asker(frames, parts, position);
    // A frame that was recognised stands twice: what it is, and where it is.
    let position = asker.map_or(position, |asker| asker + 1);
    let mut glue = glue(frames, parts, position);
    if asker.is_some() && glue.kind == TOKIO_BLOCKING {
        glue.kind = TOKIO_POOL;
    }
    let Some(first) = frames.get(position) else {
        return program(&[], &[], end);
    };
    let mut site = named_site(frames, first, &glue);
    // In Rust, and where the C library is part of the file, the first frames are not the program's.
    if first.language != Language::Rust && position > 0 {
        return Choice {
            site,
            wanted: first.index,
        };
    }
    let chain: Vec<&NamedFrame> = frames
        .iter()
        .zip(parts)
        .skip(position)
        .take_while(|(frame, part)| **part == Part::Nameless && frame.id == first.id)
        .map(|(frame, _)| frame)
        .take(NAMELESS_FRAMES)
        .collect();
    let last = chain.last().copied().unwrap_or(first);
    let rest = chain.iter().fold(0_u64, |all, frame| {
        (all.rotate_left(5) ^ frame.vaddr).wrapping_mul(0x517c_c1b7_2722_0a95)
    });
    site.id = format!("{}+{rest:016x}", id(first));
    let addresses: Vec<String> = chain.iter().map(|frame| format!("{:#x}", frame.vaddr)).collect();
    site.name = format!("{}+{}", module_name(first), addresses.join(" < "));
    site.note = Some(match asker {
        Some(_) => format!(
            "the file has no symbols; {}",
            site.note.unwrap_or_else(|| "a library's code is recognised".to_owned())
        ),
        None => "the file has no symbols: the innermost of these frames are a library's, and one place may be several \
                 sites"
            .to_owned(),
    });
    Choice {
        site,
        wanted: last.index,
    }
}

fn cut(name: &str) -> String {
    if name.chars().count() <= MAX_NAME {
        return name.to_owned();
    }
    let start: String = name.chars().take(MAX_NAME).collect();
    format!("{start}…")
}

#[cfg(test)]
mod tests;
