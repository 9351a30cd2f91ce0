//! Rate-limited HTTP requests with retries. API keys never appear in messages or logs.

use std::time::Duration;

use anyhow::{Context, Result};
use backon::{ExponentialBuilder, Retryable};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::time::{Interval, MissedTickBehavior};

/// URL query parameters whose values are secret.
const SECRET_PARAMETERS: [&str; 4] = ["api_key", "key", "access_token", "signature"];
/// Upper limit of waits, including those that servers request.
const MAX_WAIT: Duration = Duration::from_secs(600);

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

/// Why a request failed.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// A retry may succeed.
    #[error("{why}")]
    Transient {
        /// The message.
        why: String,
        /// Wait requested by the server.
        wait: Option<Duration>,
    },
    /// The resource does not exist.
    #[error("{0}")]
    NotFound(String),
    /// A retry would fail too.
    #[error("{0}")]
    Permanent(String),
}

impl FetchError {
    /// A transient failure without a requested wait.
    pub(super) fn transient(why: impl Into<String>) -> Self {
        Self::Transient { why: why.into(), wait: None }
    }

    /// Classifies the status of a failed request: 429 and server errors are transient, 404 and 410 mean not found.
    pub(super) fn from_status(status: StatusCode, why: String, wait: Option<Duration>) -> Self {
        match status.as_u16() {
            404 | 410 => Self::NotFound(why),
            429 | 500 | 502..=504 => Self::Transient { why, wait },
            _ => Self::Permanent(why),
        }
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
    /// Body.
    pub(super) body: Vec<u8>,
    wait: Option<Duration>,
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
        let why = format!("{} returned {}{}", redact_keys(&self.url), self.status, self.excerpt());
        Err(FetchError::from_status(self.status, why, self.wait))
    }

    /// Parses the JSON body of a successful response.
    ///
    /// # Errors
    /// As [`HttpResponse::success`]; invalid or unexpected JSON is a permanent error.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, FetchError> {
        let body = self.success()?;
        serde_json::from_slice(body).map_err(|e| {
            FetchError::Permanent(format!("{} returned unexpected JSON: {e}{}", redact_keys(&self.url), self.excerpt()))
        })
    }

    /// The beginning of a text body, with secrets redacted, to append to an error message.
    fn excerpt(&self) -> String {
        let text = std::str::from_utf8(&self.body).unwrap_or_default();
        let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for (_, value) in self.url.query_pairs().filter(|(name, _)| SECRET_PARAMETERS.contains(&name.as_ref())) {
            line = line.replace(value.as_ref(), "HIDDEN");
        }
        if line.is_empty() { String::new() } else { format!(": {}", line.chars().take(200).collect::<String>()) }
    }
}

/// Sends requests of one kind to one service, limited to one per interval across all tasks that share the client.
pub(super) struct RateLimitedClient {
    client: Client,
    authorization: Option<HeaderValue>,
    ticks: Mutex<Interval>,
    retries: ExponentialBuilder,
}

impl RateLimitedClient {
    /// Creates a client that sends at most one request per `interval`.
    ///
    /// # Errors
    /// If TLS cannot be initialised.
    pub(super) fn new(interval: Duration, policy: &RetryPolicy) -> Result<Self> {
        let client = Client::builder()
            // A Referer header would leak URLs with API keys.
            .referer(false)
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
        Ok(Self { client, authorization: None, ticks: Mutex::new(ticks), retries })
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
            .await
    }

    async fn request(&self, url: &Url) -> Result<HttpResponse, FetchError> {
        let response = self.send(url, |request| request).await?;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let (status, at) = (response.status(), response.url().clone());
        let kind = header(CONTENT_TYPE).unwrap_or_default().to_owned();
        let wait = retry_after(&response);
        let body = response.bytes().await.map_err(|e| connection_error(url, e))?.to_vec();
        Ok(HttpResponse { status, url: at, kind, body, wait })
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
    FetchError::transient(format!("{} cannot be reached: {}", redact_keys(url), error_chain(&error.without_url())))
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

/// Parses a `Retry-After` value: seconds or a date.
fn parse_retry_after(value: &str) -> Option<Duration> {
    let wait = match value.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = chrono::DateTime::parse_from_rfc2822(value.trim()).ok()?;
            (until.to_utc() - chrono::Utc::now()).to_std().unwrap_or_default()
        }
    };
    Some(wait.min(MAX_WAIT))
}

/// Formats a URL with the values of secret parameters redacted.
pub(super) fn redact_keys(url: &Url) -> String {
    let mut shown = url.clone();
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    if pairs.iter().any(|(name, _)| SECRET_PARAMETERS.contains(&name.as_str())) {
        let redacted = pairs.iter().map(|(name, value)| {
            (name.as_str(), if SECRET_PARAMETERS.contains(&name.as_str()) { "HIDDEN" } else { value.as_str() })
        });
        shown.query_pairs_mut().clear().extend_pairs(redacted);
    }
    shown.to_string()
}

/// Parses a URL and appends query parameters to it.
///
/// # Errors
/// If `base` is not a valid URL.
pub(super) fn url_with_query<'a>(base: &str, query: impl IntoIterator<Item = (&'a str, String)>) -> Result<Url> {
    let mut url = Url::parse(base).with_context(|| format!("`{base}` is not a valid URL"))?;
    url.query_pairs_mut().extend_pairs(query);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_redacted_in_urls() {
        let url =
            url_with_query("https://example.org/a?x=1", [("api_key", "abc".into()), ("text", "Paris -fun".into())]);
        let shown = redact_keys(&url.unwrap());
        assert_eq!(shown, "https://example.org/a?x=1&api_key=HIDDEN&text=Paris+-fun");
    }

    #[test]
    fn keys_that_servers_echo_are_redacted() {
        let response = HttpResponse {
            status: StatusCode::FORBIDDEN,
            url: url_with_query("https://example.org/a", [("key", "top/secret".into())]).unwrap(),
            kind: String::new(),
            body: b"the key top/secret is blocked".to_vec(),
            wait: None,
        };
        let why = response.success().unwrap_err().to_string();
        assert!(why.ends_with("403 Forbidden: the key HIDDEN is blocked") && !why.contains("secret"), "{why}");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(parse_retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(parse_retry_after("999999"), Some(MAX_WAIT));
        let soon = (chrono::Utc::now() + chrono::TimeDelta::seconds(90)).to_rfc2822();
        assert!(parse_retry_after(&soon).is_some_and(|wait| (85..=90).contains(&wait.as_secs())), "{soon}");
        assert_eq!(parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(parse_retry_after("later"), None);
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
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let app = axum::Router::new().fallback(response);
        tokio::spawn(async move { axum::serve(listener, app).await });
        let policy = RetryPolicy { first_wait: Duration::from_millis(1), ..RetryPolicy::default() };
        RateLimitedClient::new(Duration::ZERO, &policy)
            .unwrap()
            .get(&url, |response| response.success().map(drop))
            .await
            .unwrap();
        let waited: Vec<Duration> = request_times.lock().unwrap().windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(waited.len(), 2);
        assert!(waited[0] >= Duration::from_secs(2), "Retry-After: {waited:?}");
        assert!(waited[1] < Duration::from_secs(2), "no Retry-After: {waited:?}");
    }
}
