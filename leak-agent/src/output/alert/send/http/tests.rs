use super::*;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream as StdStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

/// A server that takes one request per connection and answers with what the closure writes.
fn server(answer: impl Fn(&mut StdStream) + Send + 'static) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (requests, taken) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request = request(&mut stream);
            // The test may be over.
            let _ = requests.send(request);
            answer(&mut stream);
        }
    });
    (address, taken)
}

/// Reads a request with its body.
fn request(stream: &mut StdStream) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text_so_far = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = text_so_far.split_once("\r\n\r\n") {
            let length = head
                .to_ascii_lowercase()
                .lines()
                .find_map(|line| {
                    line.strip_prefix("content-length:")
                        .and_then(|n| n.trim().parse::<usize>().ok())
                })
                .unwrap_or(0);
            if body.len() >= length {
                return text_so_far;
            }
        }
        match stream.read(&mut buffer) {
            Ok(read @ 1..) => text.extend(&buffer[..read]),
            _ => return String::from_utf8_lossy(&text).into_owned(),
        }
    }
}

fn answering(text: &'static str) -> (SocketAddr, mpsc::Receiver<String>) {
    server(move |stream| {
        let _ = stream.write_all(text.as_bytes());
    })
}

fn target(url: String) -> HttpTarget {
    HttpTarget {
        url: UrlSource::Plain(url),
        secret_file: None,
        authorization_file: None,
        ca_file: None,
        connect_timeout: Duration::from_secs(30),
        timeout: Duration::from_secs(60),
    }
}

fn post(target: &HttpTarget, below: Option<&'static str>) -> Outcome {
    let client = HttpClient::prepare(target, below).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(client.post("id-1", b"{\"a\":1}".to_vec()))
}

fn why(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Again { why, .. } | Outcome::Refused { why } => why,
    }
}

/// A folder of its own for a test, gone at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("leak-agent-http-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The request has what the documents promise, at the path of the URL.
#[test]
fn request_is_as_documented() {
    let scratch = Scratch::new("request");
    let (address, requests) = answering("HTTP/1.1 204 No Content\r\n\r\n");
    let mut target = target(format!("http://{address}/hook/x?token=t"));
    target.secret_file = Some(scratch.file("key", "  k3y\n"));
    target.authorization_file = Some(scratch.file("authorization", "Bearer abc\n"));
    let outcome = post(&target, None);
    assert!(matches!(outcome, Outcome::Delivered), "{outcome:?}");
    let request = requests.recv().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /hook/x?token=t HTTP/1.1\r\n"), "{head}");
    let header = |name: &str| {
        let found = head
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")));
        found.unwrap_or_else(|| panic!("no {name} in {head}")).to_owned()
    };
    assert_eq!(header("host"), address.to_string());
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("x-leak-agent-notification"), "id-1");
    assert_eq!(header("authorization"), "Bearer abc");
    let signature = header("x-leak-agent-signature");
    let time = signature.split([',', '=']).nth(1).unwrap().parse().unwrap();
    assert_eq!(signature, signature::sign(b"k3y", time, b"{\"a\":1}"));
    assert!((clock::unix() - time as f64).abs() < 600.0);
    assert_eq!(body, "{\"a\":1}");
}

/// Alertmanager's path is put behind that of the URL, unless it is there already.
#[test]
fn path_of_alertmanager_is_put_below_the_url() {
    let (address, requests) = answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    for (path, expected) in [
        ("", "/api/v2/alerts"),
        ("/", "/api/v2/alerts"),
        ("/am/", "/am/api/v2/alerts"),
        ("/am/api/v2/alerts", "/am/api/v2/alerts"),
    ] {
        let outcome = post(&target(format!("http://{address}{path}")), Some("/api/v2/alerts"));
        assert!(matches!(outcome, Outcome::Delivered), "{outcome:?}");
        let request = requests.recv().unwrap();
        assert!(
            request.starts_with(&format!("POST {expected} HTTP/1.1")),
            "{request}"
        );
    }
}

