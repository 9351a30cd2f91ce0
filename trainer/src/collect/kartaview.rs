//! Street-level images from KartaView around given points.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Result;
use landfall_model::LatLng;
use reqwest::{StatusCode, Url};
use serde_json::Value;
use tokio::sync::mpsc;

use super::http::{FetchError, HttpResponse, RateLimitedClient};
use super::image_body::{expired, picture};
use super::keys::{redact_keys, url_with_query};
use super::manifest::Item;
use super::openaddresses::Service;
use super::places::PlaceArgs;
use super::source::{Batch, Candidate, CommonArgs, Source, Terms, group, place};

/// Images per page; the API rejects higher values with status 400.
const PER_PAGE: usize = 100;
/// Maximum number of pages per place, as protection from a service that never runs out of images.
const MAX_PAGES: usize = 500;
/// Sizes of an image in order of preference: about 1,280 pixels wide, as large as the original, a thumbnail. Some images
/// lack some of them.
const SIZES: [&str; 3] = ["lth", "proc", "th"];
/// `apiCode` of a successful response.
const SUCCESS_CODE: i64 = 600;

/// Collect street-level images from KartaView
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    places: PlaceArgs,
    /// Number of places to sample per file and country
    #[arg(long, value_name = "N", default_value_t = 1000, help_heading = "Input")]
    sample: usize,
    /// Random seed for the sampling
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Input")]
    seed: u64,
    /// Search radius around each place in metres
    #[arg(long, value_name = "METRES", default_value_t = 1000, help_heading = "Input")]
    radius: u32,
    /// Keep all images of a sequence, not only the first
    #[arg(long, help_heading = "Input")]
    whole_sequences: bool,
    #[arg(long, hide = true, default_value = "https://api.openstreetcam.org/2.0/photo/")]
    api: String,
    #[command(flatten)]
    openaddresses: Service,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

pub(super) struct KartaView {
    places: Vec<LatLng>,
    radius: u32,
    whole_sequences: bool,
    api: String,
    searches: RateLimitedClient,
    files: RateLimitedClient,
}

impl KartaView {
    pub(super) async fn new(args: &Args) -> Result<Self> {
        Ok(Self {
            places: args.places.draw(args.sample, args.seed, &args.openaddresses, &args.common).await?,
            radius: args.radius,
            whole_sequences: args.whole_sequences,
            api: args.api.clone(),
            // The service documents no rate limit; these are conservative.
            searches: args.common.api_client(Duration::from_secs(1))?,
            files: args.common.image_client(Duration::from_millis(500))?,
        })
    }

    async fn photos(&self, at: LatLng) -> Result<Vec<Value>> {
        let (mut photos, mut seen) = (Vec::new(), HashSet::new());
        for page in 1..=MAX_PAGES {
            let pairs = [
                ("lat", at.lat.to_string()),
                ("lng", at.lng.to_string()),
                ("radius", self.radius.to_string()),
                ("itemsPerPage", PER_PAGE.to_string()),
                ("page", page.to_string()),
                ("join", "sequence".into()),
                ("orderBy", "id".into()),
                ("orderDirection", "asc".into()),
            ];
            let (more, is_last) = self.searches.get(&url_with_query(&self.api, pairs)?, parse).await?;
            let before = photos.len();
            photos.extend(more.into_iter().filter(|photo| seen.insert(photo["id"].to_string())));
            // `hasMoreData` is not reliable: stop at a page without new images.
            if is_last || photos.len() == before {
                break;
            }
        }
        Ok(photos)
    }

