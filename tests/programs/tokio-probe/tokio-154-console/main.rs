//! The same program with `console-subscriber`: what counting from within costs.

#[path = "../src/app.rs"]
mod app;
#[path = "../src/bench.rs"]
mod bench;
#[path = "../src/edges.rs"]
mod edges;
#[path = "../src/lab.rs"]
mod lab;
#[path = "../src/library.rs"]
mod library;
#[path = "../src/program.rs"]
mod program;
#[path = "../src/truth.rs"]
mod truth;

fn main() {
    // Port 0: several of these run at the same time.
    console_subscriber::ConsoleLayer::builder()
        .server_addr(([127, 0, 0, 1], 0))
        .init();
    program::run();
}
