//! `arena`: serves the practice game.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use landfall_common::text::eprint_sanitized;

use crate::cli::args::{ArenaSourceArgs, ModelArgs};
use crate::cli::output::{print_json, print_line};
use crate::server::arena::{Arena, Versus};

#[derive(Args)]
#[command(after_help = "Examples:\n  landfall arena --photos ~/holiday\n  landfall arena --structure live --dialogs")]
pub(super) struct ArenaArgs {
    /// Port on 127.0.0.1; 0 picks a free one
    #[arg(long, default_value_t = 8014)]
    port: u16,
    /// Number of rounds per game
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Play against the model: its pin appears after yours in every round
    #[arg(long)]
    versus: bool,
    /// Bundle to play against, by name or directory [default: desktop, or pocket if desktop's encoder is not installed]
    #[arg(long, value_name = "NAME|DIR", requires = "versus")]
    bundle: Option<String>,
    /// Directory for versus.jsonl, your results against the model
    #[arg(long, default_value = "runs", requires = "versus")]
    runs: PathBuf,
    /// Print one JSON object with the URL
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    rounds_from: ArenaSourceArgs,
}

pub(super) async fn run(args: ArenaArgs) -> Result<()> {
    let mut options = args.rounds_from.options(args.rounds, args.port)?;
    if args.versus {
        let classifier = Arc::new(ModelArgs { bundle: args.bundle }.load()?);
        eprint_sanitized(format!("Playing against {}.", classifier.bundle.manifest.id()));
        options.versus = Some(Versus { classifier, series: args.runs.join("versus.jsonl") });
    }
    let arena = Arena::start(options).await?;
    arena.notes().iter().for_each(|note| eprint_sanitized(format!("arena: {note}")));
    if args.json {
        print_json(&serde_json::json!({ "url": arena.url() }))?;
    } else {
        print_line(arena.url())?;
    }
    eprintln!("Open this URL in a browser. Ctrl-C stops the arena.");
    std::future::pending().await // until a signal, for which `main` waits; dropping the arena stops it
}