    fn candidate(&self, photo: &Value) -> Option<Candidate> {
        let text = |name: &str| match &photo[name] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        let number = |name: &str| text(name).parse::<f64>().ok().filter(|number| number.is_finite());
        if !["", "PLANE"].contains(&text("projection").as_str()) {
            return None; // the encoder is not trained on spherical or fisheye images
        }
        let at = place(number("lat")?, number("lng")?)?;
        let (id, sequence) = (text("id"), text("sequenceId"));
        let urls = ["fileurl", "fileurlLTh", "fileurlProc", "fileurlTh"].map(text);
        let url = Url::parse(&urls.iter().find(|url| !url.is_empty())?.replace("{{sizeprefix}}", SIZES[0])).ok()?;
        let keep_first_only = !self.whole_sequences && !sequence.is_empty();
        (!id.is_empty()).then(|| Candidate {
            item: Item {
                source: "kartaview".into(),
                lat: Some(at.lat),
                lng: Some(at.lng),
                heading: number("heading").map(|heading| heading.rem_euclid(360.0)),
                time: text("shotDate"),
                group: group("kartaview", &sequence),
                dedup_key: if keep_first_only { sequence } else { String::new() },
                licence: "CC BY-SA 4.0".into(),
                attribution: format!("KartaView contributors, https://kartaview.org, picture {id}"),
                url: redact_keys(&url),
                id,
                ..Item::default()
            },
            url,
        })
    }
}

/// The URLs of the sizes of an image, given that of the first size.
fn sizes(url: &Url) -> Vec<Url> {
    let first = format!("/{}/", SIZES[0]);
    if !url.path().contains(&first) {
        return vec![url.clone()];
    }
    let of_size = |size: &str| {
        let mut other = url.clone();
        other.set_path(&url.path().replace(&first, &format!("/{size}/")));
        other
    };
    SIZES.map(of_size).into()
}

/// Parses a response into its photos and whether they are the last. Logical errors have status 200.
fn parse(response: &HttpResponse) -> Result<(Vec<Value>, bool), FetchError> {
    let reply: Value = response.json()?;
    let code = reply["status"]["apiCode"].as_i64().unwrap_or_default();
    if code != SUCCESS_CODE {
        let message = response.clean(reply["status"]["apiMessage"].as_str().unwrap_or_default());
        let why = format!("KartaView returned code {code}: {message}");
        let status = &reply["status"]["httpCode"];
        let status = status.as_u64().or_else(|| status.as_str()?.parse().ok());
        let status = status.and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok());
        return Err(match status {
            Some(status) if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                FetchError::from_status(status, why, None)
            }
            _ => FetchError::Permanent(why),
        });
    }
    let photos = reply["result"]["data"].as_array().cloned().unwrap_or_default();
    Ok((photos, !reply["result"]["hasMoreData"].as_bool().unwrap_or_default()))
}

impl Source for KartaView {
    fn terms(&self) -> Option<Terms> {
        Some(Terms {
            name: "kartaview",
            text: "KartaView images are licensed under CC BY-SA 4.0: credit KartaView and its contributors, and share \
                   adaptations under the same licence.",
        })
    }

    fn options_fingerprint(&self) -> String {
        self.whole_sequences.to_string()
    }

    async fn plan(&self) -> Result<Vec<String>> {
        let Some(first) = self.places.first() else { return Ok(vec!["no places".into()]) };
        let found = self.photos(*first).await?;
        Ok(vec![
            format!("{} places, images within {} m of each", self.places.len(), self.radius),
            format!("the first, {first}: {} images", found.len()),
            "cost: nothing".into(),
        ])
    }

    async fn search(&self, done: &HashSet<String>, batches: mpsc::Sender<Batch>) -> Result<()> {
        for at in &self.places {
            let name = format!("{} m around {},{}", self.radius, at.lat, at.lng);
            if done.contains(&name) {
                continue;
            }
            let batch = Batch::new(name, &self.photos(*at).await?, |photo| self.candidate(photo));
            if batches.send(batch).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn fetch(&self, candidate: &Candidate) -> Result<Vec<u8>, FetchError> {
        let mut refused = None;
        for url in sizes(&candidate.url) {
            match self.files.get(&url, picture).await {
                Err(FetchError::NotFound(_)) => {}
                // Storage may refuse what it does not have, so only the last refusal counts.
                Err(error @ FetchError::Permanent(_)) => refused = Some(expired(error)),
                other => return other,
            }
        }
        Err(refused.unwrap_or_else(|| FetchError::NotFound("no size of the image exists".into())))
    }
}
