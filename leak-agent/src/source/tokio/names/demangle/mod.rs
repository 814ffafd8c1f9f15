//! Symbols as text: demangled within bounds, legacy and v0 alike, and the type of a task read out of them.

mod pretty;
mod text;
mod wrapper;

pub(crate) use pretty::{Pretty, pretty};
pub(crate) use wrapper::{is_blocking, is_local, task_type};

use std::fmt::{self, Write};

/// Longest mangled name that is looked at, bytes. Real ones of task types reach about 40 KB (nested futures of
/// web frameworks); what is longer is treated as no name.
const MAX_MANGLED: usize = 64 * 1024;

/// Longest demangled text, bytes. v0 names may repeat their parts by reference, so that a small crafted one
/// unfolds without end.
const MAX_DEMANGLED: usize = 128 * 1024;

/// The demangled form of a Rust symbol without hash and crate disambiguators, or `None` when it is not one (C,
/// C++, linker made) or exceeds the bounds.
pub(crate) fn demangle(symbol: &str) -> Option<String> {
    if symbol.len() > MAX_MANGLED {
        return None;
    }
    let name = rustc_demangle::try_demangle(symbol).ok()?;
    let mut out = Bounded(String::new());
    write!(out, "{name:#}").ok()?;
    Some(out.0)
}

/// A text that refuses to grow past [`MAX_DEMANGLED`].
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.0.len().saturating_add(part.len()) > MAX_DEMANGLED {
            return Err(fmt::Error);
        }
        self.0.push_str(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