/// What a status means: delivered, again, or never; with what the server said and when it wants to be asked again.
#[test]
fn status_says_whether_to_try_again() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "delivered"),
        ("HTTP/1.1 202 Accepted\r\n\r\n", "delivered"),
        (
            "HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\nouch\x1b",
            "again status 500: ouch\u{fffd}",
        ),
        (
            "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n\r\n",
            "again 7 status 503",
        ),
        (
            "HTTP/1.1 429 Slow\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n\r\n",
            "again status 429",
        ),
        ("HTTP/1.1 408 Late\r\n\r\n", "again status 408"),
        (
            "HTTP/1.1 400 Bad\r\nContent-Length: 3\r\n\r\nno!",
            "refused status 400: no!",
        ),
        ("HTTP/1.1 401 Who\r\n\r\n", "refused status 401"),
        ("HTTP/1.1 404 None\r\n\r\n", "refused status 404"),
    ] {
        let (address, _requests) = answering(answer);
        let told = match post(&target(format!("http://{address}/")), None) {
            Outcome::Delivered => "delivered".to_owned(),
            Outcome::Again {
                why,
                after: Some(after),
            } => format!("again {} {why}", after.as_secs()),
            Outcome::Again { why, after: None } => format!("again {why}"),
            Outcome::Refused { why } => format!("refused {why}"),
        };
        assert_eq!(told, expected, "{answer}");
    }
}

/// A redirect is not followed, wherever it leads: nobody else gets the body or the secrets.
#[test]
fn redirect_is_not_followed() {
    let (other, elsewhere) = answering("HTTP/1.1 200 OK\r\n\r\n");
    for status in [301, 302, 303, 307, 308] {
        let (address, _requests) = server(move |stream| {
            let head =
                format!("HTTP/1.1 {status} Moved\r\nLocation: http://{other}/\r\nContent-Length: 0\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
        });
        let outcome = post(&target(format!("http://{address}/")), None);
        assert!(
            matches!(&outcome, Outcome::Refused { why } if why.contains("redirect")),
            "{outcome:?}"
        );
    }
    assert!(elsewhere.try_recv().is_err());
}

/// A server that takes the request and says nothing, one that drips its answer, one that does not even accept TLS: the limit
/// ends each.
#[test]
fn server_that_hangs_is_left_after_the_limit() {
    let silent = server(|_| std::thread::sleep(Duration::from_secs(3_600))).0;
    let dripping = server(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 500 Oops\r\nContent-Length: 9999\r\n\r\n");
        while stream.write_all(b".").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    })
    .0;
    let endless_head = server(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 500 Oops\r\nX: ");
        while stream.write_all(b".").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    })
    .0;
    for url in [
        format!("http://{silent}/"),
        format!("http://{dripping}/"),
        format!("http://{endless_head}/"),
    ] {
        let mut target = target(url);
        target.timeout = Duration::from_millis(500);
        let outcome = post(&target, None);
        assert!(
            matches!(&outcome, Outcome::Again { why, .. } if why.contains("500 ms")),
            "{outcome:?}"
        );
    }
    let mut no_tls = target(format!("https://{silent}/"));
    no_tls.connect_timeout = Duration::from_millis(500);
    let outcome = post(&no_tls, None);
    assert!(
        why(&outcome).contains("no connection within 500 ms"),
        "{outcome:?}"
    );
}

/// Of an answer without end only the beginning is read, in its body and in its head.
#[test]
fn endless_answer_is_read_a_little() {
    let megabyte = vec![b'x'; 1 << 20];
    let (sent, total) = mpsc::channel();
    let (address, _requests) = server(move |stream| {
        let _ = stream.write_all(b"HTTP/1.1 500 Oops\r\nContent-Length: 99999999999\r\n\r\n");
        // Gigabytes, if they are taken.
        let written = (0..4_096)
            .take_while(|_| stream.write_all(&megabyte).is_ok())
            .count();
        let _ = sent.send(written);
    });
    let outcome = post(&target(format!("http://{address}/")), None);
    assert!(
        matches!(&outcome, Outcome::Again { why, .. } if why.len() < 3_000),
        "{outcome:?}"
    );
    // What fits into the sockets may have been sent.
    assert!(total.recv().unwrap() < 64);

    let (address, _requests) = server(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 500 Oops\r\n");
        while stream
            .write_all(b"X-Field: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n")
            .is_ok()
        {}
    });
    let outcome = post(&target(format!("http://{address}/")), None);
    assert!(matches!(outcome, Outcome::Again { .. }), "{outcome:?}");
}

/// Nobody listens, the connection is cut, the answer is none: each is tried again, and none shows the URL.
#[test]
fn failed_connection_is_tried_again_and_does_not_show_the_url() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cut = server(|_| {}).0;
    let nonsense = answering("I am no web server\r\n\r\n").0;
    for address in [nobody, cut, nonsense] {
        let outcome = post(&target(format!("http://{address}/?token=s3cret")), None);
        assert!(matches!(outcome, Outcome::Again { .. }), "{outcome:?}");
        assert!(!why(&outcome).contains("s3cret"), "{outcome:?}");
    }
    let outcome = post(&target("http://no-such-host.invalid/".to_owned()), None);
    assert!(matches!(outcome, Outcome::Again { .. }), "{outcome:?}");
}

