//! Photos from Flickr, collected like the im2gps data sets: text queries with excluded words over time spans that each
//! contain no more results than one query returns.
//!
//! `flickr.photos.search` returns at most about 4,000 distinct results; later pages repeat earlier ones. A span is
//! therefore halved while it contains more and doubled while it contains few, and all of its pages are read.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chrono::NaiveDate;
use landfall_common::cli::parse_duration;
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;

use super::http::{FetchError, HttpResponse, RateLimitedClient};
use super::image_body::{expired, picture};
use super::keys::{redact_keys, url_with_query};
use super::manifest::Item;
use super::source::{Batch, Candidate, CommonArgs, Source, Terms, place, secret};

/// Results per page; the maximum for searches with coordinates.
const PER_PAGE: u64 = 250;
/// Maximum number of distinct results per query.
const MAX_RESULTS: u64 = 4_000;
/// A span with fewer results is lengthened.
const MIN_RESULTS: u64 = 150;
/// Maximum number of bisections between a span with too few results and one with too many.
const MAX_HALVINGS: usize = 6;
/// Images below this size in bytes are placeholders.
const MIN_BYTES: usize = 1_000;
/// Codes of transient errors: service, search, service and write unavailable.
const TRANSIENT_CODES: [i64; 4] = [0, 10, 105, 106];

/// Search Flickr for photos with coordinates
///
/// The API key, from <https://www.flickr.com/services/apps/create/>, is read from FLICKR_API_KEY.
#[derive(clap::Args)]
pub(super) struct Args {
    /// File of search queries, one per line (Latin-1)
    ///
    /// Lines that start with - contain words to exclude from all queries; lines that start with # are comments.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    queries: PathBuf,
    /// First upload date (YYYY-MM-DD or Unix time in seconds)
    #[arg(long, value_name = "DATE", value_parser = day, help_heading = "Input")]
    since: i64,
    /// End of the upload dates, exclusive
    #[arg(long, value_name = "DATE", value_parser = day, help_heading = "Input")]
    until: i64,
    /// Length of the first time span to search, as in 90m or 4h
    ///
    /// Later spans adapt to the number of results. A plain number is in hours.
    #[arg(
        long,
        alias = "first-hours",
        value_name = "DURATION",
        value_parser = hours_or_duration,
        default_value = "4h",
        help_heading = "Input"
    )]
    first_span: Duration,
    /// Minimum accuracy of the coordinates: 1 world, 6 region, 11 city, 16 street
    #[arg(
        long,
        value_name = "LEVEL",
        default_value_t = 6,
        value_parser = clap::value_parser!(u8).range(1..=16),
        help_heading = "Input"
    )]
    accuracy: u8,
    /// File of photos to exclude, such as those of a benchmark (repeatable)
    ///
    /// One photo id or file name ID_SECRET_SERVER_OWNER.jpg per line.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    exclude: Vec<PathBuf>,
    /// Also exclude all photos by the owners in those file names
    #[arg(long, requires = "exclude", help_heading = "Input")]
    exclude_owners: bool,
    /// File with the API key, instead of FLICKR_API_KEY
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    key_file: Option<PathBuf>,
    #[arg(long, hide = true, default_value = "https://api.flickr.com/services/rest/")]
    api: String,
    #[arg(long, hide = true, default_value = "https://live.staticflickr.com/")]
    pictures: String,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// As [`parse_duration`], with plain numbers as hours, which is what the option took before it had units.
fn hours_or_duration(text: &str) -> Result<Duration, String> {
    let Ok(hours) = text.trim().parse::<f64>() else { return parse_duration(text) };
    Duration::try_from_secs_f64(hours * 3600.0).map_err(|_| format!("`{text}` is not a duration: use 90m or 4h"))
}

fn day(text: &str) -> Result<i64> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").context("must be YYYY-MM-DD or Unix time in seconds")?;
    Ok(day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp())
}

pub(super) struct Flickr {
    queries: Vec<String>,
    /// First and last second, as Unix time.
    window: (i64, i64),
    /// Length in seconds of the first span to try.
    first_length: i64,
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
    /// Results of the whole query, over all pages.
    total: u64,
    pages: u64,
    photos: Vec<Photo>,
}

