use super::*;
use crate::output::alert::fixture::{alert, notification};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A folder of its own for a test, gone at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("leak-agent-command-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A script that can be run.
    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn target(program: &Path, arguments: &[&str], timeout_ms: u64) -> CommandTarget {
    let path = program.to_str().unwrap().to_owned();
    CommandTarget {
        argv: std::iter::once(path)
            .chain(arguments.iter().map(|&argument| argument.to_owned()))
            .collect(),
        timeout: Duration::from_millis(timeout_ms),
    }
}

/// The script, read by a shell that is the program: a script that was just written cannot always be run (another thread of
/// the test may be between fork and exec, and hold it open for writing).
fn script(script: &Path, arguments: &[&str], timeout_ms: u64) -> CommandTarget {
    let arguments: Vec<&str> = script
        .to_str()
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    target(Path::new("/bin/sh"), &arguments, timeout_ms)
}

fn run(target: &CommandTarget) -> Outcome {
    let program = Program::prepare(target).unwrap();
    let notification = notification("n1", vec![alert("f1", 7, "/srv/app")]);
    let body = serde_json::to_vec(&notification).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(program.run(&notification, &body))
}

/// Whether a process with this pid runs; one that has ended and was not waited for does not.
fn runs(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .trim_start()
            .starts_with(['Z', 'X'])
    })
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..3_000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{what}: still not so after a minute");
}

/// It gets its arguments as they are, JSON on its input, the finding in its environment, and nothing of ours.
#[test]
fn program_gets_what_is_documented() {
    let scratch = Scratch::new("gets");
    let hook = scratch.script(
        "hook",
        r#"cd "$1"; printf '%s|' "$@" > arguments; cat > input; env > environment; pwd > folder"#,
    );
    let folder = scratch.0.to_str().unwrap();
    let outcome = run(&script(&hook, &[folder, "$(id); a b", "*"], 60_000));
    assert!(matches!(outcome, Outcome::Delivered), "{outcome:?}");
    assert_eq!(scratch.text("arguments"), format!("{folder}|$(id); a b|*|"));
    let input: Notification = serde_json::from_str(&scratch.text("input")).unwrap();
    assert_eq!(input, notification("n1", vec![alert("f1", 7, "/srv/app")]));
    let environment = scratch.text("environment");
    for line in [
        "LEAK_AGENT_FINDING_PID=7",
        "LEAK_AGENT_FINDING_ID=f1",
        "LEAK_AGENT_FINDING_VERDICT=leak",
    ] {
        assert!(
            environment.lines().any(|known| known == line),
            "{line} in {environment}"
        );
    }
    for line in environment.lines() {
        let name = line.split('=').next().unwrap();
        assert!(
            name.starts_with("LEAK_AGENT_FINDING_")
                || ["PATH", "PWD", "OLDPWD", "SHLVL", "_"].contains(&name),
            "{line}"
        );
    }
}

/// Another code than 0 and a signal are failures that are said.
#[test]
fn program_that_fails_is_said_to() {
    let scratch = Scratch::new("fails");
    for (text, expected) in [
        ("exit 3", "ended with code 3"),
        ("kill -TERM $$", "was ended by signal 15"),
    ] {
        let outcome = run(&script(&scratch.script("hook", text), &[], 60_000));
        assert!(
            matches!(&outcome, Outcome::Again { why, .. } if why == expected),
            "{outcome:?}"
        );
    }
}

/// One that does not end is killed, and so is what it has started.
#[test]
fn program_that_hangs_is_killed_with_its_children() {
    let scratch = Scratch::new("hangs");
    let hook = scratch.script(
        "hook",
        r#"trap '' TERM INT HUP; cd "$1"; sleep 3600 & echo $! > child; sh -c 'sleep 3600 & echo $! > grandchild; wait' & echo $$ > self; wait"#,
    );
    let outcome = run(&script(&hook, &[scratch.0.to_str().unwrap()], 6_000));
    assert!(
        matches!(&outcome, Outcome::Again { why, .. } if why.contains("6000 ms")),
        "{outcome:?}"
    );
    for name in ["self", "child", "grandchild"] {
        let pid = scratch.text(name);
        assert!(!pid.is_empty(), "{name} had not begun");
        wait_until("it is killed", || !runs(&pid));
    }
}

