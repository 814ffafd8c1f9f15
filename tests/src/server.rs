//! A server of other people, and connections to it.

use crate::agent::free_port;
use crate::wait::until;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A server that runs; dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts it on a free port and waits until it listens there.
    #[must_use]
    pub fn start(program: &Path, arguments: impl FnOnce(SocketAddr) -> Vec<String>) -> Self {
        Self::run(Command::new(program), arguments)
    }

    /// The same, with a command that is prepared and in the end becomes the server.
    #[must_use]
    pub fn run(mut command: Command, arguments: impl FnOnce(SocketAddr) -> Vec<String>) -> Self {
        let address = free_port();
        let child = command
            .args(arguments(address))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, address };
        until("the server listens", || TcpStream::connect(address));
        server
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens `n` connections and has one request answered on each.
    #[must_use]
    pub fn connections(&self, n: usize, request: &str, answer: &str) -> Vec<TcpStream> {
        let connect = || {
            let mut stream = TcpStream::connect(self.address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut bytes = [0; 4096];
            let mut read = 0;
            while !String::from_utf8_lossy(&bytes[..read]).contains(answer) {
                let n = stream.read(&mut bytes[read..]).unwrap();
                assert!(
                    n > 0,
                    "closed after {:?}",
                    String::from_utf8_lossy(&bytes[..read])
                );
                read += n;
            }
            stream
        };
        (0..n).map(|_| connect()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
