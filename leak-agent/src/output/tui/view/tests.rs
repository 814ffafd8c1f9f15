//! The screens at three sizes.

use super::*;
use crate::output::tui::state::Input;
use crate::report::fixture::{finding, hostile_report, judged, judgement, process, runtime, site};
use crate::source::{thread, tokio};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::sync::Arc;

const PLAIN: Theme = Theme { colours: false };

fn model() -> Model {
    let of = |live| {
        vec![
            process(
                100,
                "svc",
                "/opt/svc/bin/svc",
                vec![
                    runtime(thread::RUNTIME, vec![site(1, "main", 1, 0, 0)]),
                    runtime(
                        tokio::RUNTIME,
                        vec![site(2, "app::serve", 0, live, 2), site(3, "app::flush", 0, 4, 1)],
                    ),
                ],
            ),
            process(
                200,
                "nginx",
                "/usr/sbin/nginx",
                vec![runtime(thread::RUNTIME, vec![site(1, "main", 3, 0, 0)])],
            ),
        ]
    };
    let leak = |processes: &[_]| judgement(vec![finding(&processes[0], tokio::RUNTIME, 2, "app::serve")]);
    let mut model = Model::default();
    for (seconds, live) in [(10, 40), (12, 50)] {
        let processes = of(live);
        let judgement = leak(&processes);
        model.update(Arc::new(judged(seconds, processes, &judgement)));
    }
    model
}

/// The screen as lines without the blanks at their ends.
fn screen(width: u16, height: u16, state: &State, model: &Model) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, state, model, PLAIN)).unwrap();
    let buffer = terminal.backend().buffer();
    (0..height)
        .map(|y| {
            let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
            line.trim_end().to_owned()
        })
        .collect()
}

/// 80 columns: everything but state and path.
#[test]
fn processes_at_80_columns() {
    assert_eq!(
        screen(80, 8, &State::default(), &model()),
        [
            "leak-agent 0.1.0, bpf, ready: 2 processes, 55 tasks · 0.0% CPU · 30 MiB",
            "1 leak: svc (100): 38 tasks of app::serve have been spawned since 14:02 UTC and…",
            "     PID NAME            RUNTIME     LIVE↓     +/S   GROWTH VERDICT   TREND",
            "     100 svc             tokio          51     5.0      +10 leak      ▁█",
            "     200 nginx           thread          3     0.0       +0 undecided ▁▁",
            "     100 svc             thread          1     0.0       +0 undecided ▁▁",
            "",
            "↑↓ move  Enter sites  / filter  l s f g v p c sort  space pause  ? help  q quit",
        ]
    );
}

/// 120 columns: state and path, too.
#[test]
fn processes_at_120_columns() {
    let lines = screen(120, 6, &State::default(), &model());
    assert_eq!(
        lines[3],
        "     100 svc             tokio          51     5.0     0.0      +10 leak      followed    ▁█           /opt/svc/bin/svc"
    );
}

/// 50 columns and few rows: the columns that matter, and the selected row stays visible.
#[test]
fn processes_at_50_columns_show_the_selected_row() {
    let model = model();
    let mut state = State::default();
    state.apply(Input::End, &model);
    let lines = screen(50, 5, &state, &model);
    assert_eq!(lines[2], "     PID NAME          RUNTIME     LIVE↓ VERDICT");
    assert_eq!(lines[3], "     100 svc           thread          1 undecided");
}

/// The sites of the selected row, with the sum that explains the live count.
#[test]
fn sites_at_80_columns() {
    let model = model();
    let mut state = State::default();
    state.apply(Input::Enter, &model);
    assert_eq!(
        screen(80, 8, &state, &model),
        [
            "leak-agent 0.1.0, bpf, ready: 2 processes, 55 tasks · 0.0% CPU · 30 MiB",
            "1 leak: svc (100): 38 tasks of app::serve have been spawned since 14:02 UTC and…",
            "svc (100) /opt/svc/bin/svc",
            "tokio, followed: 51 live = 0 before + 54 spawned - 3 finished; 4 points, 3 cheap",
            "leak: 38 tasks of app::serve have been spawned since 14:02 UTC and never ended:…",
            "     LIVE   SPAWNED  FINISHED VERDICT   KIND      SITE",
            "       48        50         2 leak      async     app::serve  src/app.rs:2",
            "↑↓ move  Esc back  space pause  ? help  q quit",
        ]
    );
}

/// When the process of the sites screen ends, the screen says so.
#[test]
fn sites_of_a_vanished_process_say_so() {
    let mut model = model();
    let mut state = State::default();
    state.apply(Input::Enter, &model);
    model.update(Arc::new(judged(13, vec![], &judgement(vec![]))));
    assert_eq!(
        screen(80, 8, &state, &model)[2],
        "process 100 has ended; Escape goes back"
    );
}

/// Before the first report, and with a filter being typed, there is something to read.
#[test]
fn empty_screens_are_explained() {
    let empty = Model::default();
    let mut state = State::default();
    assert_eq!(
        screen(80, 6, &state, &empty)[0],
        "leak-agent: waiting for the first report"
    );
    for c in "/svc".chars() {
        state.apply(Input::Char(c), &empty);
    }
    assert_eq!(
        screen(80, 6, &state, &empty)[5],
        "/svc▏ Enter keeps, Esc drops the filter"
    );
}

/// No size, however small or large, no screen and no string breaks the drawing or reaches the terminal raw.
#[test]
fn every_size_and_screen_is_drawn_harmlessly() {
    let mut model = Model::default();
    model.update(Arc::new(hostile_report()));
    for (width, height) in [(1, 1), (2, 3), (10, 2), (20, 5), (60, 10), (80, 24), (300, 100)] {
        for keys in ["", "?", "/\u{1b}x", "\n", "\n?"] {
            let mut state = State::default();
            for c in keys.chars() {
                state.apply(if c == '\n' { Input::Enter } else { Input::Char(c) }, &model);
            }
            for line in screen(width, height, &state, &model) {
                assert!(!line.chars().any(char::is_control), "{line:?}");
                assert!(!line.contains(['\u{202e}', '\u{200b}']), "{line:?}");
            }
        }
    }
}
