//! `round.json`: the views, the prediction and the result of a round.

use std::path::Path;

use anyhow::{Context, Result};
use landfall_common::exit::usage_error;
use landfall_common::fs::{read_regular, sibling_file};
use landfall_model::LatLng;
use landfall_model::prediction::TopCell;
use serde::{Deserialize, Serialize};

use crate::geometry::Pixel;
use crate::record::check::{check_amount, check_count, check_location, check_text, parse_json};
use crate::record::files::read_logits;
use crate::record::map::Map;

/// Version of the format. Newer records are refused.
pub(crate) const FORMAT: u32 = 1;

/// Maximum size of a `round.json` in bytes. A round with eight views has two kilobytes.
const MAX_BYTES: u64 = 4 << 20;
/// Maximum number of views; the agent takes up to eight.
const MAX_VIEWS: usize = 64;
/// Maximum number of recorded cells; the agent records ten.
const MAX_CELLS: usize = 1_000;
/// Maximum heading in degrees; the agent turns less than twice around.
const MAX_HEADING: f64 = 1e6;

/// The contents of `round.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Round {
    /// Version of the format.
    pub format: u32,
    /// Name of a fixture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Country of the truth, ISO 3166-1 alpha-2, in fixtures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Number of the round in its game, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u32>,
    /// URL of the page, redacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Site profile, `name@version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The map.
    pub map: Map,
    /// Image of the panorama, in fixtures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pano: Option<String>,
    /// The views.
    pub views: Vec<View>,
    /// Bundle that computed the logits, `name@version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
    /// Engine that ran the bundle's networks, with its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// The most likely cells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<TopCell>,
    /// The predicted location.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guess: Option<LatLng>,
    /// The predicted location in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Expected score of the prediction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_score: Option<f64>,
    /// How the pin was placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<PinPlacement>,
    /// True location, if the page shows it, and in fixtures; `null` while it is unknown.
    #[serde(default)]
    pub truth: Option<LatLng>,
    /// Uncertainty of the truth in metres, in fixtures without an exact location.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truth_within_m: Option<f64>,
    /// Distance between the placed pin and the truth in metres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance_m: Option<f64>,
    /// Uncertainty of `distance_m` in metres, if the page shows only a rounded distance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance_within_m: Option<f64>,
    /// Score by the score formula. If a rounded distance permits several, the one nearest to the score of the page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<u32>,
    /// Score as shown by the page; `null` until then.
    #[serde(default)]
    pub page_score: Option<u32>,
    /// Timings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<RoundTimings>,
}

/// One view.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct View {
    /// Image file, beside `round.json`.
    pub file: String,
    /// Degrees clockwise from the first view.
    pub heading: f64,
    /// Logits file, beside `round.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logits: Option<String>,
}

/// How the pin was placed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct PinPlacement {
    /// The predicted location.
    pub wanted: LatLng,
    /// The location of the pin, as stated by the page, else as read back from the map.
    pub placed: LatLng,
    /// Distance between the two in metres.
    pub error_m: f64,
    /// The pixel that was clicked.
    pub click: Pixel,
    /// Metres per pixel at the pin.
    pub metres_per_pixel: f64,
}

/// Timings of a round in seconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct RoundTimings {
    /// Looking around.
    pub look: f64,
    /// Waiting for inference.
    pub think: f64,
    /// Placing the pin.
    pub place: f64,
    /// From the start of the round to its result.
    pub total: f64,
}

/// A distance as read from a page, which rounds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// Metres.
    pub metres: f64,
    /// Maximum rounding error in metres: half of the last digit shown.
    pub within_m: f64,
}

impl Round {
    /// Reads a `round.json`, which is not trusted: it may come from somebody else.
    ///
    /// # Errors
    /// When it cannot be read, is a symbolic link, is not a round, has values that no round has, or has a newer format.
    pub fn read(file: &Path) -> Result<Self> {
        let json = read_regular(file, MAX_BYTES);
        let json = json.with_context(|| usage_error(format!("cannot read {}", file.display())))?;
        Self::parse(&json).map_err(|why| usage_error(format!("{}: {why}", file.display())))
    }

