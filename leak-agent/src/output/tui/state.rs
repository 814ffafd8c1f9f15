//! What `top` is doing: a pure state machine. Inputs in, state out; it knows neither keys nor terminals.

use super::model::{Model, Row, RowKey};
use crate::report::Site;
use std::cmp::Ordering;

/// The longest filter that can be typed.
const FILTER_CHARS: usize = 64;

/// One thing the person did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// A screenful up.
    PageUp,
    /// A screenful down.
    PageDown,
    /// To the first row.
    Home,
    /// To the last row.
    End,
    /// Open what is selected, or finish typing.
    Enter,
    /// Back, or stop typing.
    Escape,
    /// Delete the last typed character.
    Backspace,
    /// A character.
    Char(char),
    /// Leave at once, wherever we are.
    Interrupt,
}

/// What the rows are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Most live tasks first.
    Live,
    /// Most spawns per second first.
    Spawned,
    /// Most ends per second first.
    Finished,
    /// Most growth since first seen first.
    Growth,
    /// The worst verdict first.
    Verdict,
    /// Lowest pid first.
    Pid,
    /// By name.
    Comm,
}

impl Sort {
    /// All of them, in the order of the columns, with the key that selects each.
    pub const ALL: [(char, Self); 7] = [
        ('p', Self::Pid),
        ('c', Self::Comm),
        ('l', Self::Live),
        ('s', Self::Spawned),
        ('f', Self::Finished),
        ('g', Self::Growth),
        ('v', Self::Verdict),
    ];

    fn compare(self, a: &Row, b: &Row) -> Ordering {
        let rates = |a: Option<f64>, b: Option<f64>| b.unwrap_or(-1.0).total_cmp(&a.unwrap_or(-1.0));
        match self {
            Self::Live => b.live.cmp(&a.live),
            Self::Spawned => rates(a.spawned_rate, b.spawned_rate),
            Self::Finished => rates(a.finished_rate, b.finished_rate),
            Self::Growth => b.growth.cmp(&a.growth),
            Self::Verdict => (b.verdict, b.live).cmp(&(a.verdict, a.live)),
            Self::Pid => Ordering::Equal,
            Self::Comm => a.comm.cmp(&b.comm),
        }
        .then_with(|| a.key.cmp(&b.key))
    }
}

/// Which screen is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Screen {
    /// All rows.
    Processes,
    /// The spawn sites of one row.
    Sites {
        /// Which row.
        of: RowKey,
        /// Which site is selected.
        selected: usize,
    },
}

/// The state.
#[derive(Clone, Debug)]
pub struct State {
    /// The screen.
    pub screen: Screen,
    /// Whether the help is shown over it.
    pub help: bool,
    /// The order.
    pub sort: Sort,
    /// Whether the order is turned round.
    pub reversed: bool,
    /// Rows must contain this in name, path, pid or runtime (any case).
    pub filter: String,
    /// Whether the filter is being typed.
    pub typing: bool,
    /// Whether new reports are held back.
    pub paused: bool,
    /// Whether to leave.
    pub quit: bool,
    /// Rows that fit on the screen: how far a page goes.
    pub page: usize,
    selected: Option<RowKey>,
    /// Where the selected row was last: its successor's place when it vanishes.
    position: usize,
}

impl Default for State {
    fn default() -> Self {
        Self {
            screen: Screen::Processes,
            help: false,
            sort: Sort::Live,
            reversed: false,
            filter: String::new(),
            typing: false,
            paused: false,
            quit: false,
            page: 10,
            selected: None,
            position: 0,
        }
    }
}

