//! From images to a prediction: classifying views, fusing them, choosing the pin, and when to stop looking.
//!
//! [`posterior_for`] fuses the views and [`predict_from`] chooses the pin, for `play`, `replay` and `locate` alike; the pin
//! itself is computed in `landfall_model::pin`.
//!
//! Transcendental functions come from `libm`, so that all platforms give the same answers.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod area;
mod decide;
mod heat;
mod load;
mod round;
pub(crate) mod stopping;

pub(crate) use decide::{Objective, expected_score, posterior_for, predict, predict_from};
pub(crate) use heat::{CellProbability, cell_probabilities};
pub(crate) use load::{load, load_with_workers};
pub(crate) use round::PendingLogits;
pub use round::RoundInference;
