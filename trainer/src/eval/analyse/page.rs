//! The HTML report: one self-contained file without scripts, with light and dark colour schemes.

use std::path::Path;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use landfall_common::picture::{fit_within, to_jpeg};
use landfall_model::CellTable;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::tally::{CellTally, Confusion, Findings, Matrix, SizeClass, WorstRound};
use super::{chart, world};
use crate::data::images::Images;
use crate::eval::metrics::errors::Errors;
use crate::eval::metrics::{Quality, Report, RoundResult};
use crate::html::STYLE;

/// Longer side of a thumbnail, in pixels.
const PICTURE_SIDE: u32 = 420;
/// JPEG quality of a thumbnail.
const PICTURE_QUALITY: u8 = 78;

/// Contents of the report.
pub(crate) struct Page<'a> {
    /// Heading of the report.
    pub(crate) heading: &'a str,
    /// Subtitle: bundle and evaluation set.
    pub(crate) title: &'a str,
    pub(crate) table: &'a CellTable,
    pub(crate) report: &'a Report,
    pub(crate) findings: &'a Findings,
    pub(crate) results: &'a [RoundResult],
}

impl Page<'_> {
    /// The HTML file, with thumbnails of the worst rounds if `images` is given.
    ///
    /// # Errors
    /// When a picture cannot be read.
    pub(crate) fn html(&self, images: Option<&Images>) -> Result<String> {
        let Self { heading, title, table, report, findings, results } = self;
        let pictures = |worst: &WorstRound| {
            images
                .map_or_else(|| Ok(Vec::new()), |images| worst.files.iter().map(|file| picture(images, file)).collect())
        };
        let pictures: Vec<Vec<String>> = findings.worst.iter().map(pictures).collect::<Result<_>>()?;
        let errors_km: Vec<f64> = results.iter().map(RoundResult::error_km).collect();
        let mut rounds_in = vec![0; table.cells.len()];
        results.iter().for_each(|result| rounds_in[result.cell.index] += 1);
        let calibration = &report.calibration;
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (heading) ": " (title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    header { h1 { (heading) } p { (title) ", " (grouped(report.n)) " rounds" } }
                    main {
                        (tiles(report))
                        section {
                            h2 { "All rounds" }
                            (world::map(results, &findings.worst))
                            (legend())
                        }
                        section {
                            h2 { "Distribution of errors" }
                            div.wide tabindex="0" { (chart::errors(&errors_km, report.quality.median_km)) }
                            (summary(report))
                        }
                        section {
                            h2 { "Worst rounds" }
                            div.cards { @for (i, (worst, pictures)) in findings.worst.iter().zip(&pictures).enumerate() {
                                (card(i + 1, worst, pictures))
                            } }
                        }
                        section {
                            h2 { "Calibration" }
                            div.row {
                                (chart::reliability("Place within 200 km of the pin", &calibration.within_200_km))
                                (chart::reliability("Place within 750 km of the pin", &calibration.within_750_km))
                                (chart::reliability("Most likely cell is correct", &calibration.top_cell))
                            }
                            (regions(report))
                        }
                        section { h2 { "Countries" } (matrix(&findings.matrix)) (confusions(&findings.confusions)) }
                        section {
                            h2 { "Cells" }
                            div.wide tabindex="0" { (chart::classes(table, &rounds_in)) }
                            (sizes(&findings.by_size))
                            h3 { "Least accurate" }
                            p { "Cells with at least three rounds. A round is correct if its true cell is the most likely." }
                            (cells(&findings.least_correct, true))
                            h3 { "Most often predicted wrongly" }
                            (cells(&findings.most_wrongly_guessed, false))
                        }
                    }
                }
            }
        };
        Ok(page.into_string())
    }
}

fn tiles(report: &Report) -> Markup {
    let Quality { median_km, geoscore, country, within_km, .. } = &report.quality;
    let tile = |name: &str, value: String| html! { div.tile { div.value { (value) } div { (name) } } };
    html! {
        div.tiles {
            (tile("points per round", grouped(*geoscore)))
            (tile("median error", km(*median_km)))
            (tile("correct country", format!("{country:.1} %")))
            @for (within, percent) in within_km.iter().skip(1) {
                (tile(&format!("within {} km", grouped(*within)), format!("{percent:.1} %")))
            }
        }
    }
}

