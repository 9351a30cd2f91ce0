//! The HTTP client of a session.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use axum::body::Bytes;
use axum::http::{Method, Request, Response};
use thirtyfour::error::{WebDriverError, WebDriverResult};
use thirtyfour::session::http::{Body, HttpClient};
use url::Url;

use crate::browser::driver::DriverGuard;
use crate::browser::http::http_client;

/// Time limit for the answer to a command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// Time limit for a new session of a server, which may have to wait for a free browser.
const SESSION_TIMEOUT: Duration = Duration::from_secs(120);

/// The client of a session. A driver of our own lives as long as the client, and so as the session.
pub(super) struct SessionClient {
    http: reqwest::Client,
    server: Url,
    driver: Option<Arc<DriverGuard>>,
}

impl SessionClient {
    pub(super) fn new(server: &Url, driver: Option<DriverGuard>) -> Result<Self> {
        Ok(Self { http: http_client(server)?, server: server.clone(), driver: driver.map(Arc::new) })
    }
}

#[async_trait]
impl HttpClient for SessionClient {
    async fn send(&self, request: Request<Body<'_>>) -> WebDriverResult<Response<Bytes>> {
        let is_new = request.method() == Method::POST && request.uri().path().ends_with("/session");
        let limit = if is_new && self.driver.is_none() { SESSION_TIMEOUT } else { COMMAND_TIMEOUT };
        let answer = tokio::time::timeout(limit, HttpClient::send(&self.http, request)).await;
        answer.unwrap_or_else(|_| {
            Err(WebDriverError::Timeout(format!("the WebDriver server did not answer within {} s", limit.as_secs())))
        })
    }

    // A client of its own, because this is called when the runtime of the old connections may be gone.
    async fn new(&self) -> Arc<dyn HttpClient> {
        let http = http_client(&self.server).unwrap_or_else(|_| self.http.clone());
        Arc::new(Self { http, server: self.server.clone(), driver: self.driver.clone() })
    }
}
