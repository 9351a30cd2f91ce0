//! `watch`: a line for each thing that shows.

use anyhow::Result;
use console::Term;
use landfall_agent::failure::wrong;
use landfall_agent::plain::{name, say};
use landfall_agent::terminal::Mark;
use landfall_agent::watch::{self, Source};
use landfall_model::LatLng;

use super::Watch;
use super::print::{print_line, print_text};

pub(super) fn watch(args: &Watch) -> Result<()> {
    // What cannot be seen is said before the model is loaded.
    let source = match (&args.region, &args.window) {
        (Some(region), _) => Source::region(*region)?,
        (None, Some(title)) => Source::window(title)?,
        (None, None) => return Err(wrong("name what to watch with --region or --window")),
    };
    let pencil = args.drawing.on(Term::stdout(), args.json)?;
    let classifier = args.model.load()?;
    say(format!("Watching {}; Ctrl-C ends it.", name(source.name())));
    watch::watch(&source, &classifier, |located, picture| {
        let now = chrono::Local::now();
        if args.json {
            let mut line = serde_json::to_value(located)?;
            line["time"] = now.to_rfc3339().into();
            return print_text(&line.to_string());
        }
        print_line(format!("{}  {located}", now.format("%H:%M:%S")))?;
        pencil.picture(picture)?;
        pencil.map(&located.heat, &[(Mark::Guess, LatLng { lat: located.lat, lng: located.lng })])
    })
}
