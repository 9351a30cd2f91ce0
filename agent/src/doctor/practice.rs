//! `doctor --try`: plays practice rounds, and reports what is found after a pin and after a guess, and whether the page scores
//! as the profile says.

use anyhow::Result;
use landfall_model::LatLng;

use crate::doctor::site::LocatorReport;
use crate::error::describe;
use crate::play::{contradiction, pin};
use crate::probe::score_formula;
use crate::record::{Area, Distance, Map};
use crate::site::page::{GuessSubmitted, NextStep, Page, RoundOutcome};

/// Where the pins are placed, one round after another: far apart, so that the distances differ.
const PLACES: [LatLng; 4] = [
    LatLng { lat: 47.3, lng: 19.1 },
    LatLng { lat: -23.7, lng: 133.9 },
    LatLng { lat: 38.5, lng: -98.0 },
    LatLng { lat: -12.5, lng: 17.0 },
];
/// Maximum distance in metres between a place and its pin.
const MAX_PIN_ERROR_M: f64 = 25_000.0;

/// A result, and where its pin was.
struct PracticeRound {
    outcome: RoundOutcome,
    pin: LatLng,
}

impl PracticeRound {
    /// The points and the distance that belongs to them, as far as the page states them.
    fn numbers(&self) -> Option<(u32, Distance)> {
        let shown = self.outcome.distance;
        let of_truth = self
            .outcome
            .truth
            .map(|truth| Distance { metres: truth.distance_m(self.outcome.guess.unwrap_or(self.pin)), within_m: 1.0 });
        self.outcome.points.zip(of_truth.or(shown))
    }
}

/// Plays rounds with arbitrary guesses, which count like any other. Reports the first round in full, and of later ones what
/// fails.
///
/// # Errors
/// When the page has navigated to one that must not be played, or the profile has no formula for its map.
pub(crate) async fn play(page: &Page, rounds: u32) -> Result<Vec<LocatorReport>> {
    let name = page.read(&page.profile().page.map_name).await?.unwrap_or_default();
    let map = page.profile().game_map(name, page.address().await?.path(), None, &Area::default())?;
    let (mut reports, mut played) = (Vec::new(), Vec::new());
    for (n, place) in (0..rounds).zip(PLACES.iter().cycle()) {
        page.address().await?;
        let mut of_round = Vec::new();
        let next = play_round(page, *place, &map, &mut of_round, &mut played).await;
        reports.extend(of_round.into_iter().filter(|report: &LocatorReport| n == 0 || !report.ok));
        if next != Some(NextStep::Round) {
            break;
        }
    }
    reports.extend(score_report(&map, &played));
    Ok(reports)
}

/// Plays one round. Returns what follows it, or `None` after a failure.
async fn play_round(
    page: &Page,
    place: LatLng,
    map: &Map,
    reports: &mut Vec<LocatorReport>,
    played: &mut Vec<PracticeRound>,
) -> Option<NextStep> {
    let mut report = |role: &'static str, result: Result<String, String>| {
        let ok = result.is_ok();
        reports.push(LocatorReport { role, ok, detail: result.unwrap_or_else(|why| why), matches: Vec::new() });
    };
    let placed = async {
        page.await_round().await?;
        let placed = pin::place_pin(page, place, MAX_PIN_ERROR_M).await?;
        pin::confirm(page, placed, place, MAX_PIN_ERROR_M).await
    };
    let placed = match placed.await {
        Ok(placed) => placed,
        Err(error) => {
            report("map.marker", Err(describe(&error)));
            return None;
        }
    };
    let off = placed.at.distance_m(place) / placed.metres_per_pixel;
    report(
        "map.marker",
        Ok(format!(
            "the pin is {off:.1} pixels from where it should be, where a pixel is {:.1} km",
            placed.metres_per_pixel / 1000.0
        )),
    );
    let guessed = match page.guess().await {
        Ok(guessed) => guessed,
        Err(error) => {
            report("result.shown", Err(describe(&error)));
            return None;
        }
    };
    report("result.shown", Ok("the guess was taken, and its result is on display".to_owned()));
    match page.outcome(&guessed).await {
        Ok(outcome) => {
            report_outcome(&outcome, map, &mut report);
            played.push(PracticeRound { outcome, pin: placed.at });
        }
        Err(error) => report("result.points", Err(describe(&error))),
    }
    let next = follow(page, guessed).await;
    report("result.next", next.as_ref().map(|(_, words)| words.clone()).map_err(Clone::clone));
    next.ok().map(|(next, _)| next)
}

