//! A tokio program that counts its own tasks, for end-to-end tests and measurements.
//!
//! Commands come on stdin, one a line. Each is answered, once the program stands still again, by one line of
//! JSON on stdout: what this program knows about itself. The end of stdin ends the program at once.

mod app;
mod bench;
mod edges;
mod lab;
mod library;
mod truth;

use std::io::BufRead;

fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut lab = lab::Lab::new();
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("child") {
        edges::live_as_child(
            &mut lab,
            arguments.next().and_then(|n| n.parse().ok()).unwrap_or(1),
        );
    }
    let mut library = None;
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
        let first = words.next().unwrap_or_default();
        let number = first.parse().unwrap_or(1);
        let second = words.next().and_then(|word| word.parse().ok()).unwrap_or(1);
        match command {
            "exit" => std::process::exit(0),
            "load" => {
                library = Some(library::Library::open(first));
                lab.print_truth("load");
            }
            "library" => match &library {
                Some(library) => library.run(first, second),
                None => println!("{{\"error\":\"load a library first\"}}"),
            },
            "bench" => bench::run(&mut lab, number, second),
            _ if lab.run(command, number, second) => lab.print_truth(command),
            _ => println!("{{\"error\":\"unknown command {command}\"}}"),
        }
    }
}
