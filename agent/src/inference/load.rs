//! Loading a bundle's networks.

use anyhow::Result;
use landfall_model::{Bundle, Classifier};

/// Loads a bundle, with one encoder session per processor core, up to four.
///
/// # Errors
/// As [`Classifier::load`].
pub(crate) fn load(bundle: Bundle) -> Result<Classifier> {
    Ok(log_engine(Classifier::load(bundle)?))
}

/// As [`load`], with this number of encoder sessions.
///
/// # Errors
/// As [`Classifier::load`].
pub(crate) fn load_with_workers(bundle: Bundle, workers: usize) -> Result<Classifier> {
    Ok(log_engine(Classifier::with_workers(bundle, workers)?))
}

fn log_engine(classifier: Classifier) -> Classifier {
    tracing::info!(bundle = classifier.bundle.manifest.id(), engine = %classifier.engine(), "loaded");
    classifier
}
