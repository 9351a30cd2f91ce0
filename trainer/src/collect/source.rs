//! The interface and common options of image sources.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use landfall_common::cli::parse_duration;
use landfall_model::LatLng;
use landfall_model::metadata::gps;
use tokio::sync::mpsc;

use super::budget::Budget;
use super::http::{FetchError, MAX_PICTURE_BYTES, MAX_REPLY_BYTES, RateLimitedClient, RetryPolicy};
use super::manifest::Item;

/// Options of all sources.
#[derive(clap::Args)]
pub(super) struct CommonArgs {
    /// Directory to write, or to continue
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(super) out: PathBuf,
    /// Stop when the directory holds this number of images
    #[arg(long, value_name = "N", help_heading = "Output")]
    pub(super) limit: Option<usize>,
    /// Show what would be fetched and the terms of the source, without fetching images
    #[arg(long, help_heading = "Output")]
    pub(super) dry_run: bool,
    /// Accept the terms of the source, by the name that --dry-run shows
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    pub(super) accept_terms: Option<String>,
    /// Maximum number of concurrent downloads
    #[arg(
        long,
        value_name = "N",
        default_value_t = 8,
        value_parser = clap::value_parser!(u8).range(1..),
        help_heading = "Performance"
    )]
    pub(super) workers: u8,
    /// Minimum interval between requests of one kind, as in 500ms [default: depends on the source]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "Network")]
    between: Option<Duration>,
    /// Wait before the first retry; each further wait is twice as long
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1s", help_heading = "Network")]
    first_wait: Duration,
    /// Print the summary as JSON, or the plan with --dry-run
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
}

impl CommonArgs {
    /// Creates a client of an API, with the minimum interval `between` requests unless --between overrides it.
    pub(super) fn api_client(&self, between: Duration) -> Result<RateLimitedClient> {
        self.client(between, MAX_REPLY_BYTES)
    }

    /// Creates a client for images, as [`CommonArgs::api_client`].
    pub(super) fn image_client(&self, between: Duration) -> Result<RateLimitedClient> {
        self.client(between, MAX_PICTURE_BYTES)
    }

    fn client(&self, between: Duration, max_bytes: usize) -> Result<RateLimitedClient> {
        let policy = RetryPolicy { first_wait: self.first_wait, ..RetryPolicy::default() };
        RateLimitedClient::new(self.between.unwrap_or(between), &policy, max_bytes)
    }
}

/// The terms of use of a source.
pub(super) struct Terms {
    /// The name that accepts them with --accept-terms.
    pub(super) name: &'static str,
    /// A summary for the user.
    pub(super) text: &'static str,
}

/// An image found by a search.
pub(super) struct Candidate {
    pub(super) item: Item,
    /// Its URL, possibly with API keys; never stored.
    pub(super) url: reqwest::Url,
}

/// Images found together, such as those of a time span or a box.
pub(super) struct Batch {
    /// Name of the batch; must be the same in the next run.
    pub(super) name: String,
    pub(super) candidates: Vec<Candidate>,
    /// Number of further images that are unusable or excluded.
    pub(super) left_out: usize,
}

impl Batch {
    /// Creates a batch by converting search results to candidates.
    pub(super) fn new<T>(
        name: String,
        found: impl IntoIterator<Item = T>,
        to_candidate: impl Fn(T) -> Option<Candidate>,
    ) -> Self {
        let mut batch = Self { name, candidates: Vec::new(), left_out: 0 };
        for found in found {
            match to_candidate(found) {
                Some(candidate) => batch.candidates.push(candidate),
                None => batch.left_out += 1,
            }
        }
        batch
    }
}

/// Returns valid coordinates, or `None` if they are out of range or 0, 0, which stands for missing coordinates.
pub(super) fn place(lat: f64, lng: f64) -> Option<LatLng> {
    gps::plausible(lat, lng).ok()
}

/// The group of a sequence; empty without a sequence.
pub(super) fn group(source: &str, sequence: &str) -> String {
    if sequence.is_empty() { String::new() } else { format!("{source}:{sequence}") }
}

/// A source of images.
pub(super) trait Source {
    /// Terms of use; `None` for the user's own images.
    fn terms(&self) -> Option<Terms>;

    /// The options that determine which images a batch contains. A batch is complete only for the same options.
    fn options_fingerprint(&self) -> String;

    /// Describes what a run would do, one line each. May send requests that are free.
    async fn plan(&self) -> Result<Vec<String>>;

    /// Searches for images and sends them in batches, except the batches named in `done`. Ends early if the receiver is
    /// closed.
    async fn search(&self, done: &HashSet<String>, batches: mpsc::Sender<Batch>) -> Result<()>;

    /// Fetches the bytes of an image.
    async fn fetch(&self, candidate: &Candidate) -> Result<Vec<u8>, FetchError>;

    /// The budget, if images cost money.
    fn budget(&self) -> Option<&Budget> {
        None
    }
}

/// Reads an API key from a file, or without one from the environment.
pub(super) fn secret(variable: &str, file: Option<&Path>) -> Result<String> {
    let found = match file {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?,
        None => std::env::var(variable).with_context(|| format!("set {variable}, or give a file with --key-file"))?,
    };
    let found = found.trim();
    if found.is_empty() || found.contains(char::is_whitespace) {
        bail!("the API key is empty or contains whitespace; check {variable} or --key-file");
    }
    Ok(found.to_owned())
}
