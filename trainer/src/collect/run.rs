//! A run of `collect`: searches a source, fetches the candidates and updates the manifest.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use landfall_common::exit::environment_error;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::http::FetchError;
use super::keys::redact_keys;
use super::manifest::{Claim, Item, Manifest, Status};
use super::picture::{StoreError, store_picture};
use super::source::{Batch, Candidate, CommonArgs, Source, Terms};
use crate::io::interrupt;

/// Number of consecutive failures after which the run stops.
const MAX_CONSECUTIVE_FAILURES: usize = 20;

pub(super) async fn collect(source: &impl Source, common: &CommonArgs) -> Result<()> {
    let terms = source.terms();
    if common.dry_run {
        let plan = source.plan().await.map_err(as_environment_error)?;
        if common.json {
            let terms = terms.map(|Terms { name, text }| serde_json::json!({ "name": name, "text": text }));
            println!("{}", serde_json::json!({ "plan": plan, "terms": terms }));
            return Ok(());
        }
        for line in plan {
            println!("{line}");
        }
        if let Some(Terms { name, text }) = terms {
            println!("terms: {text}\nTo accept these terms, pass --accept-terms {name}");
        }
        return Ok(());
    }
    if let Some(Terms { name, text }) = terms
        && common.accept_terms.as_deref() != Some(name)
    {
        bail!("{text} To accept these terms, pass --accept-terms {name}");
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
    let run_to_end = async {
        let (searching, processing) = (source.search(&done, send), run.process(receive));
        tokio::pin!(searching, processing);
        tokio::select! {
            // Processing may reach a limit, which ends the search.
            processed = &mut processing => processed,
            searched = &mut searching => processing.await.and(searched),
        }
    };
    let ended = tokio::select! {
        ended = run_to_end => Some(ended),
        () = interrupt::wait() => None,
    };
    run.progress.finish_and_clear();
    run.print_summary()?;
    let out = common.out.display();
    match ended {
        Some(Ok(())) if run.counts.failed > 0 => {
            let why = format!("{} images failed; run the same command again to retry them", run.counts.failed);
            Err(if run.refused { anyhow!(why) } else { environment_error(why) })
        }
        Some(result) => result
            .map_err(as_environment_error)
            .with_context(|| format!("stopped early; run the same command again to continue in {out}")),
        None => Err(interrupt::stopped(format!("stopped; run the same command again to continue in {out}"))),
    }
}

/// Converts failures that pass to environment errors.
pub(super) fn as_environment_error(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref() {
        Some(FetchError::Transient { why, .. } | FetchError::LimitReached(why)) => environment_error(why.clone()),
        _ => error,
    }
}

/// Numbers of images of a run, by outcome.
#[derive(Default, serde::Serialize)]
struct Counts {
    kept: usize,
    missing: usize,
    broken: usize,
    /// Found, but already stored or a duplicate.
    known: usize,
    /// Found, but unusable.
    left_out: usize,
    failed: usize,
}

struct Run<'a, S> {
    source: &'a S,
    common: &'a CommonArgs,
    manifest: Manifest,
    /// Hash of the options; prefix of batch names in `searched.txt`.
    fingerprint: String,
    progress: ProgressBar,
    counts: Counts,
    /// Number of consecutive failures.
    consecutive_failures: usize,
    /// Whether the last failure was permanent rather than transient.
    refused: bool,
}

impl<S: Source> Run<'_, S> {
    /// Fetches the candidates of each batch.
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
                    return Ok(()); // a limit was reached
                }
                // If the first image with a deduplication key failed, try the next one.
                candidates = duplicates;
            }
            if self.counts.failed == before {
                self.manifest.finish(&format!("{} {name}", self.fingerprint))?;
            }
        }
        Ok(())
    }

    /// Fetches images concurrently. Returns false if a limit was reached before the last one.
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
        // Requests start one by one, so that none exceeds a limit.
        let mut in_flight = stream::FuturesUnordered::new();
        loop {
            let mut has_room = true;
            while has_room && in_flight.len() < usize::from(self.common.workers) && !wanted.as_slice().is_empty() {
                has_room = self.has_room(in_flight.len())?;
                if has_room {
                    in_flight.extend(wanted.next().map(fetched));
                }
            }
            let Some((outcome, url)) = in_flight.next().await else { break };
            self.record(outcome, &url)?;
        }
        Ok(wanted.as_slice().is_empty())
    }

    /// Returns whether one more image may be fetched, given the number in flight.
    fn has_room(&self, in_flight: usize) -> Result<bool> {
        if let Some(budget) = self.source.budget()
            && !budget.allows(in_flight + 1)
        {
            if in_flight > 0 {
                return Ok(false);
            }
            bail!("{}", budget.exhausted_message());
        }
        Ok(self.common.limit.is_none_or(|limit| self.manifest.kept + in_flight < limit))
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
            Err(StoreError::Fetch(FetchError::LimitReached(why))) => return Err(environment_error(why)),
            Err(StoreError::Fetch(error)) => {
                self.counts.failed += 1;
                self.consecutive_failures += 1;
                self.refused = matches!(error, FetchError::Permanent(_));
                if self.consecutive_failures >= MAX_CONSECUTIVE_FAILURES {
                    let why =
                        format!("{MAX_CONSECUTIVE_FAILURES} consecutive images failed, the last one with: {error}");
                    return Err(if self.refused { anyhow!(why) } else { environment_error(why) });
                }
                self.progress.suspend(|| eprintln!("skipped for now: {}: {error}", redact_keys(url)));
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
            "{kept} images kept, {missing} gone, {broken} broken, {failed} failed, {known} already known, {left_out} \
             unusable; {} contains {all}",
            self.manifest.dir.display()
        );
        Ok(())
    }
}
