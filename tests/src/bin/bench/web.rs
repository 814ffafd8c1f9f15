//! Go's own web server under the load of a real client (`wrk`): what the agent costs it in requests per second.

use crate::process::{Program, cpu_ns};
use crate::service::Service;
use crate::slices::Samples;
use crate::verdict;
use leak_agent_tests::golang;
use std::process::Command;

const ROUNDS: usize = 9;
/// Seconds of load per slice.
const SLICE: u32 = 3;
/// Connections that the client keeps open.
const CONNECTIONS: u32 = 32;

const NAMES: [&str; 3] = ["no agent", "--mode trace", "--mode watch"];

pub(crate) fn run() {
    let path = golang::web_server();
    let exe = path.to_string_lossy().into_owned();
    for page in ["hello", "orders"] {
        let mut program = Program::start(&path);
        let port = program.ask("port")["port"].as_u64().unwrap();
        let url = format!("http://127.0.0.1:{port}/{page}");
        let [mut rate, mut cpu] = [(); 2].map(|()| NAMES.map(|_| Samples::default()));
        let mut per_request = 0.0;
        load(&url, 1);
        for round in 0..ROUNDS {
            // Not always in the same order.
            for turn in 0..NAMES.len() {
                let variant = (turn + round) % NAMES.len();
                let service = (variant > 0).then(|| {
                    let (_, mode) = NAMES[variant].split_once(' ').unwrap();
                    Service::start(&["--mode", mode, "--exe", &exe])
                });
                let counted = |service: &Service| {
                    let report = service.report();
                    let process = report
                        .processes
                        .iter()
                        .find(|process| process.pid == program.pid());
                    let go = process
                        .and_then(|process| process.runtimes.iter().find(|found| found.runtime == "go"));
                    go.map(|found| (found.spawned, found.points)).unwrap()
                };
                let before = service.as_ref().map(counted);
                let used = cpu_ns(program.pid());
                let (requests, per_second) = load(&url, SLICE);
                let used = (cpu_ns(program.pid()) - used) as f64;
                rate[variant].push(per_second);
                cpu[variant].push(used / requests);
                match (before, service.as_ref().map(counted)) {
                    (Some((before, points)), Some((after, _))) if variant == 1 => {
                        assert_eq!(points, 2, "it is not traced");
                        per_request = (after - before) as f64 / requests;
                    }
                    (_, after) => assert_eq!(after.map_or(0, |after| after.1), 0),
                }
            }
        }
        println!(
            "   /{page}, {CONNECTIONS} connections, {ROUNDS} rounds of {SLICE} s: {per_request:.2} goroutines begin per request"
        );
        println!(
            "   {:<14} {:>16} {:>14} {:>18} {:>14}",
            "", "requests/s", "x no agent", "quartiles", "CPU, x"
        );
        for (index, name) in NAMES.iter().enumerate() {
            let [low, middle, high] = rate[index].times(&rate[0]);
            let quartiles = format!("{low:.3}–{high:.3}");
            println!(
                "   {name:<14} {:>16.0} {middle:>14.3} {quartiles:>18} {:>14.3}",
                rate[index].median(),
                cpu[index].times(&cpu[0])[1],
            );
        }
        let lost = 1.0 - rate[1].times(&rate[0])[1];
        verdict("requests lost in trace mode", lost * 100.0, 3.0, " %");
    }
}

/// Requests answered in so many seconds, in sum and per second.
fn load(url: &str, seconds: u32) -> (f64, f64) {
    let output = Command::new("wrk")
        .args(["--threads", "1", "--connections", &CONNECTIONS.to_string()])
        .args(["--duration", &format!("{seconds}s"), url])
        .output()
        .expect("wrk, a package of Debian");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        !text.contains("Non-2xx") && !text.contains("Socket errors"),
        "{text}"
    );
    let requests = text.lines().find_map(|line| {
        let (number, rest) = line.trim().split_once(' ')?;
        rest.starts_with("requests in").then(|| number.parse().ok())?
    });
    let per_second = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Requests/sec:")?.trim().parse().ok());
    requests
        .zip(per_second)
        .unwrap_or_else(|| panic!("no number of requests: {text}"))
}
