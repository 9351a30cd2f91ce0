//! The cost of a prediction: `cargo bench -p landfall-model`.

use divan::{Bencher, black_box};
use landfall_model::cells::{Cell, leaf};
use landfall_model::preprocess::{Crop, Preprocess, Resize};
use landfall_model::{Bundle, CellTable, Classifier, LatLng, MapScale, Posterior, pin};

fn main() {
    divan::main();
}

/// 2,048 cells spread evenly over the earth, and four views with different logits.
fn scene() -> (CellTable, Vec<Vec<f32>>) {
    let golden_angle = 180.0 * (3.0 - 5f64.sqrt());
    let cells = (0..2048).map(|i| {
        let lat = (1.0 - 2.0 * (f64::from(i) + 0.5) / 2048.0).asin().to_degrees();
        let at = LatLng::new(lat, f64::from(i) * golden_angle).expect("on earth");
        Cell { token: leaf(at).parent(8).to_token(), level: 8, at, spread_m: 50_000.0, count: 10, country: None }
    });
    let table = CellTable::new(cells.collect()).expect("cells apart");
    let view = |k: usize| (0..2048).map(|i| ((i * (7 + k)) as f32 * 0.61).sin() * 3.0).collect();
    (table, (0..4).map(view).collect())
}

#[divan::bench]
fn logits_to_pin(bencher: Bencher<'_, '_>) {
    let (table, logits) = scene();
    pin::best(&Posterior::fuse(&table, &logits, 1.0).expect("finite"), MapScale::WORLD); // reads the map of land
    bencher.bench_local(|| {
        let posterior = Posterior::fuse(&table, black_box(&logits), 1.0).expect("finite");
        pin::best(&posterior, MapScale::WORLD)
    });
}

#[divan::bench]
fn preprocess_1024(bencher: Bencher<'_, '_>) {
    let clip = Preprocess {
        size: 224,
        resize: Resize::Bicubic,
        crop: Crop::Center,
        mean: [0.5; 3],
        std: [0.25; 3],
        details: Vec::new(),
    };
    let picture = image::RgbImage::from_fn(1024, 1024, |x, y| image::Rgb([x as u8, y as u8, (x ^ y) as u8]));
    bencher.bench_local(|| clip.tensors(black_box(&picture)).next());
}

/// One view through a bundle on one thread. Bundles whose encoder is not installed are skipped.
#[divan::bench(args = landfall_model::bundle::names(), sample_count = 30, sample_size = 1)]
fn classify_one_view(bencher: Bencher<'_, '_>, name: &str) {
    let classifier = Bundle::find(name).and_then(|bundle| Classifier::with_workers(bundle, 1));
    match classifier {
        Ok(classifier) => {
            let picture = image::RgbImage::from_fn(224, 224, |x, y| image::Rgb([x as u8, y as u8, (x ^ y) as u8]));
            bencher.bench_local(|| classifier.logits(std::slice::from_ref(black_box(&picture))));
        }
        Err(why) => eprintln!("skipped: {why}"),
    }
}