/// Secrets are read anew for each attempt, a missing or empty file is said at the start, and nothing shows their content.
#[test]
fn secrets_come_from_files_and_are_not_shown() {
    let scratch = Scratch::new("secrets");
    let (address, requests) = answering("HTTP/1.1 200 OK\r\n\r\n");
    let url = scratch.file("url", &format!("http://{address}/first\n"));
    let mut target = target(String::new());
    target.url = UrlSource::File(url.clone());
    let client = HttpClient::prepare(&target, None).unwrap();
    assert!(!format!("{client:?}").contains("first"));
    scratch.file("url", &format!("http://{address}/second"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let outcome = runtime.block_on(client.post("1", Vec::new()));
    assert!(matches!(outcome, Outcome::Delivered), "{outcome:?}");
    assert!(requests.recv().unwrap().starts_with("POST /second "));

    scratch.file("url", "ftp://user:s3cret@host/");
    let error = HttpClient::prepare(&target, None).unwrap_err().to_string();
    assert!(!error.contains("s3cret"), "{error}");
    let outcome = runtime.block_on(client.post("1", Vec::new()));
    assert!(!why(&outcome).contains("s3cret"), "{outcome:?}");
    scratch.file("url", " \n");
    assert!(
        HttpClient::prepare(&target, None)
            .unwrap_err()
            .to_string()
            .contains("is empty")
    );
    target.url = UrlSource::File(scratch.0.join("none"));
    assert!(
        HttpClient::prepare(&target, None)
            .unwrap_err()
            .to_string()
            .contains("none")
    );
    target.url = UrlSource::Plain(format!("http://{address}/"));
    target.secret_file = Some(scratch.0.join("no-key"));
    assert!(HttpClient::prepare(&target, None).is_err());
}

/// A server with TLS, as openssl makes one.
struct TlsServer {
    child: Child,
    address: SocketAddr,
}

impl TlsServer {
    fn start(certificate: &Path, key: &Path) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut child = Command::new("openssl")
            .args(["s_server", "-quiet", "-accept", &address.to_string(), "-cert"])
            .arg(certificate)
            .arg("-key")
            .arg(key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is needed for a server that is not of our making");
        // Its answer lies ready.
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        child.stdin.as_mut().unwrap().write_all(answer).unwrap();
        // It would take a connection that looks whether it listens for the client: look at the kernel's table instead.
        let listens = format!("0100007F:{:04X}", address.port());
        for _ in 0..3_000 {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            if table
                .lines()
                .any(|line| line.contains(&listens) && line.contains(" 0A "))
            {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, address }
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// With TLS, a server that proves itself by the given authority is told; one that does not is not, and nothing is sent to it.
#[test]
fn tls_server_must_prove_itself() {
    let scratch = Scratch::new("tls");
    let make = |name: &str, subject: &str| {
        let (certificate, key) = (
            scratch.0.join(format!("{name}.pem")),
            scratch.0.join(format!("{name}.key")),
        );
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ])
            .args([
                "-days",
                "2",
                "-subj",
                "/CN=test",
                "-addext",
                &format!("subjectAltName={subject}"),
            ])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-out")
            .arg(&certificate)
            .arg("-keyout")
            .arg(&key)
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success());
        (certificate, key)
    };
    let (certificate, key) = make("server", "IP:127.0.0.1");
    let (other, _) = make("other", "IP:127.0.0.1");
    let (wrong_name, wrong_key) = make("wrong", "DNS:elsewhere.example");

    let mut server = TlsServer::start(&certificate, &key);
    let mut target = target(format!("https://{}/hook", server.address));
    target.ca_file = Some(certificate);
    let outcome = post(&target, None);
    assert!(matches!(outcome, Outcome::Delivered), "{outcome:?}");
    let mut said = [0; 11];
    server
        .child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut said)
        .unwrap();
    assert_eq!(&said, b"POST /hook ");

    target.ca_file = Some(other);
    let outcome = post(&target, None);
    assert!(why(&outcome).contains("no TLS connection"), "{outcome:?}");

    let wrong = TlsServer::start(&wrong_name, &wrong_key);
    target.url = UrlSource::Plain(format!("https://{}/hook", wrong.address));
    target.ca_file = Some(wrong_name);
    let outcome = post(&target, None);
    assert!(why(&outcome).contains("no TLS connection"), "{outcome:?}");

    target.ca_file = Some(scratch.file("nonsense.pem", "no certificate"));
    assert!(HttpClient::prepare(&target, None).is_err());
}
