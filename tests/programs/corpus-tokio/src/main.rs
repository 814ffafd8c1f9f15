//! Plays a schedule with tokio tasks: `corpus-tokio FILE`. A line of it is `MICROSECONDS SITE COUNT FATE`: so long after the
//! start, so many tasks at this site, each of which lives for so many microseconds, is "held", or is "lost". The first that is
//! lost at a site is told on stdout. The program ends with the line "MICROSECONDS end 0 0".

mod fate;
mod server;
mod sites;

use fate::Fate;
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn main() {
    let path = std::env::args().nth(1).expect("a schedule");
    let schedule = BufReader::new(std::fs::File::open(path).expect("the schedule"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let server = runtime.block_on(server::start());
    let _within = runtime.enter();
    let begun = Instant::now();
    let mut told = HashSet::new();
    for line in schedule.lines() {
        let line = line.expect("a line");
        let words: Vec<&str> = line.split(' ').collect();
        let [at, site, count, fate] = words[..] else {
            panic!("{line}");
        };
        let due = begun + Duration::from_micros(at.parse().expect("microseconds"));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if site == "end" {
            break;
        }
        let fate = Fate::of(fate);
        if matches!(fate, Fate::Lost) && told.insert(site.to_owned()) {
            tell(site);
        }
        for _ in 0..count.parse::<u32>().expect("a count") {
            match site {
                "serve_connection" => server::ask(server, fate),
                _ => sites::spawn(site, fate),
            }
        }
    }
    // The tasks are not waited for.
    std::process::exit(0);
}

fn tell(site: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    let (pid, now) = (std::process::id(), now.as_secs_f64());
    let location = match sites::line(site) {
        Some(line) => format!("\"sites.rs:{line}\""),
        None => "null".to_owned(),
    };
    println!("{{\"pid\":{pid},\"site\":\"{site}\",\"location\":{location},\"began\":{now:.3}}}");
    std::io::stdout().flush().expect("stdout");
}
