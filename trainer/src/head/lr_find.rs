//! `lr-find`: a learning rate range test that suggests a learning rate.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use landfall_common::fs::write_atomic;

use crate::features::samples::Sample;
use crate::head::dataloader::DataLoader;
use crate::head::loss::Objective;
use crate::head::model::Moments;
use crate::head::recipe::RecipeArgs;
use crate::head::schedule::sweep_at;
use crate::head::trainer::Trainer;
use crate::head::training_data::TrainingData;

/// Half-width, in steps, of the moving average from which slopes are computed.
const SMOOTHING_RADIUS: usize = 6;
/// The sweep ends when the loss exceeds the minimum by this factor.
const DIVERGENCE_FACTOR: f64 = 3.0;

/// Run a learning rate range test and suggest a learning rate
///
/// The suggestion is where the smoothed loss falls most steeply over the logarithm of the learning rate: high enough to
/// learn fast, and well below the rate at which the loss diverges.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train lr-find --recipe trainer/recipes/desktop.toml --index index.csv --out lr.svg"
)]
pub(crate) struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Plot of the loss to write (SVG)
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Lowest learning rate
    #[arg(long, default_value_t = 1e-6, help_heading = "Training")]
    low: f64,
    /// Highest learning rate
    #[arg(long, default_value_t = 1.0, help_heading = "Training")]
    high: f64,
    /// Number of training steps
    #[arg(long, value_name = "N", default_value_t = 200, help_heading = "Training")]
    steps: usize,
    /// Print the suggestion and the loss curve as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be used, or the loss does not fall at any learning rate.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !(args.low > 0.0 && args.low < args.high && args.high.is_finite()) || args.steps < 4 * SMOOTHING_RADIUS {
        bail!("--low must be above 0 and below --high, and --steps at least {}", 4 * SMOOTHING_RADIUS);
    }
    let recipe = args.recipe.read()?;
    let data = TrainingData::load(&recipe)?;
    let objective = Objective::new(&data, &recipe)?;
    let samples: Vec<&Sample> = data.samples.iter().collect();
    let (moments, seed) = (Moments::of_samples(&samples), recipe.train.seed);
    let loader = DataLoader::new(&samples, &objective, &recipe, seed, &moments);
    let mut trainer = Trainer::new(&objective, &recipe, &moments, seed)?;
    let mut curve: Vec<(f64, f64)> = Vec::with_capacity(args.steps);
    let mut lowest = f64::INFINITY;
    'sweep: for epoch in 0.. {
        let (order, mut random) = loader.epoch(epoch);
        for pictures in order.chunks(recipe.train.batch) {
            let rate = sweep_at(curve.len(), args.steps, args.low, args.high);
            let loss = f64::from(trainer.step(loader.batch(pictures, &mut random), rate)?);
            lowest = lowest.min(loss);
            if !loss.is_finite() || loss > DIVERGENCE_FACTOR * lowest {
                break 'sweep;
            }
            curve.push((rate, loss));
            if curve.len() == args.steps {
                break 'sweep;
            }
        }
    }
    let smooth = smooth(&curve);
    let suggested = steepest(&smooth)
        .context("the loss does not fall at any learning rate; try other values of --low and --high")?;
    if let Some(out) = &args.out {
        write_atomic(out, svg(&curve, &smooth, suggested).as_bytes())?;
    }
    if args.json {
        println!("{}", serde_json::json!({ "rate": suggested, "curve": curve }));
    } else {
        println!("try --set train.lr={suggested:.1e}; the recipe has {:.1e}", recipe.train.lr);
    }
    Ok(())
}

/// Moving average of the losses.
fn smooth(curve: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let around = |i: usize| &curve[i.saturating_sub(SMOOTHING_RADIUS)..(i + SMOOTHING_RADIUS + 1).min(curve.len())];
    let mean = |points: &[(f64, f64)]| points.iter().map(|(_, loss)| loss).sum::<f64>() / points.len() as f64;
    (0..curve.len()).map(|i| (curve[i].0, mean(around(i)))).collect()
}

/// The learning rate, to two digits, at which the loss falls most steeply over its logarithm; `None` if it never falls.
fn steepest(smooth: &[(f64, f64)]) -> Option<f64> {
    let slope = |i: &usize| {
        let ((low, before), (high, after)) = (smooth[i - SMOOTHING_RADIUS], smooth[i + SMOOTHING_RADIUS]);
        (after - before) / (high / low).ln()
    };
    let at = (SMOOTHING_RADIUS..smooth.len().saturating_sub(SMOOTHING_RADIUS))
        .min_by(|a, b| slope(a).total_cmp(&slope(b)))?;
    let unit = 10f64.powf(smooth[at].0.log10().floor() - 1.0);
    (slope(&at) < 0.0).then_some((smooth[at].0 / unit).round() * unit)
}

