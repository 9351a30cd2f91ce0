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
const SECRET: [&str; 4] = ["api_key", "key", "access_token", "signature"];
/// Nobody waits longer because a server says so.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// How requests are made.
#[derive(Clone, Debug)]
pub(super) struct Manners {
    /// Tries of one request.
    pub(super) tries: usize,
    /// Wait before the second try; each further one is twice as long, and all are longer by chance.
    pub(crate) first_wait: Duration,
    /// How long a connection, and then an answer, may take.
    pub(super) timeout: Duration,
}

impl Default for Manners {
    fn default() -> Self {
        Self { tries: 8, first_wait: Duration::from_secs(1), timeout: Duration::from_secs(60) }
    }
}

/// Why a request brought nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// It may work a little later.
    #[error("{why}")]
    Passing {
        /// What happened.
        why: String,
        /// How long the server asks to be left alone.
        wait: Option<Duration>,
    },
    /// What was asked for is not there.
    #[error("{0}")]
    Gone(String),
    /// It will not work later either.
    #[error("{0}")]
    Lasting(String),
}

impl Trouble {
    /// Trouble that may be over soon.
    pub(super) fn passing(why: impl Into<String>) -> Self {
        Self::Passing { why: why.into(), wait: None }
    }

    /// What a status means that is no success: 429 and errors of the server may pass, 404 and 410 say that a thing is gone.
    pub(super) fn of(status: StatusCode, why: String, wait: Option<Duration>) -> Self {
        match status.as_u16() {
            404 | 410 => Self::Gone(why),
            429 | 500 | 502..=504 => Self::Passing { why, wait },
            _ => Self::Lasting(why),
        }
    }
}

/// What a server answered, whatever its status.
pub(super) struct Answer {
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

impl Answer {
    /// The body of a success.
    ///
    /// # Errors
    /// For all other statuses, as [`Trouble::of`] has them.
    pub(super) fn success(&self) -> Result<&[u8], Trouble> {
        if self.status.is_success() {
            return Ok(&self.body);
        }
        let why = format!("{} answers {}{}", shown(&self.url), self.status, self.excerpt());
        Err(Trouble::of(self.status, why, self.wait))
    }

    /// The json of a success.
    ///
    /// # Errors
    /// As [`Answer::success`]; json that is none, or of another shape, does not pass.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Trouble> {
        let body = self.success()?;
        serde_json::from_slice(body).map_err(|e| {
            Trouble::Lasting(format!("{} answers with what was not expected: {e}{}", shown(&self.url), self.excerpt()))
        })
    }

    /// The beginning of a text, to be shown behind an error.
    fn excerpt(&self) -> String {
        let text = std::str::from_utf8(&self.body).unwrap_or_default();
        let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for (_, value) in self.url.query_pairs().filter(|(name, _)| SECRET.contains(&name.as_ref())) {
            line = line.replace(value.as_ref(), "HIDDEN");
        }
        if line.is_empty() { String::new() } else { format!(": {}", line.chars().take(200).collect::<String>()) }
    }
}

/// Requests of one kind to one service, never more often than its pace, however many ask at once.
pub(super) struct Lane {
    client: Client,
    authorization: Option<HeaderValue>,
    pace: Mutex<Interval>,
    retries: ExponentialBuilder,
}

impl Lane {
    /// A lane with this long between two requests.
    ///
    /// # Errors
    /// When there is no TLS to be had.
    pub(super) fn new(between: Duration, manners: &Manners) -> Result<Self> {
        let client = Client::builder()
            // It would hand addresses with their keys on.
            .referer(false)
            .user_agent(concat!("landfall-train/", env!("CARGO_PKG_VERSION"), " (", env!("CARGO_PKG_REPOSITORY"), ")"))
            .connect_timeout(manners.timeout)
            .read_timeout(manners.timeout)
            .timeout(manners.timeout);
        let mut pace = tokio::time::interval(between.max(Duration::from_micros(1)));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let retries = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(manners.first_wait)
            .with_max_delay(LONGEST_WAIT)
            .with_max_times(manners.tries.saturating_sub(1));
        let client = client.build().context("cannot make an HTTP client")?;
        Ok(Self { client, authorization: None, pace: Mutex::new(pace), retries })
    }

    /// The same lane with what servers want to see before they answer.
    ///
    /// # Errors
    /// When it cannot stand in a header.
    pub(super) fn authorized(self, value: &str) -> Result<Self> {
        let mut value = HeaderValue::from_str(value).ok().context("the key has letters that no key has")?;
        value.set_sensitive(true);
        Ok(Self { authorization: Some(value), ..self })
    }

    /// Asks until `read` makes something of an answer, or finds trouble that lasts, or there were too many tries.
    ///
    /// # Errors
    /// The last trouble.
    pub(super) async fn get<T>(&self, url: &Url, read: impl Fn(&Answer) -> Result<T, Trouble>) -> Result<T, Trouble> {
        self.retry(|| self.once(url, &read)).await
    }

    /// Asks once.
    ///
    /// # Errors
    /// The trouble.
    pub(super) async fn once<T>(&self, url: &Url, read: impl Fn(&Answer) -> Result<T, Trouble>) -> Result<T, Trouble> {
        read(&self.ask(url).await?)
    }

