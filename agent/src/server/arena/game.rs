//! A game: rounds, guesses and score.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use landfall_model::LatLng;
use landfall_model::score::{Bounds, MAX_POINTS, MapScale};
use serde::Deserialize;

use crate::record::{Area, Map};
use crate::server::arena::round::ArenaRound;
use crate::server::arena::versus::{PendingRival, RivalRound};

/// Slug and name of a map.
#[derive(Clone, Copy, Debug)]
pub(super) struct MapId {
    pub slug: &'static str,
    pub name: &'static str,
}

/// The only map of the arena. With the structure of the live page it has the name of the World map, whose scale it
/// uses.
pub(super) const ARENA: MapId = MapId { slug: "arena", name: "Landfall Arena" };
pub(super) const WORLD: MapId = MapId { slug: "world", name: "World" };

/// Bounds of the World map of the live game, so that the score formula is the same.
pub(super) const BOUNDS: Bounds = Bounds {
    min: LatLng { lat: -54.853378, lng: -159.778792 },
    max: LatLng { lat: 78.655743, lng: 178.4508514404297 },
};

pub(super) fn scale() -> MapScale {
    MapScale::of_map(None, Some(BOUNDS))
}

/// The map as known to players.
pub(super) fn known_map(map: MapId) -> Map {
    Map {
        name: map.name.into(),
        scale_m: scale(),
        max_points: MAX_POINTS,
        score_law: None,
        is_scored_by_page: true,
        area: Area::default(),
    }
}

/// A guess that arrives this long after the time limit still counts: the page sends it when its timer ends, which takes a
/// moment on a slow computer.
const LATE_ARRIVAL: Duration = Duration::from_secs(5);

/// Request for a new game.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct GameRules {
    pub map: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// Time limit per round in seconds; 0 for none.
    pub time_limit: u32,
    pub forbid_moving: bool,
    pub forbid_zooming: bool,
    pub forbid_rotating: bool,
}

impl Default for GameRules {
    fn default() -> Self {
        Self {
            map: ARENA.slug.into(),
            kind: "standard".into(),
            time_limit: 0,
            forbid_moving: false,
            forbid_zooming: false,
            forbid_rotating: false,
        }
    }
}

/// Request with a guess. Without coordinates it is valid only as a timeout.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct GuessRequest {
    pub lat: Option<f64>,
    pub lng: Option<f64>,
    pub timed_out: bool,
    pub steps_count: u32,
}

/// Reason for rejecting a guess.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum GuessRejection {
    /// The coordinates are invalid or missing.
    BadPin(String),
    /// The round has been guessed already, or the game is over.
    TooLate(&'static str),
}

pub(super) struct Guess {
    pub pin: Option<LatLng>,
    pub timed_out: bool,
    pub steps: u32,
    pub seconds: u64,
    pub distance_m: f64,
    pub points: u32,
}

/// A round of a game: its place, image token and start time.
pub(super) struct ActiveRound {
    pub round: ArenaRound,
    pub picture_token: String,
    pub began: Option<(DateTime<Utc>, Instant)>,
    pub guess: Option<Guess>,
    /// The guess of the opponent, if there is one.
    pub rival: PendingRival,
}

/// A game.
pub(super) struct ArenaGame {
    pub token: String,
    pub map: MapId,
    pub rules: GameRules,
    pub turns: Vec<ActiveRound>,
    /// Index of the current round.
    pub current: usize,
    /// Name of the opponent.
    pub rival: Option<String>,
}

impl ArenaGame {
    /// A game with these rounds, each with its image token. `rounds` must not be empty.
    pub(super) fn new(token: String, map: MapId, rules: GameRules, rounds: Vec<(ArenaRound, String)>) -> Self {
        let turns = rounds
            .into_iter()
            .map(|(round, picture_token)| ActiveRound {
                round,
                picture_token,
                began: None,
                guess: None,
                rival: PendingRival::default(),
            })
            .collect();
        let mut game = Self { token, map, rules, turns, current: 0, rival: None };
        game.begin_round();
        game
    }

    fn begin_round(&mut self) {
        self.turns[self.current].began = Some((Utc::now(), Instant::now()));
    }

