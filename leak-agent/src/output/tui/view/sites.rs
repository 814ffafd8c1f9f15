//! The spawn sites of one runtime in one process.

use super::Theme;
use super::processes::{aligned, window};
use crate::output::findings::verdict;
use crate::output::known;
use crate::output::table::{counted_how, event_count, live, site_name};
use crate::output::text::{fit, visible};
use crate::output::tui::model::{Model, RowKey};
use crate::report::{CountedBy, Process, Runtime, Site};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row, Table, TableState};

const COUNT: u16 = 9;
const VERDICT: u16 = 9;
const KIND: u16 = 9;

/// ```text
/// svc (1234) /opt/svc/bin/svc
/// tokio 1.47.1, followed: 48 live = 0 before + 60 spawned - 12 finished; 140 points, 138 cheap
/// leak: 40 tasks of app::serve (src/app.rs:88) have been spawned since 14:02 UTC and never ended: +6/min …
///      LIVE   SPAWNED  FINISHED  BASELINE VERDICT   KIND      SITE
///        40        50        10         0 leak      async     app::serve  src/app.rs:88
/// ```
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    model: &Model,
    of: &RowKey,
    selected: usize,
    theme: Theme,
) {
    let [about, body] = Layout::vertical([Constraint::Length(3), Constraint::Min(0)]).areas(area);
    let Some((process, runtime)) = model.find(of) else {
        frame.render_widget(
            Paragraph::new(format!("process {} has ended; Escape goes back", of.pid)).style(theme.trouble()),
            about,
        );
        return;
    };
    let why = runtime.verdict_reason.as_deref().unwrap_or("");
    let why = if why.is_empty() {
        ""
    } else {
        &format!(": {}", visible(why))
    };
    let lines = [
        title(process),
        summary(
            model.report().map_or(0.0, |report| report.taken_at),
            process,
            runtime,
        ),
        format!("{}{why}", verdict(process.alive, runtime.verdict)),
    ];
    let lines: Vec<Line<'_>> = lines
        .iter()
        .map(|line| Line::from(fit(line, usize::from(about.width))))
        .collect();
    frame.render_widget(Paragraph::new(lines).style(theme.trouble()), about);

    let sites = &runtime.sites;
    let fits = usize::from(body.height.saturating_sub(1)).max(1);
    let selected = selected.min(sites.len().saturating_sub(1));
    let start = window(selected, sites.len(), fits);
    let counts = match body.width {
        0..60 => 1,
        60..90 => 3,
        _ => 4,
    };
    let heading = ["LIVE", "SPAWNED", "FINISHED", "BASELINE"]
        .into_iter()
        .take(counts);
    let heading = heading.map(|title| aligned(title.to_owned(), true)).chain([
        aligned("VERDICT".to_owned(), false),
        aligned("KIND".to_owned(), false),
        aligned("SITE".to_owned(), false),
    ]);
    let fixed = (COUNT + 1) * u16::try_from(counts).unwrap_or(1) + VERDICT + KIND + 2;
    let rest = body.width.saturating_sub(fixed);
    let rows = sites.iter().skip(start).take(fits).map(|site| {
        let numbers = [
            live(site.live, runtime.exact, runtime.state),
            event_count(site.spawned, runtime),
            event_count(site.finished, runtime),
            event_count(site.baseline, runtime),
        ];
        let cells = numbers
            .into_iter()
            .take(counts)
            .map(|number| aligned(number, true))
            .chain([
                aligned(verdict(process.alive, site.verdict).to_owned(), false),
                aligned(fit(&visible(&site.kind), usize::from(KIND)), false),
                aligned(fit(&site_name(site), usize::from(rest)), false),
            ]);
        Row::new(cells).style(style(site, theme))
    });
    let widths = std::iter::repeat_n(Constraint::Length(COUNT), counts)
        .chain([VERDICT, KIND, rest].map(Constraint::Length));
    let table = Table::new(rows, widths)
        .header(Row::new(heading).style(theme.heading()))
        .row_highlight_style(theme.selected());
    let mut shown = TableState::default().with_selected((!sites.is_empty()).then(|| selected - start));
    frame.render_stateful_widget(table, body, &mut shown);
}

fn title(process: &Process) -> String {
    let exe = process.exe.as_deref().unwrap_or("?");
    let ended = if process.alive { "" } else { ", ended" };
    format!(
        "{} ({}{ended}) {}",
        visible(&process.comm),
        process.pid,
        visible(exe)
    )
}

fn summary(taken_at: f64, process: &Process, runtime: &Runtime) -> String {
    let mut text = visible(&runtime.runtime).into_owned();
    if let Some(version) = &runtime.version {
        text.push(' ');
        text.push_str(&visible(version));
    }
    let alive = live(runtime.live, runtime.exact, runtime.state);
    text.push_str(&format!(", {}: {alive} live", runtime.state.label()));
    if runtime.counted_by.is_some_and(CountedBy::counts_events) {
        text.push_str(&format!(
            " = {} before + {} spawned - {} finished; {} points, {} cheap",
            runtime.baseline, runtime.spawned, runtime.finished, runtime.points, runtime.points_emulated,
        ));
    }
    if let Some(how) = counted_how(taken_at, runtime) {
        text.push_str(", ");
        text.push_str(&visible(&how));
    }
    for scheduler in process
        .schedulers
        .iter()
        .filter(|each| each.runtime == runtime.runtime)
    {
        text.push_str("; ");
        text.push_str(&visible(&known::threads(taken_at, scheduler)));
    }
    if let Some(reason) = &runtime.reason {
        text.push_str("; ");
        text.push_str(&visible(reason));
    }
    text
}

fn style(site: &Site, theme: Theme) -> Style {
    if site.system || site.live == 0 {
        theme.dim()
    } else {
        Style::new()
    }
}
