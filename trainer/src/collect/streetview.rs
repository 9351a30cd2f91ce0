//! Google Street View through its static API: for each place the nearest panorama, and views of it at given headings.
//!
//! Looking up a panorama is free; views cost money. The coordinates are those of the panorama, not of the requested
//! place.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use futures_util::{StreamExt, stream};
use hmac::{Hmac, Mac};
use landfall_model::LatLng;
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::budget::Budget;
use super::http::{FetchError, HttpResponse, RateLimitedClient};
use super::image_body::picture;
use super::keys::{redact_keys, url_with_query};
use super::manifest::Item;
use super::openaddresses::Service;
use super::places::PlaceArgs;
use super::source::{Batch, Candidate, CommonArgs, Source, Terms, place, secret};

/// Places per batch.
const BATCH_SIZE: usize = 50;
/// Maximum number of concurrent lookups.
const CONCURRENT_LOOKUPS: usize = 8;

/// Collect views of Google Street View, if you have Google's permission to store them
///
/// The API key is read from GOOGLE_MAPS_API_KEY. Requests are signed if GOOGLE_MAPS_SIGNING_SECRET is set.
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
    /// Headings of the views of each panorama, in degrees clockwise from north
    #[arg(long, value_name = "DEGREES", value_delimiter = ',', default_value = "0,90,180,270", help_heading = "Input")]
    headings: Vec<u16>,
    /// Horizontal field of view in degrees
    #[arg(
        long,
        value_name = "DEGREES",
        default_value_t = 90,
        value_parser = clap::value_parser!(u8).range(1..=120),
        help_heading = "Input"
    )]
    fov: u8,
    /// Search radius around each place in metres
    #[arg(long, value_name = "METRES", default_value_t = 100, help_heading = "Input")]
    radius: u32,
    /// Maximum total cost in US dollars of all views in the directory; required unless --dry-run is given
    #[arg(long, value_name = "USD", help_heading = "Network")]
    max_cost: Option<f64>,
    /// Price in US dollars per 1,000 views
    #[arg(long, value_name = "USD", default_value_t = 7.0, help_heading = "Network")]
    price: f64,
    /// File with the API key, instead of GOOGLE_MAPS_API_KEY
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    key_file: Option<PathBuf>,
    #[arg(long, hide = true, default_value = "https://maps.googleapis.com/maps/api/streetview")]
    api: String,
    #[command(flatten)]
    openaddresses: Service,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

pub(super) struct StreetView {
    places: Vec<LatLng>,
    headings: Vec<u16>,
    fov: u8,
    radius: u32,
    budget: Budget,
    key: String,
    signing: Option<Vec<u8>>,
    api: String,
    lookups: RateLimitedClient,
    views: RateLimitedClient,
}

#[derive(Deserialize)]
struct Metadata {
    status: String,
    #[serde(default)]
    error_message: String,
    #[serde(default)]
    copyright: String,
    #[serde(default)]
    date: String,
    pano_id: Option<String>,
    location: Option<Location>,
}

#[derive(Deserialize)]
struct Location {
    lat: f64,
    lng: f64,
}

impl StreetView {
    pub(super) async fn new(args: &Args) -> Result<Self> {
        if let Some(heading) = args.headings.iter().find(|heading| **heading > 360) {
            bail!("--headings {heading}: must be 0 to 360");
        }
        let max_cost = match args.max_cost {
            Some(cost) if cost.is_finite() && cost >= 0.0 => cost,
            None if args.common.dry_run => f64::INFINITY,
            _ => bail!("views cost money: set a limit in US dollars with --max-cost"),
        };
        let signing = match std::env::var("GOOGLE_MAPS_SIGNING_SECRET") {
            Ok(text) => {
                Some(URL_SAFE.decode(text.trim()).ok().context("GOOGLE_MAPS_SIGNING_SECRET is not URL-safe Base64")?)
            }
            Err(_) => None,
        };
        Ok(Self {
            places: args.places.draw(args.sample, args.seed, &args.openaddresses, &args.common).await?,
            headings: args.headings.clone(),
            fov: args.fov,
            radius: args.radius,
            budget: Budget::new(args.price / 1000.0, max_cost),
            key: secret("GOOGLE_MAPS_API_KEY", args.key_file.as_deref())?,
            signing,
            api: args.api.clone(),
            lookups: args.common.api_client(Duration::from_millis(100))?,
            views: args.common.image_client(Duration::from_millis(200))?,
        })
    }

