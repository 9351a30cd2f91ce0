//! Training data of a head: labelled pictures with their features, and the cell table.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};
use landfall_common::fs::read_json;
use landfall_model::{CellTable, countries};

use crate::cells::soft_labels::SoftLabels;
use crate::data::index;
use crate::features::encoder_spec::EncoderSpec;
use crate::features::samples::{self, Sample};
use crate::head::recipe::Recipe;

/// Validated pictures and cells.
pub(crate) struct TrainingData {
    /// The encoder that produced the features.
    pub(crate) encoder: EncoderSpec,
    pub(crate) table: CellTable,
    /// Other partitions, for auxiliary targets.
    pub(crate) staggered: Vec<CellTable>,
    /// Pictures with labels.
    pub(crate) samples: Vec<Sample>,
}

impl TrainingData {
    /// Loads the data of a recipe.
    ///
    /// # Errors
    /// When a file cannot be used; the message names the invalid row.
    pub(crate) fn load(recipe: &Recipe) -> Result<Self> {
        let table = read_cells(&recipe.data.cells)?;
        let staggered = recipe.staggered.cells.iter().map(|file| read_cells(file)).collect::<Result<_>>()?;
        let (encoder, samples) =
            samples::join(index::read_splits(&recipe.data.index, &recipe.data.split)?, &recipe.data.features)?;
        let soft_labels = SoftLabels::new(&table, recipe.label.tau_km)?;
        let samples = with_labels(samples, &soft_labels, &recipe.data.index)?;
        warn_about_empty_cells(&table, &samples);
        Ok(Self { encoder, table, staggered, samples })
    }
}

fn read_cells(file: &Path) -> Result<CellTable> {
    let table: CellTable = read_json(file, "a cell table")?;
    if table.cells.is_empty() {
        bail!("{} contains no cells; run `partition` again", file.display());
    }
    if let Some(i) = table.cells.iter().position(|cell| cell.count == 0) {
        bail!("{}, cell {} ({}) contains no places; run `partition` again", file.display(), i, table.cells[i].token);
    }
    Ok(table)
}

/// The samples with labels. Rows without coordinates in a country without cells are skipped with a warning; an unknown
/// country code is an error.
fn with_labels(samples: Vec<Sample>, soft_labels: &SoftLabels<'_>, index: &Path) -> Result<Vec<Sample>> {
    let mut without: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut kept = Vec::with_capacity(samples.len());
    for sample in samples {
        let row = &sample.row;
        if soft_labels.label(row.at, &row.iso2).is_some() {
            kept.push(sample);
        } else if countries::by_code(&row.iso2).is_none() {
            bail!("{}, line {}: `{}` is not an ISO 3166-1 country code", index.display(), row.line, row.iso2);
        } else {
            without.entry(row.iso2.clone()).or_insert((0, row.line)).0 += 1;
        }
    }
    for (country, (rows, line)) in without {
        eprintln!("skipped {rows} rows without coordinates (first: line {line}): no cell is in country `{country}`");
    }
    if kept.is_empty() {
        bail!("{}: no row of the split has coordinates or a country with cells", index.display());
    }
    Ok(kept)
}

fn warn_about_empty_cells(table: &CellTable, samples: &[Sample]) {
    let mut pictures = vec![0usize; table.cells.len()];
    let places = samples.iter().filter_map(|sample| sample.row.at);
    places.filter_map(|at| table.containing(at).or_else(|| table.nearest(at))).for_each(|cell| pictures[cell] += 1);
    let empty: Vec<&str> =
        table.cells.iter().zip(&pictures).filter(|(_, n)| **n == 0).map(|(cell, _)| cell.token.as_str()).collect();
    if let Some(first) = empty.first() {
        let (n, cells) = (empty.len(), table.cells.len());
        eprintln!(
            "{n} of {cells} cells have no pictures with coordinates (first: {first}); they are trained only by the soft \
            labels of nearby pictures"
        );
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::data::index::Row;
    use landfall_common::fs::write_json;
    use landfall_model::LatLng;
    use landfall_model::cells::{Cell, leaf};

    /// A row with coordinates, in a group of its own.
    pub(crate) fn place(lat: f64, lng: f64, iso2: &str) -> Row {
        let group = format!("{lat},{lng}");
        Row { at: LatLng::new(lat, lng).ok(), group, ..country(iso2) }
    }

    /// A row with a country but no coordinates.
    pub(crate) fn country(iso2: &str) -> Row {
        let text = format!("set,file,lat,lng,iso2,group,split\ns,{iso2}.jpg,,,{iso2},{iso2},train\n");
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        reader.deserialize().next().unwrap().unwrap()
    }

    /// Training data with a cell of level 6 around each place, and no pictures.
    pub(crate) fn training_data(places: &[(f64, f64, &str)]) -> TrainingData {
        let cell = |(lat, lng, iso2): &(f64, f64, &str)| {
            let at = LatLng::new(*lat, *lng).unwrap();
            let token = leaf(at).parent(6).to_token();
            Cell { token, level: 6, at, spread_m: 1e4, count: 10, country: Some((*iso2).into()) }
        };
        let encoder = serde_json::from_str(
            r#"{"encoder":{"file":"e","sha256":"","bytes":0,"input":"i","output":"o","dim":4},
                "preprocess":{"size":4,"resize":"bicubic","crop":"center","mean":[0,0,0],"std":[1,1,1]}}"#,
        );
        let table = CellTable::new(places.iter().map(cell).collect()).unwrap();
        TrainingData { encoder: encoder.unwrap(), table, staggered: Vec::new(), samples: Vec::new() }
    }

    /// A picture with its embedding.
    pub(crate) fn sample(row: Row, embedding: &[f32]) -> Sample {
        Sample { row, variants: vec![embedding.to_vec()] }
    }

    #[test]
    fn unknown_countries_are_errors_and_countries_without_cells_are_skipped() {
        let data = training_data(&[(48.85, 2.35, "FR")]);
        let soft_labels = SoftLabels::new(&data.table, 100.0).unwrap();
        let read = |codes: &[&str]| {
            let samples = codes.iter().map(|code| sample(Row { line: 7, ..country(code) }, &[1.0; 4])).collect();
            with_labels(samples, &soft_labels, Path::new("index.csv"))
        };
        assert_eq!(read(&["FR", "JP", "FR"]).unwrap().len(), 2);
        for (codes, expected) in [(&["FR", "QQ"][..], "line 7: `QQ` is not an ISO"), (&["JP"], "no row of the split")] {
            let error = read(codes).map(|kept| kept.len()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_cell_without_places_is_refused() {
        let (dir, table) =
            (tempfile::tempdir().unwrap(), training_data(&[(48.85, 2.35, "FR"), (35.68, 139.76, "JP")]).table);
        let file = dir.path().join("cells.json");
        write_json(&file, &table).unwrap();
        assert!(read_cells(&file).is_ok());
        let mut cells = table.cells;
        cells[1].count = 0;
        write_json(&file, &serde_json::json!({ "cells": cells })).unwrap();
        let error = read_cells(&file).unwrap_err().to_string();
        assert!(error.contains("cell 1 (") && error.contains("contains no places"), "{error}");
    }
}
