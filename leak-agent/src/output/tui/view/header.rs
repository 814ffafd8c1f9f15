//! The two rows at the top: who counts, and what is wrong with it.

use super::Theme;
use crate::output::findings;
use crate::output::table;
use crate::output::text::{fit, visible};
use crate::output::tui::model::Model;
use crate::output::tui::state::State;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

/// ```text
/// leak-agent 0.1.0, proc-only, ready: 123 processes, 4567 tasks · 0.8% CPU, 12 MiB · paused
/// BPF is switched off; 3 not followed (unreachable file); 7 too short-lived to follow
/// ```
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, model: &Model, theme: Theme) {
    let Some(report) = model.report() else {
        frame.render_widget(Paragraph::new("leak-agent: waiting for the first report"), area);
        return;
    };
    let mut first = table::headline(report);
    if let Some(load) = model.agent_load() {
        first.push_str(&format!(" · {:.1}% CPU", load * 100.0));
    }
    first.push_str(&format!(" · {} MiB", report.agent.resident_bytes >> 20));
    if state.paused {
        first.push_str(" · paused");
    }
    let trouble = [findings::worst(report), table::trouble(&report.agent)];
    let trouble: Vec<String> = trouble.into_iter().flatten().collect();
    let trouble = trouble.join("; ");
    let lines = vec![
        Line::styled(first, theme.heading()),
        Line::styled(fit(&visible(&trouble), area.width.into()), theme.trouble()),
    ];
    frame.render_widget(Paragraph::new(lines), area);
}
