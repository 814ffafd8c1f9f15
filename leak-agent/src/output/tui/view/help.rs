//! The row of keys at the bottom, and the help over the screen.

use super::Theme;
use crate::output::tui::state::{Screen, State};
use ratatui::Frame;
use ratatui::layout::{Constraint, Flex, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Block, Clear, Paragraph};

const HELP: [&str; 16] = [
    "↑ ↓ PgUp PgDn Home End   move",
    "Enter                    spawn sites of the row",
    "Esc                      back, clear the filter",
    "/                        filter by name, path, pid or runtime",
    "l s f g v                sort by live, +/s, -/s, growth, verdict",
    "p c                      sort by pid, name",
    "r                        reverse the order",
    "space                    pause",
    "q, Ctrl-C                quit",
    "",
    "LIVE      alive now; ≥ a lower bound, - not counted",
    "+/S -/S   created and ended per second",
    "GROWTH    live now minus live when first seen",
    "VERDICT   healthy, undecided, suspect, leak: the worst of its sites",
    "TREND     live over the last reports",
    "",
];

/// ```text
/// ↑↓ move  Enter sites  / filter  l s f g v p c sort  space pause  ? help  q quit
/// ```
pub(super) fn footer(frame: &mut Frame<'_>, area: Rect, state: &State, theme: Theme) {
    let line = if state.typing {
        Line::from(format!("/{}▏ Enter keeps, Esc drops the filter", state.filter))
    } else if matches!(state.screen, Screen::Sites { .. }) {
        Line::styled("↑↓ move  Esc back  space pause  ? help  q quit", theme.dim())
    } else if state.filter.is_empty() {
        Line::styled(
            "↑↓ move  Enter sites  / filter  l s f g v p c sort  space pause  ? help  q quit",
            theme.dim(),
        )
    } else {
        Line::styled(
            format!("filter: {}  (Esc drops it)  ? help  q quit", state.filter),
            theme.trouble(),
        )
    };
    frame.render_widget(Paragraph::new(line), area);
}

/// ```text
///      ┌ keys ────────────────────────────┐
///      │ ↑ ↓ PgUp PgDn Home End   move    │
///      └──────────────────────────────────┘
/// ```
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, theme: Theme) {
    let rows = u16::try_from(HELP.len()).unwrap_or(u16::MAX).saturating_add(1);
    let [column] = Layout::horizontal([Constraint::Max(66)])
        .flex(Flex::Center)
        .areas(area);
    let [place] = Layout::vertical([Constraint::Max(rows)])
        .flex(Flex::Center)
        .areas(column);
    frame.render_widget(Clear, place);
    let text: Vec<Line<'_>> = HELP.iter().map(|line| Line::from(*line)).collect();
    let block = Block::bordered().title(" keys ").border_style(theme.heading());
    frame.render_widget(Paragraph::new(text).block(block), place);
}
