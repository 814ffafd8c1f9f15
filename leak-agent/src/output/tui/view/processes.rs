//! The rows: one per process and runtime.

use super::Theme;
use crate::output::findings::verdict;
use crate::output::table::{live, rate, state};
use crate::output::text::{fit, fit_end, visible};
use crate::output::tui::model::{Model, Row as ModelRow};
use crate::output::tui::state::{Sort, State};
use crate::report;
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Row, Table, TableState};

/// Columns of the trend.
const TREND: u16 = 12;
/// Below this width the columns that can be missed are left out.
const NARROW: u16 = 80;
/// From this width on, the path is shown.
const WIDE: u16 = 110;

struct Column {
    title: &'static str,
    width: u16,
    sort: Option<Sort>,
    right: bool,
    cell: fn(&ModelRow, usize) -> String,
}

const PID: Column = Column {
    title: "PID",
    width: 8,
    sort: Some(Sort::Pid),
    right: true,
    cell: |row, _| row.key.pid.to_string(),
};
const NAME: Column = Column {
    title: "NAME",
    width: 15,
    sort: Some(Sort::Comm),
    right: false,
    cell: |row, width| fit(&visible(&row.comm), width),
};
const RUNTIME: Column = Column {
    title: "RUNTIME",
    width: 7,
    sort: None,
    right: false,
    cell: |row, width| fit(&visible(&row.key.runtime), width),
};
const LIVE: Column = Column {
    title: "LIVE",
    width: 9,
    sort: Some(Sort::Live),
    right: true,
    cell: |row, _| live(row.live, row.exact, row.state),
};
const SPAWNED: Column = Column {
    title: "+/S",
    width: 7,
    sort: Some(Sort::Spawned),
    right: true,
    cell: |row, _| rate(row.spawned_rate),
};
const FINISHED: Column = Column {
    title: "-/S",
    width: 7,
    sort: Some(Sort::Finished),
    right: true,
    cell: |row, _| rate(row.finished_rate),
};
const GROWTH: Column = Column {
    title: "GROWTH",
    width: 8,
    sort: Some(Sort::Growth),
    right: true,
    cell: |row, _| format!("{:+}", row.growth),
};
const STATE: Column = Column {
    title: "STATE",
    width: 11,
    sort: None,
    right: false,
    cell: |row, _| state(row.alive, row.state, row.counted_by).to_owned(),
};
const VERDICT: Column = Column {
    title: "VERDICT",
    width: 9,
    sort: Some(Sort::Verdict),
    right: false,
    cell: |row, _| verdict(row.alive, row.verdict).to_owned(),
};
const TRENDS: Column = Column {
    title: "TREND",
    width: TREND,
    sort: None,
    right: false,
    cell: |row, width| sparkline(&row.trend, width),
};
const SHORT_TRENDS: Column = Column { width: 8, ..TRENDS };
const PATH: Column = Column {
    title: "PATH",
    width: 0,
    sort: None,
    right: false,
    cell: |row, width| fit_end(&visible(row.exe.as_deref().unwrap_or("?")), width),
};

