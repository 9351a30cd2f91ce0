//! Exports predictions for photos and recorded rounds as GeoJSON, CSV and KML.

mod csv;
mod geojson;
mod kml;
mod line;

use std::path::{Path, PathBuf};

use anyhow::Result;
use landfall_common::exit::usage_error;
use landfall_model::LatLng;
use serde_json::{Value, json};

use crate::photos::candidates::Candidate;
use crate::photos::locate::LocatedPhoto;
use crate::photos::regions::CredibleRegion;
use crate::record::{Round, find_rounds, read_rounds};

/// Export formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Points; for rounds also the truth and a line to it, for photos with --regions also credible regions
    Geojson,
    /// One row per prediction
    Csv,
    /// For Google Earth and others
    Kml,
}

impl Format {
    /// The format for the extension of a file.
    ///
    /// # Errors
    /// When the extension is unknown.
    pub(crate) fn of(file: &Path) -> Result<Self> {
        let ending = file.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        match ending.as_deref() {
            Some("geojson" | "json") => Ok(Self::Geojson),
            Some("csv") => Ok(Self::Csv),
            Some("kml") => Ok(Self::Kml),
            _ => Err(usage_error(format!(
                "{}: unknown format: use the extension .geojson, .json, .csv or .kml, or give --format",
                file.display()
            ))),
        }
    }
}

/// A table of predictions.
#[derive(Clone, Debug)]
pub(crate) struct ExportTable {
    /// Columns in addition to name and coordinates.
    columns: Vec<&'static str>,
    rows: Vec<ExportRow>,
}

/// One prediction.
#[derive(Clone, Debug)]
struct ExportRow {
    name: String,
    /// Position among the candidates for the same photo, from 1.
    rank: usize,
    at: LatLng,
    /// Description of the place.
    place: Option<String>,
    truth: Option<LatLng>,
    /// Credible regions, for formats that have polygons.
    regions: Vec<CredibleRegion>,
    /// One value per column, `null` if unknown.
    values: Vec<Value>,
}

const PHOTO_COLUMNS: &[&str] = &["place", "country", "radius_p50_km", "radius_p90_km", "expected_score", "bundle"];
/// Columns of candidates, before those of photos.
const CANDIDATE_COLUMNS: &[&str] = &["rank", "p", "radius_km"];
/// Columns of photos of whose place something else was known, after the others.
const GIVEN_COLUMNS: &[&str] = &["hints", "hints_p"];
const ROUND_COLUMNS: &[&str] = &[
    "place",
    "country",
    "expected_score",
    "score",
    "page_score",
    "max_points",
    "distance_km",
    "truth_lat",
    "truth_lng",
    "map",
    "views",
    "bundle",
];

impl ExportTable {
    /// Predictions for photos, each with its name: one row per candidate if there are any, else one per photo.
    pub(crate) fn of_photos<'a>(photos: impl IntoIterator<Item = (&'a str, &'a LocatedPhoto)>) -> Self {
        let photos: Vec<(&str, &LocatedPhoto)> = photos.into_iter().collect();
        let has_candidates = photos.iter().any(|(_, located)| located.candidates.is_some());
        let has_given = photos.iter().any(|(_, located)| located.given.is_some());
        let mut columns = PHOTO_COLUMNS.to_vec();
        if has_candidates {
            columns.splice(0..0, CANDIDATE_COLUMNS.iter().copied());
        }
        if has_given {
            columns.extend(GIVEN_COLUMNS);
        }
        let rows = |(name, located): (&str, &LocatedPhoto)| {
            let mut rows = match &located.candidates {
                Some(candidates) => ExportRow::of_candidates(name, located, candidates),
                None => vec![ExportRow::of_photo(name, located)],
            };
            if let (true, Some(row)) = (has_given, rows.first_mut()) {
                let given = located.given.as_ref();
                row.values.push(json!(given.map(|given| given.hints.join("; "))));
                row.values.push(json!(given.map(|given| given.p)));
            }
            rows.iter_mut().for_each(|row| row.values.resize(columns.len(), Value::Null));
            rows
        };
        let rows = photos.into_iter().flat_map(rows).collect();
        Self { columns, rows }
    }

    /// The recorded rounds under these directories that have a guess, named after their directories; and, one sentence
    /// each, what cannot be read and was left out.
    ///
    /// # Errors
    /// When there are no rounds, or none can be read.
    pub(crate) fn of_rounds(dirs: &[PathBuf]) -> Result<(Self, Vec<String>)> {
        let (found, left_out) = find_rounds(dirs)?;
        let (rounds, left_out) = read_rounds(found, left_out)?;
        let rows = rounds.into_iter().filter_map(|(found, round)| ExportRow::of_round(found.name(), round));
        Ok((Self { columns: ROUND_COLUMNS.to_vec(), rows: rows.collect() }, left_out))
    }

    /// Serialises the table in this format, CSV with a byte order mark if `bom`.
    ///
    /// # Errors
    /// When serialisation fails.
    pub(crate) fn write(&self, format: Format, bom: bool) -> Result<String> {
        match format {
            Format::Geojson => Ok(geojson::write(self)),
            Format::Csv if bom => Ok(format!("\u{feff}{}", csv::write(self)?)),
            Format::Csv => csv::write(self),
            Format::Kml => Ok(kml::write(self)),
        }
    }
}

