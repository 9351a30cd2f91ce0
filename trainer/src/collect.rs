//! `collect`: geotagged pictures from public sources, politely, and so that a kill loses at most what is in flight.
//!
//! A source finds pictures part by part (a span of time, a box, a few places); each picture is fetched, checked, written
//! and noted in the folder's manifest, then the part is noted as done. The same command goes on where it ended.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Subcommand;
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use landfall_model::{Error, LatLng};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

mod download;
mod flickr;
mod folder;
mod kartaview;
mod manifest;
mod mapillary;
mod openaddresses;
mod osv5m;
mod picture;
mod places;
mod purse;
mod streetview;
mod web;

pub use manifest::{Item, Status, items, read};

use manifest::{Claim, Manifest};
use picture::{Failure, picture, settled};
use purse::Purse;
use web::{Lane, Manners, Trouble};

/// So many pictures that fail one after the other are taken for a network that is gone.
const FAILURES_IN_A_ROW: usize = 20;

/// Collects geotagged pictures from a source.
///
/// Writes the pictures and manifest.jsonl, which `index` reads. Broken off, the same command goes on where it ended.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train collect folder holiday --out collected/holiday\n  landfall-train collect flickr --queries queries.txt --since 2023-01-01 --until 2024-01-01 --out collected/flickr --dry-run"
)]
pub struct Args {
    #[command(subcommand)]
    from: From,
}

#[derive(Subcommand)]
enum From {
    Folder(folder::Args),
    Flickr(flickr::Args),
    Streetview(streetview::Args),
    Mapillary(mapillary::Args),
    Kartaview(kartaview::Args),
    Osv5m(osv5m::Args),
}

/// What all sources take.
#[derive(clap::Args)]
struct Common {
    /// Folder to write, or to go on with
    #[arg(long)]
    out: PathBuf,
    /// Stop when the folder holds so many pictures
    #[arg(long)]
    limit: Option<usize>,
    /// Say what would be fetched, and under which terms, and fetch nothing
    #[arg(long)]
    dry_run: bool,
    /// Accept the terms that --dry-run shows, by the source's name in them
    #[arg(long, value_name = "NAME")]
    accept_terms: Option<String>,
    /// Pictures fetched at once
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..))]
    workers: u8,
    /// Seconds between two requests of one kind [default: what suits the source]
    #[arg(long, value_parser = seconds)]
    between: Option<Duration>,
    /// Seconds before a second try; each further wait is twice as long
    #[arg(long, value_parser = seconds, default_value = "1")]
    first_wait: Duration,
    /// Print the outcome as json
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<Duration> {
    Duration::try_from_secs_f64(text.parse()?).context("must be seconds")
}

impl Common {
    /// A lane with this long between requests, unless the user wants another pace.
    fn lane(&self, between: Duration) -> Result<Lane> {
        Lane::new(self.between.unwrap_or(between), &Manners { first_wait: self.first_wait, ..Manners::default() })
    }
}

/// Whose rules a source is used under.
struct Terms {
    /// What is to be typed to accept them.
    name: &'static str,
    /// What they mean for the user, in a few sentences.
    text: &'static str,
}

/// A picture that was found, and where it is.
struct Find {
    item: Item,
    /// Its address with all that it takes to get it; never written down.
    url: reqwest::Url,
}

/// Some pictures that were found together.
struct Part {
    /// A name that the same part has in the next run.
    name: String,
    finds: Vec<Find>,
    /// Others that are of no use: without a place that can be, or not wanted.
    left_out: usize,
}

impl Part {
    /// A part with what a source makes of all that was found in it.
    fn new<T>(name: String, found: impl IntoIterator<Item = T>, find: impl Fn(T) -> Option<Find>) -> Self {
        let mut part = Self { name, finds: Vec::new(), left_out: 0 };
        for found in found {
            match find(found) {
                Some(find) => part.finds.push(find),
                None => part.left_out += 1,
            }
        }
        part
    }
}

/// A place that can be one: degrees that are, and not 0, 0, which stands for none.
fn place(lat: f64, lng: f64) -> Option<LatLng> {
    // `LatLng` takes a longitude around the earth.
    LatLng::new(lat, lng).ok().filter(|_| lng.abs() <= 180.0 && (lat, lng) != (0.0, 0.0))
}

/// The group of a sequence; without one a picture is a group by itself.
fn group(source: &str, sequence: &str) -> String {
    if sequence.is_empty() { String::new() } else { format!("{source}:{sequence}") }
}

/// Something that finds pictures.
trait Source {
    /// Its rules; none where the pictures are the user's own.
    fn terms(&self) -> Option<Terms>;

    /// What else decides which pictures a part of a name has: parts are done for the same options alone.
    fn asked(&self) -> String;