    /// Advances to the next round if the current one has been guessed and is not the last.
    pub(super) fn advance(&mut self) {
        if self.turns[self.current].guess.is_some() && self.current + 1 < self.turns.len() {
            self.current += 1;
            self.begin_round();
        }
    }

    /// Adds an opponent, which gets the rounds from [`ArenaGame::current_round`].
    pub(super) fn set_rival(&mut self, name: String) {
        self.rival = Some(name);
    }

    /// The current round for the opponent.
    pub(super) fn current_round(&self) -> RivalRound {
        let turn = &self.turns[self.current];
        RivalRound {
            round: turn.round.clone(),
            map: known_map(self.map),
            pending: PendingRival::clone(&turn.rival),
            deadline: self.deadline(turn),
        }
    }

    /// When the time limit of a round ends, if there is one.
    fn deadline(&self, turn: &ActiveRound) -> Option<Instant> {
        let limit = Some(self.rules.time_limit).filter(|limit| *limit > 0)?;
        Some(turn.began?.1 + Duration::from_secs(limit.into()))
    }

    /// Number of rounds and points of both players when the game is over; `None` without an opponent.
    pub(super) fn final_scores(&self) -> Option<(usize, u32, u32)> {
        let person =
            self.turns.iter().map(|turn| turn.guess.as_ref().map(|guess| guess.points)).sum::<Option<u32>>()?;
        self.rival.as_ref()?;
        let machine = self.turns.iter().filter_map(ActiveRound::rival_guess).map(|guess| guess.points).sum();
        Some((self.turns.len(), person, machine))
    }

    /// Whether all rounds have been guessed.
    pub(super) fn finished(&self) -> bool {
        self.turns.iter().all(|turn| turn.guess.is_some())
    }

    /// The round with this image token, if it has been reached.
    pub(super) fn picture(&self, token: &str) -> Option<&ArenaRound> {
        self.turns[..=self.current].iter().find(|turn| turn.picture_token == token).map(|turn| &turn.round)
    }

    /// Scores the current round for a guess that arrived at this time. After the time limit no pin counts.
    pub(super) fn guess(&mut self, pin: GuessRequest, arrived: Instant) -> Result<(), GuessRejection> {
        if self.finished() {
            return Err(GuessRejection::TooLate("this game is finished"));
        }
        let deadline = self.deadline(&self.turns[self.current]);
        let turn = &mut self.turns[self.current];
        if turn.guess.is_some() {
            return Err(GuessRejection::TooLate("this round has been guessed; continue with the next"));
        }
        let place = match (pin.lat, pin.lng) {
            (Some(lat), Some(lng)) => Some(validated_point(lat, lng)?),
            (None, None) if pin.timed_out => None,
            _ => return Err(GuessRejection::BadPin("a guess needs \"lat\" and \"lng\" in degrees".into())),
        };
        let is_late = deadline.is_some_and(|deadline| arrived > deadline + LATE_ARRIVAL);
        let (place, timed_out) = (place.filter(|_| !is_late), pin.timed_out || is_late);
        let mut seconds = turn.began.map_or(0, |(_, since)| arrived.saturating_duration_since(since).as_secs());
        if self.rules.time_limit > 0 {
            seconds = seconds.min(self.rules.time_limit.into());
        }
        let distance_m = place.map_or(0.0, |place| place.distance_m(turn.round.truth));
        let points = place.map_or(0, |_| scale().points(distance_m));
        turn.guess = Some(Guess { pin: place, timed_out, steps: pin.steps_count, seconds, distance_m, points });
        Ok(())
    }
}

impl ActiveRound {
    /// The guess of the opponent, scored.
    pub(super) fn rival_guess(&self) -> Option<Guess> {
        let (at, _) = self.rival.get()?.as_ref()?;
        let distance_m = at.distance_m(self.round.truth);
        let points = scale().points(distance_m);
        Some(Guess { pin: Some(*at), timed_out: false, steps: 0, seconds: 0, distance_m, points })
    }
}

