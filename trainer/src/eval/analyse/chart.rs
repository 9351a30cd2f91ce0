//! Charts of the report as inline SVG, coloured by its style sheet.

use landfall_model::CellTable;
use maud::{Markup, html};

use super::world;
use crate::eval::metrics::THRESHOLDS_KM;
use crate::eval::metrics::calibration::Reliability;

/// Bins of the error chart per factor of ten.
const BINS_PER_DECADE: usize = 8;
/// The error chart runs from 1 km to the antipodes.
const DECADES: f64 = 4.35;

/// A reliability diagram: predicted probability on the x axis, observed frequency on the y axis. Perfect calibration
/// lies on the diagonal.
pub(super) fn reliability(name: &str, of: &Reliability) -> Markup {
    let side = 200.0;
    let at = |percent: f64| percent / 100.0 * side;
    let (x, y) = (|percent: f64| 34.0 + at(percent), |percent: f64| 10.0 + side - at(percent));
    let points: Vec<(f64, f64)> = of.bins.iter().map(|bin| (x(bin.promised), y(bin.came_true))).collect();
    let line = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ");
    html! {
        figure {
            svg viewBox="0 0 244 246" role="img" aria-label=(format!("Reliability of {name}")) {
                rect.frame x=(x(0.0)) y=(y(100.0)) width=(side) height=(side) {}
                @for percent in [25.0, 50.0, 75.0] {
                    line.grid x1=(x(percent)) y1=(y(0.0)) x2=(x(percent)) y2=(y(100.0)) {}
                    line.grid x1=(x(0.0)) y1=(y(percent)) x2=(x(100.0)) y2=(y(percent)) {}
                }
                line.diagonal x1=(x(0.0)) y1=(y(0.0)) x2=(x(100.0)) y2=(y(100.0)) {}
                @for percent in [0.0, 50.0, 100.0] {
                    text.tick x=(x(percent)) y=(y(0.0) + 14.0) text-anchor="middle" { (percent) }
                    text.tick x=(x(0.0) - 5.0) y=(y(percent) + 4.0) text-anchor="end" { (percent) }
                }
                polyline.curve points=(line) {}
                @for (bin, (x, y)) in of.bins.iter().zip(&points) {
                    circle.dot cx=(format!("{x:.1}")) cy=(format!("{y:.1}")) r="3.5" {
                        title { (format!("{} predictions of {:.1} %: {:.1} % observed", bin.n, bin.promised, bin.came_true)) }
                    }
                }
                text.tick x=(x(50.0)) y="242" text-anchor="middle" { "predicted %; y axis: observed %" }
            }
            figcaption { (name) ": calibration error " (format!("{:.1}", of.ece)) " percentage points" }
        }
    }
}

/// Histogram of errors on a logarithmic scale, with the share of rounds within the standard thresholds.
pub(super) fn errors(errors_km: &[f64], median_km: f64) -> Markup {
    let (width, height, top) = (860.0, 190.0, 34.0);
    let bins = (DECADES * BINS_PER_DECADE as f64).ceil() as usize;
    let bin = |km: f64| ((km.max(1.0).log10() * BINS_PER_DECADE as f64) as usize).min(bins - 1);
    let mut counts = vec![0usize; bins];
    errors_km.iter().for_each(|km| counts[bin(*km)] += 1);
    let max_count = counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    let step = width / bins as f64;
    let x = |km: f64| 20.0 + km.max(1.0).log10() * BINS_PER_DECADE as f64 * step;
    let share =
        |km: f64| 100.0 * errors_km.iter().filter(|error| **error <= km).count() as f64 / errors_km.len() as f64;
    let edge = |i: usize| 10f64.powf(i as f64 / BINS_PER_DECADE as f64);
    html! {
        svg viewBox="0 0 900 256" role="img" aria-label="Distribution of errors" {
            @for (i, count) in counts.iter().enumerate() {
                @let bar_height = height * *count as f64 / max_count;
                rect class=(world::class((edge(i) * edge(i + 1)).sqrt())) x=(format!("{:.1}", 20.0 + i as f64 * step + 1.0))
                    y=(format!("{:.1}", top + height - bar_height)) width=(format!("{:.1}", step - 2.0)) height=(format!("{bar_height:.1}")) {
                    title { (format!("{count} rounds from {:.0} to {:.0} km", edge(i), edge(i + 1))) }
                }
            }
            line.axis x1="20" y1=(top + height) x2=(20.0 + width) y2=(top + height) {}
            @for km in THRESHOLDS_KM.map(f64::from) {
                line.threshold x1=(format!("{:.1}", x(km))) y1=(top - 8.0) x2=(format!("{:.1}", x(km))) y2=(top + height) {}
                text.tick x=(format!("{:.1}", x(km))) y=(top + height + 16.0) text-anchor="middle" { (km) " km" }
                text.tick x=(format!("{:.1}", x(km))) y=(top - 14.0) text-anchor="middle" { (format!("{:.1} %", share(km))) }
            }
            line.median x1=(format!("{:.1}", x(median_km))) y1=(top) x2=(format!("{:.1}", x(median_km))) y2=(top + height) {}
            text.tick x=(format!("{:.1}", x(median_km))) y=(top + height + 31.0) text-anchor="middle" {
                (format!("median {median_km:.0} km"))
            }
        }
    }
}