fn report_outcome(outcome: &RoundOutcome, map: &Map, report: &mut impl FnMut(&'static str, Result<String, String>)) {
    let distance = outcome.distance.map(|shown| format!("{:.1} km", shown.metres / 1000.0));
    let truth = outcome.truth.map(|truth| format!("the truth is {truth}"));
    let points = outcome.points.map(|points| format!("{points} points"));
    let is_far = distance.is_some() || truth.is_some();
    match (map.is_scored_by_page, outcome.distance) {
        (true, _) => report("result.points", points.ok_or_else(|| "no points were read from the result".to_owned())),
        (false, Some(shown)) => {
            let ours = map.points(shown.metres);
            report("result.points", Ok(format!("no score is expected from the page; by the profile's formula {ours}")));
        }
        (false, None) => report("result.points", Ok("no score is expected from the page".to_owned())),
    }
    let unknown = "none, so scores are not verified".to_owned();
    let found = distance.or(truth).unwrap_or(unknown);
    // Without points, the distance is all there is.
    report(
        "result.distance",
        if map.is_scored_by_page || is_far {
            Ok(found)
        } else {
            Err("no distance was read from the result".to_owned())
        },
    );
}

async fn follow(page: &Page, guessed: GuessSubmitted) -> Result<(NextStep, String), String> {
    let next = page.next(guessed).await.map_err(|error| describe(&error))?;
    let words = match next {
        NextStep::Round => "the next round begins".to_owned(),
        NextStep::Over(total) => {
            format!("the game is over, with a total of {}", total.map_or("?".to_owned(), |it| it.to_string()))
        }
    };
    Ok((next, words))
}

/// Whether the points fit the formula of the profile. If not, it is no failure: the page can be played all the same.
fn score_report(map: &Map, played: &[PracticeRound]) -> Option<LocatorReport> {
    let rounds: Vec<(u32, Distance)> = played.iter().filter_map(PracticeRound::numbers).collect();
    if rounds.is_empty() {
        return None;
    }
    let other = played
        .iter()
        .find(|round| round.outcome.points.is_some() && !contradiction::points_fit(&round.outcome, map, round.pin));
    // One round fits formulas of any kind.
    let law = if rounds.len() > 1 { score_formula::fit_law(&rounds) } else { None };
    let detail = match (other, law) {
        (None, _) => format!("the points of {} follow the formula of the profile", count(rounds.len())),
        (Some(_), Some(law)) => {
            format!("warning: the page scores by another formula than the profile; {} fit {law}", count(rounds.len()))
        }
        (Some(_), None) => format!(
            "warning: the page scores by another formula than the profile; {} determine none that is known here. More rounds \
             (--try=4) may determine it; others are written as score.law",
            count(rounds.len())
        ),
    };
    Some(LocatorReport { role: "score", ok: true, detail, matches: Vec::new() })
}

fn count(rounds: usize) -> String {
    if rounds == 1 { "one round".to_owned() } else { format!("{rounds} rounds") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(points: u32, km: f64) -> PracticeRound {
        let distance = Some(Distance { metres: km * 1000.0, within_m: 500.0 });
        PracticeRound {
            outcome: RoundOutcome { points: Some(points), distance, ..RoundOutcome::default() },
            pin: PLACES[0],
        }
    }

    #[test]
    fn another_formula_is_a_warning_with_what_to_write() {
        let map: Map = serde_json::from_str(r#"{"name":"World","scale_m":20000000}"#).unwrap();
        let report = |rounds: &[(u32, f64)]| {
            let rounds: Vec<PracticeRound> = rounds.iter().map(|(points, km)| round(*points, *km)).collect();
            score_report(&map, &rounds)
        };
        assert!(report(&[]).is_none());
        let fits = report(&[(3033, 1000.0), (1839, 2000.0)]).unwrap();
        assert!(
            fits.ok && fits.detail == "the points of 2 rounds follow the formula of the profile",
            "{}",
            fits.detail
        );
        let other = report(&[(1000, 1000.0), (556, 2000.0)]).unwrap();
        assert!(other.ok && other.detail.contains("law = \"max / (1 + distance_km / scale)\""), "{}", other.detail);
        let one = report(&[(1000, 1000.0)]).unwrap();
        assert!(one.ok && one.detail.contains("determine none") && one.detail.contains("--try=4"), "{}", one.detail);
    }
}
