//! A small HTTP/1.1 client for loopback: one request, one connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

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
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer");
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
