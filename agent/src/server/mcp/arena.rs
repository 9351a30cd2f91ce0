//! The tools of the arena.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use landfall_model::LatLng;
use landfall_model::score::MAX_POINTS;
use rmcp::model::{ContentBlock, JsonObject, Tool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{McpServer, ToolResult, parse, structured, tool};
use crate::server::arena::headless::{GameWishes, Revealed, Seen, Standing};

pub(super) const NEW_GAME: &str = "arena_new_game";
pub(super) const LOOK: &str = "arena_look";
pub(super) const PIN: &str = "arena_pin";
pub(super) const GUESS: &str = "arena_guess";

/// Maximum number of characters of a player's name.
const MAX_PLAYER_CHARS: usize = 64;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewGameArguments {
    /// Number of rounds, 5 by default.
    rounds: Option<usize>,
    /// Seed of the choice of rounds: the same seed chooses the same rounds in the same order.
    seed: Option<u64>,
    /// Time limit per round in seconds, up to 600; no limit by default. The time of the first round begins with this call, that
    /// of the others with the first call after the guess.
    time_limit_s: Option<u32>,
    /// Name under which the game is recorded; by default that of the client.
    player: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LookArguments {
    /// The game, from arena_new_game.
    game: String,
    /// Degrees clockwise from north; by default as the round begins. On a photo, degrees to the right of its centre: its width
    /// counts as 60 degrees.
    heading_deg: Option<f64>,
    /// Degrees above the horizon, -90 to 90; on a photo, above its centre. 0 by default.
    pitch_deg: Option<f64>,
    /// Magnification, 1 to 8. A panorama is shown 100 degrees wide with 1; a photo is shown whole.
    zoom: Option<f64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PinArguments {
    /// The game, from arena_new_game.
    game: String,
    /// Latitude in degrees.
    lat: f64,
    /// Longitude in degrees, -180 to 180.
    lng: f64,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GuessArguments {
    /// The game, from arena_new_game.
    game: String,
}

/// How the image of a round can be looked at.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// All directions can be looked at.
    Panorama,
    /// Nothing lies beyond its edges.
    Photo,
}

/// A game that has begun.
#[derive(Debug, Serialize, JsonSchema)]
struct NewGame {
    /// What the other tools need.
    game: String,
    rounds: usize,
    /// Number of the current round.
    round: usize,
    kind: Kind,
    time_limit_s: Option<u32>,
    /// Maximum number of points per round.
    max_points: f64,
}

/// What the picture shows.
#[derive(Debug, Serialize, JsonSchema)]
struct Look {
    round: usize,
    kind: Kind,
    heading_deg: f64,
    pitch_deg: f64,
    zoom: f64,
}

/// Where the pin is.
#[derive(Debug, Serialize, JsonSchema)]
struct Pin {
    round: usize,
    lat: f64,
    lng: f64,
}

/// A place on earth.
#[derive(Debug, Serialize, JsonSchema)]
struct Location {
    lat: f64,
    lng: f64,
}

/// A round after its guess.
#[derive(Debug, Serialize, JsonSchema)]
struct Outcome {
    round: usize,
    truth: Location,
    /// The truth in words.
    place: String,
    /// Author and licence of the image.
    credits: Option<String>,
    /// The pin; `null` if the time ended without one, or before the guess.
    guess: Option<Location>,
    timed_out: bool,
    distance_km: Option<f64>,
    points: u32,
    seconds: u64,
    /// Points of all rounds so far.
    total_points: u32,
    /// Number of the round that arena_look begins; `null` when the game is over.
    next_round: Option<usize>,
    /// URI of the game's record, if the game is over and recorded.
    record: Option<String>,
}

pub(super) fn tools() -> [Tool; 4] {
    let new_game = "Start a game of the arena: in each round, find out where the picture was taken. The game uses openly licensed \
        pictures, or those of the user.";
    let look = "Look at the place of the current round: a picture as JPEG. After a guess, this begins the next round.";
    let pin = "Place the pin of the current round, or move it. Only arena_guess sends it.";
    let guess = "Send the pin of the current round. The answer has the truth, the distance, the points and the total.";
    [
        tool::<NewGameArguments>(NEW_GAME, new_game, false).with_output_schema::<NewGame>(),
        tool::<LookArguments>(LOOK, look, false).with_output_schema::<Look>(),
        tool::<PinArguments>(PIN, pin, false).with_output_schema::<Pin>(),
        tool::<GuessArguments>(GUESS, guess, false).with_output_schema::<Outcome>(),
    ]
}

impl McpServer {
    /// `client` is the name of the client, if it told one.
    pub(super) async fn new_game(&self, arguments: JsonObject, client: Option<String>) -> ToolResult {
        let NewGameArguments { rounds, seed, time_limit_s, player } = parse(arguments)?;
        let player = player_name(player.or(client).as_deref().unwrap_or("unknown"));
        let (game, standing) = self.0.games.start(GameWishes { rounds, seed, time_limit_s, player }).await?;
        let Standing { round, rounds, .. } = standing;
        structured(&NewGame { game, rounds, round, kind: kind(standing), time_limit_s, max_points: MAX_POINTS })
    }

    pub(super) async fn look(&self, arguments: JsonObject) -> ToolResult {
        let LookArguments { game, heading_deg, pitch_deg, zoom } = parse(arguments)?;
        let Seen { jpeg, gaze, standing } = self.0.games.look(&game, heading_deg, pitch_deg, zoom).await?;
        let (heading_deg, pitch_deg, zoom) = (gaze.heading, gaze.pitch, gaze.zoom);
        let mut result =
            structured(&Look { round: standing.round, kind: kind(standing), heading_deg, pitch_deg, zoom })?;
        result.content.push(ContentBlock::image(STANDARD.encode(jpeg), "image/jpeg"));
        Ok(result)
    }

    pub(super) fn pin(&self, arguments: JsonObject) -> ToolResult {
        let PinArguments { game, lat, lng } = parse(arguments)?;
        let (LatLng { lat, lng }, standing) = self.0.games.pin(&game, lat, lng)?;
        structured(&Pin { round: standing.round, lat, lng })
    }

    pub(super) async fn guess(&self, arguments: JsonObject) -> ToolResult {
        let GuessArguments { game } = parse(arguments)?;
        let revealed = self.0.games.guess(&game).await?;
        let Revealed { truth, place, credits, guess, timed_out, distance_m, points, seconds, standing, record } =
            revealed;
        let record = record.as_deref().zip(self.0.records.as_ref()).and_then(|(dir, records)| records.uri_of(dir));
        let location = |LatLng { lat, lng }| Location { lat, lng };
        structured(&Outcome {
            round: standing.round,
            truth: location(truth),
            place,
            credits,
            guess: guess.map(location),
            timed_out,
            distance_km: distance_m.map(|metres| metres.round() / 1000.0),
            points,
            seconds,
            total_points: standing.points,
            next_round: (!standing.is_over).then_some(standing.round + 1),
            record,
        })
    }
}

fn kind(standing: Standing) -> Kind {
    if standing.is_panorama { Kind::Panorama } else { Kind::Photo }
}

/// The name of a player in records, which is not that of a bundle.
fn player_name(given: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || " @._-".contains(*c);
    let name: String = given.chars().filter(kept).take(MAX_PLAYER_CHARS).collect();
    format!("mcp:{name}")
}
