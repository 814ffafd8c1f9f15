//! A tokio program that counts its own tasks, for end-to-end tests and measurements.

mod app;
mod bench;
mod edges;
mod lab;
mod library;
mod program;
mod truth;

fn main() {
    program::run();
}