/// Cells in decreasing order of size: number of places on a logarithmic scale above the axis, number of rounds below.
pub(super) fn classes(table: &CellTable, rounds_in: &[usize]) -> Markup {
    let mut order: Vec<usize> = (0..table.cells.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(table.cells[*i].count));
    let (left, width, base) = (44.0, 840.0, 170.0);
    let max_count = order.first().map_or(1, |i| table.cells[*i].count).max(10);
    let decades = f64::from(max_count).log10();
    let y = |count: f64| base - 150.0 * count.max(1.0).log10() / decades;
    let x = |rank: usize| left + width * rank as f64 / order.len() as f64;
    let top = order.iter().enumerate().map(|(rank, i)| (rank, y(f64::from(table.cells[*i].count))));
    let outline: String = top.map(|(rank, y)| format!("L{:.1} {y:.1}L{:.1} {y:.1}", x(rank), x(rank + 1))).collect();
    // Rounds are summed over bands of cells, so that thousands of cells stay readable.
    let band = order.len().div_ceil(60).max(1);
    let bands: Vec<usize> = order.chunks(band).map(|cells| cells.iter().map(|i| rounds_in[*i]).sum()).collect();
    let max_rounds = bands.iter().copied().max().unwrap_or(1).max(1) as f64;
    let powers = (0..=decades.floor() as u32).map(|power| 10f64.powi(power as i32));
    html! {
        svg viewBox="0 0 900 262" role="img" aria-label="Distribution of classes" {
            @for count in powers {
                line.grid x1=(left) y1=(format!("{:.1}", y(count))) x2=(left + width) y2=(format!("{:.1}", y(count))) {}
                text.tick x=(left - 5.0) y=(format!("{:.1}", y(count) + 4.0)) text-anchor="end" { (count) }
            }
            path.area d=(format!("M{left} {base}{outline}L{:.1} {base}Z", left + width)) {}
            line.axis x1=(left) y1=(base) x2=(left + width) y2=(base) {}
            @for (i, rounds) in bands.iter().enumerate() {
                @let bar_height = 56.0 * *rounds as f64 / max_rounds;
                rect.rounds x=(format!("{:.1}", x(i * band))) y=(base + 6.0)
                    width=(format!("{:.1}", (x(band) - left - 1.0).max(1.0))) height=(format!("{bar_height:.1}")) {
                    title { (format!("{rounds} rounds in cells {} to {}", i * band + 1, ((i + 1) * band).min(order.len()))) }
                }
            }
            text.tick x=(left + width) y="252" text-anchor="end" {
                (format!("{} cells, largest first; above: places per cell, below: evaluated rounds", order.len()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::metrics::calibration::reliability as bins;

    #[test]
    fn reliability_points_are_at_their_coordinates() {
        let chart = reliability("x", &bins(vec![(0.50001, true), (0.5, false)])).into_string();
        // Two bins with one prediction of 50 % each: one correct (top of the frame), one wrong (bottom).
        assert!(chart.contains(r#"cx="134.0" cy="10.0""#) && chart.contains(r#"cx="134.0" cy="210.0""#), "{chart}");
    }

    #[test]
    fn bars_are_as_tall_as_their_counts() {
        let chart = errors(&[0.2, 15.0, 15.1, 19_000.0], 15.05).into_string();
        assert_eq!(chart.matches(r#"height="95.0""#).count(), 2, "{chart}"); // one round each, half of the maximum
        assert_eq!(chart.matches(r#"height="190.0""#).count(), 1);
        assert!(chart.contains("2 rounds from 13 to 18 km") && chart.contains("75.0 %"));
    }

    #[test]
    fn every_round_is_counted_in_a_band() {
        let table = super::super::tally::tests::table();
        let chart = classes(&table, &[4, 0, 2, 1]).into_string();
        assert!(chart.contains("1 rounds in cells 1 to 1") && chart.contains("4 rounds in cells 4 to 4"), "{chart}");
    }
}