/// ```text
///      PID NAME            RUNTIME     LIVE↓     +/S     -/S   GROWTH VERDICT   STATE       TREND
///     1234 svc             tokio        5123    12.0     3.0     +120 leak      followed    ▁▂▃▄▅▆▇█
///     1234 svc             thread          9     0.0     0.0       +0 healthy   followed    ▁▁▁▁▁▁▁▁
/// ```
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, model: &Model, theme: Theme) {
    let columns: &[&Column] = if area.width < NARROW {
        &[&PID, &NAME, &RUNTIME, &LIVE, &VERDICT]
    } else if area.width < WIDE {
        &[
            &PID,
            &NAME,
            &RUNTIME,
            &LIVE,
            &SPAWNED,
            &GROWTH,
            &VERDICT,
            &SHORT_TRENDS,
        ]
    } else {
        &[
            &PID, &NAME, &RUNTIME, &LIVE, &SPAWNED, &FINISHED, &GROWTH, &VERDICT, &STATE, &TRENDS, &PATH,
        ]
    };
    let fixed: u16 = columns.iter().map(|column| column.width + 1).sum();
    let rest = area.width.saturating_sub(fixed);
    let width = |column: &Column| if column.width == 0 { rest } else { column.width };
    let rows = state.rows(model);
    let selected = state.selected(&rows);
    // Only what can be seen is laid out: a node has thousands of rows.
    let visible_rows = super::page(area.height + super::FRAME_ROWS - 1);
    let start = window(selected.unwrap_or(0), rows.len(), visible_rows);
    let heading = Row::new(columns.iter().map(|column| {
        let mark = match column.sort {
            Some(sort) if sort == state.sort && state.reversed => "↑",
            Some(sort) if sort == state.sort => "↓",
            _ => "",
        };
        aligned(format!("{}{mark}", column.title), column.right)
    }))
    .style(theme.heading());
    let lines = rows.iter().skip(start).take(visible_rows).map(|row| {
        let cells = columns
            .iter()
            .map(|column| aligned((column.cell)(row, usize::from(width(column))), column.right));
        Row::new(cells).style(style(row, theme))
    });
    let widths = columns.iter().map(|column| Constraint::Length(width(column)));
    let table = Table::new(lines, widths)
        .header(heading)
        .row_highlight_style(theme.selected());
    let mut shown = TableState::default().with_selected(selected.map(|at| at - start));
    frame.render_stateful_widget(table, area, &mut shown);
}

/// The first row to show so that the selected one is seen, in the middle where possible.
pub(super) fn window(selected: usize, rows: usize, fit: usize) -> usize {
    selected.saturating_sub(fit / 2).min(rows.saturating_sub(fit))
}

pub(super) fn aligned(text: String, right: bool) -> Cell<'static> {
    let line = Line::from(text);
    Cell::from(Text::from(if right { line.right_aligned() } else { line }))
}

fn style(row: &ModelRow, theme: Theme) -> Style {
    if !row.alive {
        theme.dim()
    } else if row.verdict == report::Verdict::Leak {
        theme.leak()
    } else if row.state == report::State::Unsupported || !row.exact {
        theme.trouble()
    } else {
        Style::new()
    }
}

/// The last counts as bars between the least and the most of them; level counts are low bars.
fn sparkline(counts: &[u64], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = &counts[counts.len().saturating_sub(width)..];
    let least = shown.iter().copied().min().unwrap_or(0);
    let span = shown.iter().copied().max().unwrap_or(0) - least;
    shown
        .iter()
        .map(|count| {
            let eighths = u128::from(count - least) * 7 / u128::from(span.max(1));
            usize::try_from(eighths)
                .ok()
                .and_then(|at| BARS.get(at))
                .copied()
                .unwrap_or(' ')
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bars span the shown counts only, and a level line is low.
    #[test]
    fn sparkline_spans_least_to_most() {
        assert_eq!(sparkline(&[900, 0, 1, 7], 3), "▁▂█");
        assert_eq!(sparkline(&[5, 5], 8), "▁▁");
        assert_eq!(sparkline(&[0, u64::MAX], 8), "▁█");
        assert_eq!(sparkline(&[], 8), "");
        assert_eq!(sparkline(&[1, 2], 0), "");
    }

    /// The selected row is always in the window, and the window never ends before the rows do.
    #[test]
    fn window_holds_the_selected_row() {
        for rows in 0..30_usize {
            for fit in 1..12 {
                for selected in 0..rows {
                    let start = window(selected, rows, fit);
                    assert!(
                        start <= selected && selected < start + fit,
                        "{selected} of {rows}, {fit} fit"
                    );
                    assert!(rows < fit || start + fit <= rows);
                }
            }
        }
    }
}
