//! What the end-to-end tests share: target programs that count themselves, the agent's binary as its users
//! run it, and the waiting in between.
//!
//! The tests compare for equality. Nothing in them is timed but how soon the agent ends when told to, which is a promise: a
//! deadline only bounds how long a failure takes.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness fails by panicking, with the reason

pub mod agent;
pub mod alerting;
pub mod books;
pub mod breakpoints;
pub mod compare;
pub mod corpus;
pub mod debian;
pub mod debugger;
pub mod deploy;
pub mod dumping;
pub mod ending;
pub mod gobooks;
pub mod golang;
pub mod hooked;
pub mod hostile;
pub mod http;
pub mod privilege;
pub mod probed;
pub mod proc;
pub mod profile;
pub mod programs;
pub mod rules;
pub mod server;
pub mod silence;
pub mod sink;
pub mod target;
pub mod tools;
pub mod traceback;
pub mod truth;
pub mod wait;
pub mod watched;

pub use agent::Agent;
pub use server::Server;
pub use target::Target;
pub use truth::Truth;