/// What it leaves behind in its process group ends with it; one that left the group, and holds its output open, is not
/// waited for.
#[test]
fn program_that_leaves_children_ends_with_those_of_its_group() {
    let scratch = Scratch::new("leaves");
    let hook = scratch.script(
        "hook",
        r#"cd "$1"; sleep 3600 & echo $! > child; setsid sh -c 'echo $$ > stranger; exec sleep 300' & while [ ! -s stranger ]; do sleep 0.05; done; exit 0"#,
    );
    let outcome = run(&script(&hook, &[scratch.0.to_str().unwrap()], 60_000));
    assert!(matches!(outcome, Outcome::Delivered), "{outcome:?}");
    let child = scratch.text("child");
    wait_until("it is killed", || !runs(&child));
    let stranger = scratch.text("stranger");
    assert!(runs(&stranger), "whoever has a session of its own is left alone");
    let pid = Pid::from_raw(stranger.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

/// Gigabytes of output cost neither memory nor the time limit its meaning.
#[test]
fn program_that_prints_gigabytes_is_stopped_by_the_limit() {
    let scratch = Scratch::new("prints");
    let hook = scratch.script("hook", "exec yes abcdefghijklmnopqrstuvwxyz");
    let outcome = run(&script(&hook, &[], 1_000));
    assert!(
        matches!(&outcome, Outcome::Again { why, .. } if why.contains("killed")),
        "{outcome:?}"
    );
    // Some megabytes are a talkative program, which gets to its end.
    let hook = scratch.script(
        "talkative",
        "head -c 4000000 /dev/zero; head -c 2000000 /dev/zero >&2",
    );
    let outcome = run(&script(&hook, &[], 60_000));
    assert!(matches!(outcome, Outcome::Delivered), "{outcome:?}");
}

/// One that does not read its input gets to its end, too.
#[test]
fn program_that_reads_nothing_is_fine() {
    let scratch = Scratch::new("reads");
    let program =
        Program::prepare(&script(&scratch.script("hook", "exec <&-; exit 0"), &[], 60_000)).unwrap();
    let many = (0..2_000).map(|pid| alert("a", pid, "/app")).collect();
    let notification = notification("n1", many);
    let body = serde_json::to_vec(&notification).unwrap();
    assert!(body.len() > 1 << 20, "more than a pipe holds");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let outcome = runtime.block_on(program.run(&notification, &body));
    assert!(matches!(outcome, Outcome::Delivered), "{outcome:?}");
}

/// Dropped in the middle, because the agent ends, nothing of it stays.
#[test]
fn program_dropped_in_the_middle_is_killed() {
    let scratch = Scratch::new("dropped");
    let hook = scratch.script("hook", r#"cd "$1"; sleep 3600 & echo $! > child; wait"#);
    let program = Program::prepare(&script(&hook, &[scratch.0.to_str().unwrap()], 60_000)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let notification = notification("n1", vec![alert("f1", 7, "/srv/app")]);
    runtime.block_on(async {
        let begun = async {
            while !scratch.text("child").ends_with('\n') {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            outcome = program.run(&notification, b"{}") => panic!("{outcome:?}"),
            () = begun => {}
        }
    });
    let child = scratch.text("child");
    wait_until("it is killed", || !runs(&child));
}

/// What cannot be run, or could be changed by others, is refused at the start, with the reason.
#[test]
fn program_that_must_not_be_run_is_refused() {
    let scratch = Scratch::new("refused");
    let refused = |path: &Path| {
        Program::prepare(&target(path, &[], 1_000))
            .unwrap_err()
            .to_string()
    };
    let script = scratch.script("hook", "exit 0");
    let mode = |mode| std::fs::set_permissions(&script, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    assert!(refused(&script).contains("not executable"));
    mode(0o757);
    assert!(refused(&script).contains("everybody"));
    assert!(refused(&scratch.0).contains("is no file"));
    assert!(refused(&scratch.0.join("none")).contains("none"));
}