/// One row per kind of prediction: the pins, overall and by continent, the oracles and the baselines.
fn summary(report: &Report) -> Markup {
    let row = |name: &str, n: usize, q: &Quality| {
        html! {
            tr {
                th { (name) } td { (grouped(n)) } td { (grouped(q.geoscore)) } td { (km(q.median_km)) } td { (km(q.mean_km)) }
                @for percent in q.within_km.values() { td { (format!("{percent:.1} %")) } }
                td { (format!("{:.1} %", q.country)) }
            }
        }
    };
    let oracle = |name: &str, e: &Errors| {
        html! {
            tr {
                th { (name) } td { (grouped(e.n)) } td { (grouped(e.geoscore)) } td { (km(e.median_km)) } td { (km(e.mean_km)) }
                @for percent in e.within_km.values() { td { (format!("{percent:.1} %")) } }
                td {}
            }
        }
    };
    let points = |name: &str, points: f64| {
        html! {
            tr { th { (name) } td { (grouped(report.n)) } td { (grouped(points)) } td colspan=(3 + report.quality.within_km.len()) {} }
        }
    };
    html! {
        div.wide tabindex="0" { table.numbers {
            thead { tr {
                th { "Prediction" } th { "rounds" } th { "points" } th { "median" } th { "mean" }
                @for within in report.quality.within_km.keys() { th { "within " (grouped(*within)) " km" } }
                th { "country" }
            } }
            tbody {
                (row("Pin (highest expected score)", report.n, &report.quality))
                (row("Most likely peak", report.n, &report.mode))
                @for (name, part) in &report.by_continent { (row(continent(name), part.n, &part.quality)) }
                @if let Some(errors) = &report.oracle.containing_mean { (oracle("Oracle: mean place of the correct cell", errors)) }
                @if let Some(errors) = &report.oracle.containing_centre { (oracle("Oracle: centre of the correct cell", errors)) }
                (oracle("Oracle: nearest mean place", &report.oracle.nearest_mean))
                (oracle("Oracle: nearest centre", &report.oracle.nearest_centre))
                (points("Baseline: best constant pin", report.baselines.constant))
                (points("Baseline: random cell", report.baselines.prior))
                (points("Baseline: mean of all places", report.baselines.mean_place))
            }
        } }
    }
}

fn regions(report: &Report) -> Markup {
    let cells = &report.cells;
    html! {
        div.wide tabindex="0" { table.numbers {
            thead { tr {
                th { "Credible region" } th { "coverage" } th { "cells" } th { "area" } th { "credible radius" }
                th { "coverage of the radius" }
            } }
            tbody { @for (percent, r) in &report.calibration.regions {
                tr {
                    th { (percent) " %" } td { (format!("{:.1} %", r.holds)) }
                    td { (format!("{:.1}", r.mean_cells)) } td { (format!("{:.2} million km²", r.mean_area_km2 / 1e6)) }
                    td { (km(r.mean_radius_km)) } td { (format!("{:.1} %", r.circle_holds)) }
                }
            } }
        } }
        p {
            (format!("The correct cell is the most likely in {:.1} % of the rounds, in the top five in {:.1} %, ", cells.top1, cells.top5))
            (format!("in the top ten in {:.1} %; {:.1} % of the places lie in a cell; ", cells.top10, cells.coverage))
            (format!("{:.2} nats per round.", cells.nll))
        }
    }
}

