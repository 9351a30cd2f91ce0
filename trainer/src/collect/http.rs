//! Polite requests: paced, retried when that can help, with keys kept out of all that is printed.

use std::time::Duration;

use anyhow::{Context, Result};
use backon::{ExponentialBuilder, Retryable};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::time::{Interval, MissedTickBehavior};

/// Parameters of addresses whose values nobody must see.
const SECRET_PARAMETERS: [&str; 4] = ["api_key", "key", "access_token", "signature"];
/// Nobody waits longer because a server says so.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// How requests are made.
#[derive(Clone, Debug)]
pub(super) struct RetryPolicy {
    /// Tries of one request.
    pub(super) tries: usize,
    /// Wait before the second try; each further one is twice as long, and all are longer by chance.
    pub(crate) first_wait: Duration,
    /// How long a connection, and then an answer, may take.
    pub(super) timeout: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { tries: 8, first_wait: Duration::from_secs(1), timeout: Duration::from_secs(60) }
    }
}

/// Why a request brought nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// It may work a little later.
    #[error("{why}")]
    Transient {
        /// What happened.
        why: String,
        /// How long the server asks to be left alone.
        wait: Option<Duration>,
    },
    /// What was asked for is not there.
    #[error("{0}")]
    NotFound(String),
    /// It will not work later either.
    #[error("{0}")]
    Permanent(String),
}

impl FetchError {
    /// A failure that may be over soon.
    pub(super) fn transient(why: impl Into<String>) -> Self {
        Self::Transient { why: why.into(), wait: None }
    }

    /// What a status means that is no success: 429 and errors of the server may pass, 404 and 410 say that a thing is gone.
    pub(super) fn from_status(status: StatusCode, why: String, wait: Option<Duration>) -> Self {
        match status.as_u16() {
            404 | 410 => Self::NotFound(why),
            429 | 500 | 502..=504 => Self::Transient { why, wait },
            _ => Self::Permanent(why),
        }
    }
}

/// What a server answered, whatever its status.
pub(super) struct HttpResponse {
    /// The status.
    pub(super) status: StatusCode,
    /// The address that answered in the end, after redirects.
    pub(super) url: Url,
    /// The type of the body, as the server has it.
    pub(super) kind: String,
    /// The whole body.
    pub(super) body: Vec<u8>,
    wait: Option<Duration>,
}

impl HttpResponse {
    /// The body of a success.
    ///
    /// # Errors
    /// For all other statuses, classified by [`FetchError::from_status`].
    pub(super) fn success(&self) -> Result<&[u8], FetchError> {
        if self.status.is_success() {
            return Ok(&self.body);
        }
        let why = format!("{} answers {}{}", redact_keys(&self.url), self.status, self.excerpt());
        Err(FetchError::from_status(self.status, why, self.wait))
    }

    /// The json of a success.
    ///
    /// # Errors
    /// As [`HttpResponse::success`]; json that is none, or of another shape, does not pass.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, FetchError> {
        let body = self.success()?;
        serde_json::from_slice(body).map_err(|e| {
            FetchError::Permanent(format!(
                "{} answers with what was not expected: {e}{}",
                redact_keys(&self.url),
                self.excerpt()
            ))
        })
    }

    /// The beginning of a text, to be shown behind an error.
    fn excerpt(&self) -> String {
        let text = std::str::from_utf8(&self.body).unwrap_or_default();
        let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for (_, value) in self.url.query_pairs().filter(|(name, _)| SECRET_PARAMETERS.contains(&name.as_ref())) {
            line = line.replace(value.as_ref(), "HIDDEN");
        }
        if line.is_empty() { String::new() } else { format!(": {}", line.chars().take(200).collect::<String>()) }
    }
}

/// Sends requests of one kind to one service, limited to one per interval however many tasks share it.
pub(super) struct RateLimitedClient {
    client: Client,
    authorization: Option<HeaderValue>,
    ticks: Mutex<Interval>,
    retries: ExponentialBuilder,
}

impl RateLimitedClient {
    /// A client that leaves at least `interval` between two requests.
    ///
    /// # Errors
    /// When there is no TLS to be had.
    pub(super) fn new(interval: Duration, policy: &RetryPolicy) -> Result<Self> {
        let client = Client::builder()
            // It would hand addresses with their keys on.
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
        let client = client.build().context("cannot make an HTTP client")?;
        Ok(Self { client, authorization: None, ticks: Mutex::new(ticks), retries })
    }

    /// The same client with what servers want to see before they answer.
    ///
    /// # Errors
    /// When it cannot stand in a header.
    pub(super) fn authorized(self, value: &str) -> Result<Self> {
        let mut value = HeaderValue::from_str(value).ok().context("the key has letters that no key has")?;
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

    /// Asks once.
    ///
    /// # Errors
    /// That of the request, or of `read`.
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
                FetchError::Transient { wait: Some(asked), .. } => wait.map(|wait| wait.max(*asked)),
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

    /// Sends one request when its turn has come, with what `with` adds to it.
    ///
    /// # Errors
    /// When no server answers.
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

/// A connection that is none, or breaks. The error's own text would show the address with its keys.
pub(super) fn connection_error(url: &Url, error: reqwest::Error) -> FetchError {
    FetchError::transient(format!("{} cannot be reached: {}", redact_keys(url), error_chain(&error.without_url())))
}

/// An error and what caused it, in one line.
fn error_chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// How long a server asks to be left alone.
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    response.headers().get(RETRY_AFTER).and_then(|value| parse_retry_after(value.to_str().ok()?))
}

/// What `Retry-After` asks for: seconds, or a time.
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

/// An address as it may be printed: without the values of its keys.
pub(super) fn redact_keys(url: &Url) -> String {
    let mut shown = url.clone();
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    if pairs.iter().any(|(name, _)| SECRET_PARAMETERS.contains(&name.as_str())) {
        let open = pairs.iter().map(|(name, value)| {
            (name.as_str(), if SECRET_PARAMETERS.contains(&name.as_str()) { "HIDDEN" } else { value.as_str() })
        });
        shown.query_pairs_mut().clear().extend_pairs(open);
    }
    shown.to_string()
}

/// An address with this query behind those that it has.
///
/// # Errors
/// When `base` is no address.
pub(super) fn url_with_query<'a>(base: &str, query: impl IntoIterator<Item = (&'a str, String)>) -> Result<Url> {
    let mut url = Url::parse(base).with_context(|| format!("`{base}` is no address"))?;
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
        let answer = HttpResponse {
            status: StatusCode::FORBIDDEN,
            url: url_with_query("https://example.org/a", [("key", "top/secret".into())]).unwrap(),
            kind: String::new(),
            body: b"the key top/secret is blocked".to_vec(),
            wait: None,
        };
        let why = answer.success().unwrap_err().to_string();
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
        let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let times = asked.clone();
        let answer = move || async move {
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
        let app = axum::Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, app).await });
        let policy = RetryPolicy { first_wait: Duration::from_millis(1), ..RetryPolicy::default() };
        RateLimitedClient::new(Duration::ZERO, &policy)
            .unwrap()
            .get(&url, |answer| answer.success().map(drop))
            .await
            .unwrap();
        let waited: Vec<Duration> = asked.lock().unwrap().windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(waited.len(), 2);
        assert!(waited[0] >= Duration::from_secs(2), "the server said so: {waited:?}");
        assert!(waited[1] < Duration::from_secs(2), "then it did not: {waited:?}");
    }
}