/// A point on earth, of a longitude from -180 to 180.
pub(super) fn validated_point(lat: f64, lng: f64) -> Result<LatLng, GuessRejection> {
    if !(-180.0..=180.0).contains(&lng) {
        return Err(GuessRejection::BadPin(format!("longitude {lng} is not within ±180")));
    }
    LatLng::new(lat, lng).map_err(|error| GuessRejection::BadPin(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::arena::round::{Picture, PictureKind};
    use landfall_model::score::WORLD_SCALE_M;
    use serde_json::{Value, json};

    fn game(truths: &[(f64, f64)]) -> ArenaGame {
        let rounds = truths
            .iter()
            .enumerate()
            .map(|(i, &(lat, lng))| {
                let round = ArenaRound {
                    truth: LatLng::new(lat, lng).unwrap(),
                    picture: Picture::File("secret-name.jpg".into()),
                    kind: PictureKind::Panorama,
                    heading: 0.0,
                    name: Some("Secret name".into()),
                    credits: Some("Secret credit".into()),
                    max_side: 1,
                };
                (round, format!("picture{i}"))
            })
            .collect();
        ArenaGame::new("token".into(), ARENA, GameRules::default(), rounds)
    }

    fn pin(lat: f64, lng: f64) -> GuessRequest {
        GuessRequest { lat: Some(lat), lng: Some(lng), ..GuessRequest::default() }
    }

    #[test]
    fn the_map_has_the_scale_of_the_world() {
        assert_eq!(scale().metres(), WORLD_SCALE_M);
    }

    #[test]
    fn plays_a_whole_game() {
        // A round of the live game with the score of its server.
        let mut game = game(&[(61.34134292602539, 17.009126663208008), (0.0, 0.0)]);
        game.guess(pin(62.3582942558564, 24.218661490840926), Instant::now()).unwrap();
        let json = game.json();
        assert_eq!(json["round"], 1);
        assert_eq!(json["player"]["guesses"][0]["roundScoreInPoints"], 3838);
        assert_eq!(json["player"]["totalScore"]["amount"], "3838");
        assert_eq!(json["player"]["guesses"][0]["distance"]["meters"], json!({ "amount": "394.5", "unit": "km" }));
        assert!(matches!(game.guess(pin(1.0, 1.0), Instant::now()), Err(GuessRejection::TooLate(_))));
        game.advance();
        game.advance();
        assert_eq!(game.json()["round"], 2);
        game.guess(pin(0.0, 0.0), Instant::now()).unwrap();
        let json = game.json();
        assert_eq!((&json["state"], &json["player"]["totalScore"]["amount"]), (&json!("finished"), &json!("8838")));
        assert_eq!(game.guess(pin(0.0, 0.0), Instant::now()), Err(GuessRejection::TooLate("this game is finished")));
    }

    #[test]
    fn the_truth_is_revealed_only_after_the_guess() {
        let mut game = game(&[(61.341, 17.009), (-12.345, 98.765)]);
        let secrets = ["61.341", "17.009", "-12.345", "98.765", "ecret", "\"lat\":1", "panoId"];
        let before = game.json()["rounds"].to_string();
        assert!(secrets.iter().all(|secret| !before.contains(secret)), "{before}");
        game.guess(pin(1.0, 2.0), Instant::now()).unwrap();
        game.advance();
        let json = game.json();
        assert_eq!(json["rounds"][0]["lat"], 61.341);
        assert_eq!(json["rounds"][0]["name"], "Secret name");
        let current = json["rounds"][1].to_string();
        assert!(secrets.iter().all(|secret| !current.contains(secret)), "{current}");
        assert!(json["rounds"].as_array().unwrap().len() == 2);
    }

    #[test]
    fn the_rivals_guess_is_revealed_only_after_the_persons() {
        let mut game = game(&[(10.0, 10.0), (20.0, 20.0)]);
        game.set_rival("pocket@1".into());
        let rival = game.current_round();
        assert_eq!((rival.round.truth.lat, rival.map.scale_m, rival.deadline), (10.0, scale(), None));
        rival.pending.set(Some((LatLng::new(10.0, 10.0).unwrap(), "near Kano".into()))).unwrap();
        assert_eq!((&game.json()["rival"]["guesses"], game.final_scores()), (&json!([]), None));
        game.guess(pin(10.0, 12.0), Instant::now()).unwrap();
        let json = game.json();
        assert_eq!(json["rival"]["guesses"][0]["roundScoreInPoints"], 5000);
        assert_eq!((&json["rival"]["places"][0], &json["rival"]["name"]), (&json!("near Kano"), &json!("pocket@1")));
        game.advance();
        game.current_round().pending.set(None).unwrap(); // an image that cannot be classified
        game.guess(pin(20.0, 20.0), Instant::now()).unwrap();
        let json = game.json();
        assert_eq!(
            (&json["rival"]["guesses"][1], &json["rival"]["totalScore"]["amount"]),
            (&Value::Null, &json!("5000"))
        );
        let person = json["player"]["totalScore"]["amount"].as_str().unwrap().parse().unwrap();
        assert_eq!(game.final_scores(), Some((2, person, 5000)));
    }

    #[test]
    fn images_of_later_rounds_are_not_served() {
        let mut game = game(&[(1.0, 1.0), (2.0, 2.0)]);
        assert!(game.picture("picture0").is_some() && game.picture("picture1").is_none());
        game.advance();
        assert!(game.picture("picture1").is_none());
        game.guess(pin(0.0, 0.0), Instant::now()).unwrap();
        game.advance();
        assert!(game.picture("picture1").is_some());
    }

    #[test]
    fn guesses_need_valid_coordinates() {
        let mut game = game(&[(1.0, 1.0)]);
        for wrong in [
            pin(90.5, 0.0),
            pin(0.0, 180.5),
            pin(f64::NAN, 0.0),
            GuessRequest::default(),
            GuessRequest { lat: Some(1.0), ..GuessRequest::default() },
        ] {
            assert!(matches!(game.guess(wrong, Instant::now()), Err(GuessRejection::BadPin(_))), "{wrong:?}");
        }
        assert!(game.guess(pin(-90.0, 180.0), Instant::now()).is_ok());
    }

    #[test]
    fn timeouts_with_and_without_pin() {
        let mut late = game(&[(1.0, 1.0), (1.0, 1.0)]);
        late.guess(GuessRequest { timed_out: true, ..GuessRequest::default() }, Instant::now()).unwrap();
        late.advance();
        late.guess(GuessRequest { timed_out: true, ..pin(1.0, 1.0) }, Instant::now()).unwrap();
        let guesses = late.json()["player"]["guesses"].clone();
        assert_eq!((&guesses[0]["timedOut"], &guesses[0]["roundScoreInPoints"]), (&json!(true), &json!(0)));
        assert_eq!((&guesses[1]["timedOut"], &guesses[1]["timedOutWithGuess"]), (&json!(false), &json!(true)));
        assert_eq!(guesses[1]["roundScoreInPoints"], 5000);
    }

    #[test]
    fn time_counts_until_the_guess_arrives_and_the_limit_is_enforced() {
        let places = [(1.0, 1.0); 4];
        let mut game = ArenaGame { rules: GameRules { time_limit: 60, ..GameRules::default() }, ..game(&places) };
        let began = game.turns[0].began.unwrap().1;
        let deadline = game.current_round().deadline.unwrap();
        assert_eq!(deadline - began, Duration::from_secs(60));
        // Processed much later than it arrived, as while the opponent computes.
        let mut guess_after = |seconds: u64, request: GuessRequest| {
            let began = game.turns[game.current].began.unwrap().1;
            game.guess(request, began + Duration::from_secs(seconds)).unwrap();
            let guess = game.json()["player"]["guesses"][game.current].clone();
            game.advance();
            (guess["time"].as_u64().unwrap(), guess["roundScoreInPoints"].as_u64().unwrap(), guess["timedOut"] == true)
        };
        assert_eq!(guess_after(7, pin(1.0, 1.0)), (7, 5000, false));
        assert_eq!(guess_after(62, GuessRequest { timed_out: true, ..pin(1.0, 1.0) }), (60, 5000, false));
        assert_eq!(guess_after(70, pin(1.0, 1.0)), (60, 0, true));
        assert_eq!(guess_after(3600, GuessRequest { timed_out: true, ..pin(1.0, 1.0) }), (60, 0, true));
    }
}