fn card(number: usize, worst: &WorstRound, pictures: &[String]) -> Markup {
    html! {
        article.card {
            div.pictures.several[pictures.len() > 1] { @for data in pictures {
                img src=(data) alt=(format!("Picture of round {number}"));
            } }
            div.text {
                h3 { span.badge { (number) } " " (km(worst.km)) ", " (grouped(worst.points)) " points" }
                dl {
                    dt { "truth" } dd { (worst.truth_place) span.place { (worst.truth.to_string()) } }
                    dt { "guess" } dd { (worst.guess_place) span.place { (worst.guess.to_string()) } }
                    dt { "cell" } dd {
                        (format!("most likely {}, {:.1} %; ", worst.cell, 100.0 * worst.p))
                        @if worst.rank_of_truth == 0 { "it is the correct one" } @else {
                            (format!("the correct one {:.2} %, rank ", 100.0 * worst.p_truth)) (grouped(worst.rank_of_truth + 1))
                        }
                    }
                    dt { "file" } dd.file { (worst.files.first().map(|file| file.display().to_string()).unwrap_or_default()) }
                }
            }
        }
    }
}

fn matrix(matrix: &Matrix) -> Markup {
    html! {
        p { "Rows: true country, the most common ones. Columns: country of the pin." }
        div.wide tabindex="0" { table.matrix {
            thead { tr { td {} @for name in &matrix.countries { th.upright { div { (name) } } } th.upright { div { "others" } } } }
            tbody { @for (i, (name, counts)) in matrix.countries.iter().zip(&matrix.counts).enumerate() {
                @let total = counts.iter().sum::<usize>().max(1);
                tr { th { (name) } @for (j, count) in counts.iter().enumerate() {
                    @let share = 100.0 * *count as f64 / total as f64;
                    td class=(if i == j { "right" } else { "wrong" }) style=(format!("--share:{share:.0}%")) {
                        @if *count > 0 { (count) }
                    }
                } }
            } }
        } }
    }
}

fn confusions(confusions: &[Confusion]) -> Markup {
    html! {
        h3 { "Most common confusions" }
        div.wide tabindex="0" { table.numbers {
            thead { tr { th { "truth" } th.words { "guess" } th { "rounds" } th { "share of the country" } th { "median error" } } }
            tbody { @for c in confusions {
                tr {
                    th { (c.truth) } td.words { (c.guess) } td { (c.n) }
                    td { (format!("{:.0} %", 100.0 * c.n as f64 / c.of.max(1) as f64)) } td { (km(c.median_km)) }
                }
            } }
        } }
    }
}

fn sizes(sizes: &[SizeClass]) -> Markup {
    html! {
        div.wide tabindex="0" { table.numbers {
            thead { tr { th { "Places per cell" } th { "cells" } th { "rounds" } th { "correct" } th { "median error" } } }
            tbody { @for size in sizes {
                tr {
                    th { (grouped(size.from)) " to " (grouped(size.to)) } td { (grouped(size.cells)) }
                    td { (grouped(size.rounds)) } td { (size.right.map_or_else(String::new, |right| format!("{right:.1} %"))) }
                    td { (size.median_km.map_or_else(String::new, km)) }
                }
            } }
        } }
    }
}

/// A table of cells, with the cells predicted instead (`instead`) or with their rank by size.
fn cells(cells: &[CellTally], instead: bool) -> Markup {
    html! {
        div.wide tabindex="0" { table.numbers {
            thead { tr {
                th { "cell" } th.words { "place" } th { "level" } th { "places" } th { "rounds" } th { "correct" }
                th { "wrongly predicted" } th { "median error" }
                @if instead { th.words { "predicted instead" } } @else { th { "larger cells" } }
            } }
            tbody { @for cell in cells {
                tr {
                    th { code { (cell.token) } } td.words { (cell.place) } td { (cell.level) } td { (grouped(cell.places)) }
                    td { (cell.rounds) } td { (cell.right) } td { (cell.wrongly_guessed) }
                    td { (cell.median_km.map_or_else(String::new, km)) }
                    @if instead {
                        td.words { @for (i, (place, n)) in cell.instead.iter().enumerate() {
                            @if i > 0 { "; " } (place) @if *n > 1 { " × " (n) }
                        } }
                    } @else { td { (grouped(cell.rank)) } }
                }
            } }
        } }
    }
}

