//! Maps and games as the JSON of the live game's API.

use landfall_model::score::MAX_POINTS;
use serde_json::{Value, json};

use crate::server::arena::game::{ActiveRound, ArenaGame, BOUNDS, Guess, MapId, scale};
use crate::server::arena::round::PictureKind;

const METRES_PER_MILE: f64 = 1609.344;

/// The map object of the live game's API.
pub(super) fn map_json(map: MapId) -> Value {
    json!({
        "id": map.slug,
        "slug": map.slug,
        "name": map.name,
        "bounds": BOUNDS,
        "maxErrorDistance": scale().metres() as u64,
        "customCoordinates": true,
    })
}

impl ArenaGame {
    /// The game in the format of the live API. The location, name and credits of a round are included only after its
    /// guess.
    pub(super) fn json(&self) -> Value {
        let guesses: Vec<&Guess> = self.turns.iter().filter_map(|turn| turn.guess.as_ref()).collect();
        let points: u32 = guesses.iter().map(|guess| guess.points).sum();
        let distance_m: f64 = guesses.iter().map(|guess| guess.distance_m).sum();
        let mut json = json!({
            "token": self.token,
            "type": self.rules.kind,
            "mode": "standard",
            "state": if self.finished() { "finished" } else { "started" },
            "roundCount": self.turns.len(),
            "timeLimit": self.rules.time_limit,
            "forbidMoving": self.rules.forbid_moving,
            "forbidZooming": self.rules.forbid_zooming,
            "forbidRotating": self.rules.forbid_rotating,
            "guessMapType": "roadmap",
            "streakType": "countrystreak",
            "map": self.map.slug,
            "mapName": self.map.name,
            "panoramaProvider": 0,
            "bounds": BOUNDS,
            "round": self.current + 1,
            "rounds": self.turns[..=self.current].iter().map(ActiveRound::json).collect::<Vec<_>>(),
            "player": {
                "totalScore": score_json(points, self.turns.len()),
                "totalDistance": distance_json(distance_m),
                "totalDistanceInMeters": distance_m,
                "totalStepsCount": guesses.iter().map(|guess| guess.steps).sum::<u32>(),
                "totalTime": guesses.iter().map(|guess| guess.seconds).sum::<u64>(),
                "totalStreak": 0,
                "guesses": guesses.iter().map(|guess| guess.json()).collect::<Vec<_>>(),
            },
            "progressChange": null,
        });
        // An extension of the live format. Like the truth, the opponent's guess is included only after the person's.
        if let Some(name) = &self.rival {
            let guessed = self.turns.iter().filter(|turn| turn.guess.is_some());
            let guesses: Vec<Option<Guess>> = guessed.map(ActiveRound::rival_guess).collect();
            let points: u32 = guesses.iter().flatten().map(|guess| guess.points).sum();
            json["rival"] = json!({
                "name": name,
                "totalScore": score_json(points, self.turns.len()),
                "guesses": guesses.iter().map(|guess| guess.as_ref().map(Guess::json)).collect::<Vec<_>>(),
                "places": self.turns.iter().filter(|turn| turn.guess.is_some()).map(ActiveRound::rival_place).collect::<Vec<_>>(),
            });
        }
        json
    }
}

impl ActiveRound {
    fn rival_place(&self) -> Option<&str> {
        let (_, words) = self.rival.get()?.as_ref()?;
        Some(words)
    }

    fn json(&self) -> Value {
        let mut json = json!({
            "heading": self.round.heading,
            "pitch": 0,
            "zoom": 0,
            "streakLocationCode": null,
            "startTime": self.began.map(|(at, _)| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)),
            "picture": {
                "url": format!("/pictures/{}", self.picture_token),
                "kind": if self.round.kind == PictureKind::Panorama { "panorama" } else { "photo" },
            },
        });
        if self.guess.is_some() {
            json["lat"] = self.round.truth.lat.into();
            json["lng"] = self.round.truth.lng.into();
            json["panoId"] = Value::Null;
            json["name"] = self.round.name.clone().into();
            json["credits"] = self.round.credits.clone().into();
        }
        json
    }
}

impl Guess {
    fn json(&self) -> Value {
        json!({
            "lat": self.pin.map(|pin| pin.lat),
            "lng": self.pin.map(|pin| pin.lng),
            "timedOut": self.timed_out && self.pin.is_none(),
            "timedOutWithGuess": self.timed_out && self.pin.is_some(),
            "skippedRound": false,
            "roundScore": score_json(self.points, 1),
            "roundScoreInPercentage": percentage(self.points, 1),
            "roundScoreInPoints": self.points,
            "distance": distance_json(self.distance_m),
            "distanceInMeters": self.distance_m,
            "stepsCount": self.steps,
            "streakLocationCode": null,
            "time": self.seconds,
        })
    }
}

fn percentage(points: u32, rounds: usize) -> f64 {
    f64::from(points) / (MAX_POINTS * rounds as f64) * 100.0
}

fn score_json(points: u32, rounds: usize) -> Value {
    json!({ "amount": points.to_string(), "unit": "points", "percentage": percentage(points, rounds) })
}

fn distance_json(distance_m: f64) -> Value {
    let metres = if distance_m < 1000.0 {
        json!({ "amount": format!("{distance_m:.0}"), "unit": "m" })
    } else {
        json!({ "amount": format!("{:.1}", distance_m / 1000.0), "unit": "km" })
    };
    json!({
        "meters": metres,
        "miles": { "amount": format!("{:.1}", distance_m / METRES_PER_MILE), "unit": "miles" },
    })
}
