//! Comparisons of our counts with tokio's own books: on demand, and what becomes of a difference.

use leak_agent::report::{Books, Report};
use leak_agent_tests::agent::run;
use leak_agent_tests::programs::tokio_probe;
use leak_agent_tests::wait::until;
use leak_agent_tests::{Agent, Target, privilege};
use rustix::process::Signal;

/// What the newest report says of the books of this process's tokio.
fn books(agent: &Agent, pid: u32) -> Result<Books, String> {
    let found = agent.runtime(pid, "tokio")?;
    found
        .books
        .ok_or_else(|| "its books are not compared yet".to_owned())
}

/// A signal has a running agent compare at once, as often as it comes, and nothing else does within the hour.
#[test]
fn signal_has_the_books_compared_at_once() {
    if !privilege::privileged() {
        return;
    }
    let path = tokio_probe();
    let agent = Agent::start(&["--reconcile", "1h", "--exe", path.to_str().unwrap()]);
    let mut target = Target::start(&path);
    target.command("park 30");
    until("it is followed", || agent.runtime(target.pid(), "tokio"));
    assert!(
        books(&agent, target.pid()).is_err(),
        "compared before anybody asked"
    );
    let mut checks = 0;
    for _ in 0..3 {
        agent.signal(Signal::USR1);
        let now = until("a comparison", || {
            let books = books(&agent, target.pid())?;
            (books.checks > checks)
                .then_some(books.clone())
                .ok_or_else(|| format!("{books:?}"))
        });
        assert_eq!((now.checks, now.drift), (checks + 1, Some(0)), "{now:?}");
        assert!(now.agreed_at.is_some(), "{now:?}");
        checks = now.checks;
    }
}

/// A report that is to compare first says so of every process, also of those that need several readings to be known.
#[test]
fn report_that_compares_first_has_agreed_with_every_process() {
    if !privilege::privileged() {
        return;
    }
    let path = tokio_probe();
    let mut targets: Vec<Target> = (0..3).map(|_| Target::start(&path)).collect();
    for target in &mut targets {
        target.command("park 30");
    }
    let exe = path.to_string_lossy();
    let output = run(&[
        "report",
        "--format",
        "json",
        "--for",
        "0s",
        "--reconcile-now",
        "--exe",
        &exe,
    ]);
    assert!(output.status.success(), "{output:?}");
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    for target in &targets {
        let process = report
            .processes
            .iter()
            .find(|process| process.pid == target.pid());
        let runtimes = &process.expect("it is reported").runtimes;
        let tokio = runtimes
            .iter()
            .find(|runtime| runtime.runtime == "tokio")
            .unwrap();
        let books = tokio.books.clone().expect("its books were compared");
        assert!(tokio.exact && tokio.baseline == 30, "{tokio:?}");
        assert!(books.agreed_at.is_some() && books.drift == Some(0), "{books:?}");
    }
}