impl State {
    /// The rows to show, in their order.
    #[must_use]
    pub fn rows<'m>(&self, model: &'m Model) -> Vec<&'m Row> {
        let wanted = self.filter.to_lowercase();
        let mut rows: Vec<&Row> = model.rows().iter().filter(|row| matches(row, &wanted)).collect();
        rows.sort_by(|a, b| self.sort.compare(a, b));
        if self.reversed {
            rows.reverse();
        }
        rows
    }

    /// Which of these rows is selected; `None` = there are none.
    #[must_use]
    pub fn selected(&self, rows: &[&Row]) -> Option<usize> {
        if rows.is_empty() {
            return None;
        }
        let by_key = self
            .selected
            .as_ref()
            .and_then(|key| rows.iter().position(|row| row.key == *key));
        Some(by_key.unwrap_or_else(|| self.position.min(rows.len() - 1)))
    }

    /// The sites on the sites screen; none when its row has left the report.
    #[must_use]
    pub fn sites<'m>(&self, model: &'m Model) -> &'m [Site] {
        match &self.screen {
            Screen::Sites { of, .. } => model.find(of).map_or(&[], |(_, runtime)| &runtime.sites),
            Screen::Processes => &[],
        }
    }

    /// Does what the person wants.
    pub fn apply(&mut self, input: Input, model: &Model) {
        if input == Input::Interrupt {
            self.quit = true;
        } else if self.help {
            // Any key closes the help.
            self.help = false;
        } else if self.typing {
            self.type_filter(input);
        } else {
            self.command(input, model);
        }
    }

    fn type_filter(&mut self, input: Input) {
        match input {
            Input::Char(c) if !c.is_control() && self.filter.chars().count() < FILTER_CHARS => {
                self.filter.push(c);
            }
            Input::Backspace => {
                self.filter.pop();
            }
            Input::Enter => self.typing = false,
            Input::Escape => {
                self.typing = false;
                self.filter.clear();
            }
            _ => {}
        }
    }

    fn command(&mut self, input: Input, model: &Model) {
        match input {
            Input::Char('q') => self.quit = true,
            Input::Char('?' | 'h') => self.help = true,
            Input::Char(' ') => self.paused = !self.paused,
            Input::Char('r') => self.reversed = !self.reversed,
            Input::Char('/') if self.screen == Screen::Processes => self.typing = true,
            Input::Char(c) => {
                if let Some((_, sort)) = Sort::ALL.iter().find(|(key, _)| *key == c) {
                    self.reversed = self.sort == *sort && !self.reversed;
                    self.sort = *sort;
                }
            }
            Input::Enter => self.open(model),
            Input::Escape | Input::Backspace => self.back(),
            Input::Up => self.go(model, |at, _| at.saturating_sub(1)),
            Input::Down => self.go(model, |at, _| at.saturating_add(1)),
            Input::PageUp => self.go(model, usize::saturating_sub),
            Input::PageDown => self.go(model, usize::saturating_add),
            Input::Home => self.go(model, |_, _| 0),
            Input::End => self.go(model, |_, _| usize::MAX),
            Input::Interrupt => self.quit = true,
        }
    }

    fn open(&mut self, model: &Model) {
        if self.screen != Screen::Processes {
            return;
        }
        let rows = self.rows(model);
        if let Some(row) = self.selected(&rows).and_then(|at| rows.get(at)) {
            self.selected = Some(row.key.clone());
            self.screen = Screen::Sites {
                of: row.key.clone(),
                selected: 0,
            };
        }
    }

    fn back(&mut self) {
        if self.screen == Screen::Processes {
            self.filter.clear();
        } else {
            self.screen = Screen::Processes;
        }
    }

    fn go(&mut self, model: &Model, step: impl Fn(usize, usize) -> usize) {
        let page = self.page.max(1);
        let sites = self.sites(model).len();
        if let Screen::Sites { selected, .. } = &mut self.screen {
            *selected = step((*selected).min(sites.saturating_sub(1)), page).min(sites.saturating_sub(1));
            return;
        }
        let rows = self.rows(model);
        if let Some(at) = self.selected(&rows) {
            let to = step(at, page).min(rows.len() - 1);
            self.position = to;
            self.selected = rows.get(to).map(|row| row.key.clone());
        }
    }
}

