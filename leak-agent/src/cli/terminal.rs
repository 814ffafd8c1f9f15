//! What is known of the terminal that is written to.

use std::io::{self, IsTerminal as _};

/// Lines for a file or a pipe are never cut.
const UNBOUNDED: usize = usize::MAX;

/// Whether a person both sees and types.
pub(super) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Columns of a line on standard output.
pub(super) fn width() -> usize {
    if !io::stdout().is_terminal() {
        return UNBOUNDED;
    }
    ratatui::crossterm::terminal::size().map_or(UNBOUNDED, |(columns, _)| usize::from(columns.max(20)))
}

/// Whether colours are wanted (<https://no-color.org>).
pub(super) fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether standard output shows colours, and they are wanted.
pub(super) fn is_coloured() -> bool {
    io::stdout().is_terminal() && colours()
}