impl ExportRow {
    fn of_photo(name: &str, located: &LocatedPhoto) -> Self {
        Self {
            name: name.to_owned(),
            rank: 1,
            at: LatLng { lat: located.lat, lng: located.lng },
            place: Some(located.place.clone()),
            truth: None,
            regions: located.regions.clone(),
            values: vec![
                json!(located.place),
                json!(located.country),
                json!(located.radius_km.p50),
                json!(located.radius_km.p90),
                json!(located.expected_score),
                json!(located.bundle),
            ],
        }
    }

    /// The candidates for a photo. What is true of the prediction only is in the first of them, which it is.
    fn of_candidates(name: &str, located: &LocatedPhoto, candidates: &[Candidate]) -> Vec<Self> {
        let row = |(i, candidate): (usize, &Candidate)| {
            let own = [json!(i + 1), json!(candidate.p), json!(candidate.radius_km)];
            let photo = Self::of_photo(name, located);
            if i == 0 {
                return Self { values: own.into_iter().chain(photo.values).collect(), ..photo };
            }
            let Candidate { at, country, place, .. } = candidate;
            let none = [Value::Null, Value::Null, Value::Null];
            let further = [json!(place), json!(country)].into_iter().chain(none).chain([json!(located.bundle)]);
            Self {
                rank: i + 1,
                at: *at,
                place: Some(place.clone()),
                regions: Vec::new(),
                values: own.into_iter().chain(further).collect(),
                ..photo
            }
        };
        candidates.iter().enumerate().map(row).collect()
    }

    fn of_round(name: String, round: Round) -> Option<Self> {
        let at = round.placed()?;
        let country = landfall_model::place::describe(at).country;
        Some(Self {
            name,
            rank: 1,
            at,
            truth: round.truth,
            regions: Vec::new(),
            values: vec![
                json!(round.place),
                json!(country),
                json!(round.expected_score),
                json!(round.score),
                json!(round.page_score),
                json!(round.map.max_points),
                json!(round.distance_m.map(|metres| metres / 1000.0)),
                json!(round.truth.map(|truth| truth.lat)),
                json!(round.truth.map(|truth| truth.lng)),
                json!(round.map.name),
                json!(round.views.len()),
                json!(round.bundle),
            ],
            place: round.place,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A table of one round with hostile names.
    pub(crate) fn hostile_table() -> ExportTable {
        let mut round: Round =
            serde_json::from_str(include_str!("../../../fixtures/rounds/aizkorri-meadow/round.json")).unwrap();
        round.place = Some("<b>near</b> \"Lyon\", France".to_owned());
        (round.map.name, round.score) = ("=HYPERLINK()".to_owned(), Some(2269));
        (round.truth, round.guess) = (LatLng::new(10.0, -179.0).ok(), LatLng::new(10.0, 179.0).ok());
        let row = ExportRow::of_round("=1+\u{1}<script>\"&'\n,".to_owned(), round).unwrap();
        ExportTable { columns: ROUND_COLUMNS.to_vec(), rows: vec![row] }
    }

    #[test]
    fn format_follows_from_the_extension() {
        for (file, format) in [("a.GeoJSON", Format::Geojson), ("b.json", Format::Geojson), ("c.csv", Format::Csv)] {
            assert_eq!(Format::of(Path::new(file)).unwrap(), format);
        }
        let error = Format::of(Path::new("places.html")).unwrap_err().to_string();
        assert!(error.contains("places.html") && error.contains(".kml"), "{error}");
    }

    #[test]
    fn only_csv_begins_with_a_byte_order_mark_if_asked() {
        let begins = |format, bom| hostile_table().write(format, bom).unwrap().starts_with('\u{feff}');
        assert!(begins(Format::Csv, true) && !begins(Format::Csv, false));
        assert!(!begins(Format::Geojson, true) && !begins(Format::Kml, true));
    }

    #[test]
    fn every_row_has_a_value_for_every_column() {
        assert_eq!(hostile_table().rows[0].values.len(), ROUND_COLUMNS.len());
    }
}
