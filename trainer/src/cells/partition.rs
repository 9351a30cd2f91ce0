//! `partition`: adaptive S2 cells over street-view coverage and the locations of training images.
//!
//! A cell is split into its four children while it contains more than `max` places. A child with fewer than `min`
//! places is kept only if no other cell is near; otherwise its places belong to the nearest cell. Cells therefore never
//! overlap, and every place is in or near a cell. Cells are sorted by S2 id, so the same places give the same file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use landfall_common::fs::write_json;
use landfall_model::cells::{Cell, CellTable, leaf};
use landfall_model::{LatLng, countries};
use rayon::prelude::*;
use s2::cellid::CellID;
use serde::Deserialize;

use crate::data::index;

/// Partition the earth into cells, smaller where there are more images
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train partition --points coverage.csv --index index.csv --split train --out cells.json"
)]
pub(crate) struct Args {
    /// CSV file of coverage points with the columns lat and lng (repeatable)
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    points: Vec<PathBuf>,
    /// Index of the images (CSV or Parquet); every row with coordinates counts once
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    index: Option<PathBuf>,
    /// Use only this split of the index (repeatable)
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    split: Vec<String>,
    #[command(flatten)]
    limits: Limits,
    /// Cell table to write (JSON)
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: PathBuf,
    /// Print the summary as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// When cells are split and which are kept.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Minimum number of places per cell; a cell with fewer is kept only if no other cell is near
    #[arg(long, default_value_t = 20)]
    pub(crate) min: usize,
    /// Maximum number of places per cell; a cell with more is split
    #[arg(long, default_value_t = 300)]
    pub(crate) max: usize,
    /// Coarsest S2 level of a cell
    #[arg(long, default_value_t = 2)]
    pub(crate) min_level: u64,
    /// Finest S2 level of a cell
    #[arg(long, default_value_t = 6)]
    pub(crate) max_level: u64,
    /// Maximum distance in kilometres between a place and the mean location of its cell
    #[arg(long, default_value_t = 200.0)]
    pub(crate) near_km: f64,
    /// Count identical coordinates once
    #[arg(long, help_heading = "Input")]
    pub(crate) dedupe_coordinates: bool,
}

/// Runs the command.
///
/// # Errors
/// If a file cannot be read or written, or the input has no places.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut places = Vec::new();
    for file in &args.points {
        places.extend(read_points(file)?);
    }
    if let Some(file) = &args.index {
        places.extend(index::read_splits(file, &args.split)?.iter().filter_map(|row| row.at));
    }
    let table = partition(&places, args.limits)?;
    write_json(&args.out, &table)?;
    let kept: u64 = table.cells.iter().map(|cell| u64::from(cell.count)).sum();
    let mut spreads_km: Vec<f64> = table.cells.iter().map(|cell| cell.spread_m / 1000.0).collect();
    spreads_km.sort_by(f64::total_cmp);
    let (cells, spread_km) = (table.cells.len(), spreads_km[spreads_km.len() / 2]);
    if args.json {
        let summary = serde_json::json!({
            "cells": cells, "places": places.len(), "places_in_cells": kept, "median_spread_km": spread_km,
        });
        println!("{summary}");
    } else {
        println!("{cells} cells contain {kept} of {} places; median spread {spread_km:.0} km", places.len());
    }
    Ok(())
}

