//! Serving connections with limits: a client that sends its request byte by byte, or opens connections without end, must
//! not use up the server.

use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use axum_server::Server;
use axum_server::accept::DefaultAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use tokio::sync::Semaphore;

/// Limits of a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Open connections. A browser opens about six.
    pub connections: usize,
    /// Time for the head of a request, and between two requests on a connection.
    pub head: Duration,
}

impl Limits {
    /// For pages that a few people use.
    pub(super) const USUAL: Self = Self { connections: 256, head: Duration::from_secs(30) };
}

/// Serves a router until the handle stops it, over TLS if there is a certificate.
///
/// # Errors
/// When the listener fails.
pub(super) async fn serve(
    listener: std::net::TcpListener,
    tls: Option<RustlsConfig>,
    handle: axum_server::Handle<SocketAddr>,
    router: Router,
    limits: Limits,
) -> io::Result<()> {
    let service = connections(router, limits.connections);
    let server = axum_server::from_tcp(listener)?.handle(handle);
    match tls {
        // Handshakes have a limit of their own.
        Some(tls) => limited(server.acceptor(RustlsAcceptor::new(tls)), limits).serve(service).await,
        None => limited(server.acceptor(DefaultAcceptor::new()), limits).serve(service).await,
    }
}

fn limited<A>(server: Server<SocketAddr, A>, limits: Limits) -> Server<SocketAddr, A> {
    let mut server = server.first_request_timeout(limits.head);
    let builder = server.http_builder();
    builder.http1().header_read_timeout(limits.head);
    builder.http2().keep_alive_interval(limits.head).max_concurrent_streams(64);
    server
}

/// The service of each connection. It holds one of `count` slots; without a free slot the connection is closed.
fn connections(
    router: Router,
    count: usize,
) -> impl tower::Service<SocketAddr, Response = Router, Error = io::Error, Future = Ready<io::Result<Router>>> {
    let slots = Arc::new(Semaphore::new(count));
    tower::service_fn(move |_| {
        let slot = Arc::clone(&slots).try_acquire_owned().map_err(io::Error::other);
        ready(slot.map(|slot| router.clone().layer(Extension(Arc::new(slot)))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    async fn start(limits: Limits) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(async || "here"));
        tokio::spawn(serve(listener, None, axum_server::Handle::new(), router, limits));
        address
    }

    async fn ask(stream: &mut TcpStream) -> String {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut text = vec![0; 4096];
        let length = stream.read(&mut text).await.unwrap_or(0); // a closed connection may be an error
        String::from_utf8_lossy(&text[..length]).into_owned()
    }

    #[tokio::test]
    async fn slow_and_idle_connections_are_closed() {
        let address = start(Limits { head: Duration::from_millis(300), ..Limits::USUAL }).await;
        for begin in ["", "G", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(begin.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            _ = stream.read_to_end(&mut rest).await; // ends, because the server closes it
            assert!(!String::from_utf8_lossy(&rest).contains("200 OK"), "{begin}");
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut stream).await.contains("200 OK"));
        _ = stream.read_to_end(&mut Vec::new()).await; // idle
    }

    #[tokio::test]
    async fn connections_are_limited_and_slots_are_given_back() {
        let address = start(Limits { connections: 2, ..Limits::USUAL }).await;
        let mut open = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            assert!(ask(&mut stream).await.contains("200 OK"));
            open.push(stream);
        }
        let mut third = TcpStream::connect(address).await.unwrap();
        assert_eq!(ask(&mut third).await, "");
        open.pop();
        // The server notices after a moment that the connection is closed.
        while !ask(&mut TcpStream::connect(address).await.unwrap()).await.contains("200 OK") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
