//! A real Prometheus and a real Alertmanager with the rules and the routes of `deploy/prometheus`, on loopback, and somebody
//! who is told.
//!
//! Minutes become seconds: all times in the rules and in the routes are divided by [`FASTER`]. Rates are what they are.

use crate::agent::free_port;
use crate::wait::until;
use crate::{deploy, http, programs, rules, tools};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// How many times faster than in production everything happens.
pub const FASTER: u64 = 60;

/// An alert, as it was delivered.
#[derive(Clone, Debug)]
pub struct Alert {
    /// "firing" or "resolved".
    pub status: String,
    /// Name of the receiver that Alertmanager chose.
    pub receiver: String,
    /// Labels and annotations together: no name is in both.
    pub said: Value,
}

impl Alert {
    /// A label or an annotation; empty if there is none.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.said[name].as_str().unwrap_or("")
    }
}

/// Prometheus, Alertmanager and the receiver. Dropping it kills them.
#[derive(Debug)]
pub struct Alerting {
    children: Vec<Child>,
    folder: PathBuf,
    prometheus: SocketAddr,
    told: Arc<Mutex<Vec<Alert>>>,
}

impl Alerting {
    /// Starts all, for these agents, and waits until Prometheus has its first samples of them.
    #[must_use]
    pub fn start(test: &str, agents: &[SocketAddr]) -> Self {
        let folder = programs::scratch(test);
        let told = Arc::default();
        let receiver = receive(Arc::clone(&told));
        let (prometheus, alertmanager) = (free_port(), free_port());
        let routes = fs::read_to_string(deploy::path("prometheus/alertmanager.example.yaml")).unwrap();
        let routes = faster(&routes).replace("127.0.0.1:9099", &receiver.to_string());
        fs::write(folder.join("alertmanager.yaml"), routes).unwrap();
        let rules = fs::read_to_string(rules::path()).unwrap();
        fs::write(folder.join("leak-agent.rules.yaml"), faster(&rules)).unwrap();
        fs::write(folder.join("prometheus.yaml"), scrapes(agents, alertmanager)).unwrap();
        let mut alerting = Self {
            children: Vec::new(),
            folder,
            prometheus,
            told,
        };
        alerting.run(
            "alertmanager.log",
            tools::alertmanager(),
            &[
                "--config.file=alertmanager.yaml".to_owned(),
                "--storage.path=alertmanager".to_owned(),
                format!("--web.listen-address={alertmanager}"),
                "--cluster.listen-address=".to_owned(),
            ],
        );
        alerting.run(
            "prometheus.log",
            Command::new(tools::prometheus("prometheus")),
            &[
                "--config.file=prometheus.yaml".to_owned(),
                "--storage.tsdb.path=prometheus".to_owned(),
                format!("--web.listen-address={prometheus}"),
            ],
        );
        until("Alertmanager is ready", || {
            ready(alertmanager).map_err(|error| format!("{error}: {}", alerting.words()))
        });
        let up = format!("count(up{{job=\"leak-agent\"}} == 1) == {}", agents.len());
        until("Prometheus reaches the agents", || {
            match alerting.query(&up)?.len() {
                0 => Err(format!("not all are up: {}", alerting.words())),
                _ => Ok(()),
            }
        });
        alerting
    }

    fn run(&mut self, log: &str, mut command: Command, arguments: &[String]) {
        let child = command
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.folder.join(log)).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        self.children.push(child);
    }

    /// What the receiver was told so far, in order.
    #[must_use]
    pub fn told(&self) -> Vec<Alert> {
        self.told.lock().unwrap().clone()
    }

    /// The labels of the series that a PromQL expression gives now.
    ///
    /// # Errors
    ///
    /// No answer, or not the one that was expected.
    pub fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = http::get(self.prometheus, &format!("/api/v1/query?query={encoded}"));
        let (_, body) = answer.map_err(|error| format!("{error}: {}", self.words()))?;
        let body: Value = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
        let found = body["data"]["result"]
            .as_array()
            .ok_or_else(|| body.to_string())?;
        Ok(found.iter().map(|series| series["metric"].clone()).collect())
    }

    /// The last lines of both logs.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = String::new();
        for log in ["prometheus.log", "alertmanager.log"] {
            let text = fs::read_to_string(self.folder.join(log)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            words += &lines[lines.len().saturating_sub(8)..].join("\n");
            words.push('\n');
        }
        words
    }
}

