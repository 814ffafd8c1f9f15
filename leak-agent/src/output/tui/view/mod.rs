//! Renderers: state and model onto a frame. They change nothing.

mod header;
mod help;
mod processes;
mod sites;

use super::model::Model;
use super::state::{Screen, State};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};

/// Rows of the screen that are not rows of the table: header, table's heading, footer.
const FRAME_ROWS: u16 = 4;

/// How things look.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    /// Whether colours may be used (not with `NO_COLOR`).
    pub colours: bool,
}

impl Theme {
    fn colour(self, colour: Color) -> Style {
        if self.colours {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    fn heading(self) -> Style {
        self.colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    fn trouble(self) -> Style {
        self.colour(Color::Yellow)
    }

    fn leak(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }
}

/// How many rows of a table fit on a screen of this height.
pub(super) fn page(height: u16) -> usize {
    usize::from(height.saturating_sub(FRAME_ROWS)).max(1)
}

/// Draws everything.
///
/// ```text
/// ┌ header ──────────────────────────┐  2 rows: the agent; what is wrong with it
/// │ the rows, or the sites of one    │
/// └ keys, or the filter ─────────────┘  1 row
/// ```
pub(super) fn draw(frame: &mut Frame<'_>, state: &State, model: &Model, theme: Theme) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(2), Constraint::Min(0), Constraint::Length(1)])
            .areas(frame.area());
    header::draw(frame, head, state, model, theme);
    match &state.screen {
        Screen::Processes => processes::draw(frame, body, state, model, theme),
        Screen::Sites { of, selected } => sites::draw(frame, body, model, of, *selected, theme),
    }
    help::footer(frame, foot, state, theme);
    if state.help {
        help::draw(frame, frame.area(), theme);
    }
}

#[cfg(test)]
mod tests;
