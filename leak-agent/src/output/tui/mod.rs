//! `top` on a terminal: a model of what there is, a state machine of what the person does, thin renderers, and
//! the loop that joins them.

pub mod model;
mod screen;
pub mod state;
mod view;

pub use screen::{Outcome, TuiError, run};
pub use view::Theme;