    fn request(&self, path: &str, pairs: Vec<(&str, String)>) -> Result<Url> {
        let key = [("key", self.key.clone())];
        let mut url = url_with_query(&format!("{}{path}", self.api), pairs.into_iter().chain(key))?;
        if let Some(secret) = &self.signing {
            let signature = signature(secret, &url)?;
            url.query_pairs_mut().append_pair("signature", &signature);
        }
        Ok(url)
    }

    /// Looks up the panorama near a place. `None` if there is none by Google.
    async fn panorama(&self, at: LatLng) -> Result<Option<(String, LatLng, Metadata)>> {
        let pairs = vec![
            ("location", format!("{},{}", at.lat, at.lng)),
            ("radius", self.radius.to_string()),
            ("source", "outdoor".into()),
        ];
        let metadata = self.lookups.get(&self.request("/metadata", pairs)?, parse).await?;
        let Some(mut metadata) = metadata else { return Ok(None) };
        let at = metadata.location.as_ref().and_then(|at| place(at.lat, at.lng));
        // Panoramas by users are often photo spheres of gardens and interiors.
        let is_own = metadata.copyright.contains("Google");
        Ok(metadata.pano_id.take().zip(at).filter(|_| is_own).map(|(pano, at)| (pano, at, metadata)))
    }

    fn candidates(&self, (pano, at, metadata): (String, LatLng, Metadata)) -> Result<Vec<Candidate>> {
        let candidate = |heading: &u16| {
            let pairs = vec![
                ("size", "640x640".to_owned()),
                ("pano", pano.clone()),
                ("heading", heading.to_string()),
                ("fov", self.fov.to_string()),
                ("pitch", "0".into()),
                // Otherwise the response for a missing view is a grey image.
                ("return_error_code", "true".into()),
            ];
            let url = self.request("", pairs)?;
            Ok(Candidate {
                item: Item {
                    source: "streetview".into(),
                    id: format!("{pano}_{heading}"),
                    lat: Some(at.lat),
                    lng: Some(at.lng),
                    heading: Some(f64::from(*heading)),
                    time: metadata.date.clone(),
                    group: format!("pano:{pano}"),
                    author: "Google".into(),
                    licence: "Google Maps Platform Terms of Service".into(),
                    attribution: metadata.copyright.clone(),
                    url: redact_keys(&url),
                    ..Item::default()
                },
                url,
            })
        };
        self.headings.iter().map(candidate).collect()
    }

    /// Looks up the panoramas near places, in the order of the places.
    async fn panoramas(&self, places: &[LatLng]) -> Result<Vec<(String, LatLng, Metadata)>> {
        let found: Vec<Result<_>> =
            stream::iter(places).map(|at| self.panorama(*at)).buffered(CONCURRENT_LOOKUPS).collect().await;
        let found: Vec<Option<_>> = found.into_iter().collect::<Result<_>>()?;
        Ok(found.into_iter().flatten().collect())
    }
}

/// Parses the metadata of a panorama; the status is in the body.
fn parse(response: &HttpResponse) -> Result<Option<Metadata>, FetchError> {
    let metadata: Metadata = response.json()?;
    let clean = |text: &str| response.clean(text);
    let why = || format!("Street View returned {} {}", clean(&metadata.status), clean(&metadata.error_message));
    match metadata.status.as_str() {
        "OK" => Ok(Some(metadata)),
        "ZERO_RESULTS" | "NOT_FOUND" => Ok(None),
        "UNKNOWN_ERROR" => Err(response.transient(why())),
        "OVER_QUERY_LIMIT" => {
            Err(response.transient(format!("{}; if this persists, run the same command again tomorrow", why())))
        }
        "OVER_DAILY_LIMIT" => Err(FetchError::LimitReached(format!(
            "{}; check billing and quotas of the API key, or run the same command again tomorrow",
            why()
        ))),
        "REQUEST_DENIED" => Err(FetchError::Permanent(format!(
            "{}; check the API key, and that it may use the Street View Static API",
            why()
        ))),
        _ => Err(FetchError::Permanent(why())),
    }
}