fn legend() -> Markup {
    html! {
        p.legend {
            @for (i, (up_to, class)) in world::CLASSES.into_iter().enumerate() {
                span {
                    span class=(format!("key {class}")) {}
                    @if up_to.is_finite() { " up to " (km(up_to)) } @else { " more than " (km(world::CLASSES[i - 1].0)) }
                }
            }
            span { "numbered: the worst rounds, with lines to their pins" }
        }
    }
}

/// Thumbnail of a picture, as a data URI.
fn picture(images: &Images, file: &Path) -> Result<String> {
    let small = fit_within(&images.picture(file)?, (PICTURE_SIDE, PICTURE_SIDE));
    Ok(format!("data:image/jpeg;base64,{}", STANDARD.encode(to_jpeg(&small, PICTURE_QUALITY)?)))
}

fn continent(code: &str) -> &str {
    match code {
        "AF" => "in Africa",
        "AN" => "in Antarctica",
        "AS" => "in Asia",
        "EU" => "in Europe",
        "NA" => "in North America",
        "OC" => "in Oceania",
        "SA" => "in South America",
        other => other,
    }
}

fn km(km: f64) -> String {
    if km < 10.0 { format!("{km:.1} km") } else { format!("{} km", grouped(km)) }
}

/// A rounded number with thousands separators, as in 14,916.
fn grouped(number: impl std::fmt::Display) -> String {
    let digits = format!("{number:.0}");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", &*digits), |digits| ("-", digits));
    let mut out = String::from(sign);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::analyse::tally;
    use crate::eval::metrics;
    use crate::features::samples::Sample;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            [grouped(0), grouped(999), grouped(14_916), grouped(-1_234_567)],
            ["0", "999", "14,916", "-1,234,567"]
        );
        assert_eq!((grouped(999.6), km(3.26), km(1870.2)), ("1,000".into(), "3.3 km".into(), "1,870 km".into()));
    }

    #[test]
    fn the_page_is_self_contained_and_escapes_text() {
        let dir = tempfile::tempdir().unwrap();
        let table = tally::tests::table();
        let pairs = [(0, 0), (0, 3), (3, 2)];
        let name = |i: usize| format!("<b>&{i}.jpg");
        for i in 0..pairs.len() {
            image::RgbImage::from_pixel(900, 300, image::Rgb([i as u8 * 80; 3]))
                .save(dir.path().join(name(i)))
                .unwrap();
        }
        let samples: Vec<Sample> = pairs.iter().enumerate().map(|(i, p)| tally::tests::sample(p.0, &name(i))).collect();
        let rounds: Vec<Vec<&Sample>> = samples.iter().map(|sample| vec![sample]).collect();
        let results = tally::tests::results(&table, &pairs);
        let findings = tally::findings(&table, &rounds, &results);
        let report = metrics::report(&table, &results).unwrap();
        let page = Page {
            heading: "Error analysis",
            title: "a<i>@1",
            table: &table,
            report: &report,
            findings: &findings,
            results: &results,
        };
        let html = page.html(Some(&Images::open(dir.path()).unwrap())).unwrap();
        assert!(html.contains("a&lt;i&gt;@1") && html.contains("&lt;b&gt;&amp;2.jpg"));
        assert!(!html.contains("<b>") && !html.contains("<i>") && !html.contains("<script"));
        assert!(!html.contains("http:") && !html.contains("https:") && !html.contains("url("));
        // Three thumbnails, that of the worst round first.
        let jpegs: Vec<Vec<u8>> = html
            .split("data:image/jpeg;base64,")
            .skip(1)
            .map(|rest| STANDARD.decode(rest.split('"').next().unwrap()).unwrap())
            .collect();
        assert_eq!(jpegs.len(), 3);
        let first = image::load_from_memory(&jpegs[0]).unwrap().to_rgb8();
        assert_eq!(first.dimensions(), (420, 140));
        assert!(first.get_pixel(200, 70)[0].abs_diff(160) < 4); // round 2
    }

    #[test]
    fn errors_name_the_missing_picture() {
        let error = picture(&Images::open(Path::new("nowhere")).unwrap(), Path::new("a.jpg")).unwrap_err().to_string();
        assert!(error.contains("a.jpg"), "{error}");
    }
}
