//! What in a picture an answer depends on: occlusion maps, and a check of what they highlight.
//!
//! An occlusion map is itself only a claim. [`explain`] tests it: the probability of the answer must fall more when the
//! highlighted part is covered than when random parts of the same size are.

pub(crate) mod drawing;
pub(crate) mod occlusion;
pub(crate) mod view;

use anyhow::{Context, Result};
use landfall_model::Classifier;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use crate::evidence::occlusion::{OcclusionMap, coarse_to_fine};
use crate::evidence::view::{Covering, EncodedView, Fill, Part};

/// What parts are covered with. A blur hides details and, unlike a grey patch, adds no edges, which would change an answer by
/// themselves.
const FILL: Fill = Fill::Blur;
/// Side of the highlighted part, in parts of the map.
const HIGHLIGHTED_PARTS: u32 = 2;
/// Number of parts that are covered to find the one to highlight: those that the map says are the most important.
const CANDIDATES: usize = 5;
/// Number of random parts that the highlighted one is compared with.
const RANDOM_PARTS: usize = 3;

/// What of one picture an answer depends on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Evidence {
    /// The part that matters most.
    pub part: Part,
    /// Probability of the answer: that the place is within its 50 % radius.
    pub p: f64,
    /// The same with the part covered.
    pub p_without_part: f64,
    /// The same with random parts of the same size covered instead, one after another.
    pub p_without_random: Vec<f64>,
    /// Whether covering the part lowers the probability, and more than covering random parts does on average.
    pub holds_up: bool,
    #[serde(skip)]
    pub map: OcclusionMap,
}

/// Finds what a picture contributes to an answer, and checks it. `p` is the probability of the answer given the logits of
/// the picture.
///
/// # Errors
/// When inference or `p` fails.
pub(crate) fn explain(
    classifier: &Classifier,
    view: &EncodedView,
    p: impl Fn(Vec<f32>) -> Result<f64>,
) -> Result<Evidence> {
    let before = p(classifier.head(&view.embedding())?)?;
    let loss = |logits| Ok(log(before) - log(p(logits)?));
    let map = coarse_to_fine(classifier, view, FILL, loss)?;
    let candidates = map.most_important(HIGHLIGHTED_PARTS, CANDIDATES);
    let random = random_parts(view, candidates[0]);
    let covering = |part: &Part| Covering { part: *part, square: None };
    let coverings: Vec<Covering> = candidates.iter().chain(&random).map(covering).collect();
    let logits = view.logits_with_parts_covered(classifier, &coverings, FILL)?;
    let mut without_candidates = logits.into_iter().map(p).collect::<Result<Vec<f64>>>()?;
    let p_without_random = without_candidates.split_off(candidates.len());
    let best = candidates.into_iter().zip(without_candidates).min_by(|a, b| a.1.total_cmp(&b.1));
    let (part, p_without_part) = best.context("a map has parts")?;
    let evidence = Evidence { part, p: before, p_without_part, p_without_random, holds_up: false, map };
    let holds_up = p_without_part < before.min(evidence.mean_without_random());
    Ok(Evidence { holds_up, ..evidence })
}

/// The logarithm of a probability that may be 0.
fn log(p: f64) -> f64 {
    p.max(f64::MIN_POSITIVE).ln()
}

/// Parts of the same size at random positions of the visible area, the same ones whenever a picture is explained.
fn random_parts(view: &EncodedView, part: Part) -> Vec<Part> {
    let area = view.visible_area();
    let mut random = StdRng::seed_from_u64(view.fingerprint());
    let mut along = |from: f64, side: f64, length: f64| from + random.random::<f64>() * (side - length).max(0.0);
    let mut position = || (along(area.left, area.width, part.width), along(area.top, area.height, part.height));
    let positions: Vec<(f64, f64)> = (0..RANDOM_PARTS).map(|_| position()).collect();
    positions.into_iter().map(|(left, top)| Part { left, top, ..part }).collect()
}

impl Evidence {
    /// The mean probability of the answer with random parts covered.
    pub(crate) fn mean_without_random(&self) -> f64 {
        self.p_without_random.iter().sum::<f64>() / self.p_without_random.len().max(1) as f64
    }
}
