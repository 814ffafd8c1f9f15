//! The conversation: commands come on stdin, one a line. Each is answered, once the program stands still
//! again, by one line of JSON on stdout: what this program knows about itself. The end of stdin ends the
//! program at once.

use crate::lab::Lab;
use crate::library::Library;
use crate::{bench, edges};
use std::io::BufRead;

pub fn run() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut lab = Lab::new();
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
                library = Some(Library::open(first));
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
