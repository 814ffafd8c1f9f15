//! The binary as people and scripts use it, without BPF: exit codes, streams, signals, a terminal.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const AGENT: &str = env!("CARGO_BIN_EXE_leak-agent");

fn agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(AGENT);
    command.arg("--no-bpf").args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    agent(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A process with a known name and one thread, ended with the test.
struct Sleeper {
    child: Child,
    folder: PathBuf,
}

impl Sleeper {
    /// A copy of `sleep` under this name: the kernel makes the name of the thread from it.
    fn named(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("leak-agent-cli-{}-{}", std::process::id(), name.len()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::copy("/bin/sleep", &path).unwrap();
        let child = Command::new(&path).arg("1000").spawn().unwrap();
        Self { child, folder }
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn signal(pid: u32, signal: &str) {
    let status = Command::new("kill")
        .args([signal, &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Asks until there is an answer with this in it; the test runner's patience is the limit.
fn wait_for(address: SocketAddr, path: &str, wanted: &str) -> String {
    loop {
        match get(address, path) {
            Some(answer) if answer.contains(wanted) => return answer,
            _ => std::thread::yield_now(),
        }
    }
}

/// The help goes to standard output and tells the exit codes and examples.
#[test]
fn help_tells_examples_and_exit_codes() {
    let output = run(&["--help"]);
    let help = text(&output.stdout);
    assert!(output.status.success() && output.stderr.is_empty());
    for part in ["Examples:", "Exit codes:", "LEAK_AGENT_INTERVAL", "--no-bpf"] {
        assert!(help.contains(part), "{part} in {help}");
    }
}

/// A report of a real process counts its one thread, obeys the schema, and puts nothing else on standard output.
#[test]
fn report_of_a_process_is_valid_json() {
    let sleeper = Sleeper::named("cli-json");
    let output = run(&[
        "report",
        "--for",
        "0s",
        "--format",
        "json",
        "--pid",
        &sleeper.pid(),
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let schema = serde_json::from_str(&leak_agent::report::schema_json()).unwrap();
    assert!(jsonschema::is_valid(&schema, &json), "{json:#}");
    let processes = json["processes"].as_array().unwrap();
    assert_eq!(processes.len(), 1);
    assert_eq!(processes[0]["comm"], "cli-json");
    assert_eq!(processes[0]["runtimes"][0]["live"], 1);
    assert_eq!(processes[0]["runtimes"][0]["state"], "partial");
    assert_eq!(json["agent"]["mode"], "proc-only");
}

/// Nothing matched is code 3, with the pid or the pattern on standard error.
#[test]
fn report_of_nothing_is_code_3() {
    for (arguments, named) in [
        (["report", "--for", "1h", "--pid", "4194304"], "4194304"),
        (["report", "--for", "0s", "--exe", "no-such-*"], "no-such-*"),
        (["top", "--batch", "1", "--exe", "no-such-*"], "no-such-*"),
    ] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        assert!(text(&output.stderr).contains(named), "{}", text(&output.stderr));
        assert!(
            arguments[0] == "top" || output.stdout.is_empty(),
            "{}",
            text(&output.stdout)
        );
    }
}

/// Wrong flags, values and variables are code 2 and named.
#[test]
fn usage_errors_are_code_2_and_named() {
    for (arguments, named) in [
        (["report", "--exe", "a["], "a["),
        (["report", "--for", "5"], "500ms"),
        (["run", "--listen", "9750"], "127.0.0.1:9750"),
    ] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(named), "{}", text(&output.stderr));
    }
    let output = agent(&["run"])
        .env("LEAK_AGENT_INTERVALL", "1s")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("did you mean LEAK_AGENT_INTERVAL?"),
        "{}",
        text(&output.stderr)
    );
}

/// A flag's twin in the environment means the same, and the flag wins.
#[test]
fn variable_is_the_twin_of_its_flag() {
    let sleeper = Sleeper::named("cli-variable");
    let with = |variable: &str, arguments: &[&str]| {
        let arguments = [&["report", "--for", "0s"], arguments].concat();
        agent(&arguments)
            .env("LEAK_AGENT_PID", variable)
            .output()
            .unwrap()
    };
    let output = with(&sleeper.pid(), &[]);
    assert!(output.status.success() && text(&output.stdout).contains("cli-variable"));
    assert_eq!(with(&sleeper.pid(), &["--pid", "4194304"]).status.code(), Some(3));
}

/// A reader that goes away is no error.
#[test]
fn broken_pipe_is_not_an_error() {
    let mut child = agent(&["--interval", "50ms", "top"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{} {}",
        output.status,
        text(&output.stderr)
    );
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

/// The service answers on its address and ends well with each signal, even while a client is connected.
#[test]
fn service_answers_and_ends_with_a_signal() {
    for name in ["-INT", "-TERM", "-HUP"] {
        let address = free_address();
        let mut child = agent(&["run", "--follow-self", "--listen", &address.to_string()])
            .spawn()
            .unwrap();
        wait_for(address, "/readyz", "ready, degraded");
        let metrics = wait_for(address, "/metrics", "leak_agent_ready 1");
        let own = format!(
            "leak_agent_tasks_live{{pid=\"{}\",comm=\"leak-agent\"",
            child.id()
        );
        assert!(metrics.contains(&own), "{metrics}");
        let idle = TcpStream::connect(address).unwrap();
        signal(child.id(), name);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{name}");
        drop(idle);
    }
}

/// A taken port is an error that names the address and the flag.
#[test]
fn service_on_a_taken_port_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&["run", "--listen", &address]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&address) && said.contains("--listen"), "{said}");
}

/// Completions and the manual page are generated, for every shell and subcommand.
#[test]
fn completions_and_manual_are_generated() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        assert!(
            output.status.success() && text(&output.stdout).contains("no-bpf"),
            "{shell}"
        );
    }
    let manual = |arguments: &[&str]| text(&run(arguments).stdout);
    let program = manual(&["man"]);
    for part in [
        ".TH leak-agent 1",
        "LEAK_AGENT_INTERVAL",
        "leak\\-agent\\-report",
        "Exit codes",
    ] {
        assert!(program.contains(part), "{part} in {program}");
    }
    let service = manual(&["man", "run"]);
    for part in [".TH leak-agent-run 1", "LEAK_AGENT_LISTEN"] {
        assert!(service.contains(part), "{part} in {service}");
    }
    assert_eq!(run(&["man", "nothing"]).status.code(), Some(2));
}

/// The agent's `top` on a pseudo terminal of 100 by 30.
struct OnTerminal {
    script: Child,
    screen: Vec<u8>,
}

impl OnTerminal {
    fn start(arguments: &str) -> Self {
        let command = format!("stty rows 30 cols 100; exec {AGENT} --no-bpf --interval 50ms {arguments}");
        let script = Command::new("script")
            .args([
                "--quiet",
                "--return",
                "--flush",
                "--command",
                &command,
                "/dev/null",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script of util-linux is installed");
        Self {
            script,
            screen: Vec::new(),
        }
    }

    /// Reads until this has been written.
    fn wait_for(&mut self, wanted: &str) {
        let out = self.script.stdout.as_mut().unwrap();
        let mut buffer = [0; 4096];
        while !text(&self.screen).contains(wanted) {
            let count = out.read(&mut buffer).unwrap();
            assert_ne!(count, 0, "{wanted:?} never came: {:?}", text(&self.screen));
            self.screen.extend_from_slice(&buffer[..count]);
        }
    }

    fn press(&mut self, keys: &str) {
        self.script
            .stdin
            .as_mut()
            .unwrap()
            .write_all(keys.as_bytes())
            .unwrap();
    }

    /// Pid of the agent: the child of `script`.
    fn agent(&self) -> u32 {
        let path = format!("/proc/{0}/task/{0}/children", self.script.id());
        std::fs::read_to_string(path)
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Everything that was written, and the exit code of the agent.
    fn end(mut self) -> (String, Option<i32>) {
        self.script
            .stdout
            .as_mut()
            .unwrap()
            .read_to_end(&mut self.screen)
            .unwrap();
        let status = self.script.wait().unwrap();
        (text(&self.screen), status.code().or(status.signal()))
    }
}

/// `q`, Ctrl-C and signals leave, and give the screen and the cursor back.
#[test]
fn top_on_a_terminal_gives_it_back() {
    for how in ["q", "\u{3}", "-TERM", "-INT"] {
        let mut top = OnTerminal::start("top");
        top.wait_for("quit");
        if how.starts_with('-') {
            signal(top.agent(), how);
        } else {
            top.press(how);
        }
        let (screen, code) = top.end();
        assert_eq!(code, Some(0), "{how}: {screen:?}");
        let entered = screen
            .find("\u{1b}[?1049h")
            .expect("the alternate screen is entered");
        let left = screen
            .rfind("\u{1b}[?1049l")
            .expect("the alternate screen is left");
        assert!(entered < left, "{how}");
        assert!(
            screen.rfind("\u{1b}[?25h") > screen.rfind("\u{1b}[?25l"),
            "{how}: the cursor stays hidden"
        );
    }
}

/// A process whose name is an escape sequence is shown without it, on the terminal and as text.
#[test]
fn hostile_process_name_reaches_no_terminal() {
    let sleeper = Sleeper::named("\u{1b}[41m\u{7}evil");
    let mut top = OnTerminal::start(&format!("top --pid {}", sleeper.pid()));
    top.wait_for("evil");
    top.press("\r");
    top.wait_for("all threads");
    top.press("q");
    let (screen, code) = top.end();
    let plain = run(&["report", "--for", "0s", "--pid", &sleeper.pid()]);
    assert_eq!((code, plain.status.code()), (Some(0), Some(0)));
    for shown in [screen, text(&plain.stdout)] {
        assert!(shown.contains("\u{fffd}[41m\u{fffd}evil"), "{shown:?}");
        assert!(
            !shown.contains("\u{1b}[41m") && !shown.contains('\u{7}'),
            "{shown:?}"
        );
    }
}

/// The printed configuration is accepted as it is, and one that contradicts itself is refused with the key and the reason,
/// by the check and by whoever would run with it.
#[test]
fn configuration_is_printed_checked_and_refused() {
    let example = run(&["config", "example"]);
    assert!(example.status.success());
    let folder = std::env::temp_dir().join(format!("leak-agent-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("config.toml");
    let name = path.to_str().unwrap();
    std::fs::write(&path, &example.stdout).unwrap();
    let check = run(&["config", "check", name]);
    assert!(check.status.success(), "{}", text(&check.stderr));
    assert!(text(&check.stdout).contains("in order"));

    std::fs::write(&path, "[detect.rules]\nyellow_per_minute = 20.0\n").unwrap();
    for arguments in [
        vec!["config", "check", name],
        vec!["--config", name, "config", "check"],
        vec!["--config", name, "report", "--for", "0s"],
    ] {
        let refused = run(&arguments);
        let told = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {told}");
        for part in ["detect.rules.yellow_per_minute", "red_per_minute = 15"] {
            assert!(told.contains(part), "{part} in {told}");
        }
    }
    for (arguments, part) in [
        (vec!["config", "check", "/no/such/file"], "/no/such/file"),
        (vec!["config", "check"], "no configuration file"),
    ] {
        let refused = run(&arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(text(&refused.stderr).contains(part));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Every runtime and site of a report has a verdict; what has just begun to be watched is undecided, with the reason.
#[test]
fn report_has_verdicts() {
    let sleeper = Sleeper::named("verdicts");
    let output = run(&[
        "report",
        "--pid",
        &sleeper.pid(),
        "--for",
        "0s",
        "--format",
        "json",
    ]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let runtime = &report["processes"][0]["runtimes"][0];
    assert_eq!(runtime["verdict"], "undecided");
    assert!(
        runtime["verdict_reason"]
            .as_str()
            .unwrap()
            .contains("watched for")
    );
    assert_eq!(runtime["sites"][0]["verdict"], "undecided");
    assert_eq!(report["findings"], serde_json::json!([]));
}

/// `replay` of this file, every report on a line.
fn replay(path: &std::path::Path) -> Output {
    run(&["replay", path.to_str().unwrap(), "--format", "json-lines"])
}

/// A tape without BPF gives the reports that were served, the same bytes twice; cut, damaged, of another version or no tape at
/// all it is replayed as far as it goes, or refused, and the reason is told with its place.
#[test]
fn tape_is_replayed_as_far_as_it_is_whole() {
    let sleeper = Sleeper::named("cli-tape");
    let tape = sleeper.folder.join("run.tape");
    let address = free_address();
    let mut recorded = agent(&["run", "--interval", "50ms", "--pid", &sleeper.pid()])
        .args(["--listen", &address.to_string(), "--record"])
        .arg(&tape)
        .spawn()
        .unwrap();
    wait_for(address, "/readyz", "200 OK");
    let served = wait_for(address, "/report", "cli-tape");
    let served = served.split_once("\r\n\r\n").unwrap().1.trim().to_owned();
    // What is written before this is in frames of its own, so that the last one can be cut.
    let size = || std::fs::metadata(&tape).map_or(0, |data| data.len());
    for _ in 0..2 {
        let (before, begin) = (size(), Instant::now());
        while size() == before && begin.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    signal(recorded.id(), "-TERM");
    assert!(recorded.wait().unwrap().success());

    let whole = replay(&tape);
    let lines = text(&whole.stdout);
    assert!(
        whole.status.success() && whole.stderr.is_empty(),
        "{}",
        text(&whole.stderr)
    );
    assert_eq!(replay(&tape).stdout, whole.stdout);
    let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let served = parsed(&served);
    let same = lines
        .lines()
        .map(parsed)
        .find(|report| report["taken_at"] == served["taken_at"]);
    assert_eq!(same, Some(served));
    let last = run(&["replay", tape.to_str().unwrap(), "--format", "json"]);
    assert_eq!(parsed(&text(&last.stdout)), parsed(lines.lines().last().unwrap()));

    let bytes = std::fs::read(&tape).unwrap();
    let other = sleeper.folder.join("other.tape");
    let replay_of = |bytes: &[u8]| {
        std::fs::write(&other, bytes).unwrap();
        let output = replay(&other);
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, out, said) = replay_of(&bytes[..bytes.len() - 9]);
    assert!(
        code == Some(0) && lines.starts_with(&out) && said.contains("cut off at byte"),
        "{said}"
    );
    let mut damaged = bytes.clone();
    let place = damaged.len() - 10;
    damaged[place] ^= 1;
    let (code, out, said) = replay_of(&damaged);
    assert!(code == Some(1) && lines.starts_with(&out), "{said}");
    assert!(
        said.contains("damaged at byte") && said.contains("hint"),
        "{said}"
    );
    let mut newer = bytes.clone();
    newer[8] = 7;
    let (code, _, said) = replay_of(&newer);
    assert!(
        code == Some(1) && said.contains("version 7") && said.contains("knows 1"),
        "{said}"
    );
    let (code, _, said) = replay_of(b"#!/bin/sh\n");
    assert!(
        code == Some(1) && said.contains("not a tape") && said.contains("--record"),
        "{said}"
    );
    let (code, _, said) = replay_of(&bytes[..40]);
    assert!(
        code == Some(1) && said.contains("cut off within its header"),
        "{said}"
    );
    let output = run(&["run", "--listen", "off", "--record", "/proc/none/tape"]);
    let said = text(&output.stderr);
    assert!(
        output.status.code() == Some(1)
            && said.contains("cannot record: cannot open the tape /proc/none/tape"),
        "{said}"
    );
}
