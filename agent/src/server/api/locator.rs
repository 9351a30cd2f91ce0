//! Locates the images of requests.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result as AnyResult;
use futures_util::future::join_all;
use landfall_model::images::{self, Decoded};
use landfall_model::{Bundle, Classifier, Prior};
use tokio::sync::Semaphore;

use super::metrics::{Metrics, Outcome};
use super::pool::Pool;
use super::problem::Problem;
use super::request::{ImageFile, Images};
use super::types::{LocateResponse, LocateResult, LocateSettings};
use crate::photos::hints::HintedCells;
use crate::photos::locate::{LocateOptions, of_logits};

/// Bundles that answer requests at the same time.
pub(in crate::server) struct Locator {
    /// The default first.
    bundles: Vec<Arc<Pool>>,
    /// A slot for each image that is decoded at the same time, which takes up to a gigabyte.
    decoders: Semaphore,
    pub(super) metrics: Metrics,
}

/// Squares of an image, as the encoder takes them.
struct Squares {
    tensors: Vec<Vec<f32>>,
    /// What is missing of a truncated file.
    warning: Option<String>,
}

/// Images of one place.
struct Place {
    name: String,
    images: Vec<ImageFile>,
}

impl Locator {
    /// Starts the encoders.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(in crate::server) fn start(classifiers: Vec<Classifier>) -> AnyResult<Self> {
        Ok(Self {
            bundles: classifiers.into_iter().map(|it| Ok(Arc::new(Pool::start(it)?))).collect::<AnyResult<_>>()?,
            decoders: Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)),
            metrics: Metrics::new(),
        })
    }

    /// Names and versions of the bundles, the default first.
    pub(super) fn bundles(&self) -> Vec<String> {
        self.bundles.iter().map(|pool| pool.bundle().manifest.id()).collect()
    }

    /// Runs a function on the default bundle, in its turn as an image that is decoded.
    ///
    /// # Errors
    /// When it panics.
    pub(in crate::server) async fn with_classifier<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Classifier) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let pool = self.bundles.first().ok_or_else(|| Problem::internal("there is no bundle"))?;
        let _decoding = self.decoders.acquire().await.map_err(Problem::internal)?;
        let classifier = pool.classifier();
        tokio::task::spawn_blocking(move || run(&classifier)).await.map_err(Problem::internal)
    }

    /// Locates the images of a request.
    ///
    /// # Errors
    /// When the request asks for something impossible, or inference fails.
    pub(in crate::server) async fn locate(&self, images: Images) -> Result<LocateResponse, Problem> {
        let Images { files, settings } = images;
        let pool = self.find(&settings)?;
        let hinted = hinted(pool, &settings).await?;
        if settings.top.is_some_and(|top| !(1..=100).contains(&top)) {
            return Err(Problem::impossible("`top` must be from 1 to 100."));
        }
        let places = if settings.one_place {
            let name = files.first().map(|file| file.name.clone()).unwrap_or_default();
            vec![Place { name, images: files }]
        } else {
            files.into_iter().map(|file| Place { name: file.name.clone(), images: vec![file] }).collect()
        };
        let results = places.into_iter().map(|place| locate_place(self, pool, place, &settings, hinted.clone()));
        let results = join_all(results).await.into_iter().collect::<Result<_, _>>()?;
        Ok(LocateResponse { bundle: pool.bundle().manifest.id(), engine: pool.engine(), results })
    }

    fn find(&self, settings: &LocateSettings) -> Result<&Arc<Pool>, Problem> {
        let name = |pool: &Pool| pool.bundle().manifest.name.clone();
        let named = |pool: &&Arc<Pool>| settings.bundle.as_ref().is_none_or(|wanted| *wanted == name(pool));
        self.bundles.iter().find(named).ok_or_else(|| {
            let names: Vec<String> = self.bundles.iter().map(|pool| name(pool)).collect();
            Problem::impossible(format!("There is no such bundle; the service has {}.", names.join(", ")))
        })
    }
}

/// The cells that are possible by what is known; `None` for all.
async fn hinted(pool: &Arc<Pool>, settings: &LocateSettings) -> Result<Option<Arc<HintedCells>>, Problem> {
    let hints = settings.known.hints().map_err(|why| Problem::impossible(format!("`known`: {why}.")))?;
    if hints.is_empty() {
        return Ok(None);
    }
    let pool = Arc::clone(pool);
    let cells = tokio::task::spawn_blocking(move || HintedCells::new(hints, &pool.bundle().cells));
    let cells = cells.await.map_err(Problem::internal)?;
    Ok(Some(Arc::new(cells.map_err(|why| Problem::impossible(format!("`known`: {why}.")))?)))
}

async fn locate_place(
    locator: &Locator,
    pool: &Arc<Pool>,
    place: Place,
    settings: &LocateSettings,
    hinted: Option<Arc<HintedCells>>,
) -> Result<LocateResult, Problem> {
    let Place { name, images } = place;
    let read = join_all(images.into_iter().map(|image| logits(locator, pool, image))).await;
    let (mut views, mut warnings) = (Vec::new(), Vec::new());
    for view in read {
        match view? {
            Ok((logits, warning)) => {
                views.push(logits);
                warnings.extend(warning);
            }
            Err(why) => return Ok(LocateResult::failed(name, why)),
        }
    }
    let pool = Arc::clone(pool);
    let (prior, top): (Prior, _) = (settings.prior.into(), usize::from(settings.top.unwrap_or_default()));
    let posterior = tokio::task::spawn_blocking(move || {
        let options = LocateOptions { prior, hinted: hinted.as_deref(), top, ..Default::default() };
        of_logits(pool.bundle(), PathBuf::new(), &views, options)
    });
    let located = posterior.await.map_err(Problem::internal)?.map_err(Problem::internal)?;
    Ok(LocateResult::located(name, located, warnings))
}

/// The logits of an image with what is missing of its file, or why it cannot be read.
async fn logits(
    locator: &Locator,
    pool: &Arc<Pool>,
    image: ImageFile,
) -> Result<Result<(Vec<f32>, Option<String>), String>, Problem> {
    let decoding = locator.decoders.acquire().await.map_err(Problem::internal)?;
    let decoder = Arc::clone(pool);
    let squares = tokio::task::spawn_blocking(move || squares(decoder.bundle(), &image.bytes));
    let squares = squares.await.map_err(Problem::internal)?;
    drop(decoding);
    let Squares { tensors, warning } = match squares {
        Ok(squares) => squares,
        Err(why) => {
            locator.metrics.count_image(Outcome::Unreadable);
            return Ok(Err(why));
        }
    };
    let start = Instant::now();
    let logits = pool.logits(tensors).await.map_err(Problem::internal)?;
    locator.metrics.add_inference(start.elapsed());
    locator.metrics.count_image(Outcome::Located);
    Ok(Ok((logits, warning)))
}

fn squares(bundle: &Bundle, bytes: &[u8]) -> Result<Squares, String> {
    let Decoded { image, warning } = images::decode(bytes).map_err(|why| why.to_string())?;
    let tensors = bundle.manifest.preprocess.tensors(&image).collect();
    Ok(Squares { tensors, warning: warning.map(|warning| warning.to_string()) })
}