fn matches(row: &Row, wanted: &str) -> bool {
    wanted.is_empty()
        || row.comm.to_lowercase().contains(wanted)
        || row
            .exe
            .as_ref()
            .is_some_and(|exe| exe.to_lowercase().contains(wanted))
        || row.key.runtime.contains(wanted)
        || row.key.pid.to_string().contains(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{hostile_report, process, report, runtime, site};
    use crate::source::{thread, tokio};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn three() -> Model {
        let of = |pid, comm: &str, live| {
            let sites = vec![site(1, "a::serve", live, 0, 0), site(2, "b::poll", 1, 0, 0)];
            process(
                pid,
                comm,
                &format!("/opt/{comm}"),
                vec![runtime(tokio::RUNTIME, sites)],
            )
        };
        let mut model = Model::default();
        model.update(Arc::new(report(
            1,
            vec![of(10, "beta", 5), of(20, "alpha", 50), of(30, "Gamma", 20)],
        )));
        model
    }

    fn pids(state: &State, model: &Model) -> Vec<u32> {
        state.rows(model).iter().map(|row| row.key.pid).collect()
    }

    fn chosen(state: &State, model: &Model) -> Option<u32> {
        let rows = state.rows(model);
        state.selected(&rows).map(|at| rows[at].key.pid)
    }

    fn press(state: &mut State, model: &Model, keys: &str) {
        for c in keys.chars() {
            state.apply(Input::Char(c), model);
        }
    }

    /// Each sort key orders by its column, and a second press turns the order round.
    #[test]
    fn sort_keys_order_the_rows() {
        let (mut state, model) = (State::default(), three());
        assert_eq!(pids(&state, &model), [20, 30, 10]);
        press(&mut state, &model, "p");
        assert_eq!(pids(&state, &model), [10, 20, 30]);
        press(&mut state, &model, "p");
        assert_eq!(pids(&state, &model), [30, 20, 10]);
        press(&mut state, &model, "c");
        assert_eq!(pids(&state, &model), [30, 20, 10]);
        press(&mut state, &model, "r");
        assert_eq!(pids(&state, &model), [10, 20, 30]);
    }

    /// A filter narrows the rows while it is typed; Enter keeps it, Escape drops it; its letters are no commands.
    #[test]
    fn filter_is_typed_kept_and_dropped() {
        let (mut state, model) = (State::default(), three());
        press(&mut state, &model, "/gamq");
        assert!(state.typing && !state.quit);
        assert!(pids(&state, &model).is_empty());
        state.apply(Input::Backspace, &model);
        assert_eq!(pids(&state, &model), [30]);
        state.apply(Input::Enter, &model);
        assert!(!state.typing);
        state.apply(Input::Escape, &model);
        assert_eq!(pids(&state, &model).len(), 3);
        press(&mut state, &model, "/20");
        assert_eq!(pids(&state, &model), [20]);
        state.apply(Input::Escape, &model);
        assert_eq!((state.filter.as_str(), state.typing), ("", false));
    }

    /// The selection stays with its process when the order changes, and with its place when the process ends.
    #[test]
    fn selection_follows_the_process() {
        let (mut state, mut model) = (State::default(), three());
        state.apply(Input::Down, &model);
        assert_eq!(chosen(&state, &model), Some(30));
        press(&mut state, &model, "p");
        assert_eq!(chosen(&state, &model), Some(30));
        let rest = vec![
            process(10, "beta", "/b", vec![runtime(thread::RUNTIME, vec![])]),
            process(20, "alpha", "/a", vec![runtime(thread::RUNTIME, vec![])]),
        ];
        model.update(Arc::new(report(2, rest)));
        assert_eq!(chosen(&state, &model), Some(20));
        model.update(Arc::new(report(3, vec![])));
        assert_eq!(chosen(&state, &model), None);
        state.apply(Input::Enter, &model);
        assert_eq!(state.screen, Screen::Processes);
    }

    /// Enter opens the sites of the selected row, movement stays within them, Escape goes back to the same row.
    #[test]
    fn enter_opens_the_sites_and_escape_leaves_them() {
        let (mut state, model) = (State::default(), three());
        state.apply(Input::End, &model);
        state.apply(Input::Enter, &model);
        assert_eq!(state.sites(&model).len(), 2);
        state.apply(Input::PageDown, &model);
        assert!(matches!(state.screen, Screen::Sites { selected: 1, .. }));
        state.apply(Input::Escape, &model);
        assert_eq!(
            (&state.screen, chosen(&state, &model)),
            (&Screen::Processes, Some(10))
        );
    }

    /// Help closes with any key, which does nothing else; the interrupt leaves from everywhere.
    #[test]
    fn help_swallows_one_key_and_interrupt_quits() {
        let (mut state, model) = (State::default(), three());
        press(&mut state, &model, "?q");
        assert!(!state.help && !state.quit);
        press(&mut state, &model, "/?");
        state.apply(Input::Interrupt, &model);
        assert!(state.quit);
    }

    fn any_input() -> impl Strategy<Value = Input> {
        prop_oneof![
            Just(Input::Up),
            Just(Input::Down),
            Just(Input::PageUp),
            Just(Input::PageDown),
            Just(Input::Home),
            Just(Input::End),
            Just(Input::Enter),
            Just(Input::Escape),
            Just(Input::Backspace),
            any::<char>().prop_map(Input::Char),
            prop::sample::select("qh? r/pclsfg".chars().collect::<Vec<_>>()).prop_map(Input::Char),
        ]
    }

    proptest! {
        /// Whatever is pressed while reports come and go, the selection is a row that there is.
        #[test]
        fn any_input_keeps_the_selection_within_the_rows(
            inputs in prop::collection::vec((any_input(), 0..4_u8), 0..60)
        ) {
            let mut state = State::default();
            let mut model = Model::default();
            for (input, next) in inputs {
                match next {
                    0 => model.update(Arc::new(report(1, vec![]))),
                    1 => model.update(Arc::new(hostile_report())),
                    _ => {}
                }
                state.apply(input, &model);
                let rows = state.rows(&model);
                prop_assert_eq!(state.selected(&rows).is_some(), !rows.is_empty());
                prop_assert!(state.selected(&rows).is_none_or(|at| at < rows.len()));
                prop_assert!(state.filter.chars().count() <= FILTER_CHARS);
            }
        }
    }
}
