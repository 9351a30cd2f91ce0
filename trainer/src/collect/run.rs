//! One run of `collect`: searches a source, fetches what it finds and keeps the manifest.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use landfall_common::exit::environment_error;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::http::{self, Trouble};
use super::manifest::{Claim, Item, Manifest, Status};
use super::picture::{Failure, settled};
use super::source::{Common, Find, Part, Source, Terms};

/// So many pictures that fail one after the other are taken for a network that is gone.
const FAILURES_IN_A_ROW: usize = 20;

pub(super) async fn collect(source: &impl Source, common: &Common) -> Result<()> {
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
    let asked = crate::io::hash::hex(Sha256::new_with_prefix(source.asked()))[..8].to_owned();
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
            Err(if run.refused { anyhow!(why) } else { environment_error(why) })
        }
        Some(result) => {
            result.map_err(told).with_context(|| format!("{out} keeps what is there; the same command goes on"))
        }
        None => Err(environment_error(format!("stopped; the same command goes on with {out}"))),
    }
}

/// Trouble that may be over soon is the network's, not the call's.
pub(super) fn told(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref() {
        Some(Trouble::Passing { why, .. }) => environment_error(why.clone()),
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
                    return Err(if self.refused { anyhow!(why) } else { environment_error(why) });
                }
                self.progress.suspend(|| eprintln!("left out for now: {}: {trouble}", http::shown(url)));
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
