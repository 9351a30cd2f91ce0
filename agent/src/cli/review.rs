//! `review`: a page on which a person checks the answers of a manifest, and writing what was accepted.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use landfall_common::exit::{check_failed, usage_error};
use landfall_common::text::{eprint_sanitized, sanitize_line};

use crate::cli::geotag::{self, GeotagArgs};
use crate::cli::output::{print_json, print_line};
use crate::server::review::{Collection, Review, write_confirmed};

#[derive(Args)]
#[command(
    after_help = "Decisions are kept in MANIFEST.review. Locations that a person accepted or corrected are marked as confirmed.\n\nExamples:\n  landfall review photos.jsonl\n  landfall review --sidecar photos.jsonl\n  landfall review --write-exif ~/confirmed --write photos.jsonl"
)]
pub(super) struct ReviewArgs {
    /// The manifest, as `locate --manifest` wrote it
    manifest: PathBuf,
    /// Port on 127.0.0.1; 0 picks a free one
    #[arg(long, default_value_t = 8016)]
    port: u16,
    /// Directory of the built pages [default: beside the program, or that of the checkout]
    #[arg(long, value_name = "DIR")]
    page: Option<PathBuf>,
    /// Print one JSON object: the URL, or with --write what was written
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    geotag: GeotagArgs,
}

pub(super) async fn run(args: ReviewArgs) -> Result<()> {
    let targets = args.geotag.options(None)?;
    if args.geotag.write && !targets.has_target() {
        return Err(usage_error("--write is for --write-exif DIR and --sidecar: give one of them too"));
    }
    let manifest = args.manifest.clone();
    let collection = tokio::task::spawn_blocking(move || Collection::open(&manifest)).await??;
    eprint_sanitized(format!(
        "{} pictures of {}, {} with a confirmed location",
        collection.len(),
        sanitize_line(collection.root().display()),
        collection.decided()
    ));
    if args.geotag.write {
        let write = move || write_confirmed(collection.header(), &collection.confirmed(), targets);
        let (summary, problems) = tokio::task::spawn_blocking(write).await?;
        problems.iter().for_each(|problem| eprint_sanitized(format!("landfall: {}", sanitize_line(problem))));
        let failures = geotag::print_summary(&summary);
        if args.json {
            print_json(&summary)?;
        }
        return failures.map_or(Ok(()), |failures| Err(check_failed(failures)));
    }
    let review = Review::start(collection, targets, args.port, args.page.as_deref())?;
    if args.json {
        print_json(&serde_json::json!({ "url": review.url() }))?;
    } else {
        print_line(review.url())?;
    }
    eprintln!("Open this URL in a browser. Ctrl-C stops the review.");
    std::future::pending().await // until a signal, for which `main` waits; dropping the review stops it
}
