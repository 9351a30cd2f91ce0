//! One run of `collect`: searches a source, fetches what it finds and keeps the manifest.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use landfall_common::exit::environment_error;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::http::{self, FetchError};
use super::manifest::{Claim, Item, Manifest, Status};
use super::picture::{StoreError, store_picture};
use super::source::{Batch, Candidate, CommonArgs, Source, Terms};
use crate::io::interrupt;

/// So many pictures that fail one after the other are taken for a network that is gone.
const MAX_CONSECUTIVE_FAILURES: usize = 20;

pub(super) async fn collect(source: &impl Source, common: &CommonArgs) -> Result<()> {
    let terms = source.terms();
    if common.dry_run {
        for line in source.plan().await.map_err(as_environment_error)? {
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
    interrupt::listen()?;
    let manifest = Manifest::open(&common.out)?;
    let style = ProgressStyle::with_template("{spinner} {msg} ({per_sec}, {elapsed})")?;
    let progress = ProgressBar::new_spinner().with_style(style);
    progress.enable_steady_tick(Duration::from_millis(200));
    if let Some(budget) = source.budget() {
        budget.open(&common.out)?;
    }
    let fingerprint = crate::io::hash::hex(Sha256::new_with_prefix(source.options_fingerprint()))[..8].to_owned();
    let with_these_options = |part: &String| Some(part.strip_prefix(&fingerprint)?.strip_prefix(' ')?.to_owned());
    let done = manifest.searched.iter().filter_map(with_these_options).collect();
    let mut run = Run {
        source,
        common,
        manifest,
        fingerprint,
        progress,
        counts: Counts::default(),
        consecutive_failures: 0,
        refused: false,
    };
    let (send, receive) = mpsc::channel(1);
    let both = async {
        let (searching, processing) = (source.search(&done, send), run.process(receive));
        tokio::pin!(searching, processing);
        tokio::select! {
            // Whoever takes may have enough, and then nobody needs what would be found next.
            processed = &mut processing => processed,
            searched = &mut searching => processing.await.and(searched),
        }
    };
    let ended = tokio::select! {
        ended = both => Some(ended),
        () = interrupt::wait() => None,
    };
    run.progress.finish_and_clear();
    run.print_summary()?;
    let out = common.out.display();
    match ended {
        Some(Ok(())) if run.counts.failed > 0 => {
            let why = format!("{} pictures were left out; the same command tries them again", run.counts.failed);
            Err(if run.refused { anyhow!(why) } else { environment_error(why) })
        }
        Some(result) => result
            .map_err(as_environment_error)
            .with_context(|| format!("{out} keeps what is there; the same command continues")),
        None => Err(interrupt::stopped(format!("stopped; the same command continues with {out}"))),
    }
}

/// Transient failures are environment errors: the network failed, not the call.
pub(super) fn as_environment_error(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref() {
        Some(FetchError::Transient { why, .. }) => environment_error(why.clone()),
        _ => error,
    }
}

/// What became of the pictures of a run.
#[derive(Default, serde::Serialize)]
struct Counts {
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
    common: &'a CommonArgs,
    manifest: Manifest,
    /// Of the options; precedes the names of batches in `searched.txt`.
    fingerprint: String,
    progress: ProgressBar,
    counts: Counts,
    /// Pictures that failed one after the other.
    consecutive_failures: usize,
    /// Whether the last that failed was refused, and not merely out of reach.
    refused: bool,
}

impl<S: Source> Run<'_, S> {
    /// Fetches what is found, batch by batch.
    async fn process(&mut self, mut batches: mpsc::Receiver<Batch>) -> Result<()> {
        while let Some(Batch { name, mut candidates, left_out }) = batches.recv().await {
            self.counts.left_out += left_out;
            let before = self.counts.failed;
            while !candidates.is_empty() {
                let (mut wanted, mut duplicates) = (Vec::new(), Vec::new());
                for candidate in candidates {
                    match self.manifest.claim(&candidate.item) {
                        Claim::New => wanted.push(candidate),
                        Claim::Duplicate => duplicates.push(candidate),
                        Claim::Known => self.counts.known += 1,
                    }
                }
                if wanted.is_empty() {
                    self.counts.known += duplicates.len();
                    break;
                }
                if !self.fetch_all(wanted).await? {
                    return Ok(()); // the limit is reached
                }
                // Where the first of some is not there, the next may be.
                candidates = duplicates;
            }
            if self.counts.failed == before {
                self.manifest.finish(&format!("{} {name}", self.fingerprint))?;
            }
        }
        Ok(())
    }

    /// Fetches pictures, unless a limit is reached before the last: says whether it was not.
    async fn fetch_all(&mut self, wanted: Vec<Candidate>) -> Result<bool> {
        let (source, dir) = (self.source, self.manifest.dir.clone());
        let fetched = |candidate: Candidate| {
            let dir = dir.clone();
            async move {
                let fetched = source.fetch(&candidate).await;
                let checked = tokio::task::spawn_blocking(move || store_picture(candidate.item, fetched, &dir)).await;
                (checked.unwrap_or_else(|e| Err(StoreError::Disk(e.into()))), candidate.url)
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
            self.record(outcome, &url)?;
        }
        Ok(wanted.as_slice().is_empty())
    }

    /// Whether one more may be fetched beside those under way.
    fn has_room(&self, under_way: usize) -> Result<bool> {
        if let Some(budget) = self.source.budget()
            && !budget.allows(under_way + 1)
        {
            if under_way > 0 {
                return Ok(false);
            }
            bail!("{}", budget.exhausted_message());
        }
        Ok(self.common.limit.is_none_or(|limit| self.manifest.kept + under_way < limit))
    }

    fn record(&mut self, outcome: Result<Item, StoreError>, url: &reqwest::Url) -> Result<()> {
        match outcome {
            Ok(item) => {
                self.consecutive_failures = 0;
                self.manifest.record(&item)?;
                match item.status {
                    Some(Status::Missing) => self.counts.missing += 1,
                    Some(Status::Broken) => self.counts.broken += 1,
                    _ => self.counts.kept += 1,
                }
            }
            Err(StoreError::Disk(error)) => return Err(error),
            Err(StoreError::Fetch(error)) => {
                self.counts.failed += 1;
                self.consecutive_failures += 1;
                self.refused = matches!(error, FetchError::Permanent(_));
                if self.consecutive_failures >= MAX_CONSECUTIVE_FAILURES {
                    let why = format!(
                        "{MAX_CONSECUTIVE_FAILURES} pictures failed one after the other, the last because {error}"
                    );
                    return Err(if self.refused { anyhow!(why) } else { environment_error(why) });
                }
                self.progress.suspend(|| eprintln!("left out for now: {}: {error}", http::redact_keys(url)));
            }
        }
        self.progress.inc(1);
        let Counts { kept, missing, broken, failed, .. } = self.counts;
        let cost = self.source.budget().map_or_else(String::new, |budget| format!(", {budget}"));
        self.progress.set_message(format!("{kept} kept, {missing} gone, {broken} broken, {failed} failed{cost}"));
        Ok(())
    }

    fn print_summary(&self) -> Result<()> {
        let Counts { kept, missing, broken, known, left_out, failed } = self.counts;
        let all = self.manifest.kept;
        if self.common.json {
            let mut summary = serde_json::to_value(&self.counts)?;
            summary["in_folder"] = all.into();
            if let Some(budget) = self.source.budget() {
                summary["cost_usd"] = budget.spent_usd().into();
            }
            println!("{summary}");
        }
        eprintln!(
            "{kept} pictures kept, {missing} gone, {broken} broken, {failed} failed, {known} known before, {left_out} of no \
             use; {} holds {all}",
            self.manifest.dir.display()
        );
        Ok(())
    }
}
