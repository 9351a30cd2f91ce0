//! Photographs of Flickr, as the im2gps sets were collected: words to search for and words to keep out, and spans of time
//! that hold as many results as one query gives.
//!
//! `flickr.photos.search` gives at most about 4,000 different results, later pages repeat earlier ones. So a span is halved
//! while it holds more and doubled while it holds few, and all of its pages are read, the last one too.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chrono::NaiveDate;
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;

use super::http::{self, FetchError, HttpResponse, RateLimitedClient, url_with_query};
use super::manifest::Item;
use super::picture::picture;
use super::source::{Batch, Candidate, CommonArgs, Source, Terms, place, secret};

/// Results a page when places are asked for; more are not given.
const PER_PAGE: u64 = 250;
/// Different results of one query.
const MAX_RESULTS: u64 = 4_000;
/// A span with fewer is made longer.
const MIN_RESULTS: u64 = 150;
/// Halvings between a span with too few and one with too many.
const MAX_HALVINGS: usize = 6;
/// Images below this size in bytes are placeholders.
const MIN_BYTES: usize = 1_000;
/// Codes of errors that pass: search and service unavailable.
const TRANSIENT_CODES: [i64; 2] = [10, 105];

/// Searches Flickr for photographs with a place.
///
/// The key of an application, from <https://www.flickr.com/services/apps/create/>, is read from FLICKR_API_KEY.
#[derive(clap::Args)]
pub(super) struct Args {
    /// File of queries, a line each (Latin-1). Words on lines that begin with - are kept out of all of them; # begins a
    /// comment
    #[arg(long)]
    queries: PathBuf,
    /// Uploaded on this day or later (YYYY-MM-DD or seconds since 1970)
    #[arg(long, value_parser = day)]
    since: i64,
    /// Uploaded before this day
    #[arg(long, value_parser = day)]
    until: i64,
    /// Hours of the first span that is tried
    #[arg(long, default_value_t = 4.0)]
    first_hours: f64,
    /// How exactly a place is known at least: 1 the world, 6 a region, 11 a city, 16 a street
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(1..=16))]
    accuracy: u8,
    /// File of photo ids to leave out, such as those of a benchmark: a line each, or names of files ID_SECRET_SERVER_OWNER.jpg
    #[arg(long)]
    exclude: Vec<PathBuf>,
    /// Leave out all photos by the owners in those names too
    #[arg(long, requires = "exclude")]
    exclude_owners: bool,
    /// File with the key, instead of FLICKR_API_KEY
    #[arg(long)]
    key_file: Option<PathBuf>,
    #[arg(long, hide = true, default_value = "https://api.flickr.com/services/rest/")]
    api: String,
    #[arg(long, hide = true, default_value = "https://live.staticflickr.com/")]
    pictures: String,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

fn day(text: &str) -> Result<i64> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").context("must be YYYY-MM-DD or seconds since 1970")?;
    Ok(day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp())
}

pub(super) struct Flickr {
    queries: Vec<String>,
    /// First and last second.
    window: (i64, i64),
    first: i64,
    accuracy: u8,
    excluded: HashSet<String>,
    excluded_owners: HashSet<String>,
    key: String,
    api: String,
    pictures: String,
    searches: RateLimitedClient,
    files: RateLimitedClient,
}

/// A page of results.
#[derive(Default)]
struct Page {
    /// Results of the whole query.
    total: u64,
    pages: u64,
    photos: Vec<Photo>,
}

/// A photograph; Flickr writes numbers as numbers or as texts.
#[derive(Clone, Deserialize)]
struct Photo {
    id: String,
    owner: String,
    secret: String,
    server: String,
    latitude: Value,
    longitude: Value,
    #[serde(default)]
    datetaken: String,
    #[serde(default)]
    license: Value,
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
}

