//! `arena`: the practice game, served for people and machines.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use landfall_common::text::eprint_sanitized;

use crate::cli::args::{ArenaSourceArgs, ModelArgs};
use crate::cli::output::print_line;
use crate::server::arena::{Arena, Versus};

#[derive(Args)]
#[command(after_help = "Examples:\n  landfall arena --photos ~/holiday\n  landfall arena --structure live --dialogs")]
pub(super) struct ArenaArgs {
    /// Port on this computer; 0 takes any free one
    #[arg(long, default_value_t = 8014)]
    port: u16,
    /// Rounds a game has
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Play against the machine: it looks at every round too, and its pin appears after yours
    #[arg(long)]
    versus: bool,
    /// Bundle that you play against: a name or a folder [default: desktop, or pocket where desktop's encoder is absent]
    #[arg(long, requires = "versus")]
    bundle: Option<String>,
    /// Folder that the series against the machine is kept in, as versus.jsonl
    #[arg(long, default_value = "runs", requires = "versus")]
    runs: PathBuf,
    #[command(flatten)]
    rounds_from: ArenaSourceArgs,
}

pub(super) async fn run(args: ArenaArgs) -> Result<()> {
    let mut options = args.rounds_from.options(args.rounds, args.port)?;
    if args.versus {
        let classifier = Arc::new(ModelArgs { bundle: args.bundle }.load()?);
        eprint_sanitized(format!("You play against {}.", classifier.bundle.manifest.id()));
        options.versus = Some(Versus { classifier, series: args.runs.join("versus.jsonl") });
    }
    let arena = Arena::start(options).await?;
    arena.notes().iter().for_each(|note| eprint_sanitized(format!("arena: {note}")));
    print_line(arena.url())?;
    eprintln!("Open it in a browser; Ctrl-C ends it.");
    std::future::pending().await // until Ctrl-C, which `main` waits for; dropping the arena stops it
}
