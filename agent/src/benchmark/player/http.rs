//! A service: the question is posted as JSON with the pictures in Base64. The API of `landfall serve --api` is spoken too.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use landfall_common::exit::usage_error;
use landfall_common::http::client_builder;
use landfall_model::LatLng;
use reqwest::header::RETRY_AFTER;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;
use url::Url;

use crate::benchmark::player::Asked;
use crate::benchmark::protocol::{Guess, MAX_ANSWER_BYTES, Question, Reply, parse, reason};

/// Path of the API of `landfall serve --api`.
const LANDFALL_PATH: &str = "/v1/locate";
/// Maximum pause that a busy service can ask for.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// A service at a URL.
pub(crate) struct HttpPlayer {
    client: Client,
    url: Url,
    token: Option<String>,
}

impl HttpPlayer {
    /// `token` is sent as bearer token.
    ///
    /// # Errors
    /// When it is not an HTTP URL, or no client can be made.
    pub(crate) fn new(url: Url, token: Option<String>) -> Result<Self> {
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(usage_error("the URL of a player begins with http:// or https://"));
        }
        let client = client_builder()
            // A redirect could lead the pictures and the token to somebody else.
            .redirect(Policy::none())
            .user_agent(concat!("landfall/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("cannot create an HTTP client")?;
        Ok(Self { client, url, token })
    }

    pub(super) async fn ask(&self, asked: &Asked) -> Result<Reply, String> {
        let pictures: Vec<String> = asked.views.iter().map(|view| STANDARD.encode(&view.jpeg)).collect();
        let is_landfall = self.url.path().ends_with(LANDFALL_PATH);
        let question = if is_landfall {
            let images: Vec<_> = pictures.iter().map(|data| json!({ "data": data })).collect();
            json!({ "images": images, "options": { "one_place": true } })
        } else {
            serde_json::to_value(Question::new(asked, pictures)).map_err(|error| error.to_string())?
        };
        let answer = self.post(&question).await?;
        if is_landfall { parse_landfall(&answer) } else { parse(&answer) }
    }

    async fn post(&self, question: &serde_json::Value) -> Result<Vec<u8>, String> {
        let failed = |error: reqwest::Error| {
            let error = anyhow::Error::new(error.without_url());
            format!("the service cannot be asked: {}", crate::error::describe(&error))
        };
        loop {
            let mut request = self.client.post(self.url.clone()).json(question);
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            let mut response = request.send().await.map_err(failed)?;
            let status = response.status();
            // A busy service says when to come back; the time limit of the round goes on.
            let pause = response.headers().get(RETRY_AFTER).and_then(|text| text.to_str().ok()?.parse().ok());
            let is_busy = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
            if let Some(seconds) = pause.filter(|_| is_busy) {
                tokio::time::sleep(Duration::from_secs(seconds).min(MAX_PAUSE)).await;
                continue;
            }
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(failed)? {
                body.extend_from_slice(&chunk);
                if body.len() > MAX_ANSWER_BYTES {
                    return Err(format!("the answer is longer than {MAX_ANSWER_BYTES} bytes"));
                }
            }
            if !status.is_success() {
                let start = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
                return Err(reason(&format!("the service answers with status {status}: {start}")));
            }
            return Ok(body);
        }
    }
}

#[derive(Deserialize)]
struct LandfallAnswer {
    results: Vec<LandfallResult>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum LandfallResult {
    Located { lat: f64, lng: f64, radius_km: LandfallRadius },
    Failed { error: String },
}

#[derive(Deserialize)]
struct LandfallRadius {
    p50: f64,
}

/// The answer of `landfall serve --api`, which states no probability of a circle of a given size.
fn parse_landfall(json: &[u8]) -> Result<Reply, String> {
    let answer: LandfallAnswer =
        serde_json::from_slice(json).map_err(|why| format!("not an answer of `landfall serve --api`: {why}"))?;
    match answer.results.into_iter().next() {
        Some(LandfallResult::Located { lat, lng, radius_km }) => {
            let at = LatLng::new(lat, lng).map_err(|why| why.to_string())?;
            Ok(Reply::Guess(Guess { radius_km: Some(radius_km.p50), ..Guess::at(at) }))
        }
        Some(LandfallResult::Failed { error }) => Err(reason(&error)),
        None => Err("the answer has no results".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::benchmark::pictures::ShownView;
    use axum::Router;
    use axum::body::Bytes;
    use axum::response::Response;
    use axum::routing::post;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    async fn ask(
        path: &str,
        answer: impl Fn(usize, &Bytes) -> Response + Clone + Send + Sync + 'static,
    ) -> Result<Reply, String> {
        let count = Arc::new(AtomicUsize::new(0));
        let handler = move |body: Bytes| {
            let (n, answer) = (count.fetch_add(1, Ordering::Relaxed), answer.clone());
            async move { answer(n, &body) }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{path}", listener.local_addr().unwrap());
        let router = Router::new().route(path, post(handler));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let views = vec![ShownView { heading_deg: Some(90.0), jpeg: b"jpeg".to_vec() }];
        let asked = Asked { round: 1, rounds: 2, views, time_limit: Duration::from_secs(9) };
        HttpPlayer::new(Url::parse(&url).unwrap(), None).unwrap().ask(&asked).await
    }

    fn response(status: u16, body: impl Into<axum::body::Body>) -> Response {
        Response::builder().status(status).header("retry-after", "0").body(body.into()).unwrap()
    }

    #[tokio::test]
    async fn a_service_is_asked_with_the_pictures_in_base64_and_again_when_it_is_busy() {
        let reply = ask("/guess", |n, body| {
            let question: serde_json::Value = serde_json::from_slice(body).unwrap();
            assert_eq!(STANDARD.decode(question["pictures"][0].as_str().unwrap()).unwrap(), b"jpeg");
            assert_eq!(question["views"][0]["heading_deg"], 90.0);
            if n == 0 { response(503, "busy") } else { response(200, r#"{"lat":1,"lng":2,"confidence":1}"#) }
        });
        assert!(matches!(reply.await.unwrap(), Reply::Guess(Guess { confidence: Some(1.0), .. })));
    }

    #[tokio::test]
    async fn landfalls_own_service_is_understood() {
        let located =
            r#"{"bundle":"b","results":[{"image":"1","lat":1.0,"lng":2.0,"radius_km":{"p50":3.0,"p90":4.0}}]}"#;
        let reply = ask("/v1/locate", move |_, body| {
            let request: serde_json::Value = serde_json::from_slice(body).unwrap();
            assert_eq!(request["options"]["one_place"], true);
            response(200, located)
        });
        assert!(matches!(reply.await.unwrap(), Reply::Guess(Guess { radius_km: Some(3.0), .. })));
        let failed = r#"{"results":[{"image":"1","error":"not a readable image"}]}"#;
        assert!(ask("/v1/locate", move |_, _| response(200, failed)).await.unwrap_err().contains("not a readable"));
    }

    #[tokio::test]
    async fn errors_of_a_service_say_what_is_wrong() {
        for (status, body, why) in [
            (500, "broken".to_owned(), "status 500 Internal Server Error: broken"),
            (302, String::new(), "status 302"),
            (200, "Paris".to_owned(), "not the JSON"),
            (200, " ".repeat(MAX_ANSWER_BYTES + 1), "longer than"),
        ] {
            let error = ask("/guess", move |_, _| response(status, body.clone())).await.unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let gone = HttpPlayer::new(Url::parse("http://127.0.0.1:9/").unwrap(), None).unwrap();
        let asked = Asked { round: 1, rounds: 1, views: Vec::new(), time_limit: Duration::from_secs(9) };
        assert!(gone.ask(&asked).await.unwrap_err().contains("cannot be asked"));
        assert!(HttpPlayer::new(Url::parse("ftp://example.org/").unwrap(), None).is_err());
    }
}