/// Partitions places into cells.
///
/// # Errors
/// If there are no places or the limits contradict each other.
pub(crate) fn partition(places: &[LatLng], limits: Limits) -> Result<CellTable> {
    if places.is_empty() {
        bail!("no places to partition; give --points, or an --index with coordinates");
    }
    if limits.min > limits.max || limits.max == 0 || limits.min_level > limits.max_level || limits.max_level > 30 {
        bail!("--min must be at most --max, --max at least 1, and levels between 0 and 30");
    }
    let mut leaves: Vec<(CellID, LatLng)> = places.par_iter().map(|place| (leaf(*place), *place)).collect();
    leaves.par_sort_unstable_by_key(|(id, place)| (id.0, place.lat.to_bits(), place.lng.to_bits()));
    if limits.dedupe_coordinates {
        leaves.dedup_by_key(|(id, _)| *id);
    }
    let mut found = Vec::new();
    for face in 0..6 {
        let id = CellID::from_face(face);
        split(id, within(&leaves, id), limits, &mut found);
    }
    let cell = |(id, members): &(CellID, &[(CellID, LatLng)])| cell_of(*id, members);
    let (mut cells, mut small): (Vec<Cell>, Vec<Cell>) =
        found.par_iter().map(cell).collect::<Vec<_>>().into_iter().partition(|cell| cell.count as usize >= limits.min);
    // Fullest first: a cell that is kept may make smaller ones near it unnecessary.
    small.sort_by_key(|cell| std::cmp::Reverse(cell.count));
    for cell in small {
        if cells.iter().all(|other| other.at.distance_m(cell.at) > limits.near_km * 1000.0) {
            cells.push(cell);
        }
    }
    cells.sort_by_key(|cell| CellID::from_token(&cell.token).0);
    cells
        .par_iter_mut()
        .for_each(|cell| cell.country = majority_country(within(&leaves, CellID::from_token(&cell.token))));
    Ok(CellTable::new(cells)?)
}

/// The slice of sorted leaves inside a cell.
fn within(leaves: &[(CellID, LatLng)], id: CellID) -> &[(CellID, LatLng)] {
    let (first, last) = (id.range_min().0, id.range_max().0);
    let start = leaves.partition_point(|(leaf, _)| leaf.0 < first);
    let end = leaves.partition_point(|(leaf, _)| leaf.0 <= last);
    &leaves[start..end]
}

fn split<'a>(
    id: CellID,
    members: &'a [(CellID, LatLng)],
    limits: Limits,
    found: &mut Vec<(CellID, &'a [(CellID, LatLng)])>,
) {
    let too_coarse = id.level() < limits.min_level;
    let too_full = members.len() > limits.max && id.level() < limits.max_level;
    if members.is_empty() {
    } else if too_coarse || too_full {
        for child in id.children() {
            split(child, within(members, child), limits, found);
        }
    } else {
        found.push((id, members));
    }
}

fn cell_of(id: CellID, members: &[(CellID, LatLng)]) -> Cell {
    let centre = s2::latlng::LatLng::from(id);
    let centre = LatLng { lat: centre.lat.deg(), lng: centre.lng.deg() };
    // There is no mean if the places cancel out (antipodes); use the cell's centre then.
    let at = LatLng::mean(members.iter().map(|(_, place)| (*place, 1.0))).unwrap_or(centre);
    let squares: f64 = members.iter().map(|(_, place)| at.distance_m(*place).powi(2)).sum();
    let spread_m = (squares / members.len() as f64).sqrt();
    // Five decimals of a degree are a metre; rounding keeps the file small and readable.
    let round = |x: f64, unit: f64| (x * unit).round() / unit;
    let at = LatLng { lat: round(at.lat, 1e5), lng: landfall_model::latlng::wrap_lng(round(at.lng, 1e5)) };
    let count = u32::try_from(members.len()).unwrap_or(u32::MAX);
    Cell { token: id.to_token(), level: id.level(), at, spread_m: round(spread_m, 10.0), count, country: None }
}

/// The country that contains most places, judged by up to 64 evenly spaced ones. A place within 50 km of a country
/// counts for it, until four places were farther out at sea: the search for the nearest country is slow there.
fn majority_country(members: &[(CellID, LatLng)]) -> Option<String> {
    let step = members.len().div_ceil(64).max(1);
    let mut votes = std::collections::BTreeMap::new();
    let mut at_sea = 0;
    for (_, place) in members.iter().step_by(step) {
        let country = if at_sea < 4 { countries::of(*place) } else { countries::at(*place) };
        match country {
            Some(country) => *votes.entry(country.iso2).or_insert(0) += 1,
            None => at_sea += 1,
        }
    }
    votes.into_iter().rev().max_by_key(|(_, votes)| *votes).map(|(code, _)| code.to_owned())
}

