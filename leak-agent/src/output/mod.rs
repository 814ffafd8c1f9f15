//! Rendering: each output turns reports into one form for one reader. They decide nothing, and see no inner
//! type of the engine.

pub mod alert;
pub mod dump;
mod findings;
pub mod http;
mod known;
pub mod metrics;
pub mod table;
pub mod text;
pub mod tui;
