//! `stats`, and the comparison of `replay --against BUNDLE`, as tables.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use landfall_common::statistics::bootstrap::Interval;
use landfall_common::text::{eprint_sanitized, sanitize_line};
use landfall_model::countries;

use crate::analysis::compare::PairedComparison;
use crate::analysis::stats;
use crate::analysis::stats::RoundByFolder;
use crate::cli::output::{print_json, print_line};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall stats\n  landfall stats --json runs more-runs\n  landfall stats fixtures"
)]
pub(super) struct StatsArgs {
    /// Directories that contain recorded rounds, at any depth
    #[arg(value_name = "DIR", default_value = "runs")]
    dirs: Vec<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Number of countries in the table; --json prints all.
const COUNTRIES: usize = 12;

pub(super) fn run(args: &StatsArgs) -> Result<()> {
    let stats = stats::stats(&args.dirs)?;
    stats.broken.iter().for_each(|why| eprint_sanitized(format!("landfall: left out: {why}")));
    if args.json { print_json(&stats) } else { print(&stats) }
}

fn print(stats: &stats::Stats) -> Result<()> {
    let unknown = match stats.without_points {
        0 => String::new(),
        n => format!("; {n} more without points"),
    };
    let (rounds, games, places) = (stats.rounds, stats.games, stats.places);
    print_line(format!("{} of {} at {}{unknown}", many(rounds, "round"), many(games, "game"), many(places, "place")))?;
    if rounds == 0 {
        return Ok(());
    }
    print_line(format!("points per round {}", interval(&stats.points)))?;
    if let Some(km) = stats.median_km {
        print_line(format!("median distance  {km:.0} km"))?;
    }
    if let Some(right) = stats.right_country {
        print_line(format!("right country    {right:.0} %"))?;
    }

    let calibration = &stats.calibration;
    if let Some((expected, surplus)) = calibration.expected.zip(calibration.surplus.as_ref()) {
        print_line("\nCalibration")?;
        let scored = expected + surplus.value;
        print_line(format!("  expected {expected:.0} points, scored {scored:.0}: {}", signed(surplus)))?;
        print_line("  expected   points   rounds")?;
        for bin in &calibration.bins {
            print_line(format!("  {:>8.0} {:>8.0} {:>8}", bin.expected, bin.points, bin.rounds))?;
        }
    }
    if let Some(regions) = &calibration.regions {
        print_line(format!(
            "  truth in the 50 % region: {:.0} %; in the 90 % region: {:.0} % ({} with logits)",
            regions.in_50,
            regions.in_90,
            many(regions.rounds, "round")
        ))?;
    }
    print_line("\nViews      rounds   points per round")?;
    for part in &stats.by_views {
        print_line(format!("{:>5} {:>11}   {}", part.views, part.rounds, interval(&part.points)))?;
    }
    print_line("\nBundle                     rounds   points per round")?;
    for part in &stats.by_bundle {
        let bundle = part.bundle.as_deref().unwrap_or("not recorded");
        print_line(format!("{bundle:<24} {:>8}   {}", part.rounds, interval(&part.points)))?;
    }
    if !stats.countries.is_empty() {
        print_line("\nCountry                      rounds   right   points")?;
        for part in stats.countries.iter().take(COUNTRIES) {
            let (rounds, right, points) = (part.rounds, part.right, part.points);
            print_line(format!("{:<26} {rounds:>8} {right:>5.0} % {points:>8.0}", name(Some(part.country))))?;
        }
        let rest = stats.countries.len().saturating_sub(COUNTRIES);
        if rest > 0 {
            print_line(format!("and {rest} more; --json prints all"))?;
        }
    }
    if !stats.confusions.is_empty() {
        print_line("\nConfused                                         rounds   points")?;
        for part in &stats.confusions {
            let pair = format!("{} with {}", name(Some(part.truth)), name(part.guess));
            print_line(format!("{pair:<46} {:>8} {:>8.0}", part.rounds, part.points))?;
        }
    }
    for (title, rounds) in [("\nBest", &stats.best), ("\nWorst", &stats.worst)] {
        print_line(title)?;
        rounds.iter().try_for_each(print_round)?;
    }
    Ok(())
}

fn name(country: Option<&str>) -> &str {
    country.map_or("the sea", |code| countries::by_code(code).map_or(code, |country| country.name))
}

fn print_round(round: &RoundByFolder) -> Result<()> {
    let far = round.distance_km.map_or_else(|| "?".to_owned(), |km| format!("{km:.0}"));
    let (points, place) = (round.points, sanitize_line(round.place.as_deref().unwrap_or("?")));
    let country = round.country.unwrap_or("?");
    print_line(format!(
        "{points:>6.0} {far:>8} km  in {country:<3} predicted {place:<40} {}",
        sanitize_line(&round.round)
    ))
}

/// Prints the comparison of two bundles.
pub(super) fn print_paired(first: &str, paired: &PairedComparison) -> Result<()> {
    for pair in &paired.rounds {
        let difference = i64::from(pair.score) - i64::from(pair.against);
        print_line(format!("{:<40} {:>5} {:>5} {difference:>+6}", sanitize_line(&pair.dir), pair.score, pair.against))?;
    }
    print_line(format!("{first} against {}: {} points per round", paired.bundle, signed(&paired.difference)))?;
    print_line(format!(
        "of {}: {} won, {} lost, {} even",
        many(paired.rounds.len(), "round"),
        paired.won,
        paired.lost,
        paired.even
    ))?;
    if paired.difference.low.is_some() && !paired.difference.excludes_zero() {
        print_line("The interval contains 0: the difference is not significant.")?;
    }
    Ok(())
}

fn many(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn interval(points: &Interval) -> String {
    let ends = points.low.zip(points.high).map(|(low, high)| format!("   (95 %: {low:.0} to {high:.0})"));
    format!("{:>5.0}{}", points.value, ends.unwrap_or_default())
}

fn signed(points: &Interval) -> String {
    let ends = points.low.zip(points.high).map(|(low, high)| format!(" (95 %: {low:+.0} to {high:+.0})"));
    format!("{:+.0}{}", points.value, ends.unwrap_or_default())
}
