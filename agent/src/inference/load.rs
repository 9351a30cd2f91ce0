//! Loading a bundle's networks.

use anyhow::Result;
use landfall_model::{Bundle, Classifier, Error};

/// Loads a bundle, with one encoder session per processor core, up to four.
///
/// # Errors
/// As [`Classifier::load`].
pub(crate) fn load(bundle: Bundle) -> Result<Classifier> {
    load_with(bundle, Classifier::load)
}

/// As [`load`], with this number of encoder sessions.
///
/// # Errors
/// As [`Classifier::load`].
pub(crate) fn load_with_workers(bundle: Bundle, workers: usize) -> Result<Classifier> {
    load_with(bundle, |bundle| Classifier::with_workers(bundle, workers))
}

fn load_with(bundle: Bundle, load: impl Fn(Bundle) -> Result<Classifier, Error>) -> Result<Classifier> {
    let classifier = load(bundle).or_else(|error| match repaired(&error) {
        Some(bundle) => load(bundle),
        None => Err(error),
    })?;
    tracing::info!(bundle = classifier.bundle.manifest.id(), engine = %classifier.engine(), "loaded");
    Ok(classifier)
}

/// The bundle inside the program, if its unpacked copy was damaged.
#[cfg(feature = "embed")]
fn repaired(error: &Error) -> Option<Bundle> {
    crate::setup::embedded::repaired(error)
}

#[cfg(not(feature = "embed"))]
fn repaired(_: &Error) -> Option<Bundle> {
    None
}
