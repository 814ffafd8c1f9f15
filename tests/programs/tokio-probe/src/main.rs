//! A tokio program that counts its own tasks, for end-to-end tests and measurements.
//!
//! Commands come on stdin, one a line. Each is answered, once the program stands still again, by one line of
//! JSON on stdout: what this program knows about itself. The end of stdin ends the program at once.

mod app;
mod bench;
mod edges;
mod lab;
mod truth;

use std::io::BufRead;

fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut lab = lab::Lab::new();
    lab.print_truth("start");
    let mut line = String::new();
    loop {
        line.clear();
        // Not `lines()` on a held lock: a forked child must not inherit it.
        match std::io::stdin().lock().read_line(&mut line) {
            Ok(0) | Err(_) => std::process::exit(0),
            Ok(_) => {}
        }
        let mut words = line.split_whitespace();
        let Some(command) = words.next() else { continue };
        let number = words.next().and_then(|word| word.parse().ok()).unwrap_or(1);
        let second = words.next().and_then(|word| word.parse().ok()).unwrap_or(1);
        match command {
            "exit" => std::process::exit(0),
            "bench" => bench::run(&mut lab, number, second),
            _ if lab.run(command, number, second) => lab.print_truth(command),
            _ => println!("{{\"error\":\"unknown command {command}\"}}"),
        }
    }
}
