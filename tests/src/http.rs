//! A small HTTP/1.1 client for loopback: one request, one connection; or many on one that stays open.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Gets `path`; the status and the body.
///
/// # Errors
///
/// What the socket says, and answers that are not HTTP.
pub fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let split = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or_else(bad)?;
    let head = String::from_utf8_lossy(&bytes[..split]).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(bad)?;
    let mut body = &bytes[split + 4..];
    let mut whole = Vec::new();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        loop {
            let end = body.windows(2).position(|two| two == b"\r\n").ok_or_else(bad)?;
            let size = std::str::from_utf8(&body[..end]).map_err(|_| bad())?;
            let size = usize::from_str_radix(size.trim(), 16).map_err(|_| bad())?;
            if size == 0 {
                break;
            }
            whole.extend_from_slice(body.get(end + 2..end + 2 + size).ok_or_else(bad)?);
            body = body.get(end + 4 + size..).ok_or_else(bad)?;
        }
    } else {
        whole.extend_from_slice(body);
    }
    String::from_utf8(whole)
        .map(|body| (status, body))
        .map_err(|_| bad())
}

/// A connection that stays open.
pub struct Connection {
    stream: BufReader<Box<dyn Stream>>,
}

trait Stream: Read + Write + Send {}
impl Stream for TcpStream {}
impl Stream for UnixStream {}

impl Connection {
    /// Connects to a port.
    ///
    /// # Errors
    ///
    /// What the socket says.
    pub fn to(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self::over(Box::new(stream)))
    }

    /// Connects to a socket in the file system.
    ///
    /// # Errors
    ///
    /// What the socket says.
    pub fn to_socket(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self::over(Box::new(stream)))
    }

    fn over(stream: Box<dyn Stream>) -> Self {
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Requests `path`; the status and the body.
    ///
    /// # Errors
    ///
    /// What the socket says, and answers that are not HTTP.
    pub fn request(&mut self, method: &str, path: &str) -> io::Result<(u16, String)> {
        write!(
            self.stream.get_mut(),
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        )?;
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(':').map(|(name, value)| (name, value.trim())) {
                None => break,
                Some(("content-length", value)) => length = value.parse().map_err(|_| bad())?,
                Some(("transfer-encoding", "chunked")) => chunked = true,
                Some(_) => {}
            }
        }
        let mut body = Vec::new();
        if chunked {
            loop {
                let size = usize::from_str_radix(&self.line()?, 16).map_err(|_| bad())?;
                self.take(size, &mut body)?;
                let _end = self.line()?;
                if size == 0 {
                    break;
                }
            }
        } else {
            self.take(length, &mut body)?;
        }
        let body = String::from_utf8(body).map_err(|_| bad())?;
        status.map(|status| (status, body)).ok_or_else(bad)
    }

    /// Gets `path`, which is to be there.
    ///
    /// # Errors
    ///
    /// As [`Self::request`], and any other status than 200.
    pub fn get(&mut self, path: &str) -> io::Result<String> {
        match self.request("GET", path)? {
            (200, body) => Ok(body),
            (status, body) => Err(io::Error::other(format!("{path}: {status}: {body}"))),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    fn take(&mut self, size: usize, body: &mut Vec<u8>) -> io::Result<()> {
        let before = body.len();
        body.resize(before + size, 0);
        self.stream.read_exact(&mut body[before..])
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a connection")
    }
}

fn bad() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer")
}