    /// What it would do, a line each. It may look things up that cost nothing.
    async fn plan(&self) -> Result<Vec<String>>;

    /// Finds pictures and sends them; parts of these names are done. Ends early when nobody receives any more.
    async fn search(&self, done: &HashSet<String>, parts: mpsc::Sender<Part>) -> Result<()>;

    /// The bytes of a picture.
    async fn fetch(&self, find: &Find) -> Result<Vec<u8>, Trouble>;

    /// What pictures cost, where they do.
    fn purse(&self) -> Option<&Purse> {
        None
    }
}

/// Runs the command.
///
/// # Errors
/// When a file or an option cannot be used, the source refuses, or the network is gone.
pub fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match &args.from {
            From::Folder(args) => collect(&folder::Folder::new(args)?, &args.common).await,
            From::Flickr(args) => collect(&flickr::Flickr::new(args)?, &args.common).await,
            From::Streetview(args) => {
                collect(&streetview::StreetView::new(args).await.map_err(told)?, &args.common).await
            }
            From::Mapillary(args) => collect(&mapillary::Mapillary::new(args)?, &args.common).await,
            From::Kartaview(args) => collect(&kartaview::KartaView::new(args).await.map_err(told)?, &args.common).await,
            From::Osv5m(args) => collect(&osv5m::Osv5m::new(args)?, &args.common).await,
        }
    })
}

async fn collect(source: &impl Source, common: &Common) -> Result<()> {
    let terms = source.terms();
    if common.dry_run {
        for line in source.plan().await.map_err(told)? {
            println!("{line}");
        }
        if let Some(Terms { name, text }) = terms {
            println!("terms: {text}\nTo accept them: --accept-terms {name}");
        }
        return Ok(());
    }
    if let Some(Terms { name, text }) = terms
        && common.accept_terms.as_deref() != Some(name)
    {
        bail!("{text} Whoever may do that says so with --accept-terms {name}");
    }
    let manifest = Manifest::open(&common.out)?;
    let style = ProgressStyle::with_template("{spinner} {msg} ({per_sec}, {elapsed})")?;
    let progress = ProgressBar::new_spinner().with_style(style);
    progress.enable_steady_tick(Duration::from_millis(200));
    if let Some(purse) = source.purse() {
        purse.open(&common.out)?;
    }
    let asked = crate::hash::hex(Sha256::new_with_prefix(source.asked()))[..8].to_owned();
    let of_these_options = |part: &String| Some(part.strip_prefix(&asked)?.strip_prefix(' ')?.to_owned());
    let done = manifest.searched.iter().filter_map(of_these_options).collect();
    let mut run =
        Run { source, common, manifest, asked, progress, tally: Tally::default(), in_a_row: 0, refused: false };
    let (send, receive) = mpsc::channel(1);
    let both = async {
        let (searching, taking) = (source.search(&done, send), run.take(receive));
        tokio::pin!(searching, taking);
        tokio::select! {
            // Whoever takes may have enough, and then nobody needs what would be found next.
            taken = &mut taking => taken,
            searched = &mut searching => taking.await.and(searched),
        }
    };
    let ended = tokio::select! {
        ended = both => Some(ended),
        _ = tokio::signal::ctrl_c() => None,
    };
    run.progress.finish_and_clear();
    run.tell()?;
    let out = common.out.display();
    match ended {
        Some(Ok(())) if run.tally.failed > 0 => {
            let why = format!("{} pictures were left out; the same command tries them again", run.tally.failed);
            Err(if run.refused { anyhow!(why) } else { Error::Surroundings(why).into() })
        }
        Some(result) => {
            result.map_err(told).with_context(|| format!("{out} keeps what is there; the same command goes on"))
        }
        None => Err(Error::Surroundings(format!("stopped; the same command goes on with {out}")).into()),
    }
}

/// Trouble that may be over soon is the network's, not the call's.
fn told(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref() {
        Some(Trouble::Passing { why, .. }) => Error::Surroundings(why.clone()).into(),
        _ => error,
    }
}

/// What became of the pictures of a run.
#[derive(Default, serde::Serialize)]
struct Tally {
    kept: usize,
    missing: usize,
    broken: usize,
    /// Found, and there already or the same as another.
    known: usize,
    /// Found, and of no use.
    left_out: usize,
    failed: usize,
}

struct Run<'a, S> {
    source: &'a S,
    common: &'a Common,
    manifest: Manifest,
    /// What stands before the names of parts.
    asked: String,
    progress: ProgressBar,
    tally: Tally,
    /// Pictures that failed one after the other.
    in_a_row: usize,
    /// Whether the last that failed was refused, and not merely out of reach.
    refused: bool,
}