/// Returns the view in a response. Exceeded quotas are refusals whose text says so.
fn view(response: &HttpResponse) -> Result<Vec<u8>, FetchError> {
    let text = String::from_utf8_lossy(&response.body);
    if response.status == StatusCode::FORBIDDEN && (text.contains("exceeded") || text.contains("OVER_QUERY_LIMIT")) {
        let why = response.describe(&response.status.to_string());
        return Err(FetchError::LimitReached(format!("{why}; run the same command again when the quota allows it")));
    }
    picture(response)
}

/// Signs path and query as they are sent.
/// (<https://developers.google.com/maps/documentation/streetview/digital-signature>).
fn signature(secret: &[u8], url: &Url) -> Result<String> {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret).context("the signing secret has an invalid length")?;
    mac.update(format!("{}?{}", url.path(), url.query().unwrap_or_default()).as_bytes());
    Ok(URL_SAFE.encode(mac.finalize().into_bytes()))
}

impl Source for StreetView {
    fn terms(&self) -> Option<Terms> {
        Some(Terms {
            name: "google",
            text: "Street View images cost money, and Google's terms (3.2.3) prohibit downloading them in bulk, \
                   storing them and making data sets of them without permission. Use this source only with \
                   permission, and do not distribute the images.",
        })
    }

    fn budget(&self) -> Option<&Budget> {
        Some(&self.budget)
    }

    fn options_fingerprint(&self) -> String {
        format!("{:?} {} {}", self.headings, self.fov, self.radius)
    }

    async fn plan(&self) -> Result<Vec<String>> {
        let tried = &self.places[..self.places.len().min(BATCH_SIZE)];
        let found = self.panoramas(tried).await?.len();
        let share = found as f64 / tried.len().max(1) as f64;
        let views = (self.places.len() as f64 * share * self.headings.len() as f64).round();
        Ok(vec![
            format!("{} places, {} views of each panorama", self.places.len(), self.headings.len()),
            format!("{found} of the first {} have a panorama within {} m", tried.len(), self.radius),
            format!("extrapolated to all: {views} views"),
            format!(
                "cost: ${:.2} at ${} per 1,000 views; nothing has been spent",
                views * self.budget.price_usd(),
                self.budget.price_usd() * 1000.0
            ),
        ])
    }

    async fn search(&self, done: &HashSet<String>, batches: mpsc::Sender<Batch>) -> Result<()> {
        for (i, places) in self.places.chunks(BATCH_SIZE).enumerate() {
            // The name identifies the places, so that other places are not taken for completed ones.
            let coordinates: Vec<String> = places.iter().map(ToString::to_string).collect();
            let hash = crate::io::hash::hex(Sha256::new_with_prefix(coordinates.join(" ")));
            let name = format!("places {}, {} as {}", i * BATCH_SIZE, places.len(), &hash[..16]);
            if done.contains(&name) {
                continue;
            }
            let found = self.panoramas(places).await?;
            let candidates: Vec<Vec<Candidate>> =
                found.into_iter().map(|found| self.candidates(found)).collect::<Result<_>>()?;
            if batches.send(Batch::new(name, candidates.into_iter().flatten(), Some)).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn fetch(&self, candidate: &Candidate) -> Result<Vec<u8>, FetchError> {
        // Every try costs money, whether it succeeds or not.
        let once = || async {
            self.budget.charge()?;
            self.views.try_once(&candidate.url, view).await
        };
        self.views.retry(once).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret is from Google's documentation; the signatures were recomputed with OpenSSL.
    #[test]
    fn requests_are_signed_as_google_documents() {
        let secret = URL_SAFE.decode("vNIXE0xscrmjlyV-12Nj_BvUPaw=").unwrap();
        for (path, expected) in [
            ("/maps/api/geocode/json?address=New+York&client=clientID", "chaRF2hTJKOScPr-RQCEhZbSzIE="),
            (
                "/maps/api/streetview?location=40.457375,-80.009353&size=640x640&key=TESTKEY",
                "uk16ZeGrq1iivp6Us5pETClSSVA=",
            ),
            ("/maps/api/streetview/metadata?location=40.457375,-80.009353&key=TESTKEY", "8JV5_oqqMd-qbboJ1_CnrlfngPc="),
        ] {
            let url = Url::parse(&format!("https://maps.googleapis.com{path}")).unwrap();
            assert_eq!(signature(&secret, &url).unwrap(), expected);
        }
    }
}