impl Flickr {
    pub(super) fn new(args: &Args) -> Result<Self> {
        let window = (args.since, args.until - 1);
        if window.0 > window.1 {
            bail!("--since must be before --until");
        }
        let first = (args.first_hours * 3600.0) as i64;
        if first < 1 {
            bail!("--first-hours must be at least a second");
        }
        let (mut excluded, mut excluded_owners) = (HashSet::new(), HashSet::new());
        for file in &args.exclude {
            let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
                let name = line.rsplit('/').next().unwrap_or(line);
                let mut parts = name.trim_end_matches(".jpg").splitn(4, '_');
                excluded.extend(parts.next().map(str::to_owned));
                excluded_owners.extend(parts.nth(2).filter(|_| args.exclude_owners).map(str::to_owned));
            }
        }
        Ok(Self {
            queries: queries(&args.queries)?,
            window,
            first,
            accuracy: args.accuracy,
            excluded,
            excluded_owners,
            key: secret("FLICKR_API_KEY", args.key_file.as_deref())?,
            api: args.api.clone(),
            pictures: args.pictures.clone(),
            // 3,600 calls an hour are allowed; pictures as the project before this one fetched them.
            searches: args.common.client(Duration::from_millis(1200))?,
            files: args.common.client(Duration::from_millis(200))?,
        })
    }

    /// A page of the photos that a query finds from one second to another, both included.
    async fn page(&self, query: &str, (from, to): (i64, i64), page: u64) -> Result<Page> {
        let accuracy = self.accuracy.to_string();
        let fixed = [
            ("method", "flickr.photos.search"),
            ("format", "json"),
            ("nojsoncallback", "1"),
            ("api_key", &self.key),
            ("text", query),
            ("media", "photos"),
            ("privacy_filter", "1"),
            ("has_geo", "1"),
            ("accuracy", &accuracy),
            ("sort", "interestingness-desc"),
            ("extras", "geo,date_taken,license"),
        ];
        let mut pairs: Vec<(&str, String)> = fixed.map(|(name, value)| (name, value.to_owned())).into();
        pairs.extend([("min_upload_date", from), ("max_upload_date", to)].map(|(name, at)| (name, at.to_string())));
        pairs.extend([("per_page", PER_PAGE), ("page", page)].map(|(name, n)| (name, n.to_string())));
        Ok(self.searches.get(&url_with_query(&self.api, pairs)?, parse).await?)
    }

    /// The longest span from `start` on that a query can be read out of, up to about its first length, with its first page.
    async fn span(&self, query: &str, start: i64) -> Result<((i64, i64), Page)> {
        let last = self.window.1;
        let (mut length, mut few, mut many, mut halvings) = (self.first, None, None, 0);
        loop {
            length = length.min(last - start + 1).max(1);
            let span = (start, start + length - 1);
            let page = self.page(query, span, 1).await?;
            if page.total > MAX_RESULTS && length > 1 {
                many = Some(length);
            } else if page.total < MIN_RESULTS && span.1 < last {
                few = Some(length);
            } else {
                return Ok((span, page));
            }
            length = match (few, many) {
                (Some(few), Some(many)) if many - few <= 60 || halvings == MAX_HALVINGS => {
                    // A burst: what is before it is taken by itself.
                    let span = (start, start + few - 1);
                    return Ok((span, self.page(query, span, 1).await?));
                }
                (Some(few), Some(many)) => {
                    halvings += 1;
                    i64::midpoint(few, many)
                }
                (None, Some(_)) => length / 2,
                _ => length * 2,
            };
        }
    }

    /// All photos of a span whose first page is read already.
    async fn photos(&self, query: &str, span: (i64, i64), first: Page) -> Result<Vec<Photo>> {
        if first.total > MAX_RESULTS {
            eprintln!("{query}, second {}: more than {MAX_RESULTS} photos, of which the first are taken", span.0);
        }
        let (pages, mut photos) = (first.pages.min(MAX_RESULTS / PER_PAGE), first.photos);
        for page in 2..=pages {
            let more = self.page(query, span, page).await?.photos;
            if more.is_empty() {
                break; // totals drift; what comes counts
            }
            photos.extend(more);
        }
        Ok(photos)
    }

    fn candidate(&self, photo: Photo) -> Option<Candidate> {
        let (lat, lng) = (number(&photo.latitude)?, number(&photo.longitude)?);
        let at = place(lat, lng)?;
        if self.excluded.contains(&photo.id) || self.excluded_owners.contains(&photo.owner) {
            return None;
        }
        let Photo { id, owner, secret, server, .. } = &photo;
        let url =
            Url::parse(&self.pictures).and_then(|base| base.join(&format!("{server}/{id}_{secret}_b.jpg"))).ok()?;
        let day = photo.datetaken.split(' ').next().unwrap_or_default();
        let licence = number(&photo.license).map_or("", |number| licence(number as u8));
        Some(Candidate {
            item: Item {
                source: "flickr".into(),
                id: id.clone(),
                lat: Some(at.lat),
                lng: Some(at.lng),
                group: format!("flickr:{owner}:{day}"),
                // Of a burst one is enough.
                dedup_key: if photo.datetaken.is_empty() {
                    String::new()
                } else {
                    format!("{owner} {}", photo.datetaken)
                },
                author: owner.clone(),
                licence: licence.into(),
                attribution: format!("https://www.flickr.com/photos/{owner}/{id}"),
                url: http::redact_keys(&url),
                time: photo.datetaken,
                ..Item::default()
            },
            url,
        })
    }
}

/// Flickr's numbers of licences (`flickr.photos.licenses.getInfo`).
fn licence(number: u8) -> &'static str {
    match number {
        0 => "all rights reserved",
        1 => "CC BY-NC-SA 2.0",
        2 => "CC BY-NC 2.0",
        3 => "CC BY-NC-ND 2.0",
        4 => "CC BY 2.0",
        5 => "CC BY-SA 2.0",
        6 => "CC BY-ND 2.0",
        7 => "no known copyright restrictions",
        8 => "work of the United States government",
        9 => "CC0 1.0",
        10 => "public domain mark 1.0",
        _ => "",
    }
}

