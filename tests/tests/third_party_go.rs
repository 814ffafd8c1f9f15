//! Go programs that nobody here wrote, stripped as Debian ships them, attached after they have been under load: goroutine by
//! goroutine what they say themselves.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness fails by panicking, with the reason

use leak_agent::report::State;
use leak_agent_tests::compare::describe;
use leak_agent_tests::http::Connection;
use leak_agent_tests::profile::{self, differences};
use leak_agent_tests::wait::until;
use leak_agent_tests::{Agent, Server, agent, debian, privilege, programs};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Waits until the program's own profile and the report are equal, site by site, at two standstills in a row: until nothing
/// changed from one profile to the next while the report between them was made.
fn until_equal_to_its_profile(agent: &Agent, pid: u32, connection: &mut Connection) {
    let mut equal = 0;
    let compare = || {
        let before = profile::goroutines(connection).map_err(|error| error.to_string())?;
        let _later = agent.next_report();
        let found = agent.runtime(pid, "go")?;
        let after = profile::goroutines(connection).map_err(|error| error.to_string())?;
        let total = profile::total(connection).map_err(|error| error.to_string())?;
        if before != after {
            return Err(format!(
                "it does not stand still: {}",
                differences(&before, &after)
            ));
        }
        assert_eq!(found.state, State::Followed, "{}", describe(&found));
        let counted = profile::of_report(&found);
        if !found.exact || counted != after {
            equal = 0;
            let differences = differences(&counted, &after);
            return Err(format!("{differences}\n{}", describe(&found)));
        }
        // In the total is also the one that watches this connection.
        assert_eq!(total, found.live + 1, "{}", describe(&found));
        equal += 1;
        if equal == 2 {
            Ok(())
        } else {
            Err("equal once".to_owned())
        }
    };
    until("the program's own profile", compare);
}

/// prometheus that scrapes itself and is asked; the agent comes in the middle of it.
#[test]
fn prometheus_of_debian_has_the_goroutines_of_its_own_profile() {
    if !privilege::privileged() {
        return;
    }
    let path = debian::unpacked("prometheus").join("usr/bin/prometheus");
    let folder = programs::scratch("prometheus");
    let config = folder.join("prometheus.yml");
    std::fs::write(&config, "scrape_configs: []\n").unwrap();
    let mut address = None;
    let server = Server::start(&path, |free| {
        address = Some(free);
        vec![
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", folder.join("data").display()),
            format!("--web.listen-address={free}"),
            "--web.enable-lifecycle".to_owned(),
        ]
    });
    let address = address.expect("it was started");
    let mut connection = Connection::to(address).unwrap();
    until("prometheus is ready", || connection.get("/-/ready"));
    let load = |connection: &mut Connection| {
        let scraped = format!(
            "scrape_configs:\n- job_name: itself\n  scrape_interval: 50ms\n  scrape_timeout: 50ms\n  static_configs:\n  - targets: ['{address}']\n"
        );
        std::fs::write(&config, scraped).unwrap();
        assert_eq!(connection.request("POST", "/-/reload").unwrap().0, 200);
        until("prometheus has scraped itself", || {
            let mut others: Vec<Connection> = (0..10).map(|_| Connection::to(address).unwrap()).collect();
            for other in &mut others {
                other.get("/api/v1/query?query=rate(go_goroutines[1m])").unwrap();
            }
            let answer = connection.get("/api/v1/query?query=go_goroutines").unwrap();
            answer.contains("\"value\"").then_some(()).ok_or(answer)
        });
    };
    let rest = |connection: &mut Connection| {
        std::fs::write(&config, "scrape_configs: []\n").unwrap();
        assert_eq!(connection.request("POST", "/-/reload").unwrap().0, 200);
    };
    load(&mut connection);
    let agent = Agent::on(&[&path]);
    rest(&mut connection);
    until_equal_to_its_profile(&agent, server.pid(), &mut connection);
    load(&mut connection);
    rest(&mut connection);
    until_equal_to_its_profile(&agent, server.pid(), &mut connection);
}

/// A child that is killed at the end.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// containerd with clients that come and go, and one that listens to its events all the time.
#[test]
fn containerd_of_debian_has_the_goroutines_of_its_own_profile() {
    if !privilege::privileged() {
        return;
    }
    let programs = debian::unpacked("containerd").join("usr/bin");
    let path = programs.join("containerd");
    // Paths of sockets must be short.
    let folder = tempdir();
    let place = |name: &str| folder.0.join(name).display().to_string();
    let config = format!(
        "version = 2\nroot = {:?}\nstate = {:?}\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n\
         [grpc]\naddress = {:?}\n[debug]\naddress = {:?}\n",
        place("root"),
        place("state"),
        place("grpc"),
        place("debug"),
    );
    std::fs::write(folder.0.join("config.toml"), config).unwrap();
    let daemon = start(&path, &["--config", &place("config.toml")]);
    let pid = daemon.0.id();
    let mut connection = until("containerd listens", || {
        Connection::to_socket(&folder.0.join("debug"))
    });
    let client = programs.join("ctr");
    let ctr = |words: &[&str]| {
        let mut command = Command::new(&client);
        command.arg("--address").arg(folder.0.join("grpc")).args(words);
        command
    };
    let load = |round: u32| {
        for number in 0..4 {
            let name = format!("n{round}-{number}");
            until("ctr", || {
                let made = ctr(&["namespaces", "create", &name]).output().unwrap();
                let text = String::from_utf8_lossy(&made.stderr).into_owned();
                made.status.success().then_some(()).ok_or(text)
            });
            let listed = ctr(&["--namespace", &name, "images", "list"]).output().unwrap();
            assert!(listed.status.success(), "{listed:?}");
        }
    };
    load(0);
    let listening = Killed(ctr(&["events"]).stdout(Stdio::null()).spawn().unwrap());
    load(1);
    let agent = Agent::on(&[&path]);
    load(2);
    until_equal_to_its_profile(&agent, pid, &mut connection);
    drop(listening);
    load(3);
    until_equal_to_its_profile(&agent, pid, &mut connection);
}

fn start(program: &Path, arguments: &[&str]) -> Killed {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    Killed(
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    )
}

/// A folder with a short path, removed at the end.
struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn tempdir() -> Folder {
    // A port is nobody else's at the moment, and so is its number.
    let port = agent::free_port().port();
    let folder = std::env::temp_dir().join(format!("leak-agent-{port}"));
    std::fs::create_dir_all(&folder).unwrap();
    Folder(folder)
}