/// A photo. Flickr sends numbers as JSON numbers or as strings.
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
        let first_length = i64::try_from(args.first_span.as_secs()).unwrap_or(i64::MAX);
        if first_length < 1 {
            bail!("--first-span must be at least 1s");
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
            first_length,
            accuracy: args.accuracy,
            excluded,
            excluded_owners,
            key: secret("FLICKR_API_KEY", args.key_file.as_deref())?,
            api: args.api.clone(),
            pictures: args.pictures.clone(),
            // The API allows 3,600 calls per hour.
            searches: args.common.api_client(Duration::from_millis(1200))?,
            files: args.common.image_client(Duration::from_millis(200))?,
        })
    }

    /// Requests one page of a query's results uploaded between two seconds, both inclusive.
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

    /// Finds a span from `start` whose results a query can return completely, and returns it with its first page.
    async fn span(&self, query: &str, start: i64) -> Result<((i64, i64), Page)> {
        let last = self.window.1;
        let (mut length, mut few, mut many, mut halvings) = (self.first_length, None, None, 0);
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
                    // Many photos uploaded at once: the span ends before them.
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

    /// Requests the remaining pages of a span and returns all its photos.
    async fn photos(&self, query: &str, span: (i64, i64), first: Page) -> Result<Vec<Photo>> {
        if first.total > MAX_RESULTS {
            eprintln!("{query}, second {}: more than {MAX_RESULTS} photos; only the first ones are collected", span.0);
        }
        let (pages, mut photos) = (first.pages.min(MAX_RESULTS / PER_PAGE), first.photos);
        for page in 2..=pages {
            let more = self.page(query, span, page).await?.photos;
            if more.is_empty() {
                break; // the reported total is not reliable
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
                // Keep only one photo of a burst.
                dedup_key: if photo.datetaken.is_empty() {
                    String::new()
                } else {
                    format!("{owner} {}", photo.datetaken)
                },
                author: owner.clone(),
                licence: licence.into(),
                attribution: format!("https://www.flickr.com/photos/{owner}/{id}"),
                url: redact_keys(&url),
                time: photo.datetaken,
                ..Item::default()
            },
            url,
        })
    }
}

/// The name of a licence by Flickr's number (`flickr.photos.licenses.getInfo`).
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

/// Parses a response of Flickr. Errors have status 200, and the JSON may be wrapped in a JSONP call.
fn parse(response: &HttpResponse) -> Result<Page, FetchError> {
    let body = response.success()?;
    let not_text = |_| response.transient(response.describe("a body that is not UTF-8"));
    let text = std::str::from_utf8(body).map_err(not_text)?.trim();
    let text = text.strip_prefix("jsonFlickrApi(").and_then(|text| text.strip_suffix(')')).unwrap_or(text);
    let reply: Value = serde_json::from_str(text).map_err(|error| response.json_error(&error))?;
    if reply["stat"] != "ok" {
        let code = number(&reply["code"]).map_or(-1, |code| code as i64);
        let why = format!("Flickr returned error {code}: {}", response.clean(reply["message"].as_str().unwrap_or("")));
        return Err(if TRANSIENT_CODES.contains(&code) { response.transient(why) } else { FetchError::Permanent(why) });
    }
    let photos = &reply["photos"];
    let count = |name: &str| number(&photos[name]).map(|n| n as u64);
    let (Some(total), Some(pages), Some(list)) = (count("total"), count("pages"), photos["photo"].as_array()) else {
        return Err(FetchError::Permanent(response.describe("a result without total, pages or photos")));
    };
    // Skip single photos that cannot be parsed.
    let photos = list.iter().filter_map(|photo| Photo::deserialize(photo).ok()).collect();
    Ok(Page { total, pages, photos })
}

/// Reads the queries of a file and appends the excluded words to each.
fn queries(file: &Path) -> Result<Vec<String>> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (excluded, queries): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with('-'));
    if queries.is_empty() {
        bail!("{} contains no query", file.display());
    }
    let exclusions: String = excluded.iter().map(|words| format!(" {words}")).collect();
    Ok(queries.iter().map(|query| format!("{query}{exclusions}")).collect())
}

impl Source for Flickr {
    fn terms(&self) -> Option<Terms> {
        Some(Terms {
            name: "flickr",
            text: "Flickr photos belong to their authors, many with all rights reserved, and may show strangers: do \
                   not publish them, keep the attribution, and remove photos that their owners have deleted.",
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
            "{} queries, {} days, at most {MAX_RESULTS} photos per span",
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
        lines.push(format!("extrapolated to all: {} spans, {photos} photos", spans.ceil()));
        lines.push("cost: nothing; 3,600 searches per hour are allowed".into());
        Ok(lines)
    }

    async fn search(&self, done: &HashSet<String>, batches: mpsc::Sender<Batch>) -> Result<()> {
        // The ends of completed spans, by query and start.
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
            .get(&candidate.url, |response| {
                let removed = || FetchError::NotFound("the photo was removed".into());
                if response.status.is_success() && response.url.path().contains("photo_unavailable") {
                    return Err(removed());
                }
                let body = picture(response)?;
                let is_jpeg = body.starts_with(&[0xff, 0xd8]);
                if is_jpeg && body.len() >= MIN_BYTES { Ok(body) } else { Err(removed()) }
            })
            .await
            .map_err(expired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_numbers_of_the_first_span_are_hours() {
        for (text, seconds) in [("2", 7200), ("0.5", 1800), ("90m", 5400)] {
            assert_eq!(hours_or_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert!(hours_or_duration("-1").is_err());
    }
}