/// Plot of the loss over the logarithm of the learning rate, with a line at the suggestion.
fn svg(curve: &[(f64, f64)], smooth: &[(f64, f64)], suggested: f64) -> String {
    let (width, height, left, top, right, bottom) = (720.0, 420.0, 60.0, 40.0, 700.0, 370.0);
    let decades = |pick: fn(f64, f64) -> f64, from: f64| curve.iter().map(|(rate, _)| rate.log10()).fold(from, pick);
    let (low, high) = (decades(f64::min, f64::INFINITY), decades(f64::max, f64::NEG_INFINITY));
    // The diverging losses at the end are clipped.
    let highest = smooth.first().map_or(1.0, |(_, loss)| loss * 1.15);
    let lowest = smooth.iter().map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min) * 0.95;
    let x = |rate: f64| left + (rate.log10() - low) / (high - low).max(1e-9) * (right - left);
    let y = |loss: f64| bottom - ((loss - lowest) / (highest - lowest).max(1e-9)).clamp(0.0, 1.0) * (bottom - top);
    let path = |points: &[(f64, f64)]| {
        points.iter().map(|(rate, loss)| format!("{:.1},{:.1}", x(*rate), y(*loss))).collect::<Vec<_>>().join(" ")
    };
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">
<title>Loss over learning rate</title>
<rect width="{width}" height="{height}" fill="#fff"/>
<text x="{left}" y="22" font-size="15">Loss over learning rate; steepest at {suggested:.1e}</text>
"##
    );
    // Writing to a String cannot fail.
    for decade in low.ceil() as i32..=high.floor() as i32 {
        let at = x(10f64.powi(decade));
        let _ = writeln!(svg, r##"<path d="M{at:.1} {top}V{bottom}" stroke="#ddd"/>"##);
        let _ = writeln!(svg, r##"<text x="{at:.1}" y="{:.1}" text-anchor="middle">1e{decade}</text>"##, bottom + 18.0);
    }
    for i in 0..=4 {
        let loss = lowest + (highest - lowest) * f64::from(i) / 4.0;
        let at = y(loss);
        let _ = writeln!(svg, r##"<path d="M{left} {at:.1}H{right}" stroke="#ddd"/>"##);
        let _ =
            writeln!(svg, r##"<text x="{:.1}" y="{:.1}" text-anchor="end">{loss:.2}</text>"##, left - 6.0, at + 4.0);
    }
    let _ = writeln!(svg, r##"<polyline points="{}" fill="none" stroke="#bcd"/>"##, path(curve));
    let _ = writeln!(svg, r##"<polyline points="{}" fill="none" stroke="#147" stroke-width="2"/>"##, path(smooth));
    let at = x(suggested);
    let _ = writeln!(svg, r##"<path d="M{at:.1} {top}V{bottom}" stroke="#b30" stroke-dasharray="4 3"/>"##);
    let _ =
        writeln!(svg, r##"<text x="{}" y="{}" text-anchor="middle">learning rate</text>"##, width / 2.0, height - 12.0);
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loss that is flat, falls most steeply at 1e-3, and then diverges.
    fn curve() -> Vec<(f64, f64)> {
        let loss = |rate: f64| 5.0 - 4.0 / (1.0 + (-4.0 * (rate / 1e-3).ln()).exp()) + (rate / 0.3).powi(4);
        (0..200).map(|step| sweep_at(step, 200, 1e-6, 1.0)).map(|rate| (rate, loss(rate))).collect()
    }

    #[test]
    fn the_rate_of_the_steepest_descent_is_found() {
        let suggested = steepest(&smooth(&curve())).unwrap();
        assert!((suggested / 1e-3).ln().abs() < 0.1, "{suggested}");
        let rising: Vec<(f64, f64)> = curve().iter().map(|(rate, _)| (*rate, rate.ln())).collect();
        assert_eq!(steepest(&smooth(&rising)), None);
        assert_eq!(steepest(&smooth(&curve()[..3])), None);
    }

    #[test]
    fn the_svg_is_complete() {
        let curve = curve();
        let svg = svg(&curve, &smooth(&curve), 1e-3);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"));
        for decade in -5..=0 {
            assert!(svg.contains(&format!(">1e{decade}<")), "{decade}");
        }
        // The suggestion, 1e-3, is halfway between 1e-6 and 1.
        assert!(svg.contains(r##"<path d="M380.0 40V370" stroke="#b30""##), "{svg}");
    }
}