impl Drop for Alerting {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn ready(address: SocketAddr) -> Result<(), String> {
    match http::get(address, "/-/ready") {
        Ok((200, _)) => Ok(()),
        Ok((status, body)) => Err(format!("{status}: {body}")),
        Err(error) => Err(error.to_string()),
    }
}

/// The configuration of Prometheus.
fn scrapes(agents: &[SocketAddr], alertmanager: SocketAddr) -> String {
    let targets: Vec<String> = agents.iter().map(|agent| format!("'{agent}'")).collect();
    let targets = targets.join(", ");
    format!(
        "global:
  scrape_interval: 250ms
  scrape_timeout: 250ms
  evaluation_interval: 500ms
rule_files: [leak-agent.rules.yaml]
alerting:
  alertmanagers:
    - static_configs: [{{targets: ['{alertmanager}']}}]
scrape_configs:
  - job_name: leak-agent
    static_configs: [{{targets: [{targets}]}}]
"
    )
}

/// The same text with every duration in it divided by [`FASTER`]: what follows `: `, `[` or `offset `.
#[must_use]
pub fn faster(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        let digits = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let (number, behind) = from.split_at(digits);
        result += before;
        let place = [": ", "[", "offset "].iter().any(|place| before.ends_with(place));
        let unit = behind
            .chars()
            .next()
            .filter(|_| place)
            .and_then(|unit| match unit {
                's' => Some(1),
                'm' => Some(60),
                'h' => Some(3_600),
                'd' => Some(86_400),
                _ => None,
            });
        let ends = behind
            .chars()
            .nth(1)
            .is_none_or(|next| !next.is_ascii_alphanumeric());
        rest = match unit.filter(|_| ends) {
            Some(seconds) => {
                let ms = number.parse::<u64>().unwrap() * seconds * 1_000 / FASTER;
                result += &format!("{ms}ms");
                &behind[1..]
            }
            None => {
                result += number;
                behind
            }
        };
    }
    result + rest
}

/// Listens on a free port, takes every notification and keeps its alerts.
fn receive(told: Arc<Mutex<Vec<Alert>>>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let told = Arc::clone(&told);
            std::thread::spawn(move || serve(&stream.unwrap(), &told));
        }
    });
    address
}

/// The notifications of one connection, until it is closed.
fn serve(stream: &TcpStream, told: &Mutex<Vec<Alert>>) {
    let mut reader = BufReader::new(stream);
    while let Some(length) = head(&mut reader) {
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let notification: Value = serde_json::from_slice(&body).unwrap();
        let alerts = notification["alerts"].as_array().unwrap().iter().map(|alert| {
            let mut said = alert["labels"].clone();
            let annotations = alert["annotations"].as_object().unwrap().clone();
            said.as_object_mut().unwrap().extend(annotations);
            Alert {
                status: alert["status"].as_str().unwrap().to_owned(),
                receiver: notification["receiver"].as_str().unwrap().to_owned(),
                said,
            }
        });
        told.lock().unwrap().extend(alerts);
        let mut stream = stream;
        if stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .is_err()
        {
            return;
        }
    }
}

/// The length of the body that follows; `None` = the other side has closed.
fn head(reader: &mut impl BufRead) -> Option<usize> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            return Some(length);
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Durations shrink wherever they stand, and nothing else does.
    #[test]
    fn faster_divides_durations_and_leaves_other_numbers() {
        let text = "for: 5m\nexpr: rate(a[1h] offset 10m) > 15 < 3600 or b_5m\ninterval: 30s\nnode1:9750 12m";
        let want = "for: 5000ms\nexpr: rate(a[60000ms] offset 10000ms) > 15 < 3600 or b_5m\ninterval: 500ms\nnode1:9750 12m";
        assert_eq!(faster(text), want);
    }
}
