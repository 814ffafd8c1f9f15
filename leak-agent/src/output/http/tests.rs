//! The server over real sockets, with kind and unkind clients.

use super::*;
use crate::detect::Judgement;
use crate::engine::Snapshot;
use crate::report::AgentFacts;
use crate::report::fixture::hostile_report;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

/// A running server, its newest report, and the end of it.
struct Server {
    address: SocketAddr,
    reports: watch::Sender<Arc<Report>>,
    stop: tokio::sync::oneshot::Sender<()>,
    done: JoinHandle<()>,
}

impl Server {
    async fn start(change: impl FnOnce(&mut HttpConfig)) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = bind(any).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut config = HttpConfig::new(address);
        change(&mut config);
        let (reports, receiver) = watch::channel(Arc::new(hostile_report()));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let done = tokio::spawn(serve(listener, config, receiver, async {
            let _ = stopped.await;
        }));
        Self {
            address,
            reports,
            stop,
            done,
        }
    }

    /// Sends the bytes and reads until the server closes.
    async fn send(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn get(&self, path: &str, headers: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        self.send(request.as_bytes()).await
    }
}

fn status(answer: &str) -> &str {
    answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .unwrap_or(answer)
}

/// Each path answers with its form, and the content type of /metrics follows `Accept`.
#[tokio::test]
async fn paths_are_served_in_their_forms() {
    let server = Server::start(|_| {}).await;
    let plain = server.get("/metrics", "").await;
    assert_eq!(status(&plain), "200");
    assert!(
        plain.contains("content-type: text/plain; version=0.0.4"),
        "{plain}"
    );
    let open = server
        .get(
            "/metrics",
            "Accept: text/plain;q=0.1\r\nAccept: application/openmetrics-text\r\n",
        )
        .await;
    assert!(
        open.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{open}"
    );
    assert!(open.ends_with("# EOF\n"), "{open}");
    let report = server.get("/report", "").await;
    let json = report.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(serde_json::from_str::<Report>(json).unwrap(), hostile_report());
    assert!(server.get("/", "").await.contains("/metrics"));
    assert_eq!(status(&server.get("/healthz", "").await), "200");
    assert_eq!(status(&server.get("/nothing", "").await), "404");
    assert_eq!(
        status(
            &server
                .send(b"POST /metrics HTTP/1.1\r\nConnection: close\r\n\r\n")
                .await
        ),
        "405"
    );
}

/// Not ready until the report says so, and then the reason is in the body; a new report is served at once.
#[tokio::test]
async fn readiness_follows_the_report() {
    let server = Server::start(|_| {}).await;
    server.reports.send_replace(Arc::new(Report::build(
        &Snapshot::default(),
        &Judgement::default(),
        &AgentFacts::default(),
    )));
    let answer = server.get("/readyz", "").await;
    assert_eq!(status(&answer), "503");
    assert!(
        answer.contains("waiting for the first scan of processes"),
        "{answer}"
    );
    assert!(
        server
            .get("/metrics", "")
            .await
            .contains("\nleak_agent_ready 0\n")
    );
    server.reports.send_replace(Arc::new(hostile_report()));
    assert_eq!(status(&server.get("/readyz", "").await), "200");
    assert!(
        server
            .get("/metrics", "")
            .await
            .contains("\nleak_agent_ready 1\n")
    );
}

/// When the agent's side ends, health says so.
#[tokio::test]
async fn health_of_a_dead_agent_is_bad() {
    let mut server = Server::start(|_| {}).await;
    server.reports = watch::channel(Arc::new(hostile_report())).0;
    let answer = server.get("/healthz", "").await;
    assert_eq!(status(&answer), "503");
    assert!(answer.contains("stopped"), "{answer}");
}

/// When reports stop coming, health says so, and recovers with the next report.
#[tokio::test]
async fn health_of_a_stuck_agent_is_bad_until_the_next_report() {
    let server = Server::start(|config| config.stalled_after = Duration::ZERO).await;
    assert!(server.get("/healthz", "").await.contains("stuck"));
}

/// A client that never finishes its request's head is cut off, and an idle connection too.
#[tokio::test]
async fn slow_head_is_cut_off() {
    let server = Server::start(|config| config.head_timeout = Duration::from_millis(50)).await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    let mut answer = Vec::new();
    let _ = slow.read_to_end(&mut answer).await;
    let _ = idle.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("200"), "{answer:?}");
}

/// A client that takes its time over everything is cut off when its connection's time is over.
#[tokio::test]
async fn long_connection_is_cut_off() {
    let server = Server::start(|config| config.connection_timeout = Duration::from_millis(50)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(status(&answer), "200");
}

/// With all slots taken by silent clients, the next client is served as soon as one of them is cut off.
#[tokio::test]
async fn connections_beyond_the_cap_wait_for_a_slot() {
    let server = Server::start(|config| {
        config.max_connections = 2;
        config.head_timeout = Duration::from_millis(100);
    })
    .await;
    let silent = [
        TcpStream::connect(server.address).await.unwrap(),
        TcpStream::connect(server.address).await.unwrap(),
    ];
    assert_eq!(status(&server.get("/healthz", "").await), "200");
    drop(silent);
}

/// Bodies, endless heads and rubbish get an error or nothing, and the server lives on.
#[tokio::test]
async fn hostile_requests_leave_the_server_alive() {
    let server = Server::start(|config| config.head_timeout = Duration::from_millis(100)).await;
    let body = b"GET /metrics HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n";
    assert_eq!(status(&server.send(body).await), "413");
    let chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n";
    assert_eq!(status(&server.send(chunked).await), "413");
    let endless = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'a'; 100_000]].concat();
    assert_eq!(status(&server.send(&endless).await), "431");
    let fields = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(500));
    assert_eq!(status(&server.send(fields.as_bytes()).await), "431");
    for rubbish in [
        b"\x16\x03\x01\x02\x00".as_slice(),
        b"\0\0\0\0\r\n\r\n",
        b"GET",
        b"\r\n\r\n\r\n",
        b"",
    ] {
        let answer = server.send(rubbish).await;
        assert!(answer.is_empty() || status(&answer) == "400", "{answer}");
    }
    assert_eq!(
        status(&server.get(&format!("/{}", "%00/..".repeat(900)), "").await),
        "404"
    );
    assert_eq!(status(&server.get("/healthz", "").await), "200");
}

/// A request in flight is answered at shutdown, and the server ends though an idle client stays connected.
#[tokio::test]
async fn shutdown_ends_idle_connections() {
    let server = Server::start(|_| {}).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 15];
    idle.read_exact(&mut first).await.unwrap();
    server.stop.send(()).unwrap();
    server.done.await.unwrap();
    let mut rest = Vec::new();
    let _ = idle.read_to_end(&mut rest).await;
    assert!(TcpStream::connect(server.address).await.is_err());
}

/// An address in use is an error that names it.
#[tokio::test]
async fn bind_to_an_address_in_use_names_it() {
    let server = Server::start(|_| {}).await;
    let error = bind(server.address).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {}", server.address));
}
