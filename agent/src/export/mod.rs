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

use crate::photos::locate::LocatedPhoto;
use crate::record::{Round, find_rounds, read_rounds};

/// Export formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Points; for rounds also the truth and a line to it
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
    columns: &'static [&'static str],
    rows: Vec<ExportRow>,
}

/// One prediction.
#[derive(Clone, Debug)]
struct ExportRow {
    name: String,
    at: LatLng,
    /// Description of the place.
    place: Option<String>,
    truth: Option<LatLng>,
    /// One value per column, `null` if unknown.
    values: Vec<Value>,
}

const PHOTO_COLUMNS: &[&str] = &["place", "country", "radius_p50_km", "radius_p90_km", "expected_score", "bundle"];
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
    /// Predictions for photos, each with its name.
    pub(crate) fn of_photos<'a>(photos: impl IntoIterator<Item = (&'a str, &'a LocatedPhoto)>) -> Self {
        let row = |(name, located): (&str, &LocatedPhoto)| ExportRow {
            name: name.to_owned(),
            at: LatLng { lat: located.lat, lng: located.lng },
            place: Some(located.place.clone()),
            truth: None,
            values: vec![
                json!(located.place),
                json!(located.country),
                json!(located.radius_km.p50),
                json!(located.radius_km.p90),
                json!(located.expected_score),
                json!(located.bundle),
            ],
        };
        Self { columns: PHOTO_COLUMNS, rows: photos.into_iter().map(row).collect() }
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
        Ok((Self { columns: ROUND_COLUMNS, rows: rows.collect() }, left_out))
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
    fn of_round(name: String, round: Round) -> Option<Self> {
        let at = round.placed()?;
        let country = landfall_model::place::describe(at).country;
        Some(Self {
            name,
            at,
            truth: round.truth,
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
        ExportTable { columns: ROUND_COLUMNS, rows: vec![row] }
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
