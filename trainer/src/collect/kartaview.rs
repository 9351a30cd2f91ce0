//! KartaView's street-level pictures, around points.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Result;
use landfall_model::LatLng;
use reqwest::Url;
use serde_json::Value;
use tokio::sync::mpsc;

use super::http::{self, FetchError, HttpResponse, RateLimitedClient, url_with_query};
use super::manifest::Item;
use super::openaddresses::Service;
use super::picture::picture;
use super::places::PlaceArgs;
use super::source::{Batch, Candidate, CommonArgs, Source, Terms, group, place};

/// Pictures a page; for more the answer is 400.
const PER_PAGE: usize = 100;
/// What the service answers with when all is well.
const SUCCESS_CODE: i64 = 600;

/// Street-level pictures of KartaView.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    places: PlaceArgs,
    /// Places drawn from each file and country
    #[arg(long, default_value_t = 1000)]
    sample: usize,
    /// Seed of what is drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Metres around each place
    #[arg(long, default_value_t = 1000)]
    radius: u32,
    /// Keep all pictures of a sequence, not the first alone
    #[arg(long)]
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
            // No limit is known: be gentle.
            searches: args.common.client(Duration::from_secs(1))?,
            files: args.common.client(Duration::from_millis(500))?,
        })
    }

    async fn photos(&self, at: LatLng) -> Result<Vec<Value>> {
        let (mut photos, mut seen) = (Vec::new(), HashSet::new());
        for page in 1.. {
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
            // A page that brings nothing new is the last, whatever it says of itself.
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
            return None; // spheres and fish-eyes look unlike what the encoder knows
        }
        let at = place(number("lat")?, number("lng")?)?;
        let (id, sequence) = (text("id"), text("sequenceId"));
        let url = Url::parse(&text("fileurl").replace("{{sizeprefix}}", "lth")).ok()?;
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
                url: http::redact_keys(&url),
                id,
                ..Item::default()
            },
            url,
        })
    }
}

/// The photos of an answer, and whether they are the last. Logical errors come with status 200.
fn parse(answer: &HttpResponse) -> Result<(Vec<Value>, bool), FetchError> {
    let reply: Value = answer.json()?;
    let code = reply["status"]["apiCode"].as_i64().unwrap_or_default();
    if code != SUCCESS_CODE {
        let message = reply["status"]["apiMessage"].as_str().unwrap_or_default();
        return Err(FetchError::Permanent(format!("KartaView answers with code {code}: {message}")));
    }
    let photos = reply["result"]["data"].as_array().cloned().unwrap_or_default();
    Ok((photos, !reply["result"]["hasMoreData"].as_bool().unwrap_or_default()))
}

impl Source for KartaView {
    fn terms(&self) -> Option<Terms> {
        Some(Terms {
            name: "kartaview",
            text: "KartaView's pictures are under CC BY-SA 4.0: name KartaView and its contributors, and pass on what is \
                   made of the pictures under the same licence.",
        })
    }

    fn options_fingerprint(&self) -> String {
        self.whole_sequences.to_string()
    }

    async fn plan(&self) -> Result<Vec<String>> {
        let Some(first) = self.places.first() else { return Ok(vec!["no places".into()]) };
        let found = self.photos(*first).await?;
        Ok(vec![
            format!("{} places, pictures within {} m of each", self.places.len(), self.radius),
            format!("the first, {first}: {} pictures", found.len()),
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
        self.files.get(&candidate.url, picture).await
    }
}
