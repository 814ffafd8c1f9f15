//! A server on loopback, each of whose connections is a task, and its client.

use crate::fate::Fate;
use std::io::Write;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Listens; where.
pub(crate) async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(accept(listener));
    address
}

async fn accept(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        tokio::spawn(serve_connection(stream));
    }
}

async fn serve_connection(mut stream: TcpStream) {
    let mut request = [0; 8];
    if stream.read_exact(&mut request).await.is_ok() {
        Fate::requested(request).meet().await;
        // The client may be gone.
        let _ = stream.write_all(b"ok").await;
    }
}

/// A request of this fate; the answer is not waited for.
pub(crate) fn ask(server: SocketAddr, fate: Fate) {
    let mut stream = std::net::TcpStream::connect(server).expect("a connection");
    stream.write_all(&fate.request()).expect("a request");
}
