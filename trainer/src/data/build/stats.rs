//! `stats`: what a data set is, as one page to look at: where its pictures lie, which countries and cells have how many, and
//! what repeats.

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
/// S2 level of the cells that are counted, about 40 km wide.
const CELL_LEVEL: u64 = 8;

/// Shows what a data set is, as one HTML file: a map of its pictures, their numbers by country and cell, what repeats.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  landfall-train stats --index index.csv --split train --out stats.html")]
pub(crate) struct Args {
    /// Index of the pictures (csv or parquet)
    #[arg(long)]
    index: PathBuf,
    /// Only this split of the index, or these (repeat the option)
    #[arg(long)]
    split: Vec<String>,
    /// HTML file to write
    #[arg(long)]
    out: PathBuf,
    /// Print the numbers as json too
    #[arg(long)]
    json: bool,
}

/// The numbers of a data set.
#[derive(Debug, Serialize)]
struct Stats {
    pictures: usize,
    with_place: usize,
    groups: usize,
    splits: BTreeMap<String, usize>,
    sets: BTreeMap<String, usize>,
    /// By ISO 3166-1 alpha-2 code; empty where no country is known.
    countries: BTreeMap<String, usize>,
    /// Coordinates that more than one picture has, how many those pictures are, and the most that one has.
    repeated: Repeated,
    /// How many S2 cells of level 8 have pictures, and of how many pictures the median and the fullest cell are.
    cells: Cells,
    /// For the map: the middle of each dot's pictures and their number.
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
/// When the index cannot be read or the file cannot be written.
pub(crate) fn run(args: &Args) -> Result<()> {
    let rows = index::read_splits(&args.index, &args.split)?;
    let stats = Stats::of(&rows);
    let title = args.index.display().to_string();
    write_atomic(&args.out, page(&title, &stats).into_string().as_bytes())?;
    if args.json {
        println!("{}", serde_json::to_string(&stats)?);
    }
    let Stats { pictures, with_place, groups, countries, .. } = &stats;
    eprintln!("{pictures} pictures, {with_place} with a place, {groups} groups, {} countries", countries.len());
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
                title { "What is in " (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { h1 { "What is in " (title) } p { (pictures) " pictures, " (with_place) " with a place, " (groups) " groups" } }
                main {
                    section {
                        h2 { "Where" }
                        (world_svg::density(dots))
                        p {
                            (cells.filled) " S2 cells of level " (cells.level) " have pictures, half of them "
                            (cells.median) " or fewer, the fullest " (cells.most) "."
                        }
                        p {
                            (repeated.pictures) " pictures share " (repeated.coordinates)
                            " coordinates with others, at most " (repeated.most) " one."
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
        assert!(
            page.contains("a &amp; b") && page.contains("&lt;b&gt;") && page.contains("France"),
            "what is text stays text"
        );
    }
}
