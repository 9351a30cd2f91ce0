//! `watch`: locates what a window or a part of the screen shows, whenever it changes.

use anyhow::Result;
use clap::Args;
use console::Term;
use landfall_common::cli::prior_parser;
use landfall_common::exit::usage_error;
use landfall_common::text::{eprint_sanitized, sanitize_line};
use landfall_model::{LatLng, Prior};

use crate::cli::args::{DrawingArgs, ModelArgs};
use crate::cli::output::{print_line, print_text};
use crate::terminal::MapMark;
use crate::terminal::watch;
use crate::terminal::watch::{Region, Source};

#[derive(Args)]
#[command(
    group(clap::ArgGroup::new("source").required(true)),
    after_help = "Examples:\n  landfall watch --window \"Street View\"\n  landfall watch --region 0,80,1280,720 --json"
)]
pub(super) struct WatchArgs {
    /// Part of the screen, in pixels
    #[arg(long, value_name = "X,Y,WIDTH,HEIGHT", group = "source", allow_hyphen_values = true)]
    region: Option<Region>,
    /// The topmost window whose title contains this text
    #[arg(long, value_name = "TITLE", group = "source")]
    window: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
    /// Prior: where people take photos, where rounds of a game lie, or the same everywhere
    #[arg(long, default_value_t = Prior::Game, value_parser = prior_parser())]
    prior: Prior,
    /// Print one JSON object per prediction
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    drawing: DrawingArgs,
}

pub(super) fn run(args: &WatchArgs) -> Result<()> {
    // A source that cannot be captured is reported before the model is loaded.
    let source = match (&args.region, &args.window) {
        (Some(region), _) => Source::region(*region)?,
        (None, Some(title)) => Source::window(title)?,
        (None, None) => return Err(usage_error("name what to watch with --region or --window")),
    };
    let renderer = args.drawing.on(Term::stdout(), args.json)?;
    let classifier = args.model.load()?;
    eprint_sanitized(format!("Watching {}. Ctrl-C stops it.", sanitize_line(source.name())));
    watch::watch(&source, &classifier, args.prior, |located, picture| {
        let now = chrono::Local::now();
        if args.json {
            let mut line = serde_json::to_value(located)?;
            line["time"] = now.to_rfc3339().into();
            return print_text(&line.to_string());
        }
        print_line(format!("{}  {located}", now.format("%H:%M:%S")))?;
        renderer.picture(picture)?;
        renderer.map(&located.heat, &[(MapMark::Guess, LatLng { lat: located.lat, lng: located.lng })])
    })
}
