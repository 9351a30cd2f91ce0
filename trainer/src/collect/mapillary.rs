//! Street-level images from Mapillary, by bounding box.
//!
//! A search returns at most about 2,000 images, without pages and without reporting truncation; a search of a dense box
//! fails with a server error. In both cases the box is split into four.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;

use super::http::{FetchError, HttpResponse, RateLimitedClient};
use super::image_body::fetch_picture;
use super::keys::url_with_query;
use super::manifest::Item;
use super::source::{Batch, Candidate, CommonArgs, Source, Terms, group, place, secret};

/// Maximum value of the API's `limit` parameter.
const LIMIT: usize = 2_000;
/// Number of results from which a response may be truncated.
const MAYBE_TRUNCATED: usize = 1_500;
/// Maximum side in degrees of the initial boxes, below the API's limit of 0.01 square degrees.
const MAX_SIDE: f64 = 0.09;
/// Boxes are not split below this side in degrees, about the length of a street.
const MIN_SIDE: f64 = 0.001;
/// Error codes of the Graph API for exceeded limits: of the application, the user, the page, the account, or any other.
const LIMIT_CODES: [i64; 5] = [4, 17, 32, 341, 613];
/// Error codes for failures of the service. Code 1 also means that a box contains too many images.
const SERVICE_CODES: [i64; 2] = [1, 2];
/// Requested fields of each image.
const FIELDS: &str = "id,geometry,computed_geometry,captured_at,compass_angle,computed_compass_angle,is_pano,sequence,creator,thumb_1024_url";

/// Collect street-level images from Mapillary
///
/// The access token, from <https://www.mapillary.com/dashboard/developers>, is read from MAPILLARY_ACCESS_TOKEN.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Bounding box to search, in degrees (repeatable)
    ///
    /// In a box across the 180th meridian, WEST is greater than EAST, as in 177,-19,-178,-16.
    #[arg(
        long = "box",
        value_name = "WEST,SOUTH,EAST,NORTH",
        value_parser = boxes,
        required = true,
        allow_hyphen_values = true,
        help_heading = "Input"
    )]
    boxes: Vec<Boxes>,
    /// Keep all images of a sequence, not only the first
    #[arg(long, help_heading = "Input")]
    whole_sequences: bool,
    /// File with the access token, instead of MAPILLARY_ACCESS_TOKEN
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    key_file: Option<PathBuf>,
    #[arg(long, hide = true, default_value = "https://graph.mapillary.com/images")]
    api: String,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// A bounding box in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bounds {
    west: f64,
    south: f64,
    east: f64,
    north: f64,
}

/// A box, or the two parts of a box across the 180th meridian.
type Boxes = Vec<Bounds>;

fn boxes(text: &str) -> Result<Boxes> {
    let numbers: Vec<f64> = text.split(',').map(|number| number.trim().parse()).collect::<Result<_, _>>()?;
    let [west, south, east, north] = numbers[..] else { bail!("must be four numbers: WEST,SOUTH,EAST,NORTH") };
    let is_box = |west: f64, east: f64| west < east && west >= -180.0 && east <= 180.0;
    if !(south < north && south >= -90.0 && north <= 90.0) {
        bail!("must be a box: -90 <= SOUTH < NORTH <= 90");
    }
    let bounds = |west, east| Bounds { west, south, east, north };
    if is_box(west, east) {
        return Ok(vec![bounds(west, east)]);
    }
    // Across the 180th meridian, with EAST from -180 or continuing above 180.
    let east = if east > 180.0 { east - 360.0 } else { east };
    let is_across = (-180.0..=180.0).contains(&west) && east >= -180.0 && 360.0 + east - west <= 180.0;
    if is_across {
        return Ok([(west, 180.0), (-180.0, east)]
            .into_iter()
            .filter(|(w, e)| w < e)
            .map(|(w, e)| bounds(w, e))
            .collect());
    }
    bail!(
        "must be a box: -180 <= WEST < EAST <= 180; one across the 180th meridian, where WEST is greater than EAST, is at \
         most 180 degrees wide"
    )
}

impl Bounds {
    /// Splits the box into boxes of at most this side, row by row from the south-west.
    fn split(self, side: f64) -> Vec<Self> {
        let steps = |from: f64, to: f64| ((to - from) / side).ceil().max(1.0) as usize;
        let (columns, rows) = (steps(self.west, self.east), steps(self.south, self.north));
        let at = |from: f64, to: f64, i: usize, n: usize| from + (to - from) * i as f64 / n as f64;
        let cell = |row: usize, column: usize| Self {
            west: at(self.west, self.east, column, columns),
            south: at(self.south, self.north, row, rows),
            east: at(self.west, self.east, column + 1, columns),
            north: at(self.south, self.north, row + 1, rows),
        };
        (0..rows).flat_map(|row| (0..columns).map(move |column| cell(row, column))).collect()
    }

    fn side(self) -> f64 {
        (self.east - self.west).max(self.north - self.south)
    }

    fn name(self) -> String {
        let Self { west, south, east, north } = self;
        format!("{west:.6},{south:.6},{east:.6},{north:.6}")
    }
}