    /// Tries something until it works, finds trouble that lasts, or there were too many tries.
    ///
    /// # Errors
    /// The last trouble.
    pub(super) async fn retry<T, F>(&self, once: impl FnMut() -> F) -> Result<T, Trouble>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        once.retry(self.retries)
            .when(|trouble| matches!(trouble, Trouble::Passing { .. }))
            .adjust(|trouble, wait| match trouble {
                Trouble::Passing { wait: Some(asked), .. } => wait.map(|wait| wait.max(*asked)),
                _ => wait,
            })
            .await
    }

    async fn ask(&self, url: &Url) -> Result<Answer, Trouble> {
        let response = self.send(url, |request| request).await?;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let (status, at) = (response.status(), response.url().clone());
        let kind = header(CONTENT_TYPE).unwrap_or_default().to_owned();
        let wait = wait_of(&response);
        let body = response.bytes().await.map_err(|e| broken(url, e))?.to_vec();
        Ok(Answer { status, url: at, kind, body, wait })
    }

    /// Sends one request when its turn has come, with what `with` adds to it.
    ///
    /// # Errors
    /// When no server answers.
    pub(super) async fn send(
        &self,
        url: &Url,
        with: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, Trouble> {
        self.pace.lock().await.tick().await;
        let mut request = self.client.get(url.clone());
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        with(request).send().await.map_err(|e| broken(url, e))
    }
}

/// A connection that is none, or breaks. The error's own text would show the address with its keys.
pub(super) fn broken(url: &Url, error: reqwest::Error) -> Trouble {
    Trouble::passing(format!("{} cannot be reached: {}", shown(url), chain(&error.without_url())))
}

/// An error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// How long a server asks to be left alone.
pub(super) fn wait_of(response: &Response) -> Option<Duration> {
    response.headers().get(RETRY_AFTER).and_then(|value| seconds_of(value.to_str().ok()?))
}

/// What `Retry-After` asks for: seconds, or a time.
fn seconds_of(value: &str) -> Option<Duration> {
    let wait = match value.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = chrono::DateTime::parse_from_rfc2822(value.trim()).ok()?;
            (until.to_utc() - chrono::Utc::now()).to_std().unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

/// An address as it may be printed: without the values of its keys.
pub(super) fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    if pairs.iter().any(|(name, _)| SECRET.contains(&name.as_str())) {
        let open = pairs.iter().map(|(name, value)| {
            (name.as_str(), if SECRET.contains(&name.as_str()) { "HIDDEN" } else { value.as_str() })
        });
        shown.query_pairs_mut().clear().extend_pairs(open);
    }
    shown.to_string()
}

/// An address with this query behind those that it has.
///
/// # Errors
/// When `base` is no address.
pub(super) fn address<'a>(base: &str, query: impl IntoIterator<Item = (&'a str, String)>) -> Result<Url> {
    let mut url = Url::parse(base).with_context(|| format!("`{base}` is no address"))?;
    url.query_pairs_mut().extend_pairs(query);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_not_shown() {
        let url = address("https://example.org/a?x=1", [("api_key", "abc".into()), ("text", "Paris -fun".into())]);
        let shown = shown(&url.unwrap());
        assert_eq!(shown, "https://example.org/a?x=1&api_key=HIDDEN&text=Paris+-fun");
    }

    #[test]
    fn keys_that_servers_repeat_are_not_shown() {
        let answer = Answer {
            status: StatusCode::FORBIDDEN,
            url: address("https://example.org/a", [("key", "top/secret".into())]).unwrap(),
            kind: String::new(),
            body: b"the key top/secret is blocked".to_vec(),
            wait: None,
        };
        let why = answer.success().unwrap_err().to_string();
        assert!(why.ends_with("403 Forbidden: the key HIDDEN is blocked") && !why.contains("secret"), "{why}");
    }

    #[test]
    fn servers_ask_for_seconds_or_name_a_time() {
        assert_eq!(seconds_of("7"), Some(Duration::from_secs(7)));
        assert_eq!(seconds_of("999999"), Some(LONGEST_WAIT));
        let soon = (chrono::Utc::now() + chrono::TimeDelta::seconds(90)).to_rfc2822();
        assert!(seconds_of(&soon).is_some_and(|wait| (85..=90).contains(&wait.as_secs())), "{soon}");
        assert_eq!(seconds_of("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(seconds_of("later"), None);
    }

    #[tokio::test]
    async fn a_server_that_asks_for_time_gets_it() {
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
        let manners = Manners { first_wait: Duration::from_millis(1), ..Manners::default() };
        Lane::new(Duration::ZERO, &manners).unwrap().get(&url, |answer| answer.success().map(drop)).await.unwrap();
        let waited: Vec<Duration> = asked.lock().unwrap().windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(waited.len(), 2);
        assert!(waited[0] >= Duration::from_secs(2), "the server said so: {waited:?}");
        assert!(waited[1] < Duration::from_secs(2), "then it did not: {waited:?}");
    }
}