/// What Flickr answered. Errors come with status 200, and json may be wrapped as a call.
fn parse(answer: &HttpResponse) -> Result<Page, FetchError> {
    let body = answer.success()?;
    let strange = |why: &str| FetchError::Permanent(format!("{} answers {why}", http::redact_keys(&answer.url)));
    let text = std::str::from_utf8(body).map_err(|_| strange("with what is no text"))?.trim();
    let text = text.strip_prefix("jsonFlickrApi(").and_then(|text| text.strip_suffix(')')).unwrap_or(text);
    let reply: Value = serde_json::from_str(text).map_err(|e| strange(&format!("with what is no json ({e})")))?;
    if reply["stat"] != "ok" {
        let (code, message) = (reply["code"].as_i64().unwrap_or(-1), reply["message"].as_str().unwrap_or(""));
        let why = format!("Flickr answers with error {code}: {message}");
        return Err(if TRANSIENT_CODES.contains(&code) {
            FetchError::transient(why)
        } else {
            FetchError::Permanent(why)
        });
    }
    let photos = &reply["photos"];
    let count = |name: &str| number(&photos[name]).map(|n| n as u64);
    let (Some(total), Some(pages), Some(list)) = (count("total"), count("pages"), photos["photo"].as_array()) else {
        return Err(strange("without total, pages or photos"));
    };
    // A photo of another shape is left out, not the page.
    let photos = list.iter().filter_map(|photo| Photo::deserialize(photo).ok()).collect();
    Ok(Page { total, pages, photos })
}

/// The queries of a file, each with the words to keep out.
fn queries(file: &Path) -> Result<Vec<String>> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (without, with): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with('-'));
    if with.is_empty() {
        bail!("{} holds no query", file.display());
    }
    let without: String = without.iter().map(|words| format!(" {words}")).collect();
    Ok(with.iter().map(|query| format!("{query}{without}")).collect())
}

impl Source for Flickr {
    fn terms(&self) -> Option<Terms> {
        Some(Terms {
            name: "flickr",
            text: "Flickr's photographs belong to those who took them, many with all rights reserved, and strangers are in \
                   them: do not publish them, keep the attribution, and remove photos that their owners have deleted.",
        })
    }

    fn options_fingerprint(&self) -> String {
        let mut excluded: Vec<&String> = self.excluded.iter().chain(&self.excluded_owners).collect();
        excluded.sort();
        format!("{} {excluded:?}", self.accuracy)
    }

    async fn plan(&self) -> Result<Vec<String>> {
        let (from, to) = self.window;
        let mut lines = vec![format!(
            "{} queries, {} days, at most {MAX_RESULTS} photos a span",
            self.queries.len(),
            (to - from) / 86_400 + 1
        )];
        let query = &self.queries[0];
        let ((start, end), page) = self.span(query, from).await?;
        lines.push(format!(
            "first span of `{query}`: {} s with {} photos on {} pages",
            end - start + 1,
            page.total,
            page.pages
        ));
        let spans = (to - from + 1) as f64 / (end - start + 1) as f64 * self.queries.len() as f64;
        let photos = (spans * page.total.min(MAX_RESULTS) as f64).round();
        lines.push(format!("if all are like it: {} spans, {photos} photos", spans.ceil()));
        lines.push("cost: nothing; 3,600 searches an hour are allowed".into());
        Ok(lines)
    }

    async fn search(&self, done: &HashSet<String>, batches: mpsc::Sender<Batch>) -> Result<()> {
        // Where a span that is done ends, by its query and its start.
        let span = |name: &String| {
            let (span, query) = name.split_once(' ')?;
            let (start, end) = span.split_once('-')?;
            Some(((query.to_owned(), start.parse().ok()?), end.parse().ok()?))
        };
        let done: HashMap<(String, i64), i64> = done.iter().filter_map(span).collect();
        for query in &self.queries {
            let mut start = self.window.0;
            while start <= self.window.1 {
                if let Some(end) = done.get(&(query.clone(), start)) {
                    start = end + 1;
                    continue;
                }
                let (span, first) = self.span(query, start).await?;
                let photos = self.photos(query, span, first).await?;
                let name = format!("{}-{} {query}", span.0, span.1);
                if batches.send(Batch::new(name, photos, |photo| self.candidate(photo))).await.is_err() {
                    return Ok(());
                }
                start = span.1 + 1;
            }
        }
        Ok(())
    }

    async fn fetch(&self, candidate: &Candidate) -> Result<Vec<u8>, FetchError> {
        self.files
            .get(&candidate.url, |answer| {
                let body = picture(answer)?;
                let is_notice =
                    answer.url.path().contains("photo_unavailable") || !answer.kind.starts_with("image/jpeg");
                if is_notice || body.len() < MIN_BYTES {
                    return Err(FetchError::NotFound("was removed".into()));
                }
                Ok(body)
            })
            .await
    }
}
