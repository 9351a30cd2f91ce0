//! The entry point of the crate: a bundle with its networks loaded.

use std::fmt;
use std::path::Path;

use image::RgbImage;

use crate::bundle::{Bundle, Prior};
use crate::classifier::Classifier;
use crate::error::{Error, Result};
use crate::posterior::Posterior;
use crate::prediction::Prediction;
use crate::score::MapScale;

/// Predicts where photographs were taken.
///
/// Loading takes a moment and a few hundred megabytes with a large bundle, so load once and share: a `Geolocator` is
/// `Send` and `Sync`, and its methods may be called from several threads at a time.
///
/// ```no_run
/// use landfall_model::{Geolocator, open_image};
///
/// let geolocator = Geolocator::load("pocket")?;
/// let views = [open_image("north.jpg")?, open_image("south.jpg")?]; // two views of one place
/// let prediction = geolocator.locate(&views)?;
/// println!("{} ({:.0} km)", prediction.place, prediction.radius_50_km);
/// # Ok::<(), landfall_model::Error>(())
/// ```
pub struct Geolocator {
    classifier: Classifier,
}

impl Geolocator {
    /// Loads the bundle with this name, such as `pocket`, or in the directory at this path, such as `./mine`.
    ///
    /// A name is looked for as a subdirectory of, in this order: the directory in the environment variable
    /// `LANDFALL_BUNDLES`, `bundles` beside the executable, `bundles` in the sources this crate was compiled from,
    /// and `bundles` in the user's cache directory (`LANDFALL_CACHE`, or the platform's own). It is never looked for
    /// in the working directory.
    ///
    /// # Errors
    /// [`Error::UnknownBundle`] when nothing is found, and the errors of [`Geolocator::from_dir`].
    pub fn load(name: &str) -> Result<Self> {
        Ok(Self { classifier: Classifier::load(Bundle::find(name)?)? })
    }

    /// Loads the bundle in this directory, which holds `bundle.json` and the files that it names.
    ///
    /// Every file is checked against the sha256 in `bundle.json` before it is used.
    ///
    /// # Errors
    /// - [`Error::Read`], [`Error::Checksum`] or [`Error::EncoderNotInstalled`]: a file is missing or damaged.
    /// - [`Error::Manifest`], [`Error::Cells`] or [`Error::Network`]: a file is not what it should be.
    /// - [`Error::RuntimeNotFound`] or [`Error::RuntimeLoad`]: ONNX Runtime cannot be loaded.
    /// - [`Error::RuntimeNeeded`]: the same, and the feature `rten` is on but rten cannot run this bundle.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self> {
        Ok(Self { classifier: Classifier::load(Bundle::open(dir.as_ref())?)? })
    }

    /// Name and version of the bundle, such as `pocket@2026.11.3`.
    pub fn bundle(&self) -> String {
        self.classifier.bundle.manifest.id()
    }

    /// Predicts the place that all `images` show: views in different directions or at different times.
    ///
    /// The prediction is the middle of the most likely region, with [`Prior::Photo`]. More views of the place make it
    /// more accurate; images of different places need a call each.
    ///
    /// # Errors
    /// [`Error::NoImages`] and [`Error::EmptyImage`] when there are no pixels, [`Error::Inference`] and
    /// [`Error::NonFinite`] when a network fails.
    pub fn locate(&self, images: &[RgbImage]) -> Result<Prediction> {
        Ok(Prediction::for_photo(&self.posterior(images, Prior::Photo)?))
    }

    /// Predicts the point with the highest expected score in a game on a map of this scale.
    ///
    /// On a large map it lies between likely regions where that scores higher on average than the middle of one. The
    /// prior is [`Prior::Game`].
    ///
    /// # Errors
    /// As [`Geolocator::locate`].
    pub fn locate_on_map(&self, images: &[RgbImage], scale: MapScale) -> Result<Prediction> {
        Ok(Prediction::for_map(&self.posterior(images, Prior::Game)?, scale))
    }

    /// The probability of every cell of the bundle, given `images` of one place.
    ///
    /// # Errors
    /// As [`Geolocator::locate`].
    pub fn posterior(&self, images: &[RgbImage], prior: Prior) -> Result<Posterior<'_>> {
        if images.is_empty() {
            return Err(Error::NoImages);
        }
        if let Some(index) = images.iter().position(|image| image.is_empty()) {
            return Err(Error::EmptyImage { index });
        }
        let logits = self.classifier.logits(images)?;
        self.classifier.bundle.fuse(&logits, prior).ok_or_else(|| Error::NonFinite { bundle: self.bundle() })
    }
}

impl fmt::Debug for Geolocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Geolocator").field("bundle", &self.bundle()).finish_non_exhaustive()
    }
}