/// Reads a CSV file of coverage points with the columns lat and lng.
pub(crate) fn read_points(file: &Path) -> Result<Vec<LatLng>> {
    #[derive(Deserialize)]
    struct Point {
        #[serde(alias = "LAT", alias = "latitude")]
        lat: f64,
        #[serde(alias = "LON", alias = "lon", alias = "longitude")]
        lng: f64,
    }
    let mut reader = csv::Reader::from_path(file).with_context(|| format!("cannot read {}", file.display()))?;
    let points = reader.deserialize::<Point>().enumerate().map(|(i, point)| {
        let location = || format!("{}, line {}", file.display(), i + 2);
        let point = point.with_context(|| format!("{}: not a valid point", location()))?;
        LatLng::new(point.lat, point.lng).with_context(location)
    });
    points.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { min: 5, max: 20, min_level: 2, max_level: 8, near_km: 200.0, dedupe_coordinates: false };

    fn at(lat: f64, lng: f64) -> LatLng {
        LatLng::new(lat, lng).unwrap()
    }

    /// A grid of places with a dense corner and a remote island.
    fn places() -> Vec<LatLng> {
        let grid = (0..400).map(|i| at(40.0 + f64::from(i % 20) * 0.5, 0.0 + f64::from(i / 20) * 0.5));
        let town = (0..300).map(|i| at(45.0 + f64::from(i % 17) * 0.01, 5.0 + f64::from(i / 17) * 0.01));
        grid.chain(town).chain([at(-16.0, -5.7)]).collect()
    }

    #[test]
    fn every_place_is_in_a_cell_or_near_one() {
        let table = partition(&places(), LIMITS).unwrap();
        for place in places() {
            let nearest = table.nearest(place).map(|i| table.cells[i].at.distance_m(place)).unwrap();
            // The mean location of a dropped child is near a cell, and the place is within that child.
            assert!(table.containing(place).is_some() || nearest < 400_000.0, "{place}: {nearest}");
        }
        let island = table.containing(at(-16.0, -5.7)).expect("remote cells are kept");
        assert_eq!(table.cells[island].count, 1);
        assert!(table.cells.iter().all(|cell| cell.count <= 20 || cell.level == 8));
        assert!(table.cells.windows(2).all(|p| CellID::from_token(&p[0].token).0 < CellID::from_token(&p[1].token).0));
    }

    #[test]
    fn repeated_coordinates_count_repeatedly() {
        let once = partition(&[at(48.85, 2.35), at(45.76, 4.83)], LIMITS).unwrap();
        let mut many = vec![at(48.85, 2.35); 30];
        many.push(at(45.76, 4.83));
        let many = partition(&many, LIMITS).unwrap();
        assert_eq!(once.cells.iter().map(|cell| cell.count).sum::<u32>(), 2);
        let paris = &many.cells[many.containing(at(48.85, 2.35)).unwrap()];
        assert_eq!((paris.count, paris.level), (30, 8), "30 images of one place exceed max and split the cell");
        assert_eq!(paris.country.as_deref(), Some("FR"));
        assert!(paris.spread_m < 1.0 && paris.at.distance_m(at(48.85, 2.35)) < 2.0);
    }

    #[test]
    fn the_order_of_places_does_not_matter() {
        let forwards = partition(&places(), LIMITS).unwrap();
        let mut backwards = places();
        backwards.reverse();
        let backwards = partition(&backwards, LIMITS).unwrap();
        let tokens =
            |table: &CellTable| table.cells.iter().map(|cell| (cell.token.clone(), cell.count)).collect::<Vec<_>>();
        assert_eq!(tokens(&forwards), tokens(&backwards));
    }

    #[test]
    fn no_places_and_invalid_limits_are_rejected() {
        assert!(partition(&[], LIMITS).is_err());
        assert!(partition(&places(), Limits { min: 30, ..LIMITS }).is_err());
    }
}
