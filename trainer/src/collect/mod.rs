//! `collect`: downloads geotagged images from public sources, with rate limits and resumable after a kill.
//!
//! A source finds images in batches (a time span, a box, a few places). Each image is fetched, checked, written and
//! recorded in the manifest of the folder; then the batch is recorded as complete. Running the same command again
//! continues where it stopped.

use anyhow::Result;
use clap::Subcommand;

mod budget;
mod content_range;
mod download;
mod fetch_error;
mod flickr;
mod folder;
mod http;
mod image_body;
mod kartaview;
mod keys;
mod manifest;
mod mapillary;
mod openaddresses;
mod osv5m;
mod picture;
mod places;
mod run;
mod source;
mod streetview;
mod table;

pub(crate) use manifest::items;
pub use manifest::{Item, Status, read};

use run::{as_environment_error, collect};

/// Collect geotagged images from a source
///
/// Writes the images and manifest.jsonl, which `index` reads. Run the same command again to continue after an
/// interruption. Images over 64 MiB are refused, as are other answers of a service over 16 MiB.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  landfall-train collect folder holiday --out collected/holiday\n  landfall-train collect flickr --queries queries.txt --since 2023-01-01 --until 2024-01-01 --out collected/flickr --dry-run"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    source: SourceCommand,
}

#[derive(Subcommand)]
enum SourceCommand {
    Folder(folder::Args),
    Flickr(flickr::Args),
    Streetview(streetview::Args),
    Mapillary(mapillary::Args),
    Kartaview(kartaview::Args),
    Osv5m(osv5m::Args),
}

/// Runs the command.
///
/// # Errors
/// If a file or an option is invalid, the source refuses requests, or the network fails.
pub(crate) fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match &args.source {
            SourceCommand::Folder(args) => collect(&folder::Folder::new(args)?, &args.common).await,
            SourceCommand::Flickr(args) => collect(&flickr::Flickr::new(args)?, &args.common).await,
            SourceCommand::Streetview(args) => {
                collect(&streetview::StreetView::new(args).await.map_err(as_environment_error)?, &args.common).await
            }
            SourceCommand::Mapillary(args) => collect(&mapillary::Mapillary::new(args)?, &args.common).await,
            SourceCommand::Kartaview(args) => {
                collect(&kartaview::KartaView::new(args).await.map_err(as_environment_error)?, &args.common).await
            }
            SourceCommand::Osv5m(args) => collect(&osv5m::Osv5m::new(args)?, &args.common).await,
        }
    })
}
