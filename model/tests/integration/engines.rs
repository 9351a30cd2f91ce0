//! The engines give the same answers for the pictures of the fixtures.

use std::fs;
use std::path::{Path, PathBuf};

use landfall_model::engine::Engine;
use landfall_model::{Bundle, Classifier, Prior, open_image};

/// Largest difference of a probability, for the rare picture of which a byte is rounded differently.
const TOLERANCE: f64 = 1e-3;
/// The same for most pictures: all bytes are the same, and sums of floats differ in their last bits.
const USUAL_TOLERANCE: f64 = 1e-6;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The first view of every round.
fn pictures() -> Vec<PathBuf> {
    let rounds = fs::read_dir(root().join("fixtures/rounds")).unwrap().map(|entry| entry.unwrap().path());
    let mut views: Vec<PathBuf> =
        rounds.map(|round| round.join("view_000.jpg")).filter(|file| file.is_file()).collect();
    views.sort();
    views
}

#[test]
fn both_engines_answer_alike() {
    let load = |engine| {
        let bundle = Bundle::open(&root().join("model/bundles/pocket")).unwrap();
        let classifier = Classifier::with_engine(bundle, 2, engine).unwrap();
        assert_eq!(classifier.engine(), engine);
        classifier
    };
    let [native, rten] = [Engine::OnnxRuntime, Engine::Rten].map(load);
    let files = pictures();
    assert!(files.len() >= 30, "{} pictures", files.len());
    let images: Vec<_> = files.iter().map(|file| open_image(file).unwrap()).collect();
    let [expected, found] = [&native, &rten].map(|classifier| classifier.logits(&images).unwrap());
    let mut differences = Vec::new();
    for (file, (expected, found)) in files.iter().zip(expected.into_iter().zip(found)) {
        let posterior = |logits: Vec<f32>| native.bundle.fuse(&[logits], Prior::Photo).unwrap();
        let (expected, found) = (posterior(expected), posterior(found));
        assert_eq!(expected.top(1)[0].0, found.top(1)[0].0, "top cell of {}", file.display());
        let pairs = expected.probabilities().into_iter().zip(found.probabilities());
        let apart = pairs.map(|(p, q)| (p - q).abs()).fold(0.0, f64::max);
        assert!(apart <= TOLERANCE, "{}: {apart}", file.display());
        differences.push(apart);
    }
    differences.sort_by(f64::total_cmp);
    assert!(differences[files.len() / 2] <= USUAL_TOLERANCE, "{differences:?}");
    let error = rten.head(&[0.0; 7]).unwrap_err();
    assert!(matches!(error, landfall_model::Error::Inference { .. }), "{error}");
}
