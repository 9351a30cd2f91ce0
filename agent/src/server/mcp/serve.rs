//! How clients reach the server: standard input and output, or streamable HTTP on this computer.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use landfall_common::exit::environment_error;
use rmcp::ServiceExt;
use rmcp::service::ServerInitializeError;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::stdio_pipes;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};

use super::McpServer;
use crate::server::connections::{self, Limits};
use crate::server::security::{self, OwnHosts};
use crate::server::spans;
use crate::server::token::Token;

/// Path of the endpoint.
const PATH: &str = "/mcp";
/// Nothing of a response is a page.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
/// Maximum size of a message in bytes. Pictures are in Base64, which takes a third more than their files.
const MAX_MESSAGE_BYTES: usize = 32 << 20;
/// Maximum time from a request to its answer.
const RESPONSE_TIME: Duration = Duration::from_secs(120);
/// Time that calls have to end when the server stops.
const SHUTDOWN_TIME: Duration = Duration::from_secs(8);

/// Serves one client on standard input and output, until it closes the input or `stop` ends.
///
/// # Errors
/// When the client does not begin as the protocol says.
pub(crate) async fn serve_stdio(server: McpServer, stop: impl Future<Output = ()>) -> Result<()> {
    let (input, output) = stdio_pipes();
    let transport = AsyncRwTransport::new_server(input, output).with_max_line_length(MAX_MESSAGE_BYTES);
    tokio::pin!(stop);
    let begun = tokio::select! {
        biased;
        () = &mut stop => return Ok(()),
        begun = server.serve(transport) => begun,
    };
    let service = match begun {
        Ok(service) => service,
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        // The message would quote what the client sent.
        Err(_) => return Err(environment_error("the client did not begin with `initialize`, as the protocol says")),
    };
    let canceller = service.cancellation_token();
    let ended = service.waiting();
    tokio::pin!(ended);
    tokio::select! {
        biased;
        () = &mut stop => {
            canceller.cancel();
            _ = tokio::time::timeout(SHUTDOWN_TIME, ended).await;
        }
        _ = &mut ended => {}
    }
    Ok(())
}

/// A server for clients on this computer that is ready to run.
pub(crate) struct HttpServer {
    listener: std::net::TcpListener,
    router: Router,
}

impl HttpServer {
    /// Binds a port of 127.0.0.1; 0 takes any free one.
    ///
    /// # Errors
    /// When the port is in use.
    pub(crate) fn bind(server: McpServer, port: u16, token: Option<&str>) -> Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| {
            environment_error(format!("cannot serve on port {port}: choose another one with --http, or 0 for any"))
        })?;
        let own = OwnHosts::new("http", listener.local_addr()?.port(), Vec::new());
        // Each request stands for itself: what a game needs is in the calls, so there are no sessions to fill the memory.
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_max_request_body_bytes(MAX_MESSAGE_BYTES);
        let sessions = Arc::new(NeverSessionManager::default());
        let service = StreamableHttpService::new(move || Ok(server.clone()), sessions, config);
        let router = Router::new().route_service(PATH, service);
        let token = token.map(Token::new);
        let router = spans::with_spans(router.layer(middleware::from_fn_with_state(token, check_token)));
        let router = security::protect(router, Arc::new(own), POLICY, RESPONSE_TIME);
        Ok(Self { listener, router })
    }

    /// URL of the endpoint.
    ///
    /// # Errors
    /// When the system does not tell the address.
    pub(crate) fn url(&self) -> std::io::Result<String> {
        Ok(format!("http://{}{PATH}", self.listener.local_addr()?))
    }

    /// Serves until `stop` ends, and then answers the calls that have begun.
    ///
    /// # Errors
    /// When the server fails.
    pub(crate) async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let handle = axum_server::Handle::<SocketAddr>::new();
        let stopper = handle.clone();
        tokio::spawn(async move {
            stop.await;
            stopper.graceful_shutdown(Some(SHUTDOWN_TIME));
        });
        let served = connections::serve(self.listener, None, handle, self.router, Limits::USUAL).await;
        served.context(environment_error("the server stopped"))
    }
}

/// Refuses requests without the bearer token, if there is one.
async fn check_token(State(token): State<Option<Token>>, request: Request, next: Next) -> Response {
    match token {
        Some(token) if !token.is_in(request.headers()) => {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            (StatusCode::UNAUTHORIZED, challenge, "This server needs a bearer token.\n").into_response()
        }
        _ => next.run(request).await,
    }
}
