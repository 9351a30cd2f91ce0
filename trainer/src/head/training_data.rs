//! What a head is trained on: labelled pictures with their features, and the cells they are told apart by.

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

/// Pictures and cells, checked.
pub(crate) struct TrainingData {
    /// Which encoder made the features.
    pub(crate) encoder: EncoderSpec,
    /// The cells.
    pub(crate) table: CellTable,
    /// Other partitions that are learned beside them.
    pub(crate) staggered: Vec<CellTable>,
    /// Pictures that a label can be made for.
    pub(crate) samples: Vec<Sample>,
}

impl TrainingData {
    /// Reads what a recipe names.
    ///
    /// # Errors
    /// When a file cannot be used; the message names the row that is wrong.
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
        bail!("{} holds no cell; cut the cells again", file.display());
    }
    if let Some(i) = table.cells.iter().position(|cell| cell.count == 0) {
        bail!("{}, cell {} ({}): no place lies in it; cut the cells again", file.display(), i, table.cells[i].token);
    }
    Ok(table)
}

/// The samples that a label can be made for. One without coordinates in a country without cells is left out and told
/// of; one whose country is none is an error.
fn with_labels(samples: Vec<Sample>, soft_labels: &SoftLabels<'_>, index: &Path) -> Result<Vec<Sample>> {
    let mut without: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut kept = Vec::with_capacity(samples.len());
    for sample in samples {
        let row = &sample.row;
        if soft_labels.label(row.at, &row.iso2).is_some() {
            kept.push(sample);
        } else if countries::by_code(&row.iso2).is_none() {
            bail!("{}, line {}: `{}` is no country; give its ISO 3166-1 code", index.display(), row.line, row.iso2);
        } else {
            without.entry(row.iso2.clone()).or_insert((0, row.line)).0 += 1;
        }
    }
    for (country, (rows, line)) in without {
        eprintln!("left out {rows} rows (first: line {line}) without coordinates in `{country}`, which has no cell");
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
            "{n} of {cells} cells have no picture with a place (first: {first}); only their neighbours teach them"
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

    /// A row at a place, in a group of its own.
    pub(crate) fn place(lat: f64, lng: f64, iso2: &str) -> Row {
        let group = format!("{lat},{lng}");
        Row { at: LatLng::new(lat, lng).ok(), group, ..country(iso2) }
    }

    /// A row that knows only its country.
    pub(crate) fn country(iso2: &str) -> Row {
        let text = format!("set,file,lat,lng,iso2,group,split\ns,{iso2}.jpg,,,{iso2},{iso2},train\n");
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        reader.deserialize().next().unwrap().unwrap()
    }

    /// A cell of level 6 around each place, and no picture.
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
    fn unknown_countries_are_errors_and_countries_without_cells_are_left_out() {
        let data = training_data(&[(48.85, 2.35, "FR")]);
        let soft_labels = SoftLabels::new(&data.table, 100.0).unwrap();
        let read = |codes: &[&str]| {
            let samples = codes.iter().map(|code| sample(Row { line: 7, ..country(code) }, &[1.0; 4])).collect();
            with_labels(samples, &soft_labels, Path::new("index.csv"))
        };
        assert_eq!(read(&["FR", "JP", "FR"]).unwrap().len(), 2);
        for (codes, says) in [(&["FR", "QQ"][..], "line 7: `QQ` is no country"), (&["JP"], "no row of the split")] {
            let error = read(codes).map(|kept| kept.len()).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
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
        assert!(error.contains("cell 1 (") && error.contains("no place lies in it"), "{error}");
    }
}