pub(super) struct Mapillary {
    boxes: Vec<Bounds>,
    whole_sequences: bool,
    api: String,
    searches: RateLimitedClient,
    files: RateLimitedClient,
}

#[derive(Deserialize)]
struct SearchResponse {
    data: Vec<Value>,
}

#[derive(Deserialize)]
struct Image {
    id: String,
    geometry: Option<Point>,
    computed_geometry: Option<Point>,
    captured_at: Option<i64>,
    compass_angle: Option<f64>,
    computed_compass_angle: Option<f64>,
    is_pano: Option<bool>,
    sequence: Option<String>,
    creator: Option<Creator>,
    thumb_1024_url: Option<String>,
}

#[derive(Deserialize)]
struct Point {
    /// Longitude first.
    coordinates: [f64; 2],
}

#[derive(Deserialize)]
struct Creator {
    username: Option<String>,
}

/// An error of the Graph API, with any status, even 200.
#[derive(Deserialize)]
struct GraphError {
    #[serde(default)]
    message: String,
    #[serde(default)]
    code: i64,
    #[serde(default)]
    is_transient: bool,
}

impl GraphError {
    fn of(response: &HttpResponse) -> Option<Self> {
        #[derive(Deserialize)]
        struct Reply {
            error: Option<GraphError>,
        }
        serde_json::from_slice::<Reply>(&response.body).ok()?.error
    }

    fn classify(&self, response: &HttpResponse) -> FetchError {
        let why = format!("Mapillary returned error {}: {}", self.code, response.clean(&self.message));
        if LIMIT_CODES.contains(&self.code) {
            response
                .transient(format!("{why}; its limits are per minute and per day: run the same command again later"))
        } else if self.is_transient || SERVICE_CODES.contains(&self.code) {
            response.transient(why)
        } else {
            response.failure(why)
        }
    }
}

/// The result of searching a box.
enum SearchResult {
    /// All images in the box.
    Complete(Vec<Value>),
    /// A part of the images, because the box contains too many.
    Truncated(Vec<Value>),
}

impl Mapillary {
    pub(super) fn new(args: &Args) -> Result<Self> {
        let token = secret("MAPILLARY_ACCESS_TOKEN", args.key_file.as_deref())?;
        for parts in args.boxes.iter().filter(|parts| parts.len() > 1) {
            let parts: Vec<String> = parts.iter().map(|part| part.name()).collect();
            eprintln!("a box crosses the 180th meridian and is searched as two: {}", parts.join(" and "));
        }
        Ok(Self {
            boxes: args.boxes.iter().flatten().flat_map(|bounds| bounds.split(MAX_SIDE)).collect(),
            whole_sequences: args.whole_sequences,
            api: args.api.clone(),
            searches: args.common.api_client(Duration::from_millis(200))?.authorized(&format!("OAuth {token}"))?,
            files: args.common.image_client(Duration::from_millis(100))?,
        })
    }

    async fn search_box(&self, bounds: Bounds) -> Result<SearchResult, FetchError> {
        let pairs = [("bbox", bounds.name()), ("fields", FIELDS.to_owned()), ("limit", LIMIT.to_string())];
        let url = url_with_query(&self.api, pairs).map_err(|e| FetchError::Permanent(e.to_string()))?;
        let can_split = bounds.side() / 2.0 >= MIN_SIDE;
        let parse = |response: &HttpResponse| {
            let error = GraphError::of(response);
            let asks_for_less = error.as_ref().is_some_and(|error| error.message.contains("reduce the amount of data"));
            // The box may be too dense; smaller boxes distinguish that from a failing server.
            if can_split && (response.status.as_u16() == 500 || asks_for_less) {
                return Ok(SearchResult::Truncated(Vec::new()));
            }
            if let Some(error) = error {
                return Err(error.classify(response));
            }
            let data = response.json::<SearchResponse>()?.data;
            Ok(if data.len() >= MAYBE_TRUNCATED { SearchResult::Truncated(data) } else { SearchResult::Complete(data) })
        };
        match self.searches.get(&url, parse).await? {
            // Retry once before treating the box as dense.
            SearchResult::Truncated(data) if data.is_empty() => self.searches.get(&url, parse).await,
            found => Ok(found),
        }
    }

    /// Returns all images in a box, splitting it where necessary.
    async fn images(&self, bounds: Bounds) -> Result<Vec<Value>> {
        let (mut images, mut boxes) = (Vec::new(), vec![bounds]);
        while let Some(bounds) = boxes.pop() {
            match self.search_box(bounds).await? {
                SearchResult::Complete(data) => images.extend(data),
                SearchResult::Truncated(_) if bounds.side() / 2.0 >= MIN_SIDE => {
                    boxes.extend(bounds.split(bounds.side() / 2.0))
                }
                SearchResult::Truncated(data) => {
                    eprintln!(
                        "box {}: too many images for one search; only {} are collected",
                        bounds.name(),
                        data.len()
                    );
                    images.extend(data);
                }
            }
        }
        Ok(images)
    }

