//! `collect`: geotagged pictures from public sources, politely, and so that a kill loses at most what is in flight.
//!
//! A source finds pictures part by part (a span of time, a box, a few places); each picture is fetched, checked, written
//! and noted in the folder's manifest, then the part is noted as done. The same command goes on where it ended.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use landfall_model::Error;
use tokio::sync::mpsc;

mod flickr;
mod folder;
mod kartaview;
mod manifest;
mod mapillary;
mod osv5m;
mod picture;
mod places;
mod streetview;
mod web;

pub use manifest::{Item, Status, items, read};

use manifest::Manifest;
use picture::{Failure, picture, settled};
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
}

/// Something that finds pictures.
trait Source {
    /// Its rules; none where the pictures are the user's own.
    fn terms(&self) -> Option<Terms>;

    /// What it would do, a line each. It may look things up that cost nothing.
    async fn plan(&self) -> Result<Vec<String>>;

    /// Finds pictures and sends them; parts of these names are done. Ends early when nobody receives any more.
    async fn search(&self, done: &HashSet<String>, parts: mpsc::Sender<Part>) -> Result<()>;

    /// The bytes of a picture.
    async fn fetch(&self, find: &Find) -> Result<Vec<u8>, Trouble>;

    /// What a picture costs, and what all may cost, in US dollars.
    fn cost_usd(&self) -> Option<(f64, f64)> {
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
            From::Streetview(args) => collect(&streetview::StreetView::new(args)?, &args.common).await,
            From::Mapillary(args) => collect(&mapillary::Mapillary::new(args)?, &args.common).await,
            From::Kartaview(args) => collect(&kartaview::KartaView::new(args)?, &args.common).await,
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
    let done = manifest.searched.clone();
    let mut run = Run { source, common, manifest, progress, tally: Tally::default(), in_a_row: 0 };
    let (send, receive) = mpsc::channel(1);
    let both = async { tokio::join!(source.search(&done, send), run.take(receive)) };
    let ended = tokio::select! {
        (searched, taken) = both => Some(searched.and(taken)),
        _ = tokio::signal::ctrl_c() => None,
    };
    run.progress.finish_and_clear();
    run.tell()?;
    let out = common.out.display();
    match ended {
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
    failed: usize,
}

struct Run<'a, S> {
    source: &'a S,
    common: &'a Common,
    manifest: Manifest,
    progress: ProgressBar,
    tally: Tally,
    in_a_row: usize,
}

impl<S: Source> Run<'_, S> {
    /// Fetches what is found, part by part.
    async fn take(&mut self, mut parts: mpsc::Receiver<Part>) -> Result<()> {
        while let Some(Part { name, finds }) = parts.recv().await {
            let found = finds.len();
            let wanted: Vec<Find> = finds.into_iter().filter(|find| self.manifest.claim(&find.item)).collect();
            self.tally.known += found - wanted.len();
            let (source, dir, before) = (self.source, self.manifest.dir.clone(), self.tally.failed);
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
                while under_way.len() < usize::from(self.common.workers) && self.has_room(under_way.len())? {
                    let Some(find) = wanted.next() else { break };
                    under_way.push(fetched(find));
                }
                let Some((outcome, url)) = under_way.next().await else { break };
                self.note(outcome, &url)?;
            }
            if wanted.next().is_some() {
                return Ok(()); // the limit is reached
            }
            if self.tally.failed == before {
                self.manifest.finish(&name)?;
            }
        }
        Ok(())
    }

    /// Whether one more may be fetched beside those under way.
    fn has_room(&self, under_way: usize) -> Result<bool> {
        if let Some((each, all)) = self.source.cost_usd()
            && (self.manifest.asked + under_way + 1) as f64 * each > all
        {
            if under_way > 0 {
                return Ok(false);
            }
            bail!(
                "the next picture would cost more than --max-cost {all}, which the pictures in this folder have used up"
            );
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
                if self.in_a_row >= FAILURES_IN_A_ROW {
                    let why =
                        format!("{FAILURES_IN_A_ROW} pictures failed one after the other, the last because {trouble}");
                    return Err(Error::Surroundings(why).into());
                }
                self.progress.suspend(|| eprintln!("left out for now: {}: {trouble}", web::shown(url)));
            }
        }
        self.progress.inc(1);
        let Tally { kept, missing, broken, failed, .. } = self.tally;
        let cost = self.source.cost_usd().map(|(each, all)| (self.manifest.asked as f64 * each, all));
        let cost = cost.map_or_else(String::new, |(spent, all)| format!(", ${spent:.2} of ${all:.2}"));
        self.progress.set_message(format!("{kept} kept, {missing} gone, {broken} broken, {failed} failed{cost}"));
        Ok(())
    }

    fn tell(&self) -> Result<()> {
        let Tally { kept, missing, broken, known, failed } = self.tally;
        let all = self.manifest.kept;
        if self.common.json {
            let mut told = serde_json::to_value(&self.tally)?;
            told["in_folder"] = all.into();
            if let Some((each, _)) = self.source.cost_usd() {
                told["cost_usd"] = (self.manifest.asked as f64 * each).into();
            }
            println!("{told}");
        }
        eprintln!(
            "{kept} pictures kept, {missing} gone, {broken} broken, {failed} failed, {known} known before; {} holds {all}",
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
