//! `stats`: statistics of a data set as an HTML page: a map of the images, their numbers by country and cell, and
//! repeated coordinates.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::path::PathBuf;

use anyhow::Result;
use landfall_common::fs::write_atomic;
use landfall_model::cells::leaf;
use landfall_model::countries;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::Serialize;

use crate::data::index::{self, Row};
use crate::html::{STYLE, world_svg};

/// S2 level of the dots on the map, about 300 km apart.
const DOT_LEVEL: u64 = 5;
/// S2 level of the counted cells, about 40 km wide.
const CELL_LEVEL: u64 = 8;

/// Write statistics of a data set as an HTML page
///
/// The page shows a map of the images, their numbers by country and cell, and repeated coordinates.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  landfall-train stats --index index.csv --split train --out stats.html")]
pub(crate) struct Args {
    /// Index of the images (CSV or Parquet)
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    index: PathBuf,
    /// Use only this split of the index (repeatable)
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    split: Vec<String>,
    /// HTML file to write
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: PathBuf,
    /// Print the statistics as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Statistics of a data set.
#[derive(Debug, Serialize)]
struct Stats {
    pictures: usize,
    with_place: usize,
    groups: usize,
    splits: BTreeMap<String, usize>,
    sets: BTreeMap<String, usize>,
    /// By ISO 3166-1 alpha-2 code; the empty code stands for images without a known country.
    countries: BTreeMap<String, usize>,
    /// Coordinates shared by several images: their number, the number of those images, and the most images at one.
    repeated: Repeated,
    /// S2 cells of level 8 that contain images, and the number of images in the median and the fullest cell.
    cells: Cells,
    /// Dots of the map: a position and the number of images.
    #[serde(skip)]
    dots: Vec<(landfall_model::LatLng, usize)>,
}

#[derive(Debug, Serialize)]
struct Repeated {
    coordinates: usize,
    pictures: usize,
    most: usize,
}

#[derive(Debug, Serialize)]
struct Cells {
    level: u64,
    filled: usize,
    median: usize,
    most: usize,
}

/// Runs the command.
///
/// # Errors
/// If the index cannot be read or the page cannot be written.
pub(crate) fn run(args: &Args) -> Result<()> {
    let rows = index::read_splits(&args.index, &args.split)?;
    let stats = Stats::of(&rows);
    let title = args.index.display().to_string();
    write_atomic(&args.out, page(&title, &stats).into_string().as_bytes())?;
    if args.json {
        println!("{}", serde_json::to_string(&stats)?);
    }
    let Stats { pictures, with_place, groups, countries, .. } = &stats;
    eprintln!("{pictures} images, {with_place} with coordinates, {groups} groups, {} countries", countries.len());
    eprintln!("wrote {}", args.out.display());
    Ok(())
}

fn count<K: Ord + Hash>(keys: impl Iterator<Item = K>) -> BTreeMap<K, usize> {
    let mut counts = BTreeMap::new();
    keys.for_each(|key| *counts.entry(key).or_default() += 1);
    counts
}

impl Stats {
    fn of(rows: &[Row]) -> Self {
        let places = || rows.iter().filter_map(|row| row.at);
        let at_coordinate: Vec<usize> =
            count(places().map(|at| (at.lat.to_bits(), at.lng.to_bits()))).into_values().collect();
        let repeated = || at_coordinate.iter().filter(|n| **n > 1);
        let mut in_cell: Vec<usize> = count(places().map(|at| leaf(at).parent(CELL_LEVEL).0)).into_values().collect();
        in_cell.sort_unstable();
        let mut dots: BTreeMap<u64, Vec<landfall_model::LatLng>> = BTreeMap::new();
        places().for_each(|at| dots.entry(leaf(at).parent(DOT_LEVEL).0).or_default().push(at));
        Self {
            pictures: rows.len(),
            with_place: places().count(),
            groups: count(rows.iter().map(|row| row.group.as_str())).len(),
            splits: count(rows.iter().map(|row| row.split.clone())),
            sets: count(rows.iter().map(|row| row.set.clone())),
            countries: count(rows.iter().map(|row| row.iso2.clone())),
            repeated: Repeated {
                coordinates: repeated().count(),
                pictures: repeated().sum(),
                most: at_coordinate.iter().copied().max().unwrap_or(0),
            },
            cells: Cells {
                level: CELL_LEVEL,
                filled: in_cell.len(),
                median: in_cell.get(in_cell.len() / 2).copied().unwrap_or(0),
                most: in_cell.last().copied().unwrap_or(0),
            },
            dots: dots.into_values().filter_map(|places| Some((*places.first()?, places.len()))).collect(),
        }
    }
}

fn page(title: &str, stats: &Stats) -> Markup {
    let Stats { pictures, with_place, groups, splits, sets, countries, repeated, cells, dots } = stats;
    let mut by_number: Vec<(&String, &usize)> = countries.iter().collect();
    by_number.sort_by_key(|(code, n)| (std::cmp::Reverse(**n), *code));
    let most = by_number.first().map_or(1, |(_, n)| **n);
    let name = |code: &str| countries::by_code(code).map_or("no country", |country| country.name);
    let counted = |what: &str, counts: &BTreeMap<String, usize>| {
        html! { section { h2 { (what) } table { @for (name, n) in counts { tr { td { (name) } td.n { (n) } } } } } }
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Statistics of " (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "Statistics of " (title) }
                    p { (pictures) " images, " (with_place) " with coordinates, " (groups) " groups" }
                }
                main {
                    section {
                        h2 { "Locations" }
                        (world_svg::density(dots))
                        p {
                            (cells.filled) " S2 cells of level " (cells.level) " contain images; the median is "
                            (cells.median) ", the maximum " (cells.most) "."
                        }
                        p {
                            (repeated.pictures) " images share " (repeated.coordinates)
                            " coordinates with others; at most " (repeated.most) " images have the same."
                        }
                    }
                    section {
                        h2 { "Countries" }
                        table {
                            @for (code, n) in by_number {
                                tr {
                                    td { (code) } td { (name(code)) } td.n { (n) }
                                    td { meter min="0" max=(most) value=(n) { (n) } }
                                }
                            }
                        }
                    }
                    (counted("Splits", splits))
                    (counted("Sets", sets))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_model::LatLng;

    #[test]
    fn repeated_coordinates_and_filled_cells_are_counted() {
        let row = |lat: Option<f64>, iso2: &str| Row {
            at: lat.and_then(|lat| LatLng::new(lat, 5.0).ok()),
            iso2: iso2.into(),
            group: format!("g{lat:?}"),
            split: "train".into(),
            ..Row::default()
        };
        let rows = [
            row(Some(45.0), "FR"),
            row(Some(45.0), "FR"),
            row(Some(45.001), "FR"),
            row(Some(-30.0), "<b>"),
            row(None, "JP"),
        ];
        let stats = Stats::of(&rows);
        assert_eq!((stats.pictures, stats.with_place, stats.groups), (5, 4, 4));
        assert_eq!((stats.repeated.coordinates, stats.repeated.pictures, stats.repeated.most), (1, 2, 2));
        assert_eq!((stats.cells.filled, stats.cells.median, stats.cells.most), (2, 3, 3));
        assert_eq!((stats.countries["FR"], stats.dots.iter().map(|dot| dot.1).max()), (3, Some(3)));
        let page = page("a & b", &stats).into_string();
        assert!(page.contains("a &amp; b") && page.contains("&lt;b&gt;") && page.contains("France"), "text is escaped");
    }
}