    /// Parses and checks the contents of a `round.json`.
    ///
    /// # Errors
    /// The reason, when it is not a round, has values that no round has, or has a newer format.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let round: Self = parse_json(json).map_err(|error| format!("not the record of a round: {error}"))?;
        if round.format > FORMAT {
            return Err(format!("format {} is newer than {FORMAT}, the latest that this version reads", round.format));
        }
        round.check()?;
        Ok(round)
    }

    /// Checks the values.
    pub(super) fn check(&self) -> Result<(), String> {
        check_count(self.views.len(), MAX_VIEWS, "views")?;
        check_count(self.top.len(), MAX_CELLS, "cells in `top`")?;
        self.map.check()?;
        let of_place = [&self.name, &self.country, &self.url, &self.pano, &self.place];
        let texts = of_place.into_iter().chain([&self.profile, &self.bundle, &self.engine]);
        let of_views = self.views.iter().flat_map(|view| std::iter::once(&view.file).chain(&view.logits));
        let of_cells = self.top.iter().map(|cell| &cell.cell);
        texts.flatten().chain(of_views).chain(of_cells).try_for_each(|text| check_text(text))?;

        self.guess.map_or(Ok(()), |at| check_location(at, "guess"))?;
        self.truth.map_or(Ok(()), |at| check_location(at, "truth"))?;
        self.top.iter().try_for_each(|cell| check_location(cell.at, "top"))?;
        if let Some(pin) = &self.pin {
            check_location(pin.wanted, "pin.wanted")?;
            check_location(pin.placed, "pin.placed")?;
            [pin.error_m, pin.metres_per_pixel].into_iter().try_for_each(check_amount)?;
        }
        let amounts = [self.truth_within_m, self.distance_m, self.distance_within_m, self.expected_score];
        amounts.into_iter().flatten().try_for_each(check_amount)?;
        if let Some(RoundTimings { look, think, place, total }) = self.seconds {
            [look, think, place, total].into_iter().try_for_each(check_amount)?;
        }
        if let Some(cell) = self.top.iter().find(|cell| !(0.0..=1.000_001).contains(&cell.p)) {
            return Err(format!("{} is not a probability", cell.p));
        }
        match self.views.iter().find(|view| view.heading.abs() > MAX_HEADING) {
            Some(view) => Err(format!("{} is not a heading in degrees", view.heading)),
            None => Ok(()),
        }
    }

    /// The recorded logits of a bundle with `cells` cells, one row per view, from the directory of the record; `None` if
    /// those of a view are missing.
    ///
    /// # Errors
    /// When a file cannot be read or has another size.
    pub fn logits(&self, folder: &Path, cells: usize) -> Result<Option<Vec<Vec<f32>>>> {
        let files =
            self.views.iter().map(|view| sibling_file(folder, view.logits.as_deref()?)).collect::<Option<Vec<_>>>();
        let files = files.filter(|files| !files.is_empty() && files.iter().all(|file| file.is_file()));
        files.map(|files| files.iter().map(|file| read_logits(file, cells)).collect()).transpose()
    }

    /// The location of the pin: as placed, else as predicted.
    pub fn placed(&self) -> Option<LatLng> {
        self.pin.map(|pin| pin.placed).or(self.guess)
    }

    /// Computes distance and score of a pin at `at` from the truth, if it is known, else from the distance that the page shows.
    /// `page_score` must be set before.
    pub fn measure(&mut self, at: LatLng, shown: Option<Distance>) {
        let map = &self.map;
        if let Some(truth) = self.truth {
            let distance_m = truth.distance_m(at);
            (self.distance_m, self.distance_within_m) = (Some(distance_m), None);
            self.score = Some(map.points(distance_m));
        } else {
            let shown = shown.map(|Distance { metres, within_m }| (metres, within_m));
            (self.distance_m, self.distance_within_m) = shown.unzip();
            self.score = shown.map(|(metres, within_m)| {
                let (least, most) = map.points_within(metres, within_m).into_inner();
                self.page_score.map_or_else(|| map.points(metres), |page| page.clamp(least, most))
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_common::fs::{f32_to_le_bytes, write_atomic};
    use std::fs;

    #[test]
    fn logits_need_the_files_of_all_views() {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"{"format":1,"map":{"name":"W","scale_m":1000},"views":[
            {"file":"a.jpg","heading":0,"logits":"a.f32"},{"file":"b.jpg","heading":90,"logits":"b.f32"}]}"#;
        let round: Round = serde_json::from_str(text).unwrap();
        for (file, row) in [("a.f32", 1.0f32), ("b.f32", 2.0)] {
            assert!(round.logits(dir.path(), 1).unwrap().is_none());
            write_atomic(&dir.path().join(file), &f32_to_le_bytes(&[row])).unwrap();
        }
        assert_eq!(round.logits(dir.path(), 1).unwrap().unwrap(), [[1.0], [2.0]]);
        assert!(round.logits(dir.path(), 2).unwrap_err().to_string().contains("of another bundle"));
        fs::write(dir.path().join("b.f32"), [1]).unwrap();
        assert!(round.logits(dir.path(), 1).unwrap_err().to_string().contains("b.f32"));
    }

    #[test]
    fn coordinates_survive_the_round_trip() {
        let text = r#"{"format":1,"name":"A","map":{"name":"World","scale_m":14916862},
            "truth":{"lat":48.88888888888888,"lng":0.1},"views":[{"file":"view_000.jpg","heading":0.0}]}"#;
        let round: Round = serde_json::from_str(text).unwrap();
        let again: Round = serde_json::from_str(&serde_json::to_string(&round).unwrap()).unwrap();
        assert_eq!(again.truth, round.truth);
        assert!(!serde_json::to_string(&round).unwrap().contains("seconds"));
        assert!(serde_json::from_str::<Round>(&text.replace("14916862", "-1")).is_err());
    }

    #[test]
    fn scores_agree_with_a_rounded_distance() {
        let text = r#"{"format":1,"map":{"name":"World","scale_m":14916862},"views":[]}"#;
        let measured = |truth: Option<LatLng>, page_score: Option<u32>, shown: Option<Distance>| {
            let mut round: Round = serde_json::from_str(text).unwrap();
            (round.truth, round.page_score) = (truth, page_score);
            round.measure(LatLng { lat: 0.0, lng: 0.0 }, shown);
            round
        };
        // A round of the live game: 394,514.7 m, 3838 points, which a page shows as 395 km; that allows 3836 to 3838.
        let shown = Some(Distance { metres: 395_000.0, within_m: 500.0 });
        let score = |page: Option<u32>| measured(None, page, shown).score;
        assert_eq!(score(None), Some(3837));
        for (page, ours) in [(3836, 3836), (3837, 3837), (3838, 3838), (3839, 3838), (4000, 3838), (0, 3836)] {
            assert_eq!(score(Some(page)), Some(ours), "{page}");
        }
        let round = measured(None, Some(3838), shown);
        assert_eq!((round.distance_m, round.distance_within_m), (Some(395_000.0), Some(500.0)));
        let again: Round = serde_json::from_str(&serde_json::to_string(&round).unwrap()).unwrap();
        assert_eq!(again.distance_within_m, Some(500.0));
        // A known truth takes precedence over the shown distance; without either there is no score.
        let told = measured(Some(LatLng { lat: 0.0, lng: 0.0 }), Some(1), shown);
        assert_eq!((told.distance_m, told.distance_within_m, told.score), (Some(0.0), None, Some(5000)));
        let silent = measured(None, Some(1), None);
        assert_eq!((silent.distance_m, silent.score), (None, None));
        assert!(!serde_json::to_string(&silent).unwrap().contains("within"));
    }
}