impl<S: Source> Run<'_, S> {
    /// Fetches what is found, part by part.
    async fn take(&mut self, mut parts: mpsc::Receiver<Part>) -> Result<()> {
        while let Some(Part { name, mut finds, left_out }) = parts.recv().await {
            self.tally.left_out += left_out;
            let before = self.tally.failed;
            while !finds.is_empty() {
                let (mut wanted, mut twins) = (Vec::new(), Vec::new());
                for find in finds {
                    match self.manifest.claim(&find.item) {
                        Claim::New => wanted.push(find),
                        Claim::Twin => twins.push(find),
                        Claim::Known => self.tally.known += 1,
                    }
                }
                if wanted.is_empty() {
                    self.tally.known += twins.len();
                    break;
                }
                if !self.fetch_all(wanted).await? {
                    return Ok(()); // the limit is reached
                }
                // Where the first of some is not there, the next may be.
                finds = twins;
            }
            if self.tally.failed == before {
                self.manifest.finish(&format!("{} {name}", self.asked))?;
            }
        }
        Ok(())
    }

    /// Fetches pictures, unless a limit is reached before the last: says whether it was not.
    async fn fetch_all(&mut self, wanted: Vec<Find>) -> Result<bool> {
        let (source, dir) = (self.source, self.manifest.dir.clone());
        let fetched = |find: Find| {
            let dir = dir.clone();
            async move {
                let fetched = source.fetch(&find).await;
                let checked = tokio::task::spawn_blocking(move || settled(find.item, fetched, &dir)).await;
                (checked.unwrap_or_else(|e| Err(Failure::Disk(e.into()))), find.url)
            }
        };
        let mut wanted = wanted.into_iter();
        // One after the other into the queue, so that nothing is asked for beyond a limit.
        let mut under_way = stream::FuturesUnordered::new();
        loop {
            let mut is_room = true;
            while is_room && under_way.len() < usize::from(self.common.workers) && !wanted.as_slice().is_empty() {
                is_room = self.has_room(under_way.len())?;
                if is_room {
                    under_way.extend(wanted.next().map(fetched));
                }
            }
            let Some((outcome, url)) = under_way.next().await else { break };
            self.note(outcome, &url)?;
        }
        Ok(wanted.as_slice().is_empty())
    }

    /// Whether one more may be fetched beside those under way.
    fn has_room(&self, under_way: usize) -> Result<bool> {
        if let Some(purse) = self.source.purse()
            && !purse.has(under_way + 1)
        {
            if under_way > 0 {
                return Ok(false);
            }
            bail!("{}", purse.empty());
        }
        Ok(self.common.limit.is_none_or(|limit| self.manifest.kept + under_way < limit))
    }

    fn note(&mut self, outcome: Result<Item, Failure>, url: &reqwest::Url) -> Result<()> {
        match outcome {
            Ok(item) => {
                self.in_a_row = 0;
                self.manifest.settle(&item)?;
                match item.status {
                    Some(Status::Missing) => self.tally.missing += 1,
                    Some(Status::Broken) => self.tally.broken += 1,
                    _ => self.tally.kept += 1,
                }
            }
            Err(Failure::Disk(error)) => return Err(error),
            Err(Failure::Web(trouble)) => {
                self.tally.failed += 1;
                self.in_a_row += 1;
                self.refused = matches!(trouble, Trouble::Lasting(_));
                if self.in_a_row >= FAILURES_IN_A_ROW {
                    let why =
                        format!("{FAILURES_IN_A_ROW} pictures failed one after the other, the last because {trouble}");
                    return Err(if self.refused { anyhow!(why) } else { Error::Surroundings(why).into() });
                }
                self.progress.suspend(|| eprintln!("left out for now: {}: {trouble}", web::shown(url)));
            }
        }
        self.progress.inc(1);
        let Tally { kept, missing, broken, failed, .. } = self.tally;
        let cost = self.source.purse().map_or_else(String::new, |purse| format!(", {purse}"));
        self.progress.set_message(format!("{kept} kept, {missing} gone, {broken} broken, {failed} failed{cost}"));
        Ok(())
    }

    fn tell(&self) -> Result<()> {
        let Tally { kept, missing, broken, known, left_out, failed } = self.tally;
        let all = self.manifest.kept;
        if self.common.json {
            let mut told = serde_json::to_value(&self.tally)?;
            told["in_folder"] = all.into();
            if let Some(purse) = self.source.purse() {
                told["cost_usd"] = purse.spent_usd().into();
            }
            println!("{told}");
        }
        eprintln!(
            "{kept} pictures kept, {missing} gone, {broken} broken, {failed} failed, {known} known before, {left_out} of no \
             use; {} holds {all}",
            self.manifest.dir.display()
        );
        Ok(())
    }
}

/// A key from a file or, without one, from the environment.
fn secret(variable: &str, file: Option<&Path>) -> Result<String> {
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
