//! The loop of `top` on a real terminal: keys and reports in, frames out, and the terminal given back as it was.

use super::model::Model;
use super::state::{Input, State};
use super::view::{self, Theme};
use crate::report::Report;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a signal or a new report waits at most for its turn.
const POLL: Duration = Duration::from_millis(100);
/// More inputs than this are not taken in before the next frame.
const INPUTS_PER_FRAME: usize = 256;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The person left, or a signal came.
    Left,
    /// There are no reports any more.
    AgentStopped,
}

/// Why the terminal cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} the terminal")]
pub struct TuiError {
    doing: &'static str,
    source: io::Error,
}

/// Shows the reports until the person leaves, `stop` turns true, or the reports end. The terminal is restored on
/// every way out, panics included.
///
/// # Errors
///
/// The terminal cannot be set up, read or drawn on.
pub fn run(
    mut reports: watch::Receiver<Arc<Report>>,
    stop: &watch::Receiver<bool>,
    mut state: State,
    theme: Theme,
) -> Result<Outcome, TuiError> {
    // Sets a panic hook that restores the terminal, too.
    let mut terminal = ratatui::try_init().map_err(failed("set up"))?;
    let _restore = Restore;
    let mut model = Model::default();
    model.update(Arc::clone(&reports.borrow_and_update()));
    loop {
        if *stop.borrow() {
            return Ok(Outcome::Left);
        }
        match reports.has_changed() {
            Ok(true) if !state.paused => model.update(Arc::clone(&reports.borrow_and_update())),
            Ok(_) => {}
            Err(_) => return Ok(Outcome::AgentStopped),
        }
        let size = terminal.size().map_err(failed("measure"))?;
        state.page = view::page(size.height);
        terminal
            .draw(|frame| view::draw(frame, &state, &model, theme))
            .map_err(failed("draw on"))?;
        let mut wait = POLL;
        for _ in 0..INPUTS_PER_FRAME {
            if !event::poll(wait).map_err(failed("read"))? {
                break;
            }
            wait = Duration::ZERO;
            if let Event::Key(key) = event::read().map_err(failed("read"))?
                && let Some(input) = input(key)
            {
                state.apply(input, &model);
            }
        }
        if state.quit {
            return Ok(Outcome::Left);
        }
    }
}

fn failed(doing: &'static str) -> impl Fn(io::Error) -> TuiError {
    move |source| TuiError { doing, source }
}

/// Gives the terminal back when it goes.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// What a key means; `None` = nothing.
fn input(key: KeyEvent) -> Option<Input> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(key.code, KeyCode::Char('c' | 'C')).then_some(Input::Interrupt);
    }
    Some(match key.code {
        KeyCode::Up => Input::Up,
        KeyCode::Down => Input::Down,
        KeyCode::PageUp => Input::PageUp,
        KeyCode::PageDown => Input::PageDown,
        KeyCode::Home => Input::Home,
        KeyCode::End => Input::End,
        KeyCode::Enter => Input::Enter,
        KeyCode::Esc => Input::Escape,
        KeyCode::Backspace => Input::Backspace,
        KeyCode::Char(c) => Input::Char(c),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Control with a letter is no typing, and only Ctrl-C means something.
    #[test]
    fn control_keys_are_not_typed() {
        let key = |code, modifiers| input(KeyEvent::new(code, modifiers));
        assert_eq!(
            key(KeyCode::Char('c'), KeyModifiers::CONTROL),
            Some(Input::Interrupt)
        );
        assert_eq!(key(KeyCode::Char('q'), KeyModifiers::CONTROL), None);
        assert_eq!(
            key(KeyCode::Char('q'), KeyModifiers::NONE),
            Some(Input::Char('q'))
        );
        assert_eq!(key(KeyCode::F(5), KeyModifiers::NONE), None);
    }
}
