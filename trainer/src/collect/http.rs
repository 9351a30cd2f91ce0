//! Rate-limited HTTP requests with retries and a maximum size of responses. API keys never appear in messages or logs,
//! and are never sent to another host.

use std::time::Duration;

use anyhow::{Context, Result};
use backon::{ExponentialBuilder, Retryable};
use landfall_common::http::client_builder;
use landfall_common::text::sanitize_line;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::time::{Interval, MissedTickBehavior};

use super::fetch_error::{MAX_WAIT, parse_retry_after};
use super::keys::{redact_keys, redirects, secrets_in};

pub(super) use super::fetch_error::FetchError;

/// Maximum size of the answer of an API. Full pages of results have about 2 MB.
pub(super) const MAX_REPLY_BYTES: usize = 16 << 20;
/// Maximum size of an image.
pub(super) const MAX_PICTURE_BYTES: usize = 64 << 20;
/// Error pages are read up to this size; only their beginning is shown.
const MAX_ERROR_BYTES: usize = 64 << 10;
/// Waits of this length are reported.
const NOTICEABLE_WAIT: Duration = Duration::from_secs(30);

/// How requests are retried.
#[derive(Clone, Debug)]
pub(super) struct RetryPolicy {
    /// Maximum number of tries per request.
    pub(super) tries: usize,
    /// Wait before the second try; each further wait is twice as long. All waits have random jitter added.
    pub(crate) first_wait: Duration,
    /// Time limit for connecting, and for the response.
    pub(super) timeout: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { tries: 8, first_wait: Duration::from_secs(1), timeout: Duration::from_secs(60) }
    }
}

/// A complete HTTP response of any status.
pub(super) struct HttpResponse {
    /// Status code.
    pub(super) status: StatusCode,
    /// Final URL after redirects.
    pub(super) url: Url,
    /// `Content-Type` header.
    pub(super) kind: String,
    /// Body; of an unsuccessful response perhaps only its beginning.
    pub(super) body: Vec<u8>,
    /// Wait that the server requests.
    wait: Option<Duration>,
    /// Keys that were sent, which must not appear in messages.
    secrets: Vec<String>,
}

impl HttpResponse {
    /// Returns the body of a successful response.
    ///
    /// # Errors
    /// For all other status codes, classified by [`FetchError::from_status`].
    pub(super) fn success(&self) -> Result<&[u8], FetchError> {
        if self.status.is_success() {
            return Ok(&self.body);
        }
        Err(self.failure(self.describe(&self.status.to_string())))
    }

    /// A transient failure, with the wait that the server requests.
    pub(super) fn transient(&self, why: String) -> FetchError {
        FetchError::after(why, self.wait)
    }

    /// The failure that the status stands for; permanent if the status is that of success.
    pub(super) fn failure(&self, why: String) -> FetchError {
        FetchError::from_status(self.status, why, self.wait)
    }

    /// A message with the URL, what it returned, and the beginning of the body if that is text.
    pub(super) fn describe(&self, what: &str) -> String {
        let excerpt = std::str::from_utf8(&self.body).map(|text| self.clean(text)).unwrap_or_default();
        let colon = if excerpt.is_empty() { "" } else { ": " };
        format!("{} returned {what}{colon}{excerpt}", redact_keys(&self.url))
    }

    /// The beginning of a text from the server, on one line and without keys.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut line = text.chars().take(10_000).collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ");
        for secret in &self.secrets {
            line = line.replace(secret, "HIDDEN");
        }
        sanitize_line(line.chars().take(200).collect::<String>())
    }

    /// Parses the JSON body of a successful response.
    ///
    /// # Errors
    /// As [`HttpResponse::success`]. A body that is not JSON comes from a proxy or is truncated, which is transient;
    /// unexpected JSON is a permanent error.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, FetchError> {
        serde_json::from_slice(self.success()?).map_err(|error| self.json_error(&error))
    }

    /// The error for a body that cannot be parsed.
    pub(super) fn json_error(&self, error: &serde_json::Error) -> FetchError {
        let error_text = self.clean(&error.to_string());
        match error.classify() {
            serde_json::error::Category::Data => {
                FetchError::Permanent(self.describe(&format!("unexpected JSON ({error_text})")))
            }
            _ => self.transient(self.describe(&format!("invalid JSON ({error_text})"))),
        }
    }
}