    fn candidate(&self, image: &Value) -> Option<Candidate> {
        let image = Image::deserialize(image).ok().filter(|image| image.is_pano != Some(true))?;
        let Point { coordinates: [lng, lat] } = image.computed_geometry.or(image.geometry)?;
        let at = place(lat, lng)?;
        let author = image.creator.and_then(|creator| creator.username).unwrap_or_default();
        let time = image.captured_at.and_then(chrono::DateTime::from_timestamp_millis);
        let heading = image.computed_compass_angle.or(image.compass_angle);
        let url = Url::parse(&image.thumb_1024_url?).ok()?;
        let sequence = image.sequence.unwrap_or_default();
        let keep_first_only = !self.whole_sequences && !sequence.is_empty();
        Some(Candidate {
            item: Item {
                source: "mapillary".into(),
                lat: Some(at.lat),
                lng: Some(at.lng),
                heading: heading.filter(|heading| heading.is_finite()).map(|heading| heading.rem_euclid(360.0)),
                time: time.map(|time| time.to_rfc3339()).unwrap_or_default(),
                group: group("mapillary", &sequence),
                dedup_key: if keep_first_only { sequence } else { String::new() },
                attribution: format!("{author} on Mapillary, https://www.mapillary.com/app/?pKey={}", image.id),
                author,
                licence: "CC BY-SA 4.0".into(),
                // Thumbnail URLs expire; the URL of the image does not.
                url: format!("https://graph.mapillary.com/{}", image.id),
                id: image.id,
                ..Item::default()
            },
            url,
        })
    }
}

impl Source for Mapillary {
    fn terms(&self) -> Option<Terms> {
        Some(Terms {
            name: "mapillary",
            text: "Mapillary images are licensed under CC BY-SA 4.0: credit Mapillary and the author, and share \
                   adaptations under the same licence.",
        })
    }

    fn options_fingerprint(&self) -> String {
        self.whole_sequences.to_string()
    }

    async fn plan(&self) -> Result<Vec<String>> {
        let first = self.boxes[0];
        let found = self.images(first).await?;
        let usable: Vec<Candidate> = found.iter().filter_map(|image| self.candidate(image)).collect();
        Ok(vec![
            format!("{} boxes with sides of at most {MAX_SIDE} degrees", self.boxes.len()),
            format!("the first, {}: {} images, {} of them usable", first.name(), found.len(), usable.len()),
            "cost: nothing".into(),
        ])
    }

    async fn search(&self, done: &HashSet<String>, batches: mpsc::Sender<Batch>) -> Result<()> {
        for bounds in &self.boxes {
            let name = bounds.name();
            if done.contains(&name) {
                continue;
            }
            let mut batch = Batch::new(name, &self.images(*bounds).await?, |image| self.candidate(image));
            // Only the first image of a sequence is kept, so the order must not depend on how boxes were split.
            batch.candidates.sort_by(|a, b| a.item.id.cmp(&b.item.id));
            if batches.send(batch).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn fetch(&self, candidate: &Candidate) -> Result<Vec<u8>, FetchError> {
        fetch_picture(&self.files, &candidate.url).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_tile_the_area() {
        let [all] = boxes("2.2,48.8,2.5,48.9").unwrap()[..] else { panic!("two boxes") };
        let tiles = all.split(MAX_SIDE);
        assert_eq!(tiles.len(), 4 * 2);
        let area = |b: &Bounds| (b.east - b.west) * (b.north - b.south);
        assert!((tiles.iter().map(area).sum::<f64>() - area(&all)).abs() < 1e-9);
        assert!(tiles.iter().all(|b| area(b) < 0.01 && b.side() <= MAX_SIDE + 1e-9));
        assert_eq!((tiles[0].east, tiles[0].north), (tiles[1].west, tiles[4].south));
        assert_eq!(all.split(all.side() / 2.0).len(), 2, "a flat box is halved");
        assert!(boxes("2,48,1,49").is_err() && boxes("1,2,3").is_err() && boxes("1,2,3,91").is_err());
        assert!(boxes("nan,2,3,4").is_err() && boxes("1,2,nan,4").is_err() && boxes("1,2,inf,4").is_err());
    }

    #[test]
    fn a_box_across_the_180th_meridian_is_two() {
        let names = |text: &str| boxes(text).unwrap().into_iter().map(Bounds::name).collect::<Vec<_>>();
        let fiji = ["177.000000,-19.000000,180.000000,-16.000000", "-180.000000,-19.000000,-178.000000,-16.000000"];
        let fiji_part = |i: usize| vec![fiji[i].to_owned()];
        assert_eq!(names("177,-19,-178,-16"), fiji);
        assert_eq!(names("177,-19,182,-16"), fiji);
        assert_eq!(names("170,-19,180,-16").len(), 1);
        assert!(boxes("10,-19,-170.1,-16").is_ok() && boxes("9,-19,-170,-16").is_err(), "too wide to be meant");
        assert_eq!((names("180,-19,-178,-16"), names("177,-19,-180,-16")), (fiji_part(1), fiji_part(0)));
    }
}
