//! `round.json`: what was seen in a round, what was answered, and what came of it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use landfall_common::exit::usage_error;
use landfall_common::fs::sibling_file;
use landfall_model::LatLng;
use landfall_model::prediction::TopCell;
use serde::{Deserialize, Serialize};

use crate::geometry::Pixel;
use crate::record::files::read_logits;
use crate::record::map::Map;

/// The format's number; a reader refuses what is newer.
pub const FORMAT: u32 = 1;

/// The contents of `round.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Round {
    /// Number of the format.
    pub format: u32,
    /// A name for people, on fixtures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Country of the truth, ISO 3166-1 alpha-2, on fixtures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Number of the round in its game, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u32>,
    /// Address of the page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Profile that was played with, `name@version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The map that is played.
    pub map: Map,
    /// The panorama's picture, on fixtures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pano: Option<String>,
    /// What was seen.
    pub views: Vec<View>,
    /// Bundle that made the logits, `name@version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
    /// The likeliest cells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<TopCell>,
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guess: Option<LatLng>,
    /// The answer in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Points the answer promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_score: Option<f64>,
    /// How the answer was put on the page's map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<PinPlacement>,
    /// Where it was, once the page has on_event, or on fixtures; `null` while it is not known.
    #[serde(default)]
    pub truth: Option<LatLng>,
    /// How far the truth may be off, on fixtures whose place is not exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truth_within_m: Option<f64>,
    /// Metres between the placed pin and the truth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance_m: Option<f64>,
    /// Metres that `distance_m` may be off, where the page does not tell the truth and shows a rounded distance alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance_within_m: Option<f64>,
    /// Points by our own law. A rounded distance allows several: then the one that is nearest to what the page says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<u32>,
    /// Points as the page said; `null` while it has not.
    #[serde(default)]
    pub page_score: Option<u32>,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<RoundTimings>,
}

/// One picture of the place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct View {
    /// The picture, beside `round.json`.
    pub file: String,
    /// Degrees clockwise from where the round began looking.
    pub heading: f64,
    /// The logits, beside `round.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logits: Option<String>,
}

/// How the answer was put on the page's map.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct PinPlacement {
    /// The answer.
    pub wanted: LatLng,
    /// The pin: as the page took it where it says so, else as read back from the map.
    pub placed: LatLng,
    /// Metres between the two.
    pub error_m: f64,
    /// The pixel that was clicked.
    pub click: Pixel,
    /// Metres that a pixel spanned there.
    pub metres_per_pixel: f64,
}

/// How long a round took, in seconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct RoundTimings {
    /// Looking around.
    pub look: f64,
    /// Classifying and deciding.
    pub think: f64,
    /// Putting the pin on the map.
    pub place: f64,
    /// From the round's first sight to its result.
    pub total: f64,
}

/// A distance as it was read: a number is written with so many digits, and the truth is within half of the last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// Metres.
    pub metres: f64,
    /// Half of the last digit that is shown, in metres.
    pub within_m: f64,
}

impl Round {
    /// Reads a `round.json`.
    ///
    /// # Errors
    /// When it cannot be read, is no round, or is of a newer format.
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| usage_error(format!("cannot read {}", file.display())))?;
        let round: Self = serde_json::from_str(&text)
            .map_err(|error| usage_error(format!("{}: not a round's record: {error}", file.display())))?;
        if round.format > FORMAT {
            let why = format!("{}: format {} is newer than this program's {FORMAT}", file.display(), round.format);
            return Err(usage_error(why));
        }
        Ok(round)
    }

    /// The recorded logits, beside the record in `folder`: a row a view; `None` when those of a view are not there.
    ///
    /// # Errors
    /// When a file cannot be read or is cut off.
    pub fn logits(&self, folder: &Path) -> Result<Option<Vec<Vec<f32>>>> {
        let files =
            self.views.iter().map(|view| sibling_file(folder, view.logits.as_deref()?)).collect::<Option<Vec<_>>>();
        let files = files.filter(|files| !files.is_empty() && files.iter().all(|file| file.is_file()));
        files.map(|files| files.iter().map(|file| read_logits(file)).collect()).transpose()
    }

    /// Where the pin is: as it was placed, else where it was wanted.
    pub fn placed(&self) -> Option<LatLng> {
        self.pin.map(|pin| pin.placed).or(self.guess)
    }

    /// Fills in how far off the pin at `at` was and what that scores: by the truth where it is known, else by the
    /// distance that the page shows. What the page says of the points must be known by then.
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
                let (least, most) = (map.points(metres + within_m), map.points((metres - within_m).max(0.0)));
                self.page_score.map_or_else(|| map.points(metres), |page| page.clamp(least, most))
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_common::fs::{f32_to_le_bytes, write_atomic};

    #[test]
    fn logits_are_those_of_all_views_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"{"format":1,"map":{"name":"W","scale_m":1000},"views":[
            {"file":"a.jpg","heading":0,"logits":"a.f32"},{"file":"b.jpg","heading":90,"logits":"b.f32"}]}"#;
        let round: Round = serde_json::from_str(text).unwrap();
        for (file, row) in [("a.f32", 1.0f32), ("b.f32", 2.0)] {
            assert!(round.logits(dir.path()).unwrap().is_none());
            write_atomic(&dir.path().join(file), &f32_to_le_bytes(&[row])).unwrap();
        }
        assert_eq!(round.logits(dir.path()).unwrap().unwrap(), [[1.0], [2.0]]);
        fs::write(dir.path().join("b.f32"), [1]).unwrap();
        assert!(round.logits(dir.path()).unwrap_err().to_string().contains("b.f32"));
    }

    #[test]
    fn a_fixture_is_a_round_and_coordinates_keep_every_bit() {
        let text = r#"{"format":1,"name":"A","map":{"name":"World","scale_m":14916862},
            "truth":{"lat":48.88888888888888,"lng":0.1},"views":[{"file":"view_000.jpg","heading":0.0}]}"#;
        let round: Round = serde_json::from_str(text).unwrap();
        let again: Round = serde_json::from_str(&serde_json::to_string(&round).unwrap()).unwrap();
        assert_eq!(again.truth, round.truth);
        assert!(!serde_json::to_string(&round).unwrap().contains("seconds"));
        assert!(serde_json::from_str::<Round>(&text.replace("14916862", "-1")).is_err());
    }

    #[test]
    fn a_shown_distance_allows_the_points_that_its_rounding_allows() {
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
        // The truth, where it is known, is better than words; and nothing known is nothing counted.
        let told = measured(Some(LatLng { lat: 0.0, lng: 0.0 }), Some(1), shown);
        assert_eq!((told.distance_m, told.distance_within_m, told.score), (Some(0.0), None, Some(5000)));
        let silent = measured(None, Some(1), None);
        assert_eq!((silent.distance_m, silent.score), (None, None));
        assert!(!serde_json::to_string(&silent).unwrap().contains("within"));
    }
}
