//! What all sources of pictures have in common.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use landfall_model::LatLng;
use tokio::sync::mpsc;

use super::budget::Budget;
use super::http::{FetchError, RateLimitedClient, RetryPolicy};
use super::manifest::Item;

/// What all sources take.
#[derive(clap::Args)]
pub(super) struct CommonArgs {
    /// Folder to write, or to go on with
    #[arg(long)]
    pub(super) out: PathBuf,
    /// Stop when the directory holds this number of images
    #[arg(long)]
    pub(super) limit: Option<usize>,
    /// Say what would be fetched, and under which terms, and fetch nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Accept the terms that --dry-run shows, by the source's name in them
    #[arg(long, value_name = "NAME")]
    pub(super) accept_terms: Option<String>,
    /// Pictures fetched at once
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..))]
    pub(super) workers: u8,
    /// Seconds between two requests of one kind [default: what suits the source]
    #[arg(long, value_parser = seconds)]
    between: Option<Duration>,
    /// Seconds before a second try; each further wait is twice as long
    #[arg(long, value_parser = seconds, default_value = "1")]
    first_wait: Duration,
    /// Print the outcome as json
    #[arg(long)]
    pub(super) json: bool,
}

fn seconds(text: &str) -> Result<Duration> {
    Duration::try_from_secs_f64(text.parse()?).context("must be seconds")
}

impl CommonArgs {
    /// A client with this long between requests, unless the user has given --between.
    pub(super) fn client(&self, between: Duration) -> Result<RateLimitedClient> {
        RateLimitedClient::new(
            self.between.unwrap_or(between),
            &RetryPolicy { first_wait: self.first_wait, ..RetryPolicy::default() },
        )
    }
}

/// Whose rules a source is used under.
pub(super) struct Terms {
    /// What is to be typed to accept them.
    pub(super) name: &'static str,
    /// What they mean for the user, in a few sentences.
    pub(super) text: &'static str,
}

/// A picture that was found, and where it is.
pub(super) struct Candidate {
    pub(super) item: Item,
    /// Its address with all that it takes to get it; never written down.
    pub(super) url: reqwest::Url,
}

/// Pictures that were found together, such as those of a time span or a box.
pub(super) struct Batch {
    /// The same batch must have the same name in the next run.
    pub(super) name: String,
    pub(super) candidates: Vec<Candidate>,
    /// Others that are of no use: without a place that can be, or not wanted.
    pub(super) left_out: usize,
}

impl Batch {
    /// A batch of the candidates that a source makes of what was found.
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

/// A place that can be one: degrees that are, and not 0, 0, which stands for none.
pub(super) fn place(lat: f64, lng: f64) -> Option<LatLng> {
    // `LatLng` takes a longitude around the earth.
    LatLng::new(lat, lng).ok().filter(|_| lng.abs() <= 180.0 && (lat, lng) != (0.0, 0.0))
}

/// The group of a sequence; without one a picture is a group by itself.
pub(super) fn group(source: &str, sequence: &str) -> String {
    if sequence.is_empty() { String::new() } else { format!("{source}:{sequence}") }
}

/// Something that finds pictures.
pub(super) trait Source {
    /// Its rules; none where the pictures are the user's own.
    fn terms(&self) -> Option<Terms>;

    /// The options that decide which pictures a batch contains: a batch is done only for the same options.
    fn options_fingerprint(&self) -> String;

    /// What it would do, a line each. It may look things up that cost nothing.
    async fn plan(&self) -> Result<Vec<String>>;

    /// Finds pictures and sends them in batches, without the batches named in `done`. Ends early when nobody receives any more.
    async fn search(&self, done: &HashSet<String>, batches: mpsc::Sender<Batch>) -> Result<()>;

    /// The bytes of a picture.
    async fn fetch(&self, candidate: &Candidate) -> Result<Vec<u8>, FetchError>;

    /// What pictures cost, where they do.
    fn budget(&self) -> Option<&Budget> {
        None
    }
}

/// A key from a file or, without one, from the environment.
pub(super) fn secret(variable: &str, file: Option<&Path>) -> Result<String> {
    let found = match file {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?,
        None => std::env::var(variable).with_context(|| format!("set {variable}, or name a file with --key-file"))?,
    };
    let found = found.trim();
    if found.is_empty() || found.contains(char::is_whitespace) {
        bail!("what should be a key is empty or has blanks in it; see {variable} or --key-file");
    }
    Ok(found.to_owned())
}
