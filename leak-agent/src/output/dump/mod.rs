//! A dump, rendered: for people, for programs, and for tools that draw flame graphs.

mod text;

pub use text::text;

use crate::dump::{Dump, Frame};
use crate::output::text::visible;

/// The document as JSON, with a line end behind it.
///
/// # Errors
///
/// None that is known: it has nothing in it that JSON cannot say.
pub fn json(dump: &Dump) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(dump)?;
    text.push('\n');
    Ok(text)
}

/// One line per group, as flame graphs are drawn of: runtime and frames, the outermost first, divided by semicolons, and the count.
#[must_use]
pub fn folded(dump: &Dump) -> String {
    let mut text = String::new();
    for group in &dump.groups {
        text.push_str(group.runtime);
        if group.frames.is_empty() {
            text.push(';');
            text.push_str(&level(&group.state));
        }
        for frame in group.frames.iter().rev() {
            text.push(';');
            text.push_str(&level(&frame.function));
        }
        text.push_str(&format!(" {}\n", group.count));
    }
    text
}

/// A name without what divides names, and lines.
fn level(name: &str) -> String {
    visible(name).replace([';', '\n'], ",")
}

/// "src/conn.rs:88".
fn place(frame: &Frame) -> Option<String> {
    let file = frame.file.as_deref()?;
    Some(match frame.line {
        Some(line) => format!("{file}:{line}"),
        None => file.to_owned(),
    })
}

#[cfg(test)]
mod tests;