/// Sends requests of one kind to one service, limited to one per interval across all tasks that share the client.
pub(super) struct RateLimitedClient {
    client: Client,
    authorization: Option<HeaderValue>,
    max_bytes: usize,
    ticks: Mutex<Interval>,
    retries: ExponentialBuilder,
}

impl RateLimitedClient {
    /// Creates a client that sends at most one request per `interval` and reads responses of at most `max_bytes`.
    ///
    /// # Errors
    /// If TLS cannot be initialised.
    pub(super) fn new(interval: Duration, policy: &RetryPolicy, max_bytes: usize) -> Result<Self> {
        let client = client_builder()
            // A Referer header would leak URLs with API keys.
            .referer(false)
            .redirect(redirects())
            .user_agent(concat!("landfall-train/", env!("CARGO_PKG_VERSION"), " (", env!("CARGO_PKG_REPOSITORY"), ")"))
            .connect_timeout(policy.timeout)
            .read_timeout(policy.timeout)
            .timeout(policy.timeout);
        let mut ticks = tokio::time::interval(interval.max(Duration::from_micros(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let retries = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(policy.first_wait)
            .with_max_delay(MAX_WAIT)
            .with_max_times(policy.tries.saturating_sub(1));
        let client = client.build().context("cannot create an HTTP client")?;
        Ok(Self { client, authorization: None, max_bytes, ticks: Mutex::new(ticks), retries })
    }

    /// Adds an `Authorization` header to all requests.
    ///
    /// # Errors
    /// If the value is not valid in a header.
    pub(super) fn authorized(self, value: &str) -> Result<Self> {
        let mut value = HeaderValue::from_str(value).ok().context("the key contains invalid characters")?;
        value.set_sensitive(true);
        Ok(Self { authorization: Some(value), ..self })
    }

    /// Requests a URL until `read` accepts a response, a permanent error occurs, or all tries are used up.
    ///
    /// # Errors
    /// The last error.
    pub(super) async fn get<T>(
        &self,
        url: &Url,
        read: impl Fn(&HttpResponse) -> Result<T, FetchError>,
    ) -> Result<T, FetchError> {
        self.retry(|| self.try_once(url, &read)).await
    }

    /// Sends one request without retries.
    ///
    /// # Errors
    /// The error of the request or of `read`.
    pub(super) async fn try_once<T>(
        &self,
        url: &Url,
        read: impl Fn(&HttpResponse) -> Result<T, FetchError>,
    ) -> Result<T, FetchError> {
        read(&self.request(url).await?)
    }

    /// Retries `once` until it succeeds, a permanent error occurs, or all tries are used up.
    ///
    /// # Errors
    /// The last error.
    pub(super) async fn retry<T, F>(&self, once: impl FnMut() -> F) -> Result<T, FetchError>
    where
        F: Future<Output = Result<T, FetchError>>,
    {
        once.retry(self.retries)
            .when(|error| matches!(error, FetchError::Transient { .. }))
            .adjust(|error, wait| match error {
                FetchError::Transient { wait: Some(requested), .. } => wait.map(|wait| wait.max(*requested)),
                _ => wait,
            })
            .notify(|error, wait| {
                if wait >= NOTICEABLE_WAIT {
                    tracing::warn!("{error}; trying again in {} s", wait.as_secs());
                }
            })
            .await
    }

    async fn request(&self, url: &Url) -> Result<HttpResponse, FetchError> {
        let mut response = self.send(url, |request| request).await?;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let (status, at) = (response.status(), response.url().clone());
        let kind = header(CONTENT_TYPE).unwrap_or_default().to_owned();
        let wait = retry_after(&response);
        let max = if status.is_success() { self.max_bytes } else { MAX_ERROR_BYTES };
        let too_large = || {
            let limit = self.max_bytes >> 20;
            FetchError::Permanent(format!("{} returned more than {limit} MiB, which is the limit", redact_keys(&at)))
        };
        if status.is_success() && response.content_length().is_some_and(|bytes| bytes > max as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| connection_error(url, e))? {
            if body.len() + chunk.len() > max {
                if status.is_success() {
                    return Err(too_large());
                }
                break;
            }
            body.extend_from_slice(&chunk);
        }
        Ok(HttpResponse { status, url: at, kind, body, wait, secrets: self.secrets(url) })
    }

    /// The keys in a request of a URL.
    fn secrets(&self, url: &Url) -> Vec<String> {
        let authorization = self.authorization.as_ref().and_then(|value| value.to_str().ok());
        let token = authorization.and_then(|value| value.split(' ').next_back()).map(str::to_owned);
        secrets_in(url).chain(token).filter(|secret| !secret.is_empty()).collect()
    }

    /// Waits for the rate limit and sends one request, customised by `with`.
    ///
    /// # Errors
    /// If there is no response.
    pub(super) async fn send(
        &self,
        url: &Url,
        with: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, FetchError> {
        self.ticks.lock().await.tick().await;
        let span = tracing::info_span!("request", url = %redact_keys(url));
        let mut request = self.client.get(url.clone());
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let response = with(request).send().await.map_err(|e| connection_error(url, e));
        match &response {
            Ok(response) => tracing::debug!(parent: &span, status = response.status().as_u16(), "response"),
            Err(error) => tracing::debug!(parent: &span, %error, "no response"),
        }
        response
    }
}

/// Converts a connection error. The URL is removed from its text because it may contain an API key.
pub(super) fn connection_error(url: &Url, error: reqwest::Error) -> FetchError {
    let is_permanent = error.is_redirect() || error.is_builder();
    let why = format!("{} cannot be reached: {}", redact_keys(url), error_chain(&error.without_url()));
    if is_permanent { FetchError::Permanent(why) } else { FetchError::transient(why) }
}

/// Formats an error and its causes on one line.
fn error_chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The wait that a response requests with `Retry-After`.
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    response.headers().get(RETRY_AFTER).and_then(|value| parse_retry_after(value.to_str().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::keys::url_with_query;
    use std::sync::{Arc, Mutex as StdMutex};

    async fn serve(app: axum::Router) -> Url {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        url
    }

    fn client(max_bytes: usize) -> RateLimitedClient {
        let policy = RetryPolicy { first_wait: Duration::from_millis(1), ..RetryPolicy::default() };
        RateLimitedClient::new(Duration::ZERO, &policy, max_bytes).unwrap()
    }

    #[test]
    fn keys_that_servers_echo_are_redacted() {
        let response = HttpResponse {
            status: StatusCode::FORBIDDEN,
            url: url_with_query("https://example.org/a", [("key", "top/secret".into())]).unwrap(),
            kind: String::new(),
            body: b"the key top/secret is \x1b[31mblocked".to_vec(),
            wait: None,
            secrets: vec!["top/secret".into()],
        };
        let why = response.success().unwrap_err().to_string();
        assert!(why.ends_with("403 Forbidden: the key HIDDEN is \u{fffd}[31mblocked"), "{why}");
        assert!(!why.contains("secret"), "{why}");
    }

    #[tokio::test]
    async fn retry_after_is_respected() {
        let request_times = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let times = request_times.clone();
        let response = move || async move {
            let mut times = times.lock().unwrap();
            times.push(std::time::Instant::now());
            match times.len() {
                1 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "2")]),
                2 => (StatusCode::SERVICE_UNAVAILABLE, [("x-nothing", "")]),
                _ => (StatusCode::OK, [("x-nothing", "")]),
            }
        };
        let url = serve(axum::Router::new().fallback(response)).await;
        client(1000).get(&url, |response| response.success().map(drop)).await.unwrap();
        let waited: Vec<Duration> = request_times.lock().unwrap().windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(waited.len(), 2);
        assert!(waited[0] >= Duration::from_secs(2), "Retry-After: {waited:?}");
        assert!(waited[1] < Duration::from_secs(2), "no Retry-After: {waited:?}");
    }

    #[tokio::test]
    async fn keys_are_not_sent_to_another_host() {
        let received: Arc<StdMutex<Vec<String>>> = Arc::default();
        let other = {
            let received = received.clone();
            let record = move |request: axum::extract::Request| async move {
                received.lock().unwrap().push(format!("{} {:?}", request.uri(), request.headers()));
            };
            serve(axum::Router::new().fallback(record)).await
        };
        // The redirect keeps the query, as a host that has moved does.
        let target = other.clone();
        let redirect = move |uri: axum::http::Uri| async move {
            axum::response::Redirect::temporary(&format!("{target}moved?{}", uri.query().unwrap_or_default()))
        };
        let url = serve(axum::Router::new().fallback(redirect)).await;
        let with_key = url_with_query(url.as_str(), [("key", "top-secret".into())]).unwrap();
        let error = client(1000).get(&with_key, |response| response.success().map(drop)).await.unwrap_err();
        assert!(matches!(error, FetchError::Permanent(_)), "{error}");
        assert!(
            error.to_string().contains("another host, 127.0.0.1") && !error.to_string().contains("secret"),
            "{error}"
        );
        assert_eq!(received.lock().unwrap().len(), 0);

        let authorized = client(1000).authorized("OAuth top-secret").unwrap();
        authorized.get(&url, |response| response.success().map(drop)).await.unwrap();
        let seen = received.lock().unwrap().concat();
        assert!(seen.starts_with("/moved") && !seen.contains("secret"), "{seen}");
    }

    #[tokio::test]
    async fn responses_have_a_maximum_size() {
        let body = |bytes: usize| move || async move { vec![b'a'; bytes] };
        let endless = || async {
            let chunks = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'a'; 1000]));
            axum::body::Body::from_stream(chunks)
        };
        let missing = || async { (StatusCode::NOT_FOUND, vec![b'a'; 100_000]) };
        let app = axum::Router::new()
            .route("/fits", axum::routing::get(body(5000)))
            .route("/large", axum::routing::get(body(5001)))
            .route("/endless", axum::routing::get(endless))
            .route("/missing", axum::routing::get(missing));
        let base = serve(app).await;
        let get = async |path: &str| {
            client(5000).get(&base.join(path).unwrap(), |response| response.success().map(<[u8]>::len)).await
        };
        assert_eq!(get("fits").await.unwrap(), 5000);
        for path in ["large", "endless"] {
            let error = get(path).await.unwrap_err();
            assert!(matches!(&error, FetchError::Permanent(why) if why.contains("which is the limit")), "{error}");
        }
        assert!(matches!(get("missing").await.unwrap_err(), FetchError::NotFound(_)));
    }

    #[tokio::test]
    async fn html_in_place_of_json_is_requested_again() {
        let requests = Arc::new(StdMutex::new(0));
        let reply = move || async move {
            *requests.lock().unwrap() += 1;
            ["<html>Just a moment...", r#"{"data":["#, "", r#"{"data":7}"#][(*requests.lock().unwrap() - 1).min(3)]
        };
        let url = serve(axum::Router::new().fallback(reply)).await;
        let parse = |response: &HttpResponse| response.json::<serde_json::Value>();
        assert_eq!(client(1000).get(&url, parse).await.unwrap()["data"], 7);
        let unexpected = client(1000).get(&url, |response| response.json::<Vec<u8>>()).await.unwrap_err();
        assert!(matches!(&unexpected, FetchError::Permanent(why) if why.contains("unexpected JSON")), "{unexpected}");
    }
}
