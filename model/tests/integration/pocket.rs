//! Golden outputs of the pocket bundle for one image, shared with the tests of the page, which run onnxruntime-web.
//!
//! After a change of the bundle: `LANDFALL_GOLDEN=write cargo test --release -p landfall-model --test integration pocket`.

use std::path::{Path, PathBuf};

use landfall_model::bundle::CellPrior;
use landfall_model::preprocess::{self, Square};
use landfall_model::{Bundle, Classifier, Prior};

/// Tolerance of log-probabilities, with weights of less than 32 bits.
const TOLERANCE: f64 = 1e-2;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn squares_and_log_probabilities_match_the_golden_files() {
    let golden = root().join("model/tests/golden");
    let classifier = Classifier::load(Bundle::open(&root().join("model/bundles/pocket")).unwrap()).unwrap();
    let picture = preprocess::open(root().join("fixtures/rounds/rome-colosseum/view_000.jpg")).unwrap();

    // The encoded squares, one below the other.
    let preprocess = &classifier.bundle.manifest.preprocess;
    let squares = std::iter::once(&Square::CENTRAL).chain(&preprocess.details);
    let pixels: Vec<u8> = squares.flat_map(|square| preprocess.resize(&picture, *square)).collect();
    let height = preprocess.size * preprocess.squares() as u32;
    let seen = image::RgbImage::from_raw(preprocess.size, height, pixels).unwrap();

    let logits: Vec<f64> = classifier.logits(&[picture]).unwrap()[0].iter().map(|z| f64::from(*z)).collect();
    let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let all = highest + logits.iter().map(|z| (z - highest).exp()).sum::<f64>().ln();
    let log_p: Vec<f64> = logits.iter().map(|z| z - all).collect();

    let (png, json) = (golden.join("pocket.png"), golden.join("pocket.json"));
    if std::env::var_os("LANDFALL_GOLDEN").is_some_and(|what| what == "write") {
        seen.save(&png).unwrap();
        let rounded: Vec<f64> = log_p.iter().map(|x| (x * 1e5).round() / 1e5).collect();
        std::fs::write(&json, serde_json::to_string(&rounded).unwrap() + "\n").unwrap();
    }
    assert!(preprocess::open(&png).unwrap() == seen, "{} differs", png.display());
    let expected: Vec<f64> = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(expected.len(), log_p.len());
    let apart = expected.iter().zip(&log_p).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(apart < TOLERANCE, "{apart}");
}

#[test]
fn a_prior_of_the_bundle_moves_its_question_only() {
    let mut bundle = Bundle::open(&root().join("model/bundles/pocket")).unwrap();
    let cells = bundle.cells.cells.len();
    let even = [vec![0.0f32; cells]];
    let mut log_weights = vec![0.0; cells];
    log_weights[7] = 2.0f32.ln();
    let prior = CellPrior { log_weights, temperature: [(1, 2.0)].into() };
    bundle.manifest.priors = [(Prior::Photo, prior)].into();
    let probabilities = |prior| bundle.fuse(&even, prior).unwrap().probabilities();
    let photo = probabilities(Prior::Photo);
    assert!((photo[7] / photo[8] - 2.0).abs() < 1e-6);
    assert!((photo.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    for other in [Prior::Game, Prior::Flat] {
        let other = probabilities(other);
        assert!((other[7] / other[8] - 1.0).abs() < 1e-12);
    }
    // The temperature applies to the logits and not to the weights.
    let mut logits = even;
    logits[0][9] = 1.0;
    let warm = bundle.fuse(&logits, Prior::Photo).unwrap().probabilities();
    assert!((warm[9] / warm[8] - 0.5f64.exp()).abs() < 1e-6 && (warm[7] / warm[8] - 2.0).abs() < 1e-6);
}
