//! What is asked of a player and what it answers, as JSON. docs/bench.md documents it.

use landfall_common::text::sanitize_line;
use landfall_model::LatLng;
use serde::{Deserialize, Serialize};

/// Maximum length of an answer in bytes.
pub(super) const MAX_ANSWER_BYTES: usize = 1 << 20;
const MAX_REASON_CHARS: usize = 300;

const QUESTION: &str = "Where were these pictures taken? All of them show the surroundings of one place. Answer with its \
    latitude and longitude in degrees.";

/// A question to a program.
#[derive(Debug, Serialize)]
pub(super) struct Question {
    question: &'static str,
    /// Number of the round, from 1.
    round: usize,
    rounds: usize,
    /// Paths of JPEG files, or their contents in Base64.
    pictures: Vec<String>,
    views: Vec<QuestionView>,
    map: &'static str,
    max_points: f64,
    time_limit_s: f64,
}

#[derive(Debug, Serialize)]
struct QuestionView {
    /// Degrees clockwise from the first view; `null` where it is unknown.
    heading_deg: Option<f64>,
}

impl Question {
    pub(super) fn new(asked: &super::player::Asked, pictures: Vec<String>) -> Self {
        Self {
            question: QUESTION,
            round: asked.round,
            rounds: asked.rounds,
            pictures,
            views: asked.views.iter().map(|view| QuestionView { heading_deg: view.heading_deg }).collect(),
            map: "world",
            max_points: landfall_model::score::MAX_POINTS,
            time_limit_s: asked.time_limit.as_secs_f64(),
        }
    }
}

/// A guess.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Guess {
    pub at: LatLng,
    /// Probability that the truth is within 750 km, 0 to 1.
    pub confidence: Option<f64>,
    pub radius_km: Option<f64>,
    pub cost_usd: Option<f64>,
}

impl Guess {
    pub(super) fn at(at: LatLng) -> Self {
        Self { at, confidence: None, radius_km: None, cost_usd: None }
    }
}

/// What a player answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Guess(Guess),
    /// The player does not want to answer.
    Refused {
        reason: String,
        cost_usd: Option<f64>,
    },
}

#[derive(Deserialize)]
struct Answer {
    lat: Option<f64>,
    lng: Option<f64>,
    confidence: Option<f64>,
    radius_km: Option<f64>,
    cost_usd: Option<f64>,
    #[serde(default)]
    refused: bool,
    reason: Option<String>,
}

/// Parses an answer.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse(json: &[u8]) -> Result<Reply, String> {
    let answer: Answer = serde_json::from_slice(json).map_err(|why| {
        let start: String = String::from_utf8_lossy(json).chars().take(60).collect();
        format!("the answer is not the JSON that was asked for ({why}): {}", sanitize_line(start.trim()))
    })?;
    let amount = |name: &str, value: Option<f64>| match value {
        Some(value) if !(0.0..=1e9).contains(&value) => Err(format!("{name} {value} is not a number from 0")),
        value => Ok(value),
    };
    let cost_usd = amount("cost_usd", answer.cost_usd)?;
    if answer.refused {
        return Ok(Reply::Refused { reason: reason(answer.reason.as_deref().unwrap_or("no reason given")), cost_usd });
    }
    let (Some(lat), Some(lng)) = (answer.lat, answer.lng) else {
        return Err("the answer has no lat and lng".to_owned());
    };
    if !(-90.0..=90.0).contains(&lat) || !(-180.0..=180.0).contains(&lng) {
        return Err(format!("{lat}, {lng} is not a place: latitudes are within ±90 and longitudes within ±180"));
    }
    if let Some(confidence) = answer.confidence.filter(|confidence| !(0.0..=1.0).contains(confidence)) {
        return Err(format!("the confidence {confidence} is not within 0 and 1"));
    }
    let radius_km = amount("radius_km", answer.radius_km)?;
    Ok(Reply::Guess(Guess { at: LatLng { lat, lng }, confidence: answer.confidence, radius_km, cost_usd }))
}

/// A reason from outside, short and without control characters.
pub(super) fn reason(text: &str) -> String {
    sanitize_line(text.chars().take(MAX_REASON_CHARS).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_refusals() {
        let full =
            br#"{"lat":-33.9,"lng":151.2,"confidence":0.7,"radius_km":90,"cost_usd":0.002,"thoughts":"a bridge"}"#;
        assert_eq!(
            parse(full),
            Ok(Reply::Guess(Guess {
                at: LatLng { lat: -33.9, lng: 151.2 },
                confidence: Some(0.7),
                radius_km: Some(90.0),
                cost_usd: Some(0.002),
            }))
        );
        let refused = parse(b"{\"refused\":true,\"reason\":\"I do not\\u001b[31m\",\"cost_usd\":0.1}").unwrap();
        assert!(matches!(refused, Reply::Refused { reason, cost_usd: Some(0.1) } if !reason.contains('\u{1b}')));
    }

    #[test]
    fn bad_answers_are_errors_that_say_what_is_wrong() {
        for (answer, why) in [
            ("Paris, I think", "not the JSON that was asked for"),
            ("[1, 2]", "not the JSON that was asked for"),
            ("", "not the JSON that was asked for"),
            (r#"{"lat": NaN, "lng": 2}"#, "not the JSON that was asked for"),
            (r#"{"lat": "48", "lng": 2}"#, "not the JSON that was asked for"),
            (r#"{"lat": 1e999, "lng": 2}"#, "not the JSON that was asked for"),
            (r#"{"lat": 91, "lng": 2}"#, "91, 2 is not a place"),
            (r#"{"lat": 9, "lng": 181}"#, "9, 181 is not a place"),
            (r#"{"lat": 9}"#, "no lat and lng"),
            (r#"{"lat": 9, "lng": 8, "confidence": 70}"#, "confidence 70 is not within"),
            (r#"{"lat": 9, "lng": 8, "cost_usd": -1}"#, "cost_usd -1"),
            ("{\"lat\": 9, \"lng\": 8}\n{\"lat\": 9, \"lng\": 8}", "not the JSON that was asked for"),
        ] {
            let error = parse(answer.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{answer}: {error}");
        }
    }
}
