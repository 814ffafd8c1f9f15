//! A receiver of notifications: an HTTP server that keeps what it is sent and answers as it is told.

use leak_agent::output::alert::{Alert, News, Notification};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

/// One request that was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The request line and the headers.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

/// A server that runs until the test ends.
#[derive(Debug)]
pub struct Sink {
    status: Arc<AtomicU16>,
    taken: Arc<Mutex<Vec<Taken>>>,
}

impl Taken {
    /// The value of a header; its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// The body as a notification.
    #[must_use]
    pub fn notification(&self) -> Notification {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

impl Sink {
    /// Listens there and answers 200.
    #[must_use]
    pub fn listen(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let sink = Self {
            status: Arc::new(AtomicU16::new(200)),
            taken: Arc::default(),
        };
        let (status, taken) = (Arc::clone(&sink.status), Arc::clone(&sink.taken));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let Some(request) = read(&mut stream) else {
                    continue;
                };
                let status = status.load(Ordering::SeqCst);
                if status < 300 {
                    taken.lock().unwrap().push(request);
                }
                // Whoever asked may have gone.
                let _ = write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
            }
        });
        sink
    }

    /// From now on it answers so; only what is answered with less than 300 is kept.
    pub fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// What it has taken.
    #[must_use]
    pub fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }

    /// The findings that it was told of a process, with their news, in order.
    #[must_use]
    pub fn told_of(&self, pid: u32) -> Vec<(News, Alert)> {
        let taken = self.taken();
        let alerts = taken.iter().flat_map(|taken| taken.notification().alerts);
        alerts
            .filter(|alert| alert.pid == pid)
            .map(|alert| (alert.news, alert))
            .collect()
    }
}

/// A whole request; `None` = the other side has gone.
fn read(stream: &mut TcpStream) -> Option<Taken> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
        let Some(split) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let taken = Taken {
            head: String::from_utf8_lossy(&bytes[..split]).into_owned(),
            body: bytes[split + 4..].to_vec(),
        };
        let length = taken
            .header("content-length")
            .and_then(|length| length.parse().ok());
        if taken.body.len() >= length.unwrap_or(0) {
            return Some(taken);
        }
    }
}
