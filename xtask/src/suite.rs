//! The test binaries: built by cargo once, then run one by one, counted by what libtest says.

use crate::command;
use crate::summary::Counts;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// After this time a test binary is ended: it hangs, and the summary is worth more than its last word.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// A test binary.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TestBinary {
    /// "leak-agent-tests::threads".
    pub(crate) name: String,
    pub(crate) package: String,
    executable: PathBuf,
    /// The package's folder, in which cargo would run it.
    folder: PathBuf,
}

/// Builds the tests of the whole workspace in one go, so that all share the same dependencies. What does not build
/// is missing in the list, and makes the second value `false`.
///
/// # Errors
///
/// Cargo could not be started.
pub(crate) fn build() -> Result<(Vec<TestBinary>, bool)> {
    let output = command::cargo()
        .args(["test", "--workspace", "--no-run", "--no-fail-fast"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("starting cargo test --no-run")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok((
        text.lines().filter_map(test_binary).collect(),
        output.status.success(),
    ))
}

/// A test binary out of one of cargo's messages, if it is about one.
fn test_binary(message: &str) -> Option<TestBinary> {
    let message: Value = serde_json::from_str(message).ok()?;
    let test = message.get("profile")?.get("test")?.as_bool()?;
    let executable = message.get("executable")?.as_str().filter(|_| test)?;
    let folder = PathBuf::from(message.get("manifest_path")?.as_str()?)
        .parent()?
        .to_path_buf();
    let target = message.get("target")?.get("name")?.as_str()?;
    let package = package_name(message.get("package_id")?.as_str()?)?;
    Some(TestBinary {
        name: format!("{package}::{target}"),
        package,
        executable: executable.into(),
        folder,
    })
}

/// `path+file:///x/tests#leak-agent-tests@0.1.0` or `path+file:///x/leak-agent#0.1.0`.
fn package_name(id: &str) -> Option<String> {
    let (path, rest) = id.split_once('#')?;
    match rest.split_once('@') {
        Some((name, _)) => Some(name.to_owned()),
        None => path.rsplit('/').next().map(str::to_owned),
    }
}

impl TestBinary {
    /// Runs it and counts.
    ///
    /// # Errors
    ///
    /// It could not be started, or ended without libtest's closing line.
    pub(crate) fn run(&self, environment: &[(&str, PathBuf)]) -> Result<Counts> {
        let mut child = Command::new(&self.executable)
            .arg("--show-output")
            .current_dir(&self.folder)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", self.executable.display()))?;
        let stdout = child
            .stdout
            .take()
            .context("the test binary has no standard output")?;
        in_time(child, || count(stdout, show))?
            .pop()
            .with_context(|| format!("{} ended before its last test", self.name))
    }
}

/// Runs the documentation's examples.
///
/// # Errors
///
/// Cargo could not be started, or failed without a failing example.
pub(crate) fn doc_tests() -> Result<Counts> {
    let mut child = command::cargo()
        .args(["test", "--workspace", "--doc", "--no-fail-fast"])
        .stdout(Stdio::piped())
        .spawn()
        .context("starting cargo test --doc")?;
    let stdout = child.stdout.take().context("cargo has no standard output")?;
    let mut counts = Counts::default();
    count(stdout, show)
        .into_iter()
        .for_each(|of_crate| counts += of_crate);
    if !child.wait()?.success() && counts.failed == 0 {
        bail!("the documentation's examples did not build");
    }
    Ok(counts)
}

/// Reads a child's output to the end, and ends the child when it takes too long.
fn in_time<T>(mut child: Child, read: impl FnOnce() -> T) -> Result<T> {
    let ended = Arc::new(AtomicBool::new(false));
    let watched = Arc::clone(&ended);
    let watchdog = std::thread::spawn(move || {
        let start = Instant::now();
        while !watched.load(Ordering::Relaxed) && start.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(100));
        }
        if !watched.load(Ordering::Relaxed) {
            println!("error: no end after {} s", LIMIT.as_secs());
            // It may have ended at this moment.
            let _ = child.kill();
        }
        child.wait()
    });
    let result = read();
    ended.store(true, Ordering::Relaxed);
    watchdog
        .join()
        .map_err(|_| anyhow::anyhow!("waiting for the child panicked"))??;
    Ok(result)
}

fn show(line: &str) {
    println!("{line}");
}

/// Passes libtest's output on and counts: once for each of its closing lines. A binary writes one, as its last line;
/// what looks like one before it was written by a test.
fn count(output: impl Read, mut show: impl FnMut(&str)) -> Vec<Counts> {
    let mut results = Vec::new();
    let mut skipped = 0;
    for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        show(&line);
        skipped += u64::from(line.starts_with("SKIPPED:"));
        if let Some(mut counts) = closing_line(&line) {
            // libtest knows no test that ends itself as skipped: such a test passes and says so.
            let skipped = std::mem::take(&mut skipped).min(counts.passed);
            counts.passed -= skipped;
            counts.skipped += skipped;
            results.push(counts);
        }
    }
    results
}

/// `test result: ok. 6 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s`.
fn closing_line(line: &str) -> Option<Counts> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |word: &str| {
        numbers
            .split("; ")
            .find_map(|part| part.strip_suffix(word)?.trim().parse::<u64>().ok())
    };
    Some(Counts {
        passed: number("passed")?,
        failed: number("failed")?,
        skipped: number("ignored")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "running 4 tests\n---- a stdout ----\nSKIPPED: this test needs CAP_BPF\n\n\
        test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n";

    /// A test that says it skipped itself is not counted as passed.
    #[test]
    fn count_self_skipped_test_is_skipped() {
        let expected = Counts {
            passed: 1,
            failed: 1,
            skipped: 2,
        };
        assert_eq!(count(OUTPUT.as_bytes(), |_| {}), [expected]);
    }

    /// Output that breaks off has no closing line.
    #[test]
    fn count_output_that_breaks_off_has_no_result() {
        assert_eq!(count(&b"running 4 tests\ntest a ... ok\n"[..], |_| {}), []);
    }

    /// Cargo's messages name the package with and without the folder's name.
    #[test]
    fn package_name_both_forms_are_read() {
        assert_eq!(
            package_name("path+file:///x/tests#leak-agent-tests@0.1.0").as_deref(),
            Some("leak-agent-tests")
        );
        assert_eq!(
            package_name("path+file:///x/leak-agent#0.1.0").as_deref(),
            Some("leak-agent")
        );
    }
}
