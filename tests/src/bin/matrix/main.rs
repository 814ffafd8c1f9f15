//! Which builds of tokio the agent counts exactly: `cargo xtask matrix`, as root. docs/TOKIO.md holds the result.
//!
//! One thread builds programs, another checks them, each row in a process of its own that is ended when it hangs.
#![expect(clippy::print_stdout, reason = "this program talks to a person")]
#![allow(clippy::unwrap_used, clippy::expect_used)] // a matrix that cannot be made fails with the reason

mod build;
mod check;
mod options;
mod page;
mod results;
mod row;

use check::{Outcome, Verdict};
use options::Options;
use results::Results;
use row::Row;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// After this time a row is ended: it hangs. It takes some 10 s.
const LIMIT: Duration = Duration::from_secs(240);

/// Programs that are built ahead of the check.
const AHEAD: usize = 2;

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            println!("error: {error}");
            return ExitCode::from(2);
        }
    };
    if let Some((name, program)) = &options.check {
        let row = row::all().into_iter().find(|row| row.name() == *name).unwrap();
        println!("{}", serde_json::to_string(&check::check(row, program)).unwrap());
        return ExitCode::SUCCESS;
    }
    assert!(leak_agent_tests::privilege::privileged(), "the matrix needs root");
    let rows = options.rows();
    if rows.is_empty() {
        println!("error: no row is called so");
        return ExitCode::from(2);
    }
    let mut results = Results::load(&build::folder().join("results.json"));
    if !options.page {
        run(&rows, &options, &mut results);
    }
    if options.whole() {
        let path = leak_agent_tests::programs::root().join("docs/TOKIO.md");
        std::fs::write(&path, page::render(&rows, &results)).unwrap();
        println!("written: {}", path.display());
    }
    close(&rows, &results)
}

/// Builds and checks the rows that have no result yet.
fn run(rows: &[Row], options: &Options, results: &mut Results) {
    let (sender, receiver) = sync_channel(AHEAD);
    let (begin, total) = (Instant::now(), rows.len());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut before: Option<Row> = None;
            for row in rows {
                if let Some(done) = before.filter(|done| done.tokio != row.tokio) {
                    build::forget_intermediate(done.tokio);
                }
                before = Some(*row);
                if sender.send((*row, build::program(*row, options.jobs))).is_err() {
                    return;
                }
            }
            if let Some(done) = before {
                build::forget_intermediate(done.tokio);
            }
        });
        let mut checked = 0;
        for (number, (row, program)) in receiver.into_iter().enumerate() {
            let program = match program {
                Ok(program) => program,
                Err(error) => {
                    results.put(row, "", Outcome::wrong(format!("it does not build: {error}")));
                    continue;
                }
            };
            let key = results.key(&program);
            if !options.again && results.get(row, &key).is_some() {
                continue;
            }
            let outcome = in_own_process(row, &program);
            checked += 1;
            let left = begin.elapsed() / u32::try_from(number + 1).unwrap()
                * u32::try_from(total - number - 1).unwrap();
            println!(
                "{} of {total}, {} min left: {} {:?}{}",
                number + 1,
                left.as_secs().div_ceil(60),
                row.name(),
                outcome.verdict,
                outcome
                    .reason
                    .as_ref()
                    .map_or(String::new(), |reason| format!(": {reason}"))
            );
            results.put(row, &key, outcome);
        }
        println!("{checked} rows checked in {} s", begin.elapsed().as_secs());
    });
}

/// Checks a row in a process of its own: it may hang, or panic.
fn in_own_process(row: Row, program: &Path) -> Outcome {
    let out: PathBuf = build::folder().join(format!("check-{}.out", std::process::id()));
    let file = || std::fs::File::create(&out).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("--check")
        .arg(row.name())
        .arg(program)
        .stdin(Stdio::null())
        .stdout(file())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = child.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        // Text that is not UTF-8 is not needed.
        let _ = std::io::Read::read_to_string(&mut errors, &mut text);
        text
    });
    let end = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > end {
            // It may have ended at this moment.
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = std::fs::read_to_string(&out).unwrap_or_default();
    let _ = std::fs::remove_file(&out);
    let Some(status) = status else {
        return Outcome::wrong(format!("no end after {} s", LIMIT.as_secs()));
    };
    let outcome = text
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok());
    outcome.unwrap_or_else(|| {
        let said = errors.join().unwrap_or_default();
        let said: Vec<&str> = said.lines().take(12).collect();
        Outcome::wrong(format!("the check ended with {status}: {}", said.join(" | ")))
    })
}

/// The sums, as the last line in the form that `cargo xtask test` counts.
fn close(rows: &[Row], results: &Results) -> ExitCode {
    let mut sums = [0_usize; 4];
    for row in rows {
        let verdict = results
            .newest(*row)
            .map_or(Verdict::Wrong, |outcome| outcome.verdict);
        sums[verdict as usize] += 1;
        if verdict == Verdict::Wrong {
            println!("WRONG: {}", row.name());
        }
    }
    let [exact, partial, refused, wrong] = sums;
    println!("{exact} exact, {partial} partial, {refused} refused, {wrong} wrong");
    println!("{} passed, {wrong} failed", rows.len() - wrong);
    if wrong > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
